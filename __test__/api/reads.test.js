/** CONTRACT.md 1: `get has count all entries filter`, and what `set` records. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { hasFiles } from "../support/implementation.js";
import { openStore, withStore } from "../support/stores.js";

describe("reads", () => {
  let dir;
  let store;

  beforeEach(async () => {
    dir = temporaryDirectory();
    store = await openStore(dir, { durability: "os", checkpointThreshold: Infinity });
  });

  it("answer in insertion order as of a JS Map", async () => {
    for (const id of ["10", "b", "9", "a"]) await store.set(id, { id });
    await store.set("b", { id: "b", again: true });
    await store.delete("10");
    await store.set("10", { id: "10" });
    const ids = ["b", "9", "a", "10"];
    expect(store.entries().map(([id]) => id)).toEqual(ids);
    expect(store.all().map((value) => value.id)).toEqual(ids);
    expect(store.filter(() => true).map((value) => value.id)).toEqual(ids);
  });

  it("keep that order through the log and through a snapshot", async () => {
    for (const id of ["10", "b", "9", "a"]) await store.set(id, { id });
    await store.set("b", { id: "b", again: true });
    await store.delete("10");
    await store.set("10", { id: "10" });
    const before = store.entries();
    await store.close();
    await withStore(dir, { checkpointOnClose: false }, (again) => expect(again.entries()).toEqual(before));
    await withStore(dir, {}, (again) => again.compact());
    await withStore(dir, {}, (again) => expect(again.entries()).toEqual(before));
  });

  it("answer for a missing id: get undefined, has false", () => {
    expect(store.get("nobody")).toBe(undefined);
    expect(store.has("nobody")).toBe(false);
    expect(store.has("__proto__")).toBe(false);
    expect(store.get("constructor")).toBe(undefined);
  });

  it("count all records, or those that a predicate of (value, id) accepts", async () => {
    await store.set("a", { n: 1 });
    await store.set("b", { n: 2 });
    expect(store.count()).toBe(2);
    expect(store.count((value) => value.n > 1)).toBe(1);
    expect(store.count((_value, id) => id === "a")).toBe(1);
  });

  it("filter by a predicate of (value, id)", async () => {
    await store.set("a", { n: 1 });
    await store.set("b", { n: 2 });
    expect(store.filter((value) => value.n > 1)).toEqual([{ n: 2 }]);
    expect(store.filter((_value, id) => id === "a")).toEqual([{ n: 1 }]);
  });

  it("hand the predicate's error to the caller", async () => {
    await store.set("a", { n: 1 });
    const refuse = () => {
      throw new RangeError("not today");
    };
    expect(() => store.filter(refuse)).toThrow(new RangeError("not today"));
    expect(() => store.count(refuse)).toThrow(new RangeError("not today"));
  });

  it("get(k) === get(k) until k changes", async () => {
    await store.set("a", { n: 1 });
    await store.set("b", { n: 1 });
    const first = store.get("a");
    await store.set("b", { n: 2 });
    await store.delete("b");
    await store.compact();
    expect(store.get("a")).toBe(first);
    await store.set("a", { n: 1 });
    expect(store.get("a")).not.toBe(first);
    expect(store.get("a")).toBe(store.get("a"));
  });

  it("give the same object from get, all, entries, filter and to predicates", async () => {
    await store.set("a", { n: 1 });
    const [scanned] = store.all();
    expect(store.get("a")).toBe(scanned);
    expect(store.entries()[0][1]).toBe(scanned);
    expect(store.filter((value) => value === scanned)).toEqual([scanned]);
    expect(store.filter(() => true)[0]).toBe(scanned);
    expect(store.count((value) => value === scanned)).toBe(1);
  });

  it("see all set and delete calls made before them, awaited or not", async () => {
    const pending = [store.set("a", { n: 1 })];
    expect(store.get("a")).toEqual({ n: 1 });
    pending.push(store.set("a", { n: 2 }), store.set("b", { n: 3 }));
    expect(store.entries()).toEqual([["a", { n: 2 }], ["b", { n: 3 }]]);
    pending.push(store.delete("a"));
    expect(store.has("a")).toBe(false);
    expect(store.count()).toBe(1);
    expect(store.filter((value) => value.n === 3)).toEqual([{ n: 3 }]);
    expect(store.all()).toEqual([{ n: 3 }]);
    await Promise.all(pending);
  });

  it.runIf(hasFiles)("do no I/O: they work on when the files are gone", async () => {
    await store.set("a", { n: 1 });
    await store.close();
    store = await openStore(dir, { checkpointOnClose: false });
    rmSync(join(dir, "snapshots"), { recursive: true });
    rmSync(join(dir, "ops"), { recursive: true });
    expect(store.get("a")).toEqual({ n: 1 });
    expect(store.all()).toEqual([{ n: 1 }]);
  });

  it("return arrays of the caller's own", async () => {
    await store.set("a", { n: 1 });
    store.all().push({ n: 2 });
    store.entries().length = 0;
    store.entries()[0][1] = { n: 3 };
    expect(store.entries()).toEqual([["a", { n: 1 }]]);
  });
});

describe("set records the JSON value at the call", () => {
  let dir;
  let store;

  beforeEach(async () => {
    dir = temporaryDirectory();
    store = await openStore(dir, { durability: "os" });
  });

  it("and never holds the caller's object", async () => {
    const mine = { list: [1], n: 1 };
    const pending = store.set("a", mine);
    mine.n = 2;
    mine.list.push(2);
    expect(store.get("a")).not.toBe(mine);
    expect(store.get("a")).toEqual({ list: [1], n: 1 });
    await pending;
    mine.n = 3;
    expect(store.get("a")).toEqual({ list: [1], n: 1 });
    expect(store.getOps()[0].data).toEqual({ list: [1], n: 1 });
    await store.close();
    store = await openStore(dir);
    expect(store.get("a")).toEqual({ list: [1], n: 1 });
  });

  it("so that get answers the same before and after a restart", async () => {
    const at = new Date("2026-01-02T03:04:05.678Z");
    await store.set("a", { at, gone: undefined, nan: NaN, minus: -0, list: [undefined, () => 1], nested: { toJSON: () => "x" } });
    const expected = {
      at: "2026-01-02T03:04:05.678Z", nan: null, minus: 0, list: [null, null], nested: "x",
    };
    const before = store.get("a");
    expect(before).toStrictEqual(expected);
    await store.close();
    store = await openStore(dir);
    expect(store.get("a")).toStrictEqual(before);
  });

  it("also inside a batch", async () => {
    const mine = { n: 1 };
    await store.batch(() => {
      store.set("a", mine);
      mine.n = 2;
      expect(store.get("a")).toEqual({ n: 1 });
    });
    expect(store.get("a")).toEqual({ n: 1 });
  });

  it("a change to an object that get returned shows in this process", async () => {
    await store.set("a", { n: 1 });
    store.get("a").n = 2;
    await store.set("b", {});
    expect(store.get("a")).toEqual({ n: 2 });
    expect(store.all()[0]).toEqual({ n: 2 });
  });

  it("but is never persisted by itself, neither by a checkpoint nor in a previous value", async () => {
    await store.set("a", { n: 1, filler: "long enough for a delta" });
    await store.set("b", { n: 1 });
    store.get("a").n = 2;
    store.get("b").n = 2;
    await store.compact();
    await store.set("a", { n: 3, filler: "long enough for a delta" });
    await store.delete("b");
    expect(store.getOps().map((op) => op.prev)).toEqual([{ $set: { n: 1 } }, { n: 1 }]);
    await store.undo();
    expect(store.get("b")).toEqual({ n: 1 });
    await store.close();
    store = await openStore(dir);
    expect(store.get("b")).toEqual({ n: 1 });
  });

  it("and ends when the id is written, undone or rolled back", async () => {
    await store.set("a", { n: 1 });
    store.get("a").n = 100;
    await store.set("a", { n: 2 });
    expect(store.get("a")).toEqual({ n: 2 });
    store.get("a").n = 100;
    await store.undo();
    expect(store.get("a")).toEqual({ n: 1 });
    store.get("a").n = 100;
    const failing = store.batch(() => {
      store.set("a", { n: 3 });
      throw new Error("no");
    });
    await expect(failing).rejects.toThrow("no");
    expect(store.get("a")).toEqual({ n: 1 });
  });

  it("a change to an operation that getOps returned changes no record", async () => {
    await store.set("a", { n: 1 });
    store.getOps()[0].data.n = 2;
    expect(store.get("a")).toEqual({ n: 1 });
    await store.undo();
    await store.set("a", { n: 5 });
    expect(store.getOps()[0].data).toEqual({ n: 5 });
  });
});
