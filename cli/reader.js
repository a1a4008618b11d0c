/**
 * Stores that are only read: no lock is taken and nothing is written.
 */
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import * as native from "../binding.js";
import { Store, validateManifest } from "../index.js";
import { environmentNumber } from "../lib/environment.js";
import { toError } from "../lib/errors.js";
import { readOptions } from "../lib/options.js";

/** Records are shown as they are stored, whatever their version. */
const ANY_VERSION = Number.MAX_SAFE_INTEGER;

/** @typedef {import("../index.js").Manifest & { clock?: number, previous?: unknown, compacting?: string }} Manifest */

/**
 * The manifest as it stands in the file; undefined where there is none, or what is there is none.
 * @param {string} dir
 * @returns {Promise<{ text: string, manifest: Manifest } | undefined>}
 */
export async function readManifest(dir) {
  try {
    const text = await readFile(join(dir, "manifest.json"), "utf8");
    return { text, manifest: validateManifest(JSON.parse(text)) };
  } catch (error) {
    // The engine has the words for what is missing or damaged.
    const { code = "" } = /** @type {NodeJS.ErrnoException} */ (error);
    if (["ENOENT", "OPSLOG_INVALID"].includes(code) || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/**
 * The version of a store's records: a store is opened with it, or with a later one.
 * @param {string} dir
 */
export async function versionOf(dir) {
  const path = (await readManifest(dir))?.manifest.currentSnapshot;
  if (typeof path !== "string") return 1;
  const { stream, version = 1 } = await native.openSnapshotFile(resolve(dir), path);
  // What is wrong with the snapshot is told when the store is opened.
  if (stream !== undefined) native.closeStream(stream);
  return version;
}

/**
 * Opens a store for reading.
 * @param {string} dir
 * @returns {Promise<Store<any>>}
 */
export async function openReader(dir) {
  const store = new Store();
  await store.open(dir, { readOnly: true, version: await versionOf(dir) });
  return store;
}

/**
 * Reads a store once; the records in order, and their number. What is decoded is what is asked for.
 * @param {string} dir
 * @returns {Promise<{ count: number, records: () => Generator<[string, any]>, release: () => void }>}
 */
export async function loadRecords(dir) {
  const options = readOptions({ readOnly: true, version: ANY_VERSION }).native;
  const { handle, failure } = await native.load(environmentNumber(), resolve(dir), options);
  if (failure !== undefined || handle === undefined) throw toError(/** @type {any} */ (failure));
  return { count: await countOf(dir), records: () => pages(handle), release: () => native.release(handle) };
}

/**
 * How many records there are about: for progress.
 * @param {string} dir
 */
async function countOf(dir) {
  return (await readManifest(dir))?.manifest.stats.activeRecords ?? Infinity;
}

/**
 * @param {number} handle
 * @returns {Generator<[string, any]>}
 */
function* pages(handle) {
  /** @type {number | undefined} */
  let next = 0;
  while (next !== undefined) {
    const page = native.loadedPage(handle, next);
    if (page === null) return;
    const [ids, values] = [JSON.parse(page.ids), JSON.parse(page.values)];
    for (const [place, id] of ids.entries()) yield [id, values[place]];
    next = page.next;
  }
}
