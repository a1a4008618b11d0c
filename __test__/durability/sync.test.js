/** CONTRACT.md 2: when a promise resolves, and what has reached stable storage by then (seen by strace). */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { startChild } from "../support/child.js";
import { temporaryDirectory } from "../support/directory.js";
import { logPathOf, manifestOf } from "../support/files.js";
import { withStore } from "../support/stores.js";
import { canTrace, marks, readTrace, syncs, tracing, writesTo } from "../support/strace.js";

const SCENARIOS = new URL("./scenarios.js", import.meta.url);
const NEVER = { groupCommitSize: 1_000_000, groupCommitMs: Infinity };

/**
 * Runs steps on a store that exists, under strace.
 *
 * @param {object} options options of `open`
 * @param {string[]} steps the steps of the scenario `obey`
 * @returns {Promise<{ dir: string, log: string, calls: import("../support/strace.js").Call[], reports: any[] }>} the trace
 */
async function trace(options, steps) {
  const dir = temporaryDirectory();
  await withStore(dir, {}, (store) => store.set("first", { n: 0 }));
  const log = logPathOf(dir);
  const output = join(temporaryDirectory(), "trace");
  const all = { checkpointThreshold: Infinity, checkpointOnClose: false, ...options };
  const child = startChild(SCENARIOS, "obey", { dir, options: all }, { wrapper: tracing(output) });
  await child.next();
  for (const step of steps) {
    child.send(step);
    const report = await child.next();
    expect(report).not.toHaveProperty("error");
  }
  child.send("end");
  expect(await child.ended).toMatchObject({ code: 0, signal: null });
  return { dir, log, calls: readTrace(output), reports: child.reports };
}

/** The calls between the markers of two steps (from the start, if there is no first one). */
function between(calls, from, to) {
  const start = from ? calls.findIndex(marks(from)) + 1 : 0;
  const end = calls.findIndex(marks(to));
  expect(end).toBeGreaterThanOrEqual(start);
  return calls.slice(start, end);
}

