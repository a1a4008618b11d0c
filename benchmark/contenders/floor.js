// A limit, not a rival: the least that any buffered `set` can cost. The record becomes text, a map keeps it, the
// caller awaits. Nothing is written anywhere.

export const version = "";

/** @type {import("./contender.js").Contender["open"]} */
export function open() {
  /** @type {Map<string, string>} */
  const map = new Map();
  return {
    set: async (id, record) => {
      map.set(id, JSON.stringify(record));
    },
    get: (id) => map.get(id),
    batch: async (entries) => {
      for (const [id, record] of entries) map.set(id, JSON.stringify(record));
    },
    flush: () => {},
    checkpoint: () => {},
    close: () => {},
  };
}
