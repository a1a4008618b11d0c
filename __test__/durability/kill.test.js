/** CONTRACT.md 2: what survives kill -9. */
import { describe, expect, it } from "vitest";
import { startChild } from "../support/child.js";
import { temporaryDirectory } from "../support/directory.js";
import { openStore, openUpstream, stateIn, stateOf, WRITE_MODES } from "../support/stores.js";

const SCENARIOS = new URL("./scenarios.js", import.meta.url);
const IMMEDIATE = WRITE_MODES.filter(({ options }) => options.writeMode === "immediate");
const BUFFERED = WRITE_MODES.filter(({ options }) => options.writeMode !== "immediate");

/**
 * Runs a scenario until it has acknowledged `count` steps, and kills it with SIGKILL.
 *
 * @param {string} name the scenario
 * @param {object} args its arguments
 * @param {number} count how many reports to wait for
 * @returns {Promise<number>} the number of the last acknowledged step
 */
async function killAfter(name, args, count) {
  const child = startChild(SCENARIOS, name, args);
  for (let n = 0; n < count; n++) await child.next();
  child.process.kill("SIGKILL");
  const { signal, reports } = await child.ended;
  expect(signal).toBe("SIGKILL");
  return reports.at(-1).acknowledged;
}

/** The state that `setForever` has reached after step `last`. */
function stateAfter(last) {
  const state = new Map();
  for (let n = 0; n <= last; n++) state.set(`k${n % 50}`, { n, text: "日本語".repeat(n % 20) });
  return [...state];
}

/** The largest number in a state. */
const largest = (entries) => Math.max(-1, ...entries.map(([, { n }]) => n));

describe.each(IMMEDIATE)("kill -9 ($mode)", ({ options }) => {
  it.each([1, 37, 180])("loses no acknowledged set, and adds at most the one after it (%i sets)", async (count) => {
    const dir = temporaryDirectory();
    const last = await killAfter("setForever", { dir, options: { ...options, checkpointThreshold: 40 } }, count);
    const { entries } = await stateOf(dir);
    expect(largest(entries)).toBeGreaterThanOrEqual(last);
    expect(entries).toEqual(stateAfter(largest(entries)));
    const store = await openStore(dir);
    expect(store.entries()).toEqual(entries);
    await store.close();
    const upstream = await openUpstream(dir);
    expect(upstream.entries()).toEqual(entries);
  });

  it("loses no acknowledged set of many concurrent ones", async () => {
    const dir = temporaryDirectory();
    const last = await killAfter("setManyForever", { dir, options: { ...options, checkpointThreshold: 333 } }, 60);
    const { entries } = await stateOf(dir);
    expect(entries.length).toBeGreaterThan(last);
    expect(entries).toEqual(entries.map((_, n) => [`k${n}`, { n }]));
  });

  it("leaves undo, delete and checkpoints as they were acknowledged", async () => {
    const dir = temporaryDirectory();
    const last = await killAfter("mixForever", { dir, options }, 50);
    const { entries } = await stateOf(dir);
    const state = new Map(entries);
    expect(state.get("n").n).toBeGreaterThanOrEqual(last);
    // the step that was under way may have left its unacknowledged tail
    for (const id of ["undone", "gone"]) if (state.has(id)) expect(state.get(id).n).toBeGreaterThan(last);
  });
});

describe.each(WRITE_MODES)("kill -9 during batches ($mode)", ({ options }) => {
  it("leaves every batch whole or absent", async () => {
    const dir = temporaryDirectory();
    const last = await killAfter("batchForever", { dir, options: { ...options, checkpointThreshold: 1_000 } }, 60);
    const { entries } = await stateOf(dir);
    const numbers = new Set(entries.map(([, { n }]) => n));
    expect(numbers.size).toBeLessThanOrEqual(1);
    if (options.writeMode === "immediate") expect([...numbers][0]).toBeGreaterThanOrEqual(last);
    expect([0, 40]).toContain(entries.length);
  });
});

describe.each(BUFFERED)("kill -9 ($mode)", ({ options }) => {
  it.each(["flush", "sync"])("loses nothing that %s() has covered", async (method) => {
    const dir = temporaryDirectory();
    const last = await killAfter("flushForever", { dir, method, options: { ...options, checkpointThreshold: 90 } }, 30);
    const { entries } = await stateOf(dir);
    const reached = largest(entries);
    expect(reached).toBeGreaterThanOrEqual(last);
    const state = new Map();
    for (let n = 0; n <= reached; n++) state.set(`k${n % 50}`, { n });
    expect(entries).toEqual([...state]);
  });

  it("leaves a prefix of what was called", async () => {
    const dir = temporaryDirectory();
    await killAfter("setForever", { dir, options: { ...options, checkpointThreshold: 70 } }, 150);
    const { entries } = await stateOf(dir);
    expect(entries).toEqual(stateAfter(largest(entries)));
  });

  it("loses nothing of what was buffered a second before: the buffer's limits bound the sync only", async () => {
    const dir = temporaryDirectory();
    const child = startChild(SCENARIOS, "bufferAndIdle", { dir, options });
    await child.next((report) => report === "idle");
    child.process.kill("SIGKILL");
    await child.ended;
    expect((await stateOf(dir)).entries).toEqual(Array.from({ length: 20 }, (_, n) => [`k${n}`, { n }]));
  });
});

describe("after kill -9", () => {
  it("the store goes on where it was: nothing is cut that was acknowledged, over several lives", async () => {
    const dir = temporaryDirectory();
    const options = { durability: "os", checkpointThreshold: 25 };
    for (let life = 0; life < 5; life++) {
      const last = await killAfter("setForever", { dir, options }, 20 + life * 7);
      const { entries } = await stateOf(dir);
      expect(entries.length).toBeGreaterThanOrEqual(Math.min(50, last + 1));
      const store = await openStore(dir, options);
      expect(stateIn(store).entries).toEqual(entries);
      await store.batch(() => entries.forEach(([id]) => store.delete(id)));
      await store.close();
      expect((await stateOf(dir)).entries).toEqual([]);
    }
  });
});
