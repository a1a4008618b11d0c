/** What is in a directory when nobody writes: the records by every kind of observer, and the files. */
import { readFileSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { isTemporaryLock } from "../check.js";
import { copyStore, filesIn, implementation } from "../stores.js";
import { namesIn } from "./journal.js";

/** @typedef {import("../../index.js").Store<unknown>} Store */
/** @typedef {import("../../index.js").StoreOptions} StoreOptions */
/** @typedef {{ records: Record<string, string>, segments: Map<string, Record<string, string>> }} Content */

/**
 * Opens, looks, and closes without a checkpoint.
 * @param {string} kind `ours` or `upstream`
 * @param {string} dir
 * @param {StoreOptions} options
 * @returns {Promise<Content>}
 */
export async function contentOf(kind, dir, options) {
  const { Store } = await implementation(kind);
  const store = /** @type {Store} */ (new Store());
  await store.open(dir, options);
  const records = namesIn(store.entries());
  /** @type {Content["segments"]} */
  const segments = new Map();
  for (const path of store.listArchiveSegments()) {
    const segment = /archive-(.*)\.json$/.exec(path)?.[1] ?? path;
    segments.set(segment, namesIn(await store.loadArchive(segment)));
  }
  await store.close();
  return { records, segments };
}

/**
 * What every observer finds: our reader, and on copies a new agent of ours and one of upstream's, which read all logs.
 * @param {string} dir
 * @param {boolean} [sameOrder] false where ids of agents are such that upstream puts them into another order: by language
 * @returns {Promise<{ content: Content, problems: string[] }>}
 */
export async function observe(dir, sameOrder = true) {
  const content = await contentOf("ours", dir, { readOnly: true });
  /** @type {string[]} */
  const problems = [];
  for (const kind of ["ours", "upstream"]) {
    const copy = `${dir}-for-${kind}`;
    copyStore(dir, copy);
    const seen = await contentOf(kind, copy, { agentId: "observer", checkpointOnClose: false });
    problems.push(...differences(content, seen, sameOrder || kind === "ours").map((text) => `an agent of ${kind}: ${text}`));
  }
  return { content, problems };
}

/**
 * A last agent makes a checkpoint and closes. Nothing has changed then, for upstream's readers neither; no temporary file
 * is left, and no entry of an agent that is gone.
 * @param {string} dir
 * @param {Content} content what is to be there
 * @returns {Promise<string[]>} what is wrong
 */
export async function finish(dir, content) {
  await checkpoint(dir, "last");
  /** @type {string[]} */
  const problems = [];
  for (const kind of ["ours", "upstream"]) {
    const seen = await contentOf(kind, dir, { readOnly: true });
    problems.push(...differences(content, seen).map((text) => `a reader of ${kind}, after the last checkpoint: ${text}`));
  }
  const left = filesIn(dir).filter((path) => path.endsWith(".tmp"));
  if (left.length > 0) problems.push(`temporary files are left: ${left.join(", ")}`);
  const entries = Object.keys(manifestOf(dir).activeAgentOps ?? {});
  if (entries.some((id) => id !== "last")) problems.push(`the manifest names agents that are gone: ${entries.join(", ")}`);
  return problems;
}

/**
 * An agent opens, writes what it removes again, makes a checkpoint and closes.
 * @param {string} dir
 * @param {string} agentId
 */
export async function checkpoint(dir, agentId) {
  // Temporary lock files may belong to somebody who is opening right now: only old ones are removed.
  for (const path of filesIn(dir)) if (isTemporaryLock(path)) utimesSync(join(dir, path), 0, 0);
  const { Store } = await implementation("ours");
  const store = /** @type {Store} */ (new Store());
  await store.open(dir, { agentId });
  await store.set("of the last agent", 1);
  await store.delete("of the last agent");
  await store.compact();
  await store.close();
}

/**
 * @param {string} dir
 * @returns {import("../../index.js").Manifest}
 */
export function manifestOf(dir) {
  return JSON.parse(readFileSync(join(dir, "manifest.json"), "utf8"));
}

/** @param {Content} expected @param {Content} seen @param {boolean} [sameOrder] */
function differences(expected, seen, sameOrder = true) {
  /** @type {string[]} */
  const problems = [];
  const [first, second] = [expected, seen].map(({ records }) => Object.entries(records).map(([id, name]) => `${id}=${name}`));
  const less = first.filter((record) => !second.includes(record));
  const more = second.filter((record) => !first.includes(record));
  if (less.length + more.length > 0) problems.push(`finds [${more.join(", ")}] instead of [${less.join(", ")}]`);
  else if (sameOrder && first.join() !== second.join()) problems.push(`finds the records in another order: ${second.join()} instead of ${first.join()}`);
  const [had, has] = [expected, seen].map(({ segments }) => JSON.stringify([...segments].sort()));
  if (had !== has) problems.push("finds other archives");
  return problems;
}
