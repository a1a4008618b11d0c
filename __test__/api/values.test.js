/** CONTRACT.md 1: any JSON value under any non-empty id survives memory, log, snapshot and archive. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { logTextOf, snapshotPathOf, upstreamLine, writeParts } from "../support/files.js";
import { hasFiles, isNative } from "../support/implementation.js";
import { openStore, withStore } from "../support/stores.js";

const VALUES = [
  ["an object", { a: 1, b: { c: [1, { d: null }] } }],
  ["an empty object", {}],
  ["an array", [1, "two", [3], null, { four: 4 }]],
  ["an empty array", []],
  ["a string", "text"],
  ["the empty string", ""],
  ["a number", 42],
  ["zero", 0],
  ["true", true],
  ["false", false],
  ["large and small numbers", { a: 1795352551940, b: 1e21, c: 1e-7, d: 9007199254740991, e: -17, f: 0.1, g: 5e-324 }],
  ["members named like prototype members", JSON.parse('{"__proto__":{"x":1},"constructor":"c","toString":null}')],
  ["integer-like members", { b: 1, 10: 2, 9: 3, a: 4 }],
  ["an empty member name", { "": 1 }],
  ["lone surrogates", { s: "a\ud800b\udc00c", "\udfff": 1 }],
  ["line separators U+2028 and U+2029", { "\u2028": "x\u2028y\u2029z" }],
  ["control characters", { s: "\u0000\u0001\b\t\n\v\f\r\u001f\u007f\u0085\ufeff" }],
  ["escapes", { s: "\" \\ / \\u0041 \\n" }],
  ["text of many scripts", { s: "naïve 日本語 שלום 👩‍🚀 é" }],
  ["members named as the format's own", { $set: { a: 1 }, $unset: ["b"], crc: "00000000", batch: 1, id: "x", data: 1 }],
];

const IDS = [
  "plain", " ", "__proto__", "constructor", "hasOwnProperty", "10", "9", "-1", "a b", "quote\"", "back\\slash", "slash/..",
  "new\nline", "\u0000", "\u2028", "\u2029", "\ufeff", "\ud800", "tail\udbff", "\udc00head", "\udc00\ud800", "👩‍🚀", "日本語", "é",
  "x".repeat(10_000), "null", "undefined", "$set", "crc",
];

/**
 * Checks one state three times: as written, from the log, from a snapshot.
 *
 * @param {[string, unknown][]} pairs the records
 * @param {(entries: [string, unknown][]) => void} check receives what `entries()` answers
 */
async function checkEverywhere(pairs, check) {
  const dir = temporaryDirectory();
  const options = { durability: "os", checkpointThreshold: Infinity, checkpointOnClose: false };
  await withStore(dir, options, async (store) => {
    await Promise.all(pairs.map(([id, value]) => store.set(id, value)));
    check(store.entries());
  });
  await withStore(dir, options, async (store) => {
    check(store.entries());
    await store.compact();
    check(store.entries());
  });
  await withStore(dir, options, (store) => check(store.entries()));
}

