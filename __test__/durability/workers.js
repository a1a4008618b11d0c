/** The worker thread that `scenarios.js` starts: writes to a store and ends without close(). */
import { parentPort, workerData } from "node:worker_threads";
import { Store } from "../support/implementation.js";

const { dir, options, how } = workerData;
const store = new Store();
await store.open(dir, options);
const pending = Array.from({ length: 100 }, (_, n) => store.set(`k${n}`, { n }));
void Promise.allSettled(pending);
if (how === "process.exit") process.exit(0);
if (how === "uncaught exception") {
  setImmediate(() => {
    throw new Error("nobody catches this");
  });
}
if (how === "terminate") {
  parentPort?.postMessage("written");
  // keeps the worker alive until it is terminated
  setInterval(() => {}, 1_000);
}