describe.skipIf(!canTrace)("system calls (skipped where strace cannot trace)", () => {
  it("immediate, fsync: the line is written and then synced before set, delete, batch and undo resolve", async () => {
    const steps = ["set a", "set b", "batch 5", "undo"];
    const { log, calls } = await trace({ durability: "fsync" }, steps);
    for (const [n, step] of steps.entries()) {
      const window = between(calls, steps[n - 1], step);
      const write = window.findIndex((call) => writesTo(log)(call) || (call.name === "ftruncate" && call.args.includes(log)));
      const sync = window.findLastIndex(syncs(log));
      expect(write).toBeGreaterThanOrEqual(0);
      expect(sync).toBeGreaterThan(write);
    }
  });

  it("fsync is the default", async () => {
    const { log, calls } = await trace({}, ["set a"]);
    expect(between(calls, undefined, "set a").some(syncs(log))).toBe(true);
  });

  it("immediate, os: the line is written and nothing is synced before set resolves, until sync()", async () => {
    const { log, calls } = await trace({ durability: "os" }, ["set a", "batch 5", "undo", "flush", "set b", "sync"]);
    expect(between(calls, undefined, "set a").some(writesTo(log))).toBe(true);
    expect(calls.slice(0, calls.findIndex(marks("set b"))).some(syncs(log))).toBe(false);
    expect(between(calls, "set b", "sync").some(syncs(log))).toBe(true);
  });

  it("group, fsync: set resolves buffered; the call that fills the buffer waits for the commit", async () => {
    const options = { writeMode: "group", groupCommitSize: 3, groupCommitMs: Infinity };
    const { log, calls } = await trace(options, ["set a", "set b", "set c", "set d"]);
    expect(calls.slice(0, calls.findIndex(marks("set b"))).some(syncs(log))).toBe(false);
    expect(between(calls, "set b", "set c").some(syncs(log))).toBe(true);
    expect(between(calls, "set c", "set d").some(syncs(log))).toBe(false);
  });

  it("group, fsync: groupCommitMs ends the wait for more calls", async () => {
    const options = { writeMode: "group", groupCommitSize: 1_000_000, groupCommitMs: 20 };
    const { log, calls } = await trace(options, ["set a", "sleep 1500", "set b"]);
    expect(between(calls, "set a", "sleep 1500").some(syncs(log))).toBe(true);
  });

  it("async, fsync: the call that fills the buffer starts a commit and does not wait for it", async () => {
    const options = { writeMode: "async", groupCommitSize: 3, groupCommitMs: Infinity };
    const { log, calls } = await trace(options, ["set a", "set b", "set c", "sleep 1000"]);
    expect(calls.slice(0, calls.findIndex(marks("set b"))).some(syncs(log))).toBe(false);
    expect(between(calls, "set b", "sleep 1000").some(syncs(log))).toBe(true);
  });

  it.each(["group", "async"])("%s, fsync: flush and sync sync what was buffered", async (writeMode) => {
    const { log, calls } = await trace({ writeMode, ...NEVER }, ["set a", "flush", "set b", "sync"]);
    expect(between(calls, undefined, "set a").some(syncs(log))).toBe(false);
    for (const [from, to] of [["set a", "flush"], ["set b", "sync"]]) {
      const window = between(calls, from, to);
      expect(window.some(syncs(log))).toBe(true);
    }
  });

  it.each(["group", "async"])("%s, os: flush hands over without a sync, sync() syncs", async (writeMode) => {
    const options = { writeMode, durability: "os", ...NEVER };
    const { log, calls } = await trace(options, ["set a", "flush", "set b", "sync"]);
    expect(calls.slice(0, calls.findIndex(marks("flush"))).some(writesTo(log))).toBe(true);
    expect(calls.slice(0, calls.findIndex(marks("set b"))).some(syncs(log))).toBe(false);
    expect(between(calls, "set b", "sync").some(syncs(log))).toBe(true);
  });

  it("concurrent sets in one tick share one write and one sync", async () => {
    const { log, calls } = await trace({}, ["set a", "sets 200"]);
    const window = between(calls, "set a", "sets 200");
    // the first of them may have left before the others were called
    expect(window.filter(writesTo(log)).length).toBeLessThanOrEqual(2);
    expect(window.filter(syncs(log)).length).toBeLessThanOrEqual(2);
    expect(window.filter(syncs(log)).length).toBeGreaterThanOrEqual(1);
  });

  it("a batch is one append", async () => {
    for (const durability of ["fsync", "os"]) {
      const { log, calls } = await trace({ durability }, ["set a", "batch 200"]);
      expect(between(calls, "set a", "batch 200").filter(writesTo(log))).toHaveLength(1);
    }
  });

  it("a checkpoint syncs snapshot and log before it renames the manifest, and syncs the folders", async () => {
    const { dir, log, calls } = await trace({}, ["set a", "compact"]);
    const window = between(calls, "set a", "compact");
    const { currentSnapshot, activeOps } = manifestOf(dir);
    const published = window.findIndex(({ name, args }) => name.startsWith("rename") && args.includes("manifest.json\""));
    const snapshotNamed = window.findIndex(({ name, args }) => name.startsWith("rename") && args.includes(`${currentSnapshot}"`));
    expect(snapshotNamed).toBeGreaterThanOrEqual(0);
    expect(published).toBeGreaterThan(snapshotNamed);
    const isSync = ({ name, result }) => /^f(data)?sync$/.test(name) && result.startsWith("0");
    const synced = (part, from, to) => window.slice(from, to).some((call) => isSync(call) && call.args.includes(part));
    expect(synced(join(dir, "snapshots"), 0, snapshotNamed)).toBe(true);
    expect(synced(`<${join(dir, "snapshots")}>`, snapshotNamed, published)).toBe(true);
    expect(synced(join(dir, activeOps), 0, published)).toBe(true);
    expect(synced(`<${join(dir, "ops")}>`, 0, published)).toBe(true);
    expect(synced(join(dir, "manifest.json"), 0, published)).toBe(true);
    expect(synced(`<${dir}>`, published, window.length)).toBe(true);
    const removed = window.findIndex(({ name, args }) => name.startsWith("unlink") && args.includes(".jsonl\""));
    if (removed >= 0) expect(removed).toBeGreaterThan(published);
    expect(log).not.toBe(join(dir, activeOps));
  });

  it("a first open makes the store durable before it resolves", async () => {
    const dir = join(temporaryDirectory(), "made", "here");
    const output = join(temporaryDirectory(), "trace");
    const child = startChild(SCENARIOS, "obey", { dir, options: {} }, { wrapper: tracing(output) });
    child.send("end");
    expect(await child.ended).toMatchObject({ code: 0, reports: ["open"] });
    const calls = readTrace(output);
    const opened = calls.findIndex(({ name, args }) => name === "write" && args.includes("\"\\\"open\\\"\\n\""));
    const before = calls.slice(0, opened);
    const published = before.findIndex(({ name, args }) => name.startsWith("rename") && args.includes("manifest.json\""));
    expect(published).toBeGreaterThanOrEqual(0);
    expect(before.slice(published).some((call) => call.name.endsWith("sync") && call.args.includes(`<${dir}>`))).toBe(true);
  });
});
