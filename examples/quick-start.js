// Records, a batch, history and undo: the README's first program.

import assert from "node:assert/strict";
import { Store } from "opslog-native";
import "./support/temporary-directory.js";

const store = new Store();
await store.open("./data");

await store.set("task-1", { title: "Build API", status: "active" });
await store.set("task-1", { ...store.get("task-1"), status: "done" });
assert.deepEqual(store.get("task-1"), { title: "Build API", status: "done" });

// one write for all, and all or nothing
await store.batch(() => {
  store.set("task-2", { title: "Write tests", status: "active" });
  store.set("task-3", { title: "Ship", status: "active" });
});

console.log(store.filter((task) => task.status === "active").length); // 2

// what happened to a record since the last checkpoint, and the last step taken back
console.log(store.getHistory("task-1").length); // 2
await store.undo();
console.log(store.has("task-3")); // false

await store.close();

// what was acknowledged is there again
await store.open("./data");
assert.deepEqual(store.all(), [
  { title: "Build API", status: "done" },
  { title: "Write tests", status: "active" },
]);
await store.close();
