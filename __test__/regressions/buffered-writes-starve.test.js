/**
 * Failure: a loop of `await store.set()` in a buffered mode kept every write in memory for as long as it ran; kill -9
 * lost all of it, and memory grew.
 * Cause: buffered writes were handed to the writer from a task of the event loop, which awaits of settled promises
 * never let run.
 */
import { statSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { logPathOf } from "../support/files.js";
import { openStore, stateOf, WRITE_MODES } from "../support/stores.js";

describe.each(WRITE_MODES.filter(({ options }) => options.writeMode !== "immediate"))("$mode", ({ options }) => {
  it("writes reach the log although the queue of microtasks never drains", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { ...options, checkpointThreshold: Infinity, checkpointOnClose: false });
    const log = logPathOf(dir);
    let yielded = false;
    setImmediate(() => {
      yielded = true;
    });
    let count = 0;
    for (const end = Date.now() + 200; Date.now() < end; count++) await store.set(`k${count}`, { n: count });
    const { size } = statSync(log);
    expect(yielded).toBe(false);
    expect(size).toBeGreaterThan(0);
    await store.close();
    expect((await stateOf(dir)).entries).toEqual(Array.from({ length: count }, (_, n) => [`k${n}`, { n }]));
  });
});
