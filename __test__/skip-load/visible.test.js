/** CONTRACT.md 1: what JavaScript sees of a store that is opened with `skipLoad`: what was written since, as upstream's. */
import { describe, expect, it } from "vitest";
import { copyOf, temporaryDirectory } from "../support/directory.js";
import { rejectionOf, thrownBy } from "../support/errors.js";
import { openUpstream } from "../support/stores.js";
import { MANUAL, STORED, openPartial, prepare } from "./prepare.js";

/** Everything that reads answer, apart from `prev`: upstream does not know what an operation replaced. */
function seen(store) {
  const shown = (ops) => ops.map(({ op, id, data }) => ({ op, id, data }));
  const ids = ["a", "b", "list", "__proto__", "日本", "new", "x"];
  return {
    get: ids.map((id) => store.get(id)),
    has: ids.map((id) => store.has(id)),
    count: store.count(),
    counted: store.count(({ n }) => n === 1),
    all: store.all(),
    entries: store.entries(),
    filtered: store.filter((_value, id) => id !== "x"),
    ops: shown(store.getOps()),
    histories: ids.map((id) => shown(store.getHistory(id))),
    stats: { ...store.stats() },
    segments: store.listArchiveSegments(),
  };
}

describe("a store that was opened with skipLoad", () => {
  it("answers as upstream's: nothing at first, then what was written since, whatever was undone", async () => {
    const dir = temporaryDirectory();
    await prepare(dir);
    const theirs = await openUpstream(copyOf(dir), { skipLoad: true, checkpointThreshold: Infinity });
    const ours = await openPartial(dir);
    expect(seen(ours)).toEqual(seen(theirs));
    expect(ours.entries()).toEqual([]);
    const steps = [
      (store) => store.undo(),
      (store) => store.set("b", { n: 1 }),
      (store) => store.set("x", { n: 1, text: "long enough for a patch" }),
      (store) => store.set("x", { n: 2, text: "long enough for a patch" }),
      (store) => store.undo(),
      (store) => store.batch(() => {
        store.set("new", { n: 9 });
        store.set("list", { n: 1 });
        // Upstream puts a record whose deletion is undone at the end: it is the last one.
        store.delete("list");
      }),
      (store) => store.set("b", { n: 3 }),
      (store) => store.undo(),
      (store) => store.undo(),
      (store) => store.undo(),
      (store) => store.undo(),
      (store) => store.archive(() => false),
      (store) => store.flush(),
      (store) => store.undo(),
      (store) => store.undo(),
      (store) => store.undo(),
    ];
    for (const [place, step] of steps.entries()) {
      expect(await step(ours), `step ${place}`).toEqual(await step(theirs));
      expect(seen(ours), `step ${place}`).toEqual(seen(theirs));
    }
    expect(ours.entries()).toEqual([]);
  });

  it("undoes its own operations only, and undo of a set of a stored record hides the record again", async () => {
    const dir = temporaryDirectory();
    await prepare(dir);
    const store = await openPartial(dir);
    expect(await store.undo()).toBe(false);
    await store.set("b", { n: 7 });
    expect(store.get("b")).toEqual({ n: 7 });
    expect(await store.undo()).toBe(true);
    expect(store.get("b")).toBe(undefined);
    expect(await store.undo()).toBe(false);
    await store.close();
    const loaded = await openUpstream(dir, { readOnly: true });
    expect(loaded.entries()).toEqual(STORED);
  });

  it("deletes a stored record that it does not show, and no other", async () => {
    const dir = temporaryDirectory();
    await prepare(dir);
    const store = await openPartial(dir);
    await store.delete("b");
    expect(await rejectionOf(store.delete("b"))).toMatchObject({ message: "Record 'b' not found", code: "OPSLOG_NOT_FOUND" });
    expect(await rejectionOf(store.delete("a"))).toMatchObject({ message: "Record 'a' not found", code: "OPSLOG_NOT_FOUND" });
    expect(await rejectionOf(store.delete("never"))).toMatchObject({ message: "Record 'never' not found" });
    await store.batch(() => {
      store.delete("list");
      expect(thrownBy(() => store.delete("list"))).toMatchObject({ code: "OPSLOG_NOT_FOUND" });
    });
    expect(await store.undo()).toBe(true);
    await store.delete("list");
    expect(store.entries()).toEqual([]);
    expect(store.getOps().map(({ op, id, prev }) => [op, id, prev])).toEqual([
      ["delete", "b", STORED[0][1]],
      ["delete", "list", [1, 2, 3]],
    ]);
    await store.close();
    const loaded = await openUpstream(dir, { readOnly: true });
    expect(loaded.entries().map(([id]) => id)).toEqual(["__proto__", "日本", "new"]);
  });

  it("shows operations with what they replaced", async () => {
    const dir = temporaryDirectory();
    await prepare(dir);
    const store = await openPartial(dir);
    await store.set("b", { n: 3, text: "changed by the log, long enough for a patch" });
    await store.set("list", [4]);
    await store.set("a", { n: 0 });
    expect(store.getOps().map(({ ts: _ts, ...op }) => op)).toEqual([
      {
        op: "set", id: "b", prev: { $set: { n: 2 } },
        data: { n: 3, text: "changed by the log, long enough for a patch" }, encoding: "delta",
      },
      { op: "set", id: "list", prev: [1, 2, 3], data: [4] },
      { op: "set", id: "a", prev: null, data: { n: 0 } },
    ]);
  });

  it("makes a fresh store as usual, which any other open can use", async () => {
    const dir = temporaryDirectory();
    const store = await openPartial(dir);
    await store.set("a", { n: 1 });
    await store.delete("a");
    await store.set("b", { n: 2 });
    await store.close();
    const loaded = await openUpstream(dir, MANUAL);
    expect(loaded.entries()).toEqual([["b", { n: 2 }]]);
    expect(loaded.getOps()).toHaveLength(3);
  });

  it("may be read-only, where there is a store, and then takes no lock", async () => {
    const dir = temporaryDirectory();
    expect(await rejectionOf(openPartial(dir, { readOnly: true }))).toMatchObject({
      message: "Cannot open in readOnly mode: no existing store found",
    });
    await prepare(dir);
    const writer = await openPartial(dir);
    const reader = await openPartial(dir, { readOnly: true });
    expect(reader.entries()).toEqual([]);
    expect(thrownBy(() => reader.set("a", {}))).toMatchObject({ code: "OPSLOG_READ_ONLY" });
    expect(await rejectionOf(openPartial(dir))).toMatchObject({ code: "OPSLOG_LOCKED" });
    await writer.set("a", { n: 1 });
  });

  it("takes true and false only", async () => {
    const dir = temporaryDirectory();
    await prepare(dir);
    for (const skipLoad of [1, "true", null]) {
      expect(await rejectionOf(openPartial(dir, { skipLoad }))).toMatchObject({
        name: "TypeError",
        message: expect.stringContaining("'skipLoad' must be a boolean"),
      });
    }
    const store = await openPartial(dir, { skipLoad: false });
    expect(store.entries()).toEqual(STORED);
  });
});
