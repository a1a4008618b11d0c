/**
 * Which directory an `FsBackend` means while a store calls it.
 *
 * One object may serve many stores, itself, under a subclass or inside a wrapper, and its methods may wait before they
 * go on. So the directory belongs to the call and to everything that the call awaits: an asynchronous context, one map
 * for each store.
 */
import { AsyncLocalStorage } from "node:async_hooks";

/** @typedef {Map<object, string>} Directories */

/** @type {AsyncLocalStorage<Directories>} */
const current = new AsyncLocalStorage();
let used = false;

/** Somebody has an `FsBackend`: from now on calls carry their store's directories. (They cost something.) */
export function useDirectories() {
  used = true;
}

/** The directories of the store whose call this is. */
export function directoriesNow() {
  return used ? current.getStore() : undefined;
}

/**
 * Runs a call of a store's.
 * @template R
 * @param {Directories} directories
 * @param {() => R} call
 * @returns {R}
 */
export function withDirectories(directories, call) {
  return used ? current.run(directories, call) : call();
}
