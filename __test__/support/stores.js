/** Stores that close themselves when a test ends, and the states they hold. */
import { onTestFinished } from "vitest";
import { isNative, Store, UpstreamStore } from "./implementation.js";

/**
 * Every write mode with every durability (which is nothing to those who keep files themselves). Buffers are too large to
 * be committed by themselves.
 */
export const WRITE_MODES = [
  { mode: "immediate, fsync", options: { writeMode: "immediate", durability: "fsync" } },
  { mode: "immediate, os", options: { writeMode: "immediate", durability: "os" } },
  { mode: "group, fsync", options: buffered("group", "fsync") },
  { mode: "group, os", options: buffered("group", "os") },
  { mode: "async, fsync", options: buffered("async", "fsync") },
  { mode: "async, os", options: buffered("async", "os") },
].filter(({ options: { durability } }) => isNative || durability === "os");

function buffered(writeMode, durability) {
  return { writeMode, durability, groupCommitSize: 1_000_000, groupCommitMs: 3_600_000 };
}

/**
 * Closes a store when the running test ends, whatever state it is in.
 *
 * @template {{ close(): Promise<void> }} S
 * @param {S} store the store
 * @returns {S} the same store
 */
export function closedAtEnd(store) {
  onTestFinished(async () => {
    await store.close().catch(() => {});
  });
  return store;
}

/**
 * Opens a store of the implementation under test; it is closed when the running test ends.
 *
 * @param {string} dir store directory
 * @param {object} [options] options of `open`
 * @returns {Promise<any>} the open store
 */
export async function openStore(dir, options) {
  const store = closedAtEnd(new Store());
  await store.open(dir, options);
  return store;
}

/**
 * Opens a store of upstream 0.8.1; it is closed when the running test ends.
 *
 * @param {string} dir store directory
 * @param {object} [options] options of `open`
 * @returns {Promise<any>} the open store
 */
export async function openUpstream(dir, options) {
  const store = closedAtEnd(new UpstreamStore());
  await store.open(dir, options);
  return store;
}

/**
 * Opens a directory, lets `work` use the store, and closes it.
 *
 * @param {string} dir store directory
 * @param {object} options options of `open`
 * @param {(store: any) => unknown} work what to do with the store
 * @returns {Promise<void>}
 */
export async function withStore(dir, options, work) {
  const store = await openStore(dir, options);
  await work(store);
  await store.close();
}

/**
 * The same as `withStore`, on upstream.
 *
 * @param {string} dir store directory
 * @param {object} options options of `open`
 * @param {(store: any) => unknown} work what to do with the store
 * @returns {Promise<void>}
 */
export async function withUpstream(dir, options, work) {
  const store = await openUpstream(dir, options);
  await work(store);
  await store.close();
}

/**
 * What a directory opens to, without changing it.
 *
 * @param {string} dir store directory
 * @param {typeof Store} [Implementation] who opens it
 * @returns {Promise<{ entries: [string, any][], ops: any[] }>} records in order and operations since the checkpoint
 */
export async function stateOf(dir, Implementation = Store) {
  const store = new Implementation();
  await store.open(dir, { readOnly: true });
  const state = { entries: store.entries(), ops: store.getOps() };
  await store.close();
  return state;
}

/**
 * The state of an open store, in the shape of `stateOf`.
 *
 * @param {any} store an open store
 * @returns {{ entries: [string, any][], ops: any[] }} records in order and operations since the checkpoint
 */
export function stateIn(store) {
  return { entries: store.entries(), ops: store.getOps() };
}
