// Typed records, and a store that closes itself at the end of its scope, also when something is thrown in it.
// TypeScript translates `await using` for Node 20; Node 24 knows it itself.

import assert from "node:assert/strict";
import { Store } from "opslog-native";
import "./support/temporary-directory.js";

interface Task {
  title: string;
  done?: boolean;
}

async function finish(id: string): Promise<Task> {
  await using tasks = new Store<Task>();
  await tasks.open("./tasks");
  const task = tasks.get(id);
  if (task === undefined) throw new Error(`there is no ${id}`);
  await tasks.set(id, { ...task, done: true });
  return { ...task, done: true };
}

{
  await using tasks = new Store<Task>();
  await tasks.open("./tasks");
  await tasks.set("ship", { title: "Ship" });
}

assert.deepEqual(await finish("ship"), { title: "Ship", done: true });
await assert.rejects(finish("nothing"), /there is no nothing/);
// it was closed then as well: the lock is free
console.log(await finish("ship")); // { title: 'Ship', done: true }
