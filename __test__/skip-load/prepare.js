/** Stores for the tests of `skipLoad`. */
import { openStore, withStore } from "../support/stores.js";

/** An ordinary session that makes no checkpoint by itself. */
export const MANUAL = { durability: "os", checkpointThreshold: Infinity, checkpointOnClose: false };

/** A session without the records whose options ask for checkpoints all the time. */
export const PARTIAL = { skipLoad: true, checkpointThreshold: 1, checkpointOnClose: true };

/** Records of {@link prepare}: in its snapshot, and as its log leaves them. */
export const STORED = [
  ["b", { n: 2, text: "changed by the log, long enough for a patch" }],
  ["list", [1, 2, 3]],
  ["__proto__", { n: 4 }],
  ["日本", { text: "日本語 🚀" }],
  ["new", { n: 5 }],
];

/**
 * Fills a directory: some records in the snapshot, others changed, deleted and created in the log.
 *
 * @param {string} dir store directory
 * @param {(dir: string, options: object, work: (store: any) => unknown) => Promise<void>} [write] who fills it
 */
export async function prepare(dir, write = withStore) {
  await write(dir, MANUAL, async (store) => {
    await store.set("a", { n: 1, gone: true });
    await store.set("b", { n: 1, text: "changed by the log, long enough for a patch" });
    await store.set("list", [1, 2, 3]);
    await store.set("__proto__", { n: 4 });
    await store.compact();
    await store.set("日本", { text: "日本語 🚀" });
    await store.set("b", { n: 2, text: "changed by the log, long enough for a patch" });
    await store.delete("a");
    await store.set("new", { n: 5 });
  });
}

/**
 * Fills a directory with many records in the snapshot and many operations in the log.
 *
 * @param {string} dir store directory
 * @param {number} count how many of each
 */
export async function grow(dir, count) {
  await withStore(dir, MANUAL, async (store) => {
    await store.batch(() => {
      for (let n = 0; n < count; n++) store.set(`k${n}`, { n, text: "some text to give the record a size".repeat(2) });
    });
    await store.compact();
    for (let from = 0; from < count; from += 1000) {
      await store.batch(() => {
        for (let n = from; n < Math.min(from + 1000, count); n++) store.set(`k${n}`, { n, text: "another text" });
      });
    }
  });
}

/**
 * Opens a store without its records; it is closed when the running test ends.
 *
 * @param {string} dir store directory
 * @param {object} [options] more options
 * @returns {Promise<any>} the open store
 */
export const openPartial = (dir, options) => openStore(dir, { ...PARTIAL, ...options });

/**
 * Opens a store without its records, lets `work` use it, and closes it.
 *
 * @param {string} dir store directory
 * @param {object} options more options
 * @param {(store: any) => unknown} work what to do with the store
 * @returns {Promise<void>}
 */
export const withPartial = (dir, options, work) => withStore(dir, { ...PARTIAL, ...options }, work);

/**
 * @param {AsyncGenerator<any>} generator what to drain
 * @returns {Promise<any[]>} everything that it yields
 */
export async function itemsOf(generator) {
  const items = [];
  for await (const item of generator) items.push(item);
  return items;
}

/**
 * The state that a store's streams give together.
 *
 * @param {any} store an open store
 * @returns {Promise<[string, any][]>} records, sorted by id
 */
export async function streamedState(store) {
  const state = new Map(await itemsOf(store.streamSnapshot()));
  for (const { op, id, data } of await itemsOf(store.getWalOps())) {
    if (op === "set") state.set(id, data);
    else state.delete(id);
  }
  return sorted([...state]);
}

/** Entries in the order of their ids. */
export const sorted = (entries) => entries.toSorted(([a], [b]) => (a < b ? -1 : 1));
