// LMDB, with its own default encoding (MessagePack).

import { rival } from "../rivals.js";

const { module, version } = await rival("lmdb");
export { version };

/** @type {import("./contender.js").Contender["open"]} */
export function open(dir, { durability }) {
  // Without overlapping syncs a promise resolves when the record is on stable storage. With them one waits for
  // `flushed` after each commit, which was slower here.
  const db = module.open({ path: dir, ...(durability === "fsync" ? { overlappingSync: false } : { noSync: true }) });
  return {
    set: (id, record) => db.put(id, record),
    get: (id) => db.get(id),
    batch: (entries) =>
      db.transaction(() => {
        for (const [id, record] of entries) void db.put(id, record);
      }),
    flush: () => {},
    checkpoint: () => {},
    close: () => db.close(),
  };
}
