// Run by scripts/smoke.js in a project that holds nothing but the installed package: the addon in the main thread and in
// two workers at once, each with a store of its own; one worker is terminated with its store open.
import assert from "node:assert/strict";
import { once } from "node:events";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";
import { Store } from "opslog-native";

const store = new Store();
if (isMainThread) {
  await store.open("./workers-main");
  const names = ["./workers-1", "./workers-2"];
  const workers = names.map((name) => new Worker(new URL(import.meta.url), { workerData: name }));
  const counts = await Promise.all(workers.map(async (worker) => (await once(worker, "message"))[0]));
  assert.deepEqual(counts, [100, 100]);
  await Promise.all(workers.map((worker) => worker.terminate()));
  await store.set("a", { n: 1 });
  await store.close();
  for (const name of names) {
    await store.open(name);
    assert.equal(store.count(), 100);
    await store.close();
  }
} else {
  await store.open(workerData);
  await Promise.all(Array.from({ length: 100 }, (_, n) => store.set(`id-${n}`, { n })));
  parentPort?.postMessage(store.count());
}
