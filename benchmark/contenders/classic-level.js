// LevelDB, records as JSON.

import { rival } from "../rivals.js";

const { module, version } = await rival("classic-level");
export { version };

/** @type {import("./contender.js").Contender["open"]} */
export async function open(dir, { durability }) {
  const db = new module.ClassicLevel(dir, { valueEncoding: "json" });
  await db.open();
  const options = { sync: durability === "fsync" };
  return {
    set: (id, record) => db.put(id, record, options),
    get: (id) => db.getSync(id),
    batch: (entries) =>
      db.batch(
        entries.map(([key, value]) => ({ type: "put", key, value })),
        options,
      ),
    flush: () => {},
    checkpoint: () => {},
    close: () => db.close(),
  };
}
