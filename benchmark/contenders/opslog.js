// The handle over a `Store` of opslog's API: the replaced package and its replacement differ in the class alone.

/** @typedef {import("./contender.js").Handle} Handle */
/** @typedef {import("./contender.js").Guarantee} Guarantee */

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
    refresh: () => store.refresh(),
    scans: {
      all: () => store.all(),
      entries: () => store.entries(),
      filter: (predicate) => store.filter(predicate),
    },
  };
}

/**
 * No automatic checkpoints, in either package, unless the defaults are what is measured.
 * @param {Guarantee} guarantee
 * @returns {import("../../index.js").StoreOptions}
 */
export function options({ mode, durability, agent, defaults }) {
  if (defaults === true) return {};
  return { agentId: agent, writeMode: mode, durability, checkpointThreshold: Infinity, checkpointOnClose: false };
}
