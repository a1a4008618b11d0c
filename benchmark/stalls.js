// How long the event loop was kept from running anything.

import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * The longest delay of a timer of 1 ms while `work` runs, in milliseconds, its own millisecond included. What the
 * machine takes the processor away for counts as well: nobody can tell that from outside.
 * @param {() => Promise<unknown>} work
 * @returns {Promise<{ milliseconds: number, stall: number }>}
 */
export async function watched(work) {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  // The first firings are those of a timer that has just been started. The one after a reset is not counted at all:
  // without the second wait a stall at the very beginning of the work would be missed.
  await sleep(20);
  delay.reset();
  await sleep(10);
  const started = performance.now();
  await work();
  const milliseconds = performance.now() - started;
  // A stall at the very end shows at the next firing.
  await sleep(20);
  delay.disable();
  return { milliseconds, stall: delay.max / 1e6 };
}
