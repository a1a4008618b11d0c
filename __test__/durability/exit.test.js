/** CONTRACT.md 2: `process.exit()`, an uncaught exception or a worker's end flush buffered writes and release the lock. */
import { describe, expect, it } from "vitest";
import { runChild } from "../support/child.js";
import { temporaryDirectory } from "../support/directory.js";
import { openStore, openUpstream, stateOf, WRITE_MODES } from "../support/stores.js";

const SCENARIOS = new URL("./scenarios.js", import.meta.url);

/** What `writeAndLeave` has written. */
const numbered = (count) => Array.from({ length: count }, (_, n) => [`k${n}`, { n }]);

describe.each(WRITE_MODES)("a process that leaves without close() ($mode)", ({ options }) => {
  it.each([
    ["process.exit", 7, 310],
    ["exit listener", 7, 310],
    ["uncaught exception", 1, 310],
    ["unhandled rejection", 1, 310],
    ["end of the program", 0, 310],
  ])("by %s has flushed what it called before, and its lock is free", async (how, code, count) => {
    const dir = temporaryDirectory();
    const child = await runChild(SCENARIOS, "writeAndLeave", { dir, options, how });
    expect(child).toMatchObject({ code, signal: null });
    const { entries } = await stateOf(dir);
    expect(entries.slice(0, count)).toEqual(numbered(count));
    const store = await openStore(dir, { checkpointOnClose: false });
    expect(store.entries()).toEqual(entries);
    await store.close();
    const upstream = await openUpstream(dir);
    expect(upstream.count()).toBe(entries.length);
  });

  it("stays alive until its pending writes have settled", async () => {
    const dir = temporaryDirectory();
    const { code, signal, reports } = await runChild(SCENARIOS, "writeAndReport", { dir, options });
    expect({ code, signal }).toEqual({ code: 0, signal: null });
    expect(reports).toEqual(Array.from({ length: 100 }, (_, n) => n));
    expect((await stateOf(dir)).entries).toEqual(numbered(100));
  });

  it.each([0, 5])("ends by itself when the store is idle (%i writes before)", async (writes) => {
    const dir = temporaryDirectory();
    const { code, signal, reports } = await runChild(SCENARIOS, "openAndLetGo", { dir, options, writes });
    expect({ code, signal, reports }).toEqual({ code: 0, signal: null, reports: ["ended by itself"] });
    expect((await stateOf(dir)).entries).toEqual(numbered(writes));
  });
});

describe.each(WRITE_MODES)("a worker that leaves without close() ($mode)", ({ options }) => {
  it.each(["end of the program", "process.exit", "uncaught exception", "terminate"])(
    "by %s has flushed what it called before, and its lock is free in the same process",
    async (how) => {
      const dir = temporaryDirectory();
      const { code, signal, reports, stderr } = await runChild(SCENARIOS, "runWorker", { dir, options, how });
      expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: "" });
      const error = how === "uncaught exception" ? [{ error: "nobody catches this" }] : [];
      expect(reports).toEqual([...error, { entries: numbered(100) }, { upstream: 100 }]);
    },
  );
});
