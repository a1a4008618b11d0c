// A copy of a store as one file, without all of it in memory: the last snapshot, and the operations since.

import assert from "node:assert/strict";
import { createWriteStream, readFileSync } from "node:fs";
import { once } from "node:events";
import { Store } from "opslog-native";
import "./support/temporary-directory.js";

const store = new Store();
await store.open("./data");
for (let n = 0; n < 5; n++) await store.set(`key-${n}`, { n });
await store.compact();
await store.delete("key-1");
await store.set("key-5", { n: 5 });

const file = createWriteStream("./export.jsonl");
/** @param {unknown} line */
const write = async (line) => {
  if (!file.write(`${JSON.stringify(line)}\n`)) await once(file, "drain");
};
for await (const [id, data] of store.streamSnapshot()) await write({ op: "set", id, data });
for await (const { op, id, data } of store.getWalOps()) await write({ op, id, data });
file.end();
await once(file, "finish");

/** @type {Map<string, unknown>} */
const copy = new Map();
for (const line of readFileSync("./export.jsonl", "utf8").trimEnd().split("\n")) {
  const { op, id, data } = JSON.parse(line);
  if (op === "set") copy.set(id, data);
  else copy.delete(id);
}
assert.deepEqual([...copy], store.entries());
console.log([...copy.keys()]); // [ 'key-0', 'key-2', 'key-3', 'key-4', 'key-5' ]
await store.close();
