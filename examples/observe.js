// What a store does, for those who watch it: events, numbers, progress, and errors that no call is told.

import assert from "node:assert/strict";
import { subscribe } from "node:diagnostics_channel";
import { Store } from "opslog-native";
import "./support/temporary-directory.js";

subscribe("opslog-native:commit", (event) => {
  const { operations } = /** @type {{ operations: number }} */ (event);
  console.log("stored", operations); // stored 2
});
subscribe("opslog-native:checkpoint", (event) => {
  const { records } = /** @type {{ records: number }} */ (event);
  console.log("checkpoint of", records); // checkpoint of 2
});

const store = new Store();
await store.open("./data", {
  // without it: a line on stderr
  onError: (error, what) => console.log(what, error),
});
await store.batch(() => {
  store.set("task-1", { title: "Build API" });
  store.set("task-2", { title: "Ship" });
});

const { logBytes, liveBytes, lastSyncMs, lastCheckpoint, pendingWrites, recovered } = store.stats();
assert(logBytes !== undefined && liveBytes !== undefined && logBytes > liveBytes);
assert(lastSyncMs !== undefined && lastCheckpoint !== undefined);
assert.deepEqual([pendingWrites, recovered], [0, []]);

const onProgress = (/** @type {import("opslog-native").Progress} */ { done, total }) => {
  console.log(`${done} of ${total}`); // 2 of 2
};
await store.compact({ onProgress });
await store.close();
