/** CONTRACT.md 2: a write that fails rejects that call, is rolled back, and the store stays usable. */
import {
  appendFileSync, chmodSync, copyFileSync, readFileSync, renameSync, truncateSync, writeFileSync,
} from "node:fs";
import { beforeEach, describe, expect, it } from "vitest";
import { runChild } from "../support/child.js";
import { temporaryDirectory } from "../support/directory.js";
import { rejectionOf } from "../support/errors.js";
import { logPathOf, logTextOf } from "../support/files.js";
import { PATIENCE_MS } from "../support/patience.js";
import { openStore, stateIn, stateOf, withStore, WRITE_MODES } from "../support/stores.js";

const SCENARIOS = new URL("./scenarios.js", import.meta.url);
const IMMEDIATE = WRITE_MODES.filter(({ options }) => options.writeMode === "immediate");
const BUFFERED = WRITE_MODES.filter(({ options }) => options.writeMode !== "immediate");

/** [what, how to break the log, how to mend it, the error's code]. */
const FAILURES = [
  ["the log is write-protected", (log) => chmodSync(log, 0o444), (log) => chmodSync(log, 0o644), "EACCES"],
  ["the log is deleted", (log) => renameSync(log, `${log}.away`), (log) => renameSync(`${log}.away`, log), "ENOENT"],
];

describe.each(IMMEDIATE)("a write that fails ($mode)", ({ options }) => {
  let dir;
  let log;
  let store;

  beforeEach(async () => {
    dir = temporaryDirectory();
    store = await openStore(dir, { ...options, checkpointThreshold: Infinity, checkpointOnClose: false });
    await store.set("a", { n: 1, text: "long enough for a delta" });
    await store.set("b", { n: 1 });
    log = logPathOf(dir);
  });

  it.each(FAILURES)("because %s rejects every kind of call, and nothing has changed", async (_why, damage, mend, code) => {
    const state = stateIn(store);
    const text = logTextOf(dir);
    damage(log);
    const calls = [
      () => store.set("c", { n: 2 }),
      () => store.set("a", { n: 2, text: "long enough for a delta" }),
      () => store.delete("a"),
      () => store.batch(() => {
        store.set("c", { n: 2 });
        store.delete("a");
      }),
      () => store.undo(),
    ];
    for (const call of calls) {
      const error = await rejectionOf(call());
      expect(error).toMatchObject({ code, path: log, syscall: expect.any(String) });
      expect(error).toBeInstanceOf(Error);
      expect(stateIn(store)).toEqual(state);
    }
    mend(log);
    expect(logTextOf(dir)).toBe(text);
    await store.set("d", { n: 3 });
    expect(await store.undo()).toBe(true);
    await store.set("e", { n: 3 });
    await store.close();
    expect((await stateOf(dir)).entries).toEqual([...state.entries, ["e", { n: 3 }]]);
  });

  it.each(FAILURES)("because %s rejects each of several un-awaited calls and leaves the last good state", async (_why, damage, mend) => {
    const state = stateIn(store);
    damage(log);
    const calls = [
      store.set("a", { n: 2 }),
      store.set("c", { n: 2 }),
      store.set("a", { n: 3 }),
      store.delete("b"),
      store.batch(() => store.set("d", { n: 2 })),
    ];
    const results = await Promise.allSettled(calls);
    expect(results.map(({ status }) => status)).toEqual(Array(5).fill("rejected"));
    expect(stateIn(store)).toEqual(state);
    mend(log);
    await store.set("a", { n: 4 });
    await store.close();
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 4 }], ["b", { n: 1 }]]);
  });

  it("never goes to a file that replaced the log", async () => {
    const state = stateIn(store);
    copyFileSync(log, `${log}.copy`);
    renameSync(log, `${log}.away`);
    renameSync(`${log}.copy`, log);
    const text = readFileSync(log, "utf8");
    const error = await rejectionOf(store.set("c", { n: 2 }));
    expect(error.code).toEqual(expect.any(String));
    expect(error.message).toContain(log);
    await expect(store.undo()).rejects.toMatchObject({ code: expect.any(String) });
    expect(readFileSync(log, "utf8")).toBe(text);
    expect(readFileSync(`${log}.away`, "utf8")).toBe(text);
    expect(stateIn(store)).toEqual(state);
    renameSync(`${log}.away`, log);
    await store.set("c", { n: 3 });
    await store.close();
    expect((await stateOf(dir)).entries).toEqual([...state.entries, ["c", { n: 3 }]]);
  });

  it("never goes behind bytes that somebody else appended, nor into a log that somebody cut", async () => {
    const state = stateIn(store);
    const text = logTextOf(dir);
    for (const damage of [() => appendFileSync(log, "foreign\n"), () => truncateSync(log, 10)]) {
      damage();
      const damaged = readFileSync(log, "utf8");
      const error = await rejectionOf(store.set("c", { n: 2 }));
      expect(error.code).toEqual(expect.any(String));
      expect(error.message).toContain(log);
      expect(readFileSync(log, "utf8")).toBe(damaged);
      expect(stateIn(store)).toEqual(state);
      writeFileSync(log, text);
    }
    await store.set("c", { n: 3 });
    expect(store.get("c")).toEqual({ n: 3 });
  });

  it("is not made by a close() that has nothing to write", async () => {
    const state = stateIn(store);
    chmodSync(log, 0o444);
    await store.close();
    expect(await stateOf(dir)).toEqual(state);
  });
});

