/**
 * Failure: a worker that was terminated while its `open` ran left the lock held until the process ended.
 * Cause: the end of a worker closed the stores that were open then; one whose load was still running came after.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { eventually } from "../support/patience.js";
import { openStore, withStore } from "../support/stores.js";

const WORKER = new URL("./opening-worker.js", import.meta.url);

it("a worker that is terminated while it opens a store leaves no lock", async () => {
  const dir = temporaryDirectory();
  await withStore(dir, { durability: "os" }, (store) => store.batch(() => {
    for (let n = 0; n < 30_000; n++) store.set(`k${n}`, { n, text: "x".repeat(200) });
  }));
  for (const [round, delay] of [0, 3, 8, 15, 25, 40, 60].entries()) {
    // a newer version each time: the open has a checkpoint to write
    const worker = new Worker(WORKER, { workerData: { dir, options: { version: 2 + round, checkpointOnClose: false } } });
    await new Promise((resolve) => worker.once("message", resolve));
    await sleep(delay);
    await worker.terminate();
    await eventually(async () => {
      const store = await openStore(dir, { version: 2 + round, checkpointOnClose: false });
      expect(store.count()).toBe(30_000);
      await store.close();
    }, 20);
  }
});
