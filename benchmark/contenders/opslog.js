// The handle over a `Store` of opslog's API: the replaced package and its replacement differ in the class alone.

/** @typedef {import("./contender.js").Handle} Handle */

/**
 * @param {import("../../index.js").Store<object>} store open
 * @returns {Handle}
 */
export function handle(store) {
  return {
    set: (id, record) => store.set(id, record),
    get: (id) => store.get(id),
    batch: (entries) =>
      store.batch(() => {
        for (const [id, record] of entries) void store.set(id, record);
      }),
    flush: () => store.flush(),
    checkpoint: () => store.compact(),
    close: () => store.close(),
  };
}

/**
 * No automatic checkpoints, in either package: a scenario measures what its name says.
 * @type {{ checkpointThreshold: number, checkpointOnClose: boolean }}
 */
export const noCheckpoints = { checkpointThreshold: Infinity, checkpointOnClose: false };