describe("a value", () => {
  it.each(VALUES)("survives memory, log and snapshot: %s", async (_name, value) => {
    await checkEverywhere([["id", value]], (entries) => {
      expect(entries).toStrictEqual([["id", value]]);
      expect(JSON.stringify(entries[0][1])).toBe(JSON.stringify(value));
    });
  });

  it.each(VALUES)("survives an archive segment: %s", async (_name, value) => {
    const dir = temporaryDirectory();
    await withStore(dir, { durability: "os" }, async (store) => {
      await store.set("id", value);
      expect(await store.archive(() => true, "s")).toBe(1);
    });
    const store = await openStore(dir);
    const archived = await store.loadArchive("s");
    expect([...archived]).toStrictEqual([["id", value]]);
    expect(JSON.stringify(archived.get("id"))).toBe(JSON.stringify(value));
  });

  it.each(VALUES)("can be updated, deleted and brought back by undo: %s", async (_name, value) => {
    const store = await openStore(temporaryDirectory(), { durability: "os" });
    await store.set("id", value);
    await store.set("id", { something: "else", and: "more" });
    await store.delete("id");
    await store.set("id", value);
    await store.set("id", [value]);
    for (const expected of [value, undefined, { something: "else", and: "more" }, value, undefined]) {
      expect(await store.undo()).toBe(true);
      expect(store.get("id")).toStrictEqual(expected);
    }
  });

  it("of many MB survives memory, log, snapshot and archive", async () => {
    const value = { ascii: "x".repeat(6_000_000), wide: "日本".repeat(700_000), list: Array(100_000).fill("element") };
    const text = JSON.stringify(value);
    await checkEverywhere([["big", value], ["small", 1]], (entries) => {
      expect(JSON.stringify(entries[0][1]) === text).toBe(true);
      expect(entries[1]).toEqual(["small", 1]);
    });
    const store = await openStore(temporaryDirectory(), { durability: "os" });
    await store.set("big", value);
    await store.set("big", { ...value, one: 1 });
    await store.undo();
    await store.archive(() => true, "s");
    expect(JSON.stringify((await store.loadArchive("s")).get("big")) === text).toBe(true);
  });

  it("nested 2,000 levels deep survives log and snapshot", async () => {
    let value = "core";
    for (let level = 0; level < 2_000; level++) value = level % 2 ? [value] : { in: value };
    const text = JSON.stringify(value);
    await checkEverywhere([["deep", value]], ([[, read]]) => expect(JSON.stringify(read) === text).toBe(true));
  });

  it.runIf(hasFiles)("keeps the text of its numbers in the log and the snapshot", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { durability: "os" });
    await store.set("n", { a: 1795352551940, b: 1e21, c: 1e-7 });
    const text = '{"a":1795352551940,"b":1e+21,"c":1e-7}';
    expect(logTextOf(dir)).toContain(text);
    await store.compact();
    expect(readFileSync(snapshotPathOf(dir), "utf8")).toContain(text);
  });

  it.runIf(isNative)("of a foreign log keeps its number texts through a checkpoint", async () => {
    const dir = temporaryDirectory();
    const text = '{"a":1.50,"b":1E5,"c":12345678901234567890,"d":-0}';
    writeParts(dir, { log: `{"ts":"2026-01-02T03:04:06.000Z","op":"set","id":"n","prev":null,"data":${text}}\n` });
    const store = await openStore(dir);
    await store.compact();
    expect(readFileSync(snapshotPathOf(dir), "utf8")).toContain(text);
  });

  it.runIf(hasFiles)("written by upstream with a member named __proto__ is read with it", async () => {
    const dir = temporaryDirectory();
    const data = JSON.parse('{"__proto__":{"x":1}}');
    writeParts(dir, { log: upstreamLine({ op: "set", id: "__proto__", prev: null, data }) });
    const store = await openStore(dir);
    expect(Object.keys(store.get("__proto__"))).toEqual(["__proto__"]);
    expect(Object.getPrototypeOf(store.get("__proto__"))).toBe(Object.prototype);
  });
});

describe("an id", () => {
  it("may be any non-empty string, in memory, log and snapshot", async () => {
    const pairs = IDS.map((id, n) => [id, { n, id }]);
    await checkEverywhere(pairs, (entries) => expect(entries).toStrictEqual(pairs));
  });

  it("is found by get, has, delete, getHistory and undo", async () => {
    const store = await openStore(temporaryDirectory(), { durability: "os", checkpointThreshold: Infinity });
    for (const id of IDS) await store.set(id, { id });
    for (const id of IDS) {
      expect(store.has(id)).toBe(true);
      expect(store.get(id)).toEqual({ id });
      await store.delete(id);
      expect(store.has(id)).toBe(false);
      expect(store.getHistory(id).map((op) => [op.op, op.id])).toEqual([["set", id], ["delete", id]]);
      expect(await store.undo()).toBe(true);
      expect(store.get(id)).toEqual({ id });
    }
  });

  it("may be any non-empty string in an archive segment", async () => {
    const dir = temporaryDirectory();
    await withStore(dir, { durability: "os" }, async (store) => {
      await store.batch(() => IDS.forEach((id) => store.set(id, { id })));
      expect(await store.archive(() => true, "s")).toBe(IDS.length);
    });
    const store = await openStore(dir);
    expect(store.count()).toBe(0);
    const archived = await store.loadArchive("s");
    expect([...archived].sort()).toEqual(IDS.map((id) => [id, { id }]).sort());
  });

  it("is not confused with another one that UTF-8 would make equal", async () => {
    const pairs = [["\ud800", 1], ["\ud801", 2], ["\udc00", 3], ["\ufffd", 4]];
    await checkEverywhere(pairs, (entries) => expect(entries).toEqual(pairs));
  });
});
