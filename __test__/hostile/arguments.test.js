/** CONTRACT.md 1: arguments of any kind are refused or mean what they say; nothing is changed, nothing blocked, no crash. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { temporaryDirectory, treeOf } from "../support/directory.js";
import { hasFiles, Store } from "../support/implementation.js";
import { closedAtEnd, openStore, stateOf } from "../support/stores.js";

const KEEP_LOG = { durability: "os", checkpointThreshold: Infinity, checkpointOnClose: false };

const thrower = () => {
  throw new Error("a trap of the caller's");
};
const HANDLER = Object.fromEntries(
  ["get", "set", "has", "ownKeys", "getPrototypeOf", "getOwnPropertyDescriptor", "apply", "construct"].map((trap) => [trap, thrower]),
);
const revoked = () => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
};
const cycle = {};
cycle.self = cycle;

/** @type {[string, any][]} */
const HOSTILE = [
  ["undefined", undefined],
  ["null", null],
  ["a symbol", Symbol("x")],
  ["a bigint", 10n],
  ["NaN", NaN],
  ["minus one", -1],
  ["2 ** 53", 2 ** 53],
  ["the empty string", ""],
  ["a function", thrower],
  ["an object whose getter throws", { get member() { return thrower(); } }],
  ["an object whose toString throws", { toString: thrower, valueOf: thrower, [Symbol.toPrimitive]: thrower }],
  ["an object whose toJSON throws", { toJSON: thrower }],
  ["a proxy whose traps throw", new Proxy({}, HANDLER)],
  ["a function proxy whose traps throw", new Proxy(() => {}, HANDLER)],
  ["a revoked proxy", revoked()],
  ["a cycle", cycle],
  ["an object without a prototype", Object.create(null)],
  ["a String object", Object("text")],
  ["an array buffer", new ArrayBuffer(8)],
  ["a thenable", { then: thrower }],
];

/** Every call with a hostile value in each place. */
const CALLS = {
  "get(x)": (store, x) => store.get(x),
  "has(x)": (store, x) => store.has(x),
  "filter(x)": (store, x) => store.filter(x),
  "count(x)": (store, x) => store.count(x),
  "set(x, {})": (store, x) => store.set(x, {}),
  "delete(x)": (store, x) => store.delete(x),
  "batch(x)": (store, x) => store.batch(x),
  "batch(() => set(x))": (store, x) => store.batch(() => store.set(x, {})),
  "batch(() => set('a', 1), delete(x))": (store, x) =>
    store.batch(() => {
      void store.set("a", { n: "of a batch that fails" });
      void store.delete(x);
    }),
  "archive(x)": (store, x) => store.archive(x),
  "archive(() => false, x)": (store, x) => store.archive(() => false, x),
  "loadArchive(x)": (store, x) => store.loadArchive(x),
  "compact(x)": (store, x) => store.compact({ signal: x }),
  "getHistory(x)": (store, x) => store.getHistory(x),
  "getOps(x)": (store, x) => store.getOps(x),
  "getWalOps(x)": async (store, x) => {
    for await (const _op of store.getWalOps(x));
  },
  "watch(x)": (store, x) => {
    store.watch(x);
    store.unwatch();
  },
  "watch(f, x)": (store, x) => {
    store.watch(() => {}, x);
    store.unwatch();
  },
  "open(x)": (store, x) => store.open(x),
};

describe.each(HOSTILE)("with %s", (_name, hostile) => {
  it.each(Object.entries(CALLS))("%s leaves the store as it was, and usable", async (_call, call) => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, KEEP_LOG);
    await store.set("a", { n: 1 });
    const before = store.entries();
    try {
      await call(store, hostile);
    } catch (error) {
      expect(error).toBeInstanceOf(Error);
    }
    expect(store.entries()).toEqual(before);
    await store.set("b", { n: 2 });
    await store.close();
    expect((await stateOf(dir)).entries).toEqual([...before, ["b", { n: 2 }]]);
  });

  it("as a value it is refused or stored as its JSON text", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, KEEP_LOG);
    let text;
    try {
      text = JSON.stringify(hostile);
    } catch {
      // no JSON text
    }
    const stored = await store.set("a", hostile).then(() => true, () => false);
    expect(stored).toBe(text !== undefined && text !== "null");
    await store.close();
    expect((await stateOf(dir)).entries).toEqual(stored ? [["a", JSON.parse(text)]] : []);
  });

  it("as options of open it is refused or taken for none, and the directory is free afterwards", async () => {
    const names = ["checkpointThreshold", "version", "migrate", "readOnly", "agentId", "writeMode", "groupCommitMs", "durability", "recovery"];
    for (const options of [hostile, ...names.map((name) => ({ [name]: hostile })), ...names.map((name) => ({ get [name]() { return thrower(); } }))]) {
      const dir = temporaryDirectory();
      const store = closedAtEnd(new Store());
      const opened = await store.open(dir, options).then(() => true, (error) => {
        expect(error).toBeInstanceOf(Error);
        return false;
      });
      if (opened) await store.close();
      if (hasFiles) expect(existsSync(join(dir, ".lock"))).toBe(false);
      const next = await openStore(dir, opened ? undefined : {});
      await next.close();
    }
  });
});

describe("sizes and depths", () => {
  it("an id of 1 MB is an id", async () => {
    const dir = temporaryDirectory();
    const id = "é\u0000🚀x".repeat(200_000);
    const store = await openStore(dir, KEEP_LOG);
    await store.set(id, { n: 1 });
    await store.set(id, { n: 2 });
    expect(store.getHistory(id)).toHaveLength(2);
    await store.compact();
    await store.delete(id);
    expect(await store.undo()).toBe(true);
    await store.close();
    const { entries } = await stateOf(dir);
    expect(entries.length).toBe(1);
    expect(entries[0][0] === id && entries[0][1].n === 2).toBe(true);
  });

  it("a value that nests 10,000 deep is refused by JSON.stringify, or survives log and snapshot", async () => {
    for (const [open, close] of [["[", "]"], ['{"a":', "}"]]) {
      const dir = temporaryDirectory();
      const text = `${open.repeat(10_000)}1${close.repeat(10_000)}`;
      const value = JSON.parse(text);
      const store = await openStore(dir, KEEP_LOG);
      const stored = await store.set("deep", value).then(() => true, (error) => {
        expect(error).toBeInstanceOf(RangeError);
        return false;
      });
      await store.set("after", { toJSON: () => ({ n: 1 }) });
      await store.compact();
      await store.close();
      const again = await openStore(dir, KEEP_LOG);
      expect(again.get("after")).toEqual({ n: 1 });
      expect(again.has("deep")).toBe(stored);
      if (stored) expect(JSON.stringify(again.get("deep"))).toBe(text);
    }
  });

  it("a value of 100 MB is stored, read back and cut off again", { timeout: 300_000 }, async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, KEEP_LOG);
    const text = "0123456789".repeat(10_000_000);
    await store.set("large", { text });
    await store.set("large", { text, more: 1 });
    expect(await store.undo()).toBe(true);
    await store.close();
    const again = await openStore(dir, { ...KEEP_LOG, readOnly: true });
    expect(again.get("large").text === text && again.get("large").more === undefined).toBe(true);
  });

  it.runIf(hasFiles)("a value longer than a string can be is refused by JSON.stringify and leaves no byte", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, KEEP_LOG);
    const tree = treeOf(dir);
    const part = "x".repeat(1 << 28);
    await expect(store.set("a", [part, part, part])).rejects.toBeInstanceOf(RangeError);
    expect(treeOf(dir)).toEqual(tree);
    await store.set("a", 1);
  });
});
