// Compiled and run by scripts/smoke.js in a project that holds nothing but the installed package.
import assert from "node:assert/strict";
import addon from "opslog-native/binding";
import { Store } from "opslog-native";
import type { Operation, StoreOptions } from "opslog-native";

interface Task {
  title: string;
  done: boolean;
}

const options: StoreOptions = { durability: "os" };
const store = new Store<Task>();
await store.open("./typescript", options);
await store.set("ship", { title: "Ship", done: false });
const task: Task | undefined = store.get("ship");
assert.equal(task?.title, "Ship");
const operations: Operation<Task>[] = store.getHistory("ship");
assert.equal(operations.length, 1);
await store.close();
assert.equal(typeof addon, "object");
