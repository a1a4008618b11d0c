// Records that are no longer needed every day leave memory, and can be read back from their segment.

import assert from "node:assert/strict";
import { Store } from "opslog-native";
import "./support/temporary-directory.js";

const store = new Store();
await store.open("./orders");
await store.batch(() => {
  for (let n = 1; n <= 6; n++) store.set(`order-${n}`, { year: n <= 4 ? 2024 : 2025, total: n * 10 });
});

console.log(await store.archive((order) => order.year === 2024, "2024")); // 4
console.log(store.count(), store.listArchiveSegments()); // 2 [ 'archive/archive-2024.json' ]

// a Map of the segment's records; the store does not get them back
const old = await store.loadArchive("2024");
console.log(old.get("order-3")); // { year: 2024, total: 30 }
console.log(store.has("order-3")); // false

// more records may follow into the same segment; one that is not named is called after the quarter, as "2025-Q1"
await store.set("order-7", { year: 2024, total: 70 });
await store.archive((order) => order.year === 2024, "2024");
console.log((await store.loadArchive("2024")).size); // 5

await assert.rejects(store.loadArchive("1999"), { code: "OPSLOG_NOT_FOUND" });
await store.close();