/** Milliseconds after a failure at which the writer tries again by itself (src/store/commit.rs). */
const RETRY_MS = 100;

describe.each(BUFFERED)("a background flush that fails ($mode)", ({ options }) => {
  let dir;
  let log;
  let store;

  beforeEach(async () => {
    dir = temporaryDirectory();
    store = await openStore(dir, { ...options, checkpointThreshold: Infinity, checkpointOnClose: false });
    await store.set("a", { n: 1 });
    await store.flush();
    log = logPathOf(dir);
  });

  it.each(FAILURES)("because %s keeps the data; the error reaches flush, sync and close, and they can be retried", async (_why, damage, mend, code) => {
    damage(log);
    const buffered = store.set("b", { n: 2 });
    await expect(store.flush()).rejects.toMatchObject({ code, path: log });
    await expect(store.sync()).rejects.toMatchObject({ code, path: log });
    await Promise.allSettled([buffered]);
    expect(store.entries()).toEqual([["a", { n: 1 }], ["b", { n: 2 }]]);
    const begun = performance.now();
    await expect(store.close()).rejects.toMatchObject({ code, path: log });
    expect(store.get("b")).toEqual({ n: 2 });
    mend(log);
    // on a busy machine the writer may have tried again before it was mended: the next call is told, once
    const mayHaveFailedAgain = performance.now() - begun > RETRY_MS;
    await store.flush().catch((error) => {
      if (!mayHaveFailedAgain) throw error;
      return store.flush();
    });
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }], ["b", { n: 2 }]]);
    await store.set("c", { n: 3 });
    await store.close();
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }], ["b", { n: 2 }], ["c", { n: 3 }]]);
  });

  it("is retried: what was buffered is written once that is possible, without a further call", async () => {
    chmodSync(log, 0o444);
    const buffered = store.set("b", { n: 2 });
    await expect(store.flush()).rejects.toMatchObject({ code: "EACCES" });
    await Promise.allSettled([buffered]);
    chmodSync(log, 0o644);
    await expect.poll(() => logTextOf(dir), { timeout: PATIENCE_MS }).toContain('"b"');
  });
});

describe("a file that may not grow (EFBIG)", () => {
  it("rejects the write, is cut back, and takes smaller ones", async () => {
    const dir = temporaryDirectory();
    await withStore(dir, {}, (store) => store.set("first", { n: 0 }));
    // 64 blocks of 1 KiB
    const wrapper = ["bash", "-c", "ulimit -f 64; exec \"$@\"", "bash"];
    const { reports, code, signal } = await runChild(SCENARIOS, "writeTooMuch", { dir }, { wrapper });
    expect({ code, signal }).toEqual({ code: 0, signal: null });
    expect(reports).toEqual([
      { error: "EFBIG", entries: ["first", "small"] },
      { error: "EFBIG", entries: ["first", "small"] },
      { entries: ["first", "small", "after"] },
    ]);
    expect((await stateOf(dir)).entries.map(([id]) => id)).toEqual(["first", "small", "after"]);
  });
});
