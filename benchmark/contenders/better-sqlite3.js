// SQLite: a table of ids and JSON texts, write-ahead log. Its calls are synchronous, so concurrent ones are sequential.

import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { rival } from "../rivals.js";

const { module, version } = await rival("better-sqlite3");
// The binary is loaded by the first database. That there is none is to be known before anything is measured.
new module.default(":memory:").close();
export { version };

/** @type {import("./contender.js").Contender["open"]} */
export function open(dir, { durability }) {
  mkdirSync(dir, { recursive: true });
  const db = new module.default(join(dir, "records.sqlite"));
  db.pragma("journal_mode = WAL");
  // NORMAL leaves the log to the operating system between checkpoints
  db.pragma(`synchronous = ${durability === "fsync" ? "FULL" : "NORMAL"}`);
  db.exec("CREATE TABLE IF NOT EXISTS records (id TEXT PRIMARY KEY, data TEXT NOT NULL) WITHOUT ROWID");
  const put = db.prepare("INSERT INTO records VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET data = excluded.data");
  const find = db.prepare("SELECT data FROM records WHERE id = ?").pluck();
  return {
    set: (id, record) => void put.run(id, JSON.stringify(record)),
    get: (id) => {
      const text = find.get(id);
      return text === undefined ? undefined : JSON.parse(text);
    },
    batch: db.transaction((/** @type {readonly [string, object][]} */ entries) => {
      for (const [id, record] of entries) put.run(id, JSON.stringify(record));
    }),
    flush: () => {},
    checkpoint: () => void db.pragma("wal_checkpoint(TRUNCATE)"),
    close: () => void db.close(),
  };
}
