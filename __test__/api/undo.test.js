/** CONTRACT.md 1: `undo` removes exactly the last operation, in memory and on disk alike. */
import { beforeEach, describe, expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { logPathOf, logTextOf } from "../support/files.js";
import { openStore, openUpstream, stateIn, stateOf, withStore, WRITE_MODES } from "../support/stores.js";

const PROTO = JSON.parse('{"__proto__":{"x":1},"constructor":"c","plain":"text that stays the same"}');
const PROTO_CHANGED = JSON.parse('{"__proto__":{"x":2},"plain":"text that stays the same"}');

describe.each(WRITE_MODES)("undo ($mode)", ({ options }) => {
  let dir;
  let store;

  beforeEach(async () => {
    dir = temporaryDirectory();
    store = await openStore(dir, { ...options, checkpointThreshold: Infinity, checkpointOnClose: false });
  });

  /**
   * Does one operation, undoes it, and compares memory and file with what they were.
   *
   * @param {() => unknown} operation what to do
   */
  async function expectUndone(operation) {
    await store.flush();
    const state = stateIn(store);
    const log = logTextOf(dir);
    await operation();
    expect(await store.undo()).toBe(true);
    expect(stateIn(store)).toEqual(state);
    await store.flush();
    expect(logTextOf(dir)).toBe(log);
  }

  it("of a create, an update and a delete gives back record and place", async () => {
    for (const id of ["a", "b", "c"]) await store.set(id, { id, text: "stays" });
    await expectUndone(() => store.set("d", { id: "d" }));
    await expectUndone(() => store.set("b", { id: "B", text: "stays" }));
    await expectUndone(() => store.set("b", { entirely: "different" }));
    await expectUndone(() => store.delete("a"));
    await expectUndone(() => store.set("b", { id: "b", text: "stays" }));
  });

  it.each([
    ["multi-byte text", { text: "日本語 👩‍🚀 é\u2028" }, { text: "naïve" }],
    ["lone surrogates", { s: "\ud800", t: "same" }, { s: "\udc00", t: "same" }],
    ["members named __proto__ and constructor", PROTO, PROTO_CHANGED],
    ["members added", { a: 1, b: "stays" }, JSON.parse('{"a":1,"b":"stays","__proto__":1,"constructor":2,"toString":3}')],
    ["arrays", [1, 2, 3], [1, 2]],
    ["an array and an object", [1, 2, 3], { 0: 1, 1: 2 }],
    ["strings", "one", "two"],
    ["other member order", { a: 1, b: 2 }, { b: 2, a: 1 }],
    ["a member named $set", { $set: { a: 1 }, x: "stays" }, { $set: { a: 2 }, x: "stays" }],
    ["one large member", { big: "é".repeat(20_000), n: 1 }, { big: "é".repeat(20_000), n: 2 }],
  ])("whatever the text: %s", async (_name, first, second) => {
    await store.set("before", { n: 1 });
    await expectUndone(() => store.set("id", first));
    await store.set("id", first);
    await expectUndone(() => store.set("id", second));
    expect(JSON.stringify(store.get("id"))).toBe(JSON.stringify(first));
    await store.set("id", second);
    await expectUndone(() => store.set("id", first));
    await expectUndone(() => store.delete("id"));
    expect(JSON.stringify(store.get("id"))).toBe(JSON.stringify(second));
  });

  it.each(["__proto__", "constructor", "\ud800", "日本語", "quote\"\\\n"])("whatever the id: %j", async (id) => {
    await expectUndone(() => store.set(id, { n: 1 }));
    await store.set(id, { n: 1 });
    await expectUndone(() => store.set(id, { n: 2 }));
    await expectUndone(() => store.delete(id));
  });

  it("takes back the last operation of a batch only", async () => {
    await store.batch(() => {
      store.set("a", { n: 1 });
      store.set("b", { n: 1 });
      store.delete("a");
    });
    expect(await store.undo()).toBe(true);
    expect(store.entries()).toEqual([["a", { n: 1 }], ["b", { n: 1 }]]);
    await store.close();
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }], ["b", { n: 1 }]]);
  });

  it("takes back everything step by step, then answers false", async () => {
    const states = [];
    const steps = [
      () => store.set("a", { n: 1, text: "stays" }),
      () => store.set("a", { n: 2, text: "stays" }),
      () => store.batch(() => {
        store.set("b", { n: 1 });
        store.set("c", { n: 1 });
      }),
      () => store.delete("a"),
      () => store.set("a", { n: 3 }),
    ];
    for (const step of steps) {
      states.push(stateIn(store));
      await step();
    }
    for (const state of states.reverse()) {
      await store.undo();
      if (state.ops.length === 2) await store.undo();
      expect(stateIn(store)).toEqual(state);
    }
    expect(await store.undo()).toBe(false);
    expect(stateIn(store)).toEqual({ entries: [], ops: [] });
    await store.close();
    expect(await stateOf(dir)).toEqual({ entries: [], ops: [] });
  });

  it("takes its place in the order of the calls when nobody awaits them", async () => {
    const results = await Promise.all([
      store.set("a", { n: 1 }),
      store.undo(),
      store.undo(),
      store.set("b", { n: 1 }),
      store.set("c", { n: 1 }),
      store.undo(),
      store.delete("b"),
      store.undo(),
      store.set("d", { n: 1 }),
    ]);
    expect(results).toEqual([undefined, true, false, undefined, undefined, true, undefined, true, undefined]);
    expect(store.entries().map(([id]) => id)).toEqual(["b", "d"]);
    const state = stateIn(store);
    await store.close();
    expect(await stateOf(dir)).toEqual(state);
  });

  it("works on operations of an earlier session", async () => {
    await store.set("a", { n: 1 });
    await store.set("b", { n: 1 });
    await store.delete("a");
    await store.close();
    store = await openStore(dir, { ...options, checkpointOnClose: false });
    expect(await store.undo()).toBe(true);
    expect(store.entries()).toEqual([["a", { n: 1 }], ["b", { n: 1 }]]);
    expect(await store.undo()).toBe(true);
    await store.close();
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }]]);
  });

  it("of an operation that is still buffered leaves nothing of it on disk", async () => {
    await store.set("a", { n: 1 });
    await store.set("secret", { n: 2 });
    await store.undo();
    await store.close();
    expect(logTextOf(dir)).not.toContain("secret");
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }]]);
  });

  it("answers false right after a checkpoint", async () => {
    await store.set("a", { n: 1 });
    await store.compact();
    expect(await store.undo()).toBe(false);
    expect(store.entries()).toEqual([["a", { n: 1 }]]);
  });
});

