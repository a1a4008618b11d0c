/** CONTRACT.md 1 and 3: `getHistory` and `getOps`, the operations since the last checkpoint. */
import { createDelta, isDeltaSmaller } from "@backloghq/opslog";
import { beforeEach, describe, expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { logLinesOf, logTextOf } from "../support/files.js";
import { hasFiles } from "../support/implementation.js";
import { openStore, stateOf, withStore, WRITE_MODES } from "../support/stores.js";

const LONG = "a text that makes the record longer than a patch";

/** [old record, new record]: upstream's exported functions say what `prev` must be. */
const UPDATES = [
  [{ a: 1, text: LONG }, { a: 2, text: LONG }],
  [{ a: 1, text: LONG }, { text: LONG }],
  [{ text: LONG }, { text: LONG, b: 1 }],
  [{ a: 1, c: [1], text: LONG }, { b: 1, c: [2], text: LONG }],
  [{ a: 1 }, { a: 2 }],
  [{ a: 1, text: LONG }, { a: 1, text: LONG }],
  [{ a: 1, text: LONG }, { text: LONG, a: 1 }],
  [{ a: { x: 1, y: 2 }, text: LONG }, { a: { y: 2, x: 1 }, text: LONG }],
  [{ text: LONG }, { entirely: "different" }],
  [{}, { a: 1 }],
  [{ a: 1 }, {}],
  [{ 9: 1, 10: 2, text: LONG }, { 9: 1, 10: 3, text: LONG }],
  [{ s: "日本語日本語", n: 1 }, { s: "日本語日本語", n: 2 }],
  [{ n: 1, s: "日本語日本語" }, { n: 1, s: "短" }],
  [{ s: "\ud800", text: LONG }, { s: "\ud801", text: LONG }],
  [{ "quote\"": 1, text: LONG }, { text: LONG }],
  [{ n: 1e21, text: LONG }, { n: 1e-7, text: LONG }],
];

describe.each(WRITE_MODES)("getHistory and getOps ($mode)", ({ options }) => {
  let dir;
  let store;

  beforeEach(async () => {
    dir = temporaryDirectory();
    store = await openStore(dir, { ...options, checkpointThreshold: Infinity, checkpointOnClose: false });
  });

  it("give operations of upstream's members in upstream's order", async () => {
    await store.set("a", { n: 1, text: LONG });
    await store.set("a", { n: 2, text: LONG });
    await store.delete("a");
    const [create, update, deletion] = store.getOps();
    expect(Object.keys(create)).toEqual(["ts", "op", "id", "prev", "data"]);
    expect(create).toEqual({ ts: create.ts, op: "set", id: "a", prev: null, data: { n: 1, text: LONG } });
    expect(Object.keys(update)).toEqual(["ts", "op", "id", "prev", "data", "encoding"]);
    expect(update).toMatchObject({ prev: { $set: { n: 1 } }, data: { n: 2, text: LONG }, encoding: "delta" });
    expect(Object.keys(deletion)).toEqual(["ts", "op", "id", "prev"]);
    expect(deletion).toMatchObject({ op: "delete", prev: { n: 2, text: LONG } });
    for (const { ts } of [create, update, deletion]) expect(new Date(ts).toISOString()).toBe(ts);
  });

  it("are synchronous and know pending operations with their final prev and encoding", async () => {
    const pending = [store.set("a", { n: 1, text: LONG }), store.set("a", { n: 2, text: LONG }), store.delete("a")];
    const atOnce = store.getOps();
    expect(atOnce).toHaveLength(3);
    expect(atOnce[1]).toMatchObject({ prev: { $set: { n: 1 } }, encoding: "delta" });
    expect(store.getHistory("a")).toEqual(atOnce);
    await Promise.all(pending);
    await store.flush();
    expect(store.getOps()).toEqual(atOnce);
    expect(logLinesOf(dir).map(({ crc: _crc, batch: _batch, write: _write, ...op }) => op)).toEqual(atOnce);
  });

  it("know a batch and what undo left of it", async () => {
    const batch = store.batch(() => {
      store.set("a", { n: 1 });
      store.set("b", { n: 1 });
    });
    expect(store.getOps().map((op) => op.id)).toEqual(["a", "b"]);
    await batch;
    await store.undo();
    expect(store.getOps().map((op) => op.id)).toEqual(["a"]);
    expect(store.getHistory("b")).toEqual([]);
  });

  it("are the same after a restart, and empty after a checkpoint", async () => {
    await store.set("a", { n: 1, text: LONG });
    await store.batch(() => {
      store.set("a", { n: 2, text: LONG });
      store.set("b", { n: 1 });
    });
    const ops = store.getOps();
    await store.close();
    store = await openStore(dir, { checkpointOnClose: false });
    expect(store.getOps()).toEqual(ops);
    expect(store.getHistory("a")).toEqual(ops.slice(0, 2));
    await store.compact();
    expect(store.getOps()).toEqual([]);
    expect(store.getHistory("a")).toEqual([]);
    await store.set("b", { n: 2 });
    expect(store.getOps()).toHaveLength(1);
  });
});

describe("getOps", () => {
  it("of since gives the operations whose ts is greater", async () => {
    const store = await openStore(temporaryDirectory(), { durability: "os" });
    await store.set("a", { n: 1 });
    await new Promise((resolve) => setTimeout(resolve, 5));
    await store.set("b", { n: 1 });
    const [first, second] = store.getOps();
    expect(store.getOps(first.ts)).toEqual([second]);
    expect(store.getOps(second.ts)).toEqual([]);
    expect(store.getOps("2000")).toEqual([first, second]);
    expect(store.getOps("")).toEqual([first, second]);
    expect(store.getOps(undefined)).toEqual([first, second]);
  });

  it("returns an array of the caller's own", async () => {
    const store = await openStore(temporaryDirectory(), { durability: "os" });
    await store.set("a", { n: 1 });
    store.getOps().pop();
    store.getHistory("a").length = 0;
    expect(store.getOps()).toHaveLength(1);
    expect(store.getHistory("a")).toHaveLength(1);
  });

  it.runIf(hasFiles)("never shows the members that we add to the lines", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { durability: "os" });
    await store.set("a", { crc: "mine", batch: 3 });
    expect(logLinesOf(dir)[0]).toMatchObject({ crc: expect.stringMatching(/^[0-9a-f]{8}$/), data: { crc: "mine", batch: 3 } });
    expect(Object.keys(store.getOps()[0])).toEqual(["ts", "op", "id", "prev", "data"]);
    await store.close();
    const reader = await openStore(dir, { readOnly: true });
    for (const op of reader.getOps()) expect(Object.keys(op)).toEqual(["ts", "op", "id", "prev", "data"]);
  });

  it("leaves out a set and a batch that were refused", async () => {
    const store = await openStore(temporaryDirectory(), { durability: "os" });
    await expect(store.set("a", undefined)).rejects.toThrow(TypeError);
    await expect(store.delete("a")).rejects.toThrow("not found");
    const failing = store.batch(() => {
      store.set("a", { n: 1 });
      throw new Error("stop");
    });
    await expect(failing).rejects.toThrow("stop");
    expect(store.getOps()).toEqual([]);
  });
});

describe("prev", () => {
  it.each(UPDATES)("is a delta when its text is shorter than the record's, as upstream: %j to %j", async (from, to) => {
    const dir = temporaryDirectory();
    const delta = createDelta(from, to);
    const expected = delta && isDeltaSmaller(delta, from) ? { prev: delta, encoding: "delta" } : { prev: from };
    await withStore(dir, { durability: "os", checkpointOnClose: false }, async (store) => {
      await store.set("id", from);
      await store.set("id", to);
      const { ts, ...op } = store.getOps()[1];
      expect(op).toStrictEqual({ op: "set", id: "id", data: to, ...expected });
      const line = logTextOf(dir).split("\n")[1];
      expect(line.startsWith(`{"ts":"${ts}","op":"set","id":"id","prev":`)).toBe(true);
    });
    const { ops } = await stateOf(dir);
    expect(ops[1]).toMatchObject(expected);
  });
});
