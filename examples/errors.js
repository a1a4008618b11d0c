// What can go wrong, and how to tell: errors have a code.

import assert from "node:assert/strict";
import { statSync, truncateSync, writeFileSync } from "node:fs";
import { Store } from "opslog-native";
import "./support/temporary-directory.js";

const store = new Store();
await store.open("./data");

// one writer per directory; the message names the process that has it
const second = new Store();
await assert.rejects(second.open("./data"), { code: "OPSLOG_LOCKED" });

// a call that rejects has changed nothing, and the store goes on
await assert.rejects(async () => store.delete("nobody"), { code: "OPSLOG_NOT_FOUND" });
await assert.rejects(async () => store.set("big", { n: 1n }), TypeError);
await store.set("a", { n: 1 });
await store.close();

// states are checked at the call
assert.throws(() => store.get("a"), { code: "OPSLOG_NOT_OPEN" });

// a line that was cut off by a crash is saved beside the log, and the rest is there
await store.open("./data", { checkpointOnClose: false });
await store.set("b", { n: 2 });
await store.set("c", { n: 3 });
const log = `./data/${store.getManifest()?.activeOps}`;
await store.close();
truncateSync(log, statSync(log).size - 5);
await store.open("./data", { checkpointOnClose: false });
console.log(store.has("b"), store.has("c")); // true false
await store.close();

// what cannot be read is never taken for empty: nothing is changed, so that it can be repaired
writeFileSync("./data/manifest.json", "{");
await assert.rejects(store.open("./data"), { code: "OPSLOG_CORRUPT" });
