/**
 * The files in a store's directory, by what they are.
 */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { readManifest } from "./reader.js";

/** @typedef {"state" | "superseded" | "aside" | "lock" | "other"} Kind */
/** @typedef {{ file: string, bytes: number, kind: Kind }} FileOf */

/**
 * The files that a manifest names.
 * @param {import("./reader.js").Manifest} manifest
 * @returns {string[]}
 */
export function namedFiles({ currentSnapshot, activeOps, activeAgentOps, archiveSegments }) {
  const logs = activeAgentOps === undefined ? [activeOps] : Object.values(activeAgentOps);
  return [...new Set([currentSnapshot, ...logs, ...archiveSegments])];
}

/**
 * All files of a store's directory.
 * @param {string} dir
 * @returns {Promise<FileOf[]>}
 */
export async function filesOf(dir) {
  const found = await readManifest(dir);
  const named = new Set(["manifest.json", ...(found === undefined ? [] : namedFiles(found.manifest))]);
  /** @type {FileOf[]} */
  const files = [];
  for (const folder of ["", "snapshots", "ops", "archive"]) {
    const entries = await readdir(join(dir, folder), { withFileTypes: true }).catch(nothing);
    for (const entry of entries) {
      if (!entry.isFile()) continue;
      const file = folder === "" ? entry.name : `${folder}/${entry.name}`;
      const bytes = await stat(join(dir, file)).then(({ size }) => size, gone);
      if (bytes !== undefined) files.push({ file, bytes, kind: kindOf(file, named) });
    }
  }
  return files;
}

/** @param {NodeJS.ErrnoException} error */
function nothing(error) {
  if (error.code === "ENOENT") return [];
  throw error;
}

/** @param {NodeJS.ErrnoException} error */
function gone(error) {
  // A checkpoint has removed it meanwhile.
  if (error.code === "ENOENT") return undefined;
  throw error;
}

/**
 * @param {string} file
 * @param {Set<string>} named
 * @returns {Kind}
 */
function kindOf(file, named) {
  if (named.has(file)) return "state";
  if (/\.(cut|damaged)-\d+$/.test(file)) return "aside";
  if (/^\.(lock|compact-lock|agent-.*\.lock)/.test(file)) return "lock";
  return /^(snapshots\/snap-\d+\.jsonl?|ops\/.*-\d+\.jsonl)$/.test(file) ? "superseded" : "other";
}

/**
 * Bytes of the files that make up the state.
 * @param {string} dir
 */
export async function stateBytes(dir) {
  const files = await filesOf(dir);
  return files.reduce((sum, { bytes, kind }) => sum + (kind === "state" ? bytes : 0), 0);
}
