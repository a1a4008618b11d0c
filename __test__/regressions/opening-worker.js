/** A worker thread that opens a store and says so. */
import { parentPort, workerData } from "node:worker_threads";
import { Store } from "../support/implementation.js";

const store = new Store();
parentPort?.postMessage("opening");
await store.open(workerData.dir, workerData.options);
parentPort?.postMessage("open");
setInterval(() => {}, 1_000);
