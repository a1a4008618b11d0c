// When a write is acknowledged, and what that is worth. The README's table "What survives what" has the details.

import assert from "node:assert/strict";
import { Store } from "opslog-native";
import "./support/temporary-directory.js";

// The default: a promise that resolved is a record on the disk. Writes of one turn of the event loop share a sync, so
// that a hundred of them cost little more than one.
const safe = new Store();
await safe.open("./safe");
await Promise.all(Array.from({ length: 100 }, (_, n) => safe.set(`key-${n}`, { n })));
await safe.close();

// What the original package gives: it survives the end of the process, not a power loss.
const quick = new Store();
await quick.open("./quick", { durability: "os" });
await quick.set("key", { n: 1 });
await quick.close();

// Buffered, committed after 200 writes or 50 ms: the call that fills the buffer waits for the commit.
const grouped = new Store();
await grouped.open("./grouped", { writeMode: "group", groupCommitSize: 200, groupCommitMs: 50 });
for (let n = 0; n < 1000; n++) await grouped.set(`key-${n}`, { n });
await grouped.flush();
await grouped.close();

// No call waits, which suits a load that could be repeated. `sync` is the point after which it need not be.
const bulk = new Store();
await bulk.open("./bulk", { writeMode: "async", checkpointThreshold: Infinity });
for (let n = 0; n < 1000; n++) await bulk.set(`key-${n}`, { n });
await bulk.sync();
console.log(bulk.stats().opsCount); // 1000
await bulk.close();

// every mode has everything after close
for (const [dir, count] of /** @type {const} */ ([["./safe", 100], ["./quick", 1], ["./grouped", 1000], ["./bulk", 1000]])) {
  const store = new Store();
  await store.open(dir, { readOnly: true });
  assert.equal(store.count(), count);
  await store.close();
}
