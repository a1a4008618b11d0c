/** What a store tells those who watch it: events, errors that no call is told, sizes and times, progress. */
import { chmodSync, renameSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { withProgress } from "../../lib/observe.js";
import { runChild } from "../support/child.js";
import { temporaryDirectory } from "../support/directory.js";
import { logPathOf, manifestOf, snapshotPathOf } from "../support/files.js";
import { MemoryBackend } from "../support/memory-backend.js";
import { eventually } from "../support/patience.js";
import { openStore, openUpstream, withStore, WRITE_MODES } from "../support/stores.js";

const KEEP_LOG = { checkpointThreshold: Infinity, checkpointOnClose: false };

let dir;

beforeEach(() => {
  dir = temporaryDirectory();
});

/**
 * Collects the events of a channel until the running test ends.
 *
 * @param {"commit" | "checkpoint" | "recovery" | "error"} name
 * @returns {any[]}
 */
function eventsOf(name) {
  /** @type {any[]} */
  const events = [];
  const take = (/** @type {unknown} */ event) => void events.push(event);
  subscribe(`opslog-native:${name}`, take);
  onTestFinished(() => void unsubscribe(`opslog-native:${name}`, take));
  return events;
}

/** @param {any[]} events @param {string} member */
const sumOf = (events, member) => events.reduce((sum, event) => sum + event[member], 0);

/** Makes snapshots impossible until the function that it answers with is called. */
function block() {
  renameSync(join(dir, "snapshots"), join(dir, "elsewhere"));
  writeFileSync(join(dir, "snapshots"), "");
  return () => {
    renameSync(join(dir, "snapshots"), join(dir, "was-in-the-way"));
    renameSync(join(dir, "elsewhere"), join(dir, "snapshots"));
  };
}

/** What is written to stderr until the running test ends. */
function stderr() {
  const spy = vi.spyOn(console, "error").mockImplementation(() => {});
  onTestFinished(() => spy.mockRestore());
  return spy;
}

describe.each(WRITE_MODES)("opslog-native:commit ($mode)", ({ options }) => {
  it("tells operations and bytes of every append, once", async () => {
    const store = await openStore(dir, { ...KEEP_LOG, ...options });
    const events = eventsOf("commit");
    for (let n = 0; n < 5; n++) await store.set(`${n}`, { n });
    await store.batch(() => {
      for (let n = 0; n < 5; n++) store.set(`b${n}`, { n });
    });
    await store.flush();
    await eventually(() => expect(sumOf(events, "operations")).toBe(10));
    expect(sumOf(events, "bytes")).toBe(statSync(logPathOf(dir)).size);
    expect(sumOf(events, "commits")).toBeGreaterThan(0);
    for (const event of events) expect(event.dir).toBe(dir);
    await store.close();
    expect(sumOf(events, "operations")).toBe(10);
  });
});

describe("opslog-native:commit", () => {
  it("does not tell what came before somebody listened", async () => {
    const store = await openStore(dir, KEEP_LOG);
    for (let n = 0; n < 3; n++) await store.set(`${n}`, { n });
    const events = eventsOf("commit");
    await store.set("later", {});
    expect(events).toEqual([{ dir, commits: 1, operations: 1, bytes: expect.any(Number), lastSyncMs: expect.any(Number) }]);
  });

  it.each([
    ["of an agent", () => ({ agentId: "a" }), expect.any(Number)],
    ["on a backend of the caller's", () => ({ backend: new MemoryBackend() }), 0],
  ])("%s: the operations", async (_whose, options, bytes) => {
    const store = await openStore(dir, { ...KEEP_LOG, ...options() });
    const events = eventsOf("commit");
    await store.set("a", {});
    await store.set("b", {});
    expect(events).toMatchObject([{ operations: 1, bytes }, { operations: 1, bytes }]);
  });
});

describe("opslog-native:checkpoint", () => {
  it.each([
    ["in a directory", () => ({})],
    ["of an agent", () => ({ agentId: "a" })],
    ["on a backend of the caller's", () => ({ backend: new MemoryBackend() })],
  ])("tells those of compact, of archive, of the threshold and of close (%s)", async (_where, options) => {
    const store = await openStore(dir, { checkpointThreshold: 3, ...options() });
    const events = eventsOf("checkpoint");
    await store.set("a", {});
    await store.compact();
    expect(events).toEqual([{ dir, checkpoints: 1, records: 1, ms: expect.any(Number) }]);
    expect(events[0].ms).toBeGreaterThan(0);
    await store.set("b", {});
    await store.archive((_value, id) => id === "b");
    for (let n = 0; n < 3; n++) await store.set(`${n}`, {});
    await eventually(() => expect(sumOf(events, "checkpoints")).toBe(3));
    await store.set("last", {});
    await store.close();
    expect(events.map(({ records }) => records)).toEqual([1, 1, 4, 5]);
  });
});

describe("what recovery found", () => {
  it("is an event, and stays in stats()", async () => {
    await withStore(dir, KEEP_LOG, async (store) => {
      expect(store.stats().recovered).toEqual([]);
      await store.set("a", { n: 1 });
      await store.set("b", { n: 2 });
    });
    const path = logPathOf(dir);
    truncateSync(path, statSync(path).size - 5);
    stderr();
    const events = eventsOf("recovery");
    const store = await openStore(dir);
    const found = { path, skipped: 0, cut: expect.any(Number), saved: expect.stringContaining(".cut-") };
    expect(events).toEqual([found]);
    expect(store.stats().recovered).toEqual([found]);
  });
});

describe("errors that no call is told", () => {
  /** Lets an automatic checkpoint fail. @param {any} store */
  async function failCheckpoint(store) {
    const unblock = block();
    await store.set("a", {});
    unblock();
  }

  it("an automatic checkpoint: an event, and onError in place of stderr", async () => {
    const [lines, events, onError] = [stderr(), eventsOf("error"), vi.fn()];
    const store = await openStore(dir, { checkpointThreshold: 1, onError });
    await failCheckpoint(store);
    await eventually(() => expect(onError).toHaveBeenCalled());
    expect(onError.mock.calls[0]).toEqual([expect.objectContaining({ code: "ENOTDIR" }), "checkpoint failed, will be tried again"]);
    expect(events[0]).toMatchObject({ dir, what: "checkpoint failed, will be tried again", error: { code: "ENOTDIR" } });
    expect(lines).not.toHaveBeenCalled();
  });

  it("an automatic checkpoint: stderr, without onError", async () => {
    const lines = stderr();
    const store = await openStore(dir, { checkpointThreshold: 1 });
    await failCheckpoint(store);
    await eventually(() => expect(lines).toHaveBeenCalled());
    expect(lines.mock.calls[0]?.[0]).toMatch(/^opslog: checkpoint failed, will be tried again: ENOTDIR/);
  });

  it("buffered writes: told once while they are tried again, and not on stderr", async () => {
    const [lines, events, onError] = [stderr(), eventsOf("error"), vi.fn()];
    const store = await openStore(dir, { ...KEEP_LOG, writeMode: "async", onError });
    const log = logPathOf(dir);
    chmodSync(log, 0o444);
    await store.set("a", {});
    await eventually(() => expect(onError).toHaveBeenCalled());
    // It is tried again ten times a second.
    await new Promise((resolve) => setTimeout(resolve, 350));
    expect(onError.mock.calls).toEqual([[expect.objectContaining({ code: "EACCES", path: log }), expect.stringContaining("buffered writes")]]);
    expect(events).toHaveLength(1);
    expect(lines).not.toHaveBeenCalled();
    chmodSync(log, 0o644);
    await expect(store.flush()).rejects.toMatchObject({ code: "EACCES" });
    await store.flush();
    expect(statSync(log).size).toBeGreaterThan(0);
  });

  it("a watch that cannot read", async () => {
    const [lines, onError] = [stderr(), vi.fn()];
    await withStore(dir, {}, () => {});
    const reader = await openStore(dir, { readOnly: true, onError });
    renameSync(join(dir, "manifest.json"), join(dir, "elsewhere"));
    reader.watch(() => {}, 1);
    await eventually(() => expect(onError).toHaveBeenCalledWith(expect.any(Error), "watch could not read"));
    reader.unwatch();
    expect(lines).not.toHaveBeenCalled();
  });
});

describe("stats()", () => {
  it("has sizes and times of the files", async () => {
    const store = await openStore(dir, KEEP_LOG);
    const { lastCheckpoint } = manifestOf(dir).stats;
    expect(store.stats().lastSyncMs).toBe(undefined);
    expect(store.stats()).toMatchObject({ logBytes: 0, liveBytes: 0, pendingWrites: 0, lastCheckpoint });
    await store.set("a", { text: "é" });
    await store.set("b", 7);
    await store.set("a", { text: "other" });
    await store.delete("b");
    expect(store.stats()).toMatchObject({ logBytes: statSync(logPathOf(dir)).size, liveBytes: '"a"{"text":"other"}'.length });
    expect(store.stats().lastSyncMs).toBeGreaterThan(0);
    await store.undo();
    expect(store.stats()).toMatchObject({ logBytes: statSync(logPathOf(dir)).size, liveBytes: '"a"{"text":"other"}"b"7'.length });
    await new Promise((resolve) => setTimeout(resolve, 5));
    await store.compact();
    expect(store.stats()).toMatchObject({ logBytes: 0, lastCheckpoint: manifestOf(dir).stats.lastCheckpoint });
    expect(store.stats().lastCheckpoint > lastCheckpoint).toBe(true);
  });

  it("counts operations that wait to be written", async () => {
    const store = await openStore(dir, KEEP_LOG);
    const calls = [store.set("a", {}), store.set("b", {})];
    expect(store.stats().pendingWrites).toBe(2);
    await Promise.all(calls);
    expect(store.stats().pendingWrites).toBe(0);
  });

  it("has upstream's members for whoever compares, copies or serialises them", async () => {
    const [ours, theirs] = [await openStore(dir), await openUpstream(temporaryDirectory())];
    for (const store of [ours, theirs]) await store.set("a", {});
    expect(JSON.stringify(ours.stats())).toBe(JSON.stringify(theirs.stats()));
    expect({ ...ours.stats() }).toStrictEqual({ ...theirs.stats() });
    expect(Object.keys(ours.stats())).toEqual(Object.keys(theirs.stats()));
  });

  it("has no log where the files are somebody else's, or not written", async () => {
    const store = await openStore(dir, { backend: new MemoryBackend() });
    await store.set("a", {});
    expect(store.stats().logBytes).toBe(undefined);
    expect(store.stats()).toMatchObject({ liveBytes: '"a"{}'.length, recovered: [] });
    const files = temporaryDirectory();
    await withStore(files, {}, () => {});
    expect((await openStore(files, { readOnly: true })).stats().logBytes).toBe(undefined);
  });
});

describe("onProgress", () => {
  it("of open counts bytes of snapshot and log, compact and archive count records", async () => {
    const onProgress = vi.fn();
    await withStore(dir, KEEP_LOG, async (store) => {
      await store.batch(() => {
        for (let n = 0; n < 1000; n++) store.set(`${n}`, { n });
      });
      await store.compact({ onProgress });
      expect(onProgress).toHaveBeenLastCalledWith({ done: 1000, total: 1000 });
      expect(await store.archive((_value, id) => id === "7", "s", { onProgress })).toBe(1);
      expect(onProgress).toHaveBeenLastCalledWith({ done: 999, total: 999 });
      await store.set("a", {});
    });
    const total = statSync(snapshotPathOf(dir)).size + statSync(logPathOf(dir)).size;
    await withStore(dir, { onProgress }, () => expect(onProgress).toHaveBeenLastCalledWith({ done: total, total }));
  });

  it("of open on a backend of the caller's is one step", async () => {
    const onProgress = vi.fn();
    await openStore(dir, { backend: new MemoryBackend(), onProgress });
    expect(onProgress.mock.calls).toEqual([[{ done: 1, total: 1 }]]);
  });

  it("is not called by a call that fails", async () => {
    const onProgress = vi.fn();
    const store = await openStore(dir);
    await store.set("a", {});
    const unblock = block();
    await expect(store.compact({ onProgress })).rejects.toMatchObject({ code: "ENOTDIR" });
    unblock();
    await expect(openStore(dir, { onProgress })).rejects.toMatchObject({ code: "OPSLOG_LOCKED" });
    expect(onProgress).not.toHaveBeenCalled();
  });

  it("is told about ten times a second while it goes on, each state once", async () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const [onProgress, ended] = [vi.fn(), deferred()];
    const states = [undefined, { done: 1, total: 4 }, { done: 1, total: 4 }, { done: 3, total: 4 }];
    let looks = 0;
    const call = withProgress(onProgress, () => states[Math.min(looks++, 3)], ended.promise);
    for (let n = 0; n < 4; n++) vi.advanceTimersByTime(100);
    ended.resolve("result");
    expect(await call).toBe("result");
    expect(onProgress.mock.calls.map(([{ done, total }]) => [done, total])).toEqual([[1, 4], [3, 4], [4, 4]]);
    vi.advanceTimersByTime(1000);
    expect(looks).toBe(5);
  });

  it("that throws is an uncaught exception, and the call goes on", async () => {
    const { code, reports } = await runChild(new URL("./scenarios.js", import.meta.url), "throwInProgress", { dir });
    expect({ code, reports }).toEqual({ code: 0, reports: [{ uncaught: "mine" }, { closed: true }] });
    await withStore(dir, { readOnly: true }, (store) => expect(store.count()).toBe(2));
  });

  it.each(["onProgress", "onError"])("and onError are functions: %s", async (option) => {
    await expect(openStore(dir, { [option]: 7 })).rejects.toMatchObject({ name: "TypeError", message: expect.stringContaining(option) });
  });
});

/** A promise, and what settles it. */
function deferred() {
  let resolve;
  const promise = new Promise((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
