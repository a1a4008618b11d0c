// Records change their shape with the program: `version` says which one it writes, `migrate` makes new ones of old ones.

import assert from "node:assert/strict";
import { Store } from "opslog-native";
import "./support/temporary-directory.js";

// the program of last year
const before = new Store();
await before.open("./people", { version: 1 });
await before.set("ada", { name: "Ada Lovelace" });
await before.set("grace", { name: "Grace Hopper" });
await before.archive((_person, id) => id === "grace", "retired");
await before.close();

/**
 * Every version that there ever was, one step after the other.
 * @param {any} record
 * @param {number} from
 */
function migrate(record, from) {
  if (from < 2) {
    const [first, last] = record.name.split(" ");
    record = { first, last };
  }
  if (from < 3) record = { ...record, tags: [] };
  return record;
}

// the program of today: called once for each record, at open; archived records are migrated as well
const store = new Store();
await store.open("./people", { version: 3, migrate });
console.log(store.get("ada")); // { first: 'Ada', last: 'Lovelace', tags: [] }
console.log((await store.loadArchive("retired")).get("grace")); // { first: 'Grace', last: 'Hopper', tags: [] }
await store.close();

// nothing to do the second time
await store.open("./people", { version: 3, migrate: () => assert.fail("is not called") });
await store.close();

// the program of last year does not write over what it does not understand
await assert.rejects(before.open("./people", { version: 1 }), { code: "OPSLOG_INVALID" });

// a migration that throws leaves the store as it is
await assert.rejects(
  store.open("./people", {
    version: 4,
    migrate: () => {
      throw new Error("not today");
    },
  }),
  /not today/,
);
