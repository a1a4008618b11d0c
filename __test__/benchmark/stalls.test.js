// A probe that misses a stall makes everybody look good.
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import { watched } from "../../benchmark/stalls.js";

function block(milliseconds) {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

it.each([
  ["at the very beginning", async () => block(80)],
  ["in the middle", async () => { await sleep(5); block(80); await sleep(5); }],
  ["at the very end", async () => { await sleep(5); block(80); }],
])("a stall %s is seen", async (_where, work) => {
  const { milliseconds, stall } = await watched(work);
  expect(stall).toBeGreaterThan(75);
  expect(milliseconds).toBeGreaterThan(75);
});
