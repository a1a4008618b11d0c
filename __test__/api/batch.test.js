/** CONTRACT.md 1: `batch` is one append, all or nothing. */
import { beforeEach, describe, expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { logLinesOf, logTextOf, withoutStamps } from "../support/files.js";
import { hasFiles } from "../support/implementation.js";
import { openStore, stateIn, stateOf, withStore, WRITE_MODES } from "../support/stores.js";

describe.each(WRITE_MODES)("batch ($mode)", ({ options }) => {
  let dir;
  let store;

  beforeEach(async () => {
    dir = temporaryDirectory();
    store = await openStore(dir, { ...options, checkpointThreshold: Infinity, checkpointOnClose: false });
    await store.set("kept", { n: 0 });
    await store.set("other", { n: 0 });
    await store.flush();
  });

  it("applies set and delete at once and returns undefined from them", async () => {
    const result = await store.batch(() => {
      expect(store.set("a", { n: 1 })).toBe(undefined);
      expect(store.get("a")).toEqual({ n: 1 });
      expect(store.count()).toBe(3);
      expect(store.delete("kept")).toBe(undefined);
      expect(store.has("kept")).toBe(false);
      expect(store.entries().map(([id]) => id)).toEqual(["other", "a"]);
    });
    expect(result).toBe(undefined);
    await store.close();
    expect((await stateOf(dir)).entries).toEqual([["other", { n: 0 }], ["a", { n: 1 }]]);
  });

  it("takes the same id several times", async () => {
    await store.batch(() => {
      store.set("kept", { n: 1 });
      store.delete("kept");
      store.set("kept", { n: 2 });
      store.set("kept", { n: 3 });
    });
    expect(store.entries()).toEqual([["other", { n: 0 }], ["kept", { n: 3 }]]);
    const state = stateIn(store);
    await store.close();
    expect(await stateOf(dir)).toEqual(state);
  });

  it("that throws changes nothing, in memory or on disk, and rejects with that error", async () => {
    const state = stateIn(store);
    const log = logTextOf(dir);
    const error = new RangeError("stop");
    const failing = store.batch(() => {
      store.set("a", { n: 1 });
      store.delete("kept");
      store.set("other", { n: 1 });
      store.set("kept", { n: 1 });
      throw error;
    });
    await expect(failing).rejects.toBe(error);
    expect(stateIn(store)).toEqual(state);
    await store.flush();
    expect(logTextOf(dir)).toBe(log);
    await store.close();
    expect(await stateOf(dir)).toEqual(state);
  });

  it("that throws something that is no Error rejects with that", async () => {
    const failing = store.batch(() => {
      throw "a string";
    });
    await expect(failing).rejects.toBe("a string");
  });

  it("whose function catches the error of a missing id goes on", async () => {
    await store.batch(() => {
      store.set("a", { n: 1 });
      expect(() => store.delete("nobody")).toThrow("Record 'nobody' not found");
      store.set("b", { n: 1 });
    });
    expect(store.entries().map(([id]) => id)).toEqual(["kept", "other", "a", "b"]);
  });

  it("whose function does not catch it rejects with it and changes nothing", async () => {
    const state = stateIn(store);
    const failing = store.batch(() => {
      store.set("a", { n: 1 });
      store.delete("nobody");
    });
    await expect(failing).rejects.toMatchObject({ message: "Record 'nobody' not found", code: "OPSLOG_NOT_FOUND" });
    expect(stateIn(store)).toEqual(state);
  });

  it("of nothing resolves and writes nothing", async () => {
    const log = logTextOf(dir);
    expect(await store.batch(() => {})).toBe(undefined);
    await store.flush();
    expect(logTextOf(dir)).toBe(log);
  });

  it("refuses an async function and changes nothing", async () => {
    const state = stateIn(store);
    const refused = store.batch(async () => {
      store.set("a", { n: 1 });
    });
    await expect(refused).rejects.toThrow(/async|promise|synchronous/i);
    expect(stateIn(store)).toEqual(state);
    await store.set("b", { n: 1 });
    await store.close();
    expect((await stateOf(dir)).entries.map(([id]) => id)).toEqual(["kept", "other", "b"]);
  });

  it("refuses a function that returns a promise, and a thing that is no function", async () => {
    const state = stateIn(store);
    await expect(store.batch(() => Promise.resolve())).rejects.toThrow();
    await expect(store.batch(undefined)).rejects.toThrow(TypeError);
    await expect(store.batch("no function")).rejects.toThrow(TypeError);
    expect(stateIn(store)).toEqual(state);
  });

  it("leaves a set by other code, while it is being written, an ordinary set", async () => {
    const batch = store.batch(() => {
      store.set("a", { n: 1 });
      store.set("b", { n: 1 });
    });
    const set = store.set("c", { n: 1 });
    expect(set).toBeInstanceOf(Promise);
    await Promise.all([batch, set]);
    await store.close();
    expect((await stateOf(dir)).entries.map(([id]) => id)).toEqual(["kept", "other", "a", "b", "c"]);
  });

  it("that fails rolls back only its own operations", async () => {
    const before = store.set("kept", { n: 1 });
    const failing = store.batch(() => {
      store.set("kept", { n: 2 });
      store.set("mine", { n: 2 });
      throw new Error("stop");
    });
    const after = store.set("kept", { n: 3 });
    const results = await Promise.allSettled([before, failing, after]);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(store.entries()).toEqual([["kept", { n: 3 }], ["other", { n: 0 }]]);
    expect(store.getHistory("kept").map((op) => op.data.n)).toEqual([0, 1, 3]);
    const state = stateIn(store);
    await store.close();
    expect(await stateOf(dir)).toEqual(state);
  });

  it("runs a batch, an undo and a compact that its function calls right after itself", async () => {
    let inner;
    let undone;
    await store.batch(() => {
      store.set("a", { n: 1 });
      inner = store.batch(() => {
        store.set("inner", { n: 1 });
        store.set("inner too", { n: 1 });
      });
      expect(inner).toBeInstanceOf(Promise);
      undone = store.undo();
      store.set("b", { n: 1 });
    });
    await inner;
    expect(await undone).toBe(true);
    expect(store.entries().map(([id]) => id)).toEqual(["kept", "other", "a", "b", "inner"]);
    let compacted;
    await store.batch(() => {
      compacted = store.compact();
      store.set("c", { n: 1 });
    });
    await compacted;
    expect(store.getOps()).toEqual([]);
    const { entries } = stateIn(store);
    await store.close();
    expect(await stateOf(dir)).toEqual({ entries, ops: [] });
  });
});

describe("batch", () => {
  it("takes 200,000 operations", async () => {
    const dir = temporaryDirectory();
    await withStore(dir, { checkpointThreshold: Infinity, checkpointOnClose: false }, async (store) => {
      await store.batch(() => {
        for (let n = 0; n < 200_000; n++) store.set(`k${n}`, { n });
      });
      expect(store.count()).toBe(200_000);
    });
    const { entries, ops } = await stateOf(dir);
    expect(entries).toHaveLength(200_000);
    expect(ops).toHaveLength(200_000);
    expect(entries[199_999]).toEqual(["k199999", { n: 199_999 }]);
  });

  it("of 200,000 operations that fails leaves nothing", async () => {
    const store = await openStore(temporaryDirectory(), { durability: "os" });
    await store.set("kept", { n: 0 });
    const failing = store.batch(() => {
      for (let n = 0; n < 200_000; n++) store.set(`k${n % 150_000}`, { n });
      store.delete("kept");
      throw new Error("stop");
    });
    await expect(failing).rejects.toThrow("stop");
    expect(store.entries()).toEqual([["kept", { n: 0 }]]);
  });

  it.runIf(hasFiles)("marks its lines with how many remain, and getOps never shows the mark", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { durability: "os" });
    await store.batch(() => {
      store.set("a", { n: 1 });
      store.set("b", { n: 1 });
      store.delete("a");
    });
    const lines = logLinesOf(dir);
    expect(lines.every((line) => Number.isInteger(line.batch))).toBe(true);
    expect(lines.every((line) => /^[0-9a-f]{8}$/.test(line.crc))).toBe(true);
    expect(store.getOps()).toEqual(lines.map(({ crc: _crc, batch: _batch, write: _write, ...op }) => op));
    expect(withoutStamps(store.getOps()).map((op) => op.op)).toEqual(["set", "set", "delete"]);
  });
});
