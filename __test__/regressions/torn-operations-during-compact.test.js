/**
 * Failure: getOps() while a checkpoint ended returned operations with a gap.
 * Cause: it read page by page, by index, and the checkpoint dropped operations from the front in between.
 */
import { setImmediate as yieldOnce } from "node:timers/promises";
import { expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { openStore } from "../support/stores.js";

it("getOps() while compact() runs is never torn", async () => {
  const store = await openStore(temporaryDirectory(), { durability: "os", checkpointThreshold: Infinity, checkpointOnClose: false });
  let next = 0;
  const torn = [];
  for (let round = 0; round < 2; round++) {
    await store.batch(() => {
      for (let i = 0; i < 60_000; i++, next++) store.set(`k${next % 70_000}`, { n: next });
    });
    let over = false;
    const compacting = store.compact().then(() => {
      over = true;
    });
    const last = store.set("last", { n: next++ });
    while (!over) {
      const numbers = store.getOps().map(({ data }) => data.n);
      const gap = numbers.findIndex((n, i) => i > 0 && n !== numbers[i - 1] + 1);
      if (gap >= 0 || numbers.at(-1) !== next - 1) torn.push({ gap, length: numbers.length, last: numbers.at(-1) });
      await yieldOnce();
    }
    await Promise.all([compacting, last]);
    expect(store.getOps().map(({ data }) => data.n)).toEqual([next - 1]);
  }
  expect(torn).toEqual([]);
});
