// A reader beside a writer. They would be two processes: the reader takes no lock and writes nothing, so there can be
// any number of them.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Store } from "opslog-native";
import "./support/temporary-directory.js";

const writer = new Store();
await writer.open("./data");
await writer.set("task-1", { title: "Build API" });
await writer.set("task-2", { title: "Write tests" });

const reader = new Store();
await reader.open("./data", { readOnly: true });
console.log(reader.count()); // 2

// a reader stands still until it is told to catch up
await writer.set("task-3", { title: "Ship" });
console.log(reader.count()); // 2
const news = await reader.tail();
console.log(news.map(({ op, id }) => `${op} ${id}`)); // [ 'set task-3' ]
console.log(reader.count()); // 3

// or follows by itself: every 50 ms here, every second if nothing is said
/** @type {string[]} */
const seen = [];
reader.watch((operations) => {
  for (const { op, id } of operations) seen.push(`${op} ${id}`);
}, 50);

await writer.delete("task-1");
// a checkpoint starts a new log; the reader misses nothing
await writer.compact();
await writer.set("task-4", { title: "Announce" });
while (seen.length < 2) await sleep(10);
reader.unwatch();
console.log(seen); // [ 'delete task-1', 'set task-4' ]

assert.throws(() => reader.set("task-5", {}), { code: "OPSLOG_READ_ONLY" });
await reader.close();
await writer.close();
