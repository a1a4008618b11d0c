/** CONTRACT.md 2: after a failed fsync nothing is retried: writes are refused, `close` rejects once, frees the lock, is closed. */
import { beforeEach, describe, expect, it } from "vitest";
import { startChild } from "../support/child.js";
import { temporaryDirectory } from "../support/directory.js";
import { openStore, stateOf, withStore } from "../support/stores.js";
import { canTrace, injectFault } from "../support/strace.js";

const SCENARIOS = new URL("./scenarios.js", import.meta.url);
const NEVER = { groupCommitSize: 1_000_000, groupCommitMs: Infinity };

describe.skipIf(!canTrace)("a failed fsync (skipped where strace cannot trace)", () => {
  let dir;
  let child;

  beforeEach(async () => {
    dir = temporaryDirectory();
    await withStore(dir, {}, (store) => store.set("first", { id: "first" }));
  });

  /** Starts the obedient child on the store. */
  async function start(options) {
    child = startChild(SCENARIOS, "obey", { dir, options });
    expect(await child.next()).toBe("open");
  }

  /** Lets the child do one step; the answer is what it reports. */
  async function step(line) {
    child.send(line);
    return child.next();
  }

  it.each([
    ["set b", {}],
    ["sets 5", {}],
    ["batch 3", {}],
    ["flush", { writeMode: "group", ...NEVER }],
    ["sync", { writeMode: "async", ...NEVER }],
    ["sync", { durability: "os" }],
  ])("rejects %s with EIO, refuses what follows, and close rejects once (%j)", async (failing, options) => {
    await start({ ...options, checkpointThreshold: Infinity });
    expect(await step("set a")).toEqual({ step: "set a" });
    if (!options.writeMode && !options.durability) expect(await step("sync")).toEqual({ step: "sync" });
    const stop = await injectFault(child.process.pid, "fsync,fdatasync:error=EIO");
    expect(await step(failing)).toMatchObject({ error: { code: "EIO", syscall: expect.stringMatching(/^f(data)?sync$/) } });
    await stop();
    // the disk works again, but nobody knows what it holds: refused until the store is opened anew
    for (const refused of ["set c", "sets 3", "batch 2", "undo", "flush", "sync", "compact"]) {
      expect(await step(refused)).toMatchObject({ error: { message: expect.any(String), code: expect.any(String) } });
    }
    expect((await step("get first")).result).toEqual({ id: "first" });
    expect(await step("close")).toMatchObject({ error: { code: expect.any(String) } });
    expect(await step("close")).toMatchObject({ error: { message: "Store is not open. Call open() first." } });
    // the lock is free although the process lives
    const store = await openStore(dir, { checkpointOnClose: false });
    expect(store.get("first")).toEqual({ id: "first" });
    if (!options.writeMode && !options.durability) expect(store.get("a")).toEqual({ id: "a" });
    expect(store.has("c")).toBe(false);
    await store.close();
    expect(await step("reopen")).toEqual({ step: "reopen" });
    expect(await step("set d")).toEqual({ step: "set d" });
    expect(await step("close")).toEqual({ step: "close" });
    child.send("end");
    expect(await child.ended).toMatchObject({ code: 0, signal: null });
    expect((await stateOf(dir)).entries.map(([id]) => id)).toContain("d");
  });

  it("of a background commit reaches the next call; nothing is swallowed", async () => {
    await start({ writeMode: "async", groupCommitSize: 1_000_000, groupCommitMs: 50, checkpointThreshold: Infinity });
    const stop = await injectFault(child.process.pid, "fsync,fdatasync:error=EIO");
    expect(await step("set a")).toEqual({ step: "set a" });
    expect(await step("sleep 1000")).toEqual({ step: "sleep 1000" });
    expect(await step("set b")).toMatchObject({ error: { code: expect.any(String) } });
    await stop();
    expect(await step("close")).toMatchObject({ error: { code: expect.any(String) } });
    child.send("end");
    expect(await child.ended).toMatchObject({ code: 0, signal: null });
    expect((await stateOf(dir)).entries[0]).toEqual(["first", { id: "first" }]);
  });
});
