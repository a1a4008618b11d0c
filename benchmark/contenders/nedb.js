// NeDB: documents in memory, a line appended for each change. It syncs only when it compacts its file.

import { join } from "node:path";

import { rival } from "../rivals.js";

const { module, version } = await rival("@seald-io/nedb");
export { version };

/** @type {import("./contender.js").Contender["open"]} */
export async function open(dir) {
  const db = new module.default({ filename: join(dir, "records.db") });
  await db.loadDatabaseAsync();
  /** @type {(id: string, record: object) => Promise<unknown>} */
  const set = (id, record) => db.updateAsync({ _id: id }, { _id: id, ...record }, { upsert: true });
  return {
    set,
    get: () => {
      throw new Error("NeDB reads with promises only");
    },
    batch: async (entries) => void (await db.insertAsync(entries.map(([_id, record]) => ({ _id, ...record })))),
    flush: () => {},
    checkpoint: () => db.compactDatafileAsync(),
    close: () => {},
  };
}