describe("undo", () => {
  it("cuts exactly one line whatever its length around 4096 bytes", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { durability: "os", checkpointThreshold: Infinity });
    await store.set("first", { n: 1 });
    await store.set("x", { s: "" });
    const overhead = logTextOf(dir).split("\n")[1].length + 1;
    await store.undo();
    const log = logTextOf(dir);
    for (const multiple of [4096, 8192]) {
      for (let length = multiple - 3; length <= multiple + 3; length++) {
        for (const unit of ["x", "é"]) {
          const room = length - overhead;
          const text = unit === "x" ? "x".repeat(room) : "é".repeat(room >> 1) + "x".repeat(room & 1);
          await store.set("x", { s: text });
          expect(Buffer.byteLength(logTextOf(dir)) - Buffer.byteLength(log)).toBe(length);
          expect(await store.undo()).toBe(true);
          expect(logTextOf(dir)).toBe(log);
        }
      }
    }
    expect(store.entries()).toEqual([["first", { n: 1 }]]);
  });

  it("leaves a log that upstream reads to the same state", async () => {
    const dir = temporaryDirectory();
    await withStore(dir, { checkpointOnClose: false }, async (store) => {
      await store.batch(() => {
        for (const id of ["a", "b", "c"]) store.set(id, { id });
      });
      await store.undo();
      await store.set("d", { id: "d" });
      await store.delete("a");
      await store.undo();
    });
    const reader = await openUpstream(dir, { readOnly: true });
    expect(reader.entries()).toEqual(["a", "b", "d"].map((id) => [id, { id }]));
  });

  it("of an operation that upstream wrote removes its line", async () => {
    const dir = temporaryDirectory();
    const upstream = await openUpstream(dir, { checkpointOnClose: false });
    await upstream.set("a", { n: 1, text: "stays" });
    await upstream.set("a", { n: 2, text: "stays" });
    const before = logTextOf(dir).split("\n")[0];
    await upstream.close();
    const store = await openStore(dir, { checkpointOnClose: false });
    expect(await store.undo()).toBe(true);
    expect(store.get("a")).toEqual({ n: 1, text: "stays" });
    expect(logTextOf(dir)).toBe(`${before}\n`);
    expect(logPathOf(dir)).toContain("ops-");
  });
});
