/**
 * The lock of a directory, for callers who hold it themselves.
 *
 * The engine holds the kernel lock and writes the pid (`src/lock.rs`), as for its own stores; the `FileHandle` that
 * callers get is another open file on the same lock file, and stands for the lock.
 *
 * What could go wrong if: a handle is released twice, or after somebody replaced the lock file (only the file that
 * was locked is ever removed); a worker ends without releasing (the engine does).
 */
import { open } from "node:fs/promises";
import { join, resolve } from "node:path";
import * as native from "../binding.js";
import { environmentNumber } from "./environment.js";
import { toError } from "./errors.js";

/** @typedef {import("node:fs/promises").FileHandle} FileHandle */

/** The engine's number of the lock that a handle stands for. @type {WeakMap<FileHandle, number>} */
const held = new WeakMap();

/**
 * @param {string} dir
 * @param {boolean} [compaction] The lock for compactions instead of the writer's.
 * @returns {Promise<FileHandle>}
 */
export async function acquireLock(dir, compaction = false) {
  const path = resolve(dir);
  const { lock, name, failure } = await native.lockDirectory(environmentNumber(), path, compaction);
  if (failure !== undefined || lock === undefined) throw toError(/** @type {any} */ (failure));
  try {
    const handle = await open(join(path, name), "r+");
    held.set(handle, lock);
    return handle;
  } catch (error) {
    native.unlock(lock);
    throw error;
  }
}

/**
 * @param {string} _dir The handle knows its directory; upstream removes whatever lock it finds in this one.
 * @param {FileHandle} handle
 * @returns {Promise<void>}
 */
export async function releaseLock(_dir, handle) {
  const lock = held.get(handle);
  held.delete(handle);
  try {
    await handle.close();
  } finally {
    if (lock !== undefined) native.unlock(lock);
  }
}
