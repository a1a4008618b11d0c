/** A scan gives what reading the records one by one gives, whatever they are: lib/view.js puts them together from parts. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { hasFiles } from "../support/implementation.js";
import { withStore } from "../support/stores.js";

/** JSON texts that are told apart: objects of one shape, of many, and such as have none. */
const TEXTS = [
  '{"a":1,"b":"x"}',
  '{"a":1.5,"b":null}',
  '{"a":{"b":1},"b":[{"a":2}]}',
  '{"b":"x","a":1}',
  '{"a":1}',
  '{"a":1,"b":2,"c":3}',
  '{"__proto__":{"polluted":true},"a":1}',
  '{"constructor":1,"toString":2,"hasOwnProperty":3}',
  '{"b":1,"1":2,"0":3}',
  '{"a b":1,"ü":2,"😀":3}',
  '{"\\u0001":1,"\\"":2}',
  '{"":1}',
  "{}",
  "[]",
  "[1,[2]]",
  "null",
  "true",
  "-0",
  "1e-7",
  '"text"',
  '"\\ud800"',
  `{${Array.from({ length: 70 }, (_, i) => `"n${i}":${i}`).join(",")}}`,
  ...Array.from({ length: 40 }, (_, i) => `{"only${i}":${i}}`),
];

/** What a value is, its members in their order included. @param {unknown} value */
const exactly = (value) => [JSON.stringify(value), Object.prototype.toString.call(value), Object.is(value, -0)];

describe("a scan", () => {
  let dir;

  beforeEach(async () => {
    dir = temporaryDirectory();
    await withStore(dir, { durability: "os" }, async (store) => {
      await store.batch(() => {
        // Several pieces, in which shapes follow each other and return.
        for (let i = 0; i < 4000; i++) {
          const text = /** @type {string} */ (TEXTS[(i * i + (i >> 6)) % TEXTS.length]);
          void store.set(`r${i}`, text === "null" ? { was: null } : JSON.parse(text));
        }
      });
      await store.compact();
    });
  });

  it("gives what reading one by one gives", async () => {
    await withStore(dir, { readOnly: true }, async (scanned) => {
      const entries = scanned.entries();
      await withStore(dir, { readOnly: true }, (read) => {
        expect(entries.length).toBe(4000);
        for (const [id, value] of entries) expect(exactly(value)).toEqual(exactly(read.get(id)));
      });
      expect(Object.prototype.polluted).toBeUndefined();
      for (const [id, value] of entries) expect(scanned.get(id)).toBe(value);
    });
  });

  it.runIf(hasFiles)("gives what others have written with a name twice, or with spaces", async () => {
    const manifest = JSON.parse(readFileSync(join(dir, "manifest.json"), "utf8"));
    const texts = ['{"a":1,"a":2}', '{"a":1,"a":3}', '{ "a" : 4 , "b" : [ 5 ] }', '{"a":6,"b":[7]}'];
    const records = Array.from({ length: 1000 }, (_, i) => texts.map((text, j) => `{"id":"s${i}-${j}","data":${text}}\n`).join(""));
    const header = '{"version":1,"timestamp":"2026-01-01T00:00:00.000Z"}\n';
    writeFileSync(join(dir, manifest.currentSnapshot), header + records.join(""));
    await withStore(dir, { readOnly: true }, (store) => {
      expect(store.count()).toBe(4000);
      const expected = [{ a: 2 }, { a: 3 }, { a: 4, b: [5] }, { a: 6, b: [7] }];
      for (const [i, value] of store.all().entries()) expect(value).toEqual(expected[i % 4]);
    });
  });

  it("stays as it was while its predicate writes, and the next one sees it", async () => {
    await withStore(dir, {}, async (store) => {
      store.filter(() => true);
      const writes = [];
      const seen = store.filter((_, id) => {
        if (id === "r10") writes.push(store.set("r3000", { a: "new" }), store.delete("r3001"), store.set("added", { a: 1 }));
        return id === "r3000" || id === "r3001" || id === "added";
      });
      expect(seen).toHaveLength(2);
      expect(seen[0]).not.toEqual({ a: "new" });
      expect(store.filter((_, id) => id === "r3000" || id === "r3001" || id === "added")).toEqual([{ a: "new" }, { a: 1 }]);
      expect(store.all()).toHaveLength(4000);
      expect(store.count()).toBe(4000);
      await Promise.all(writes);
    });
  });

  it("of a first scan that is changed before anything is looked up keeps the objects that it gave", async () => {
    await withStore(dir, {}, async (store) => {
      const before = store.all();
      await store.set("r5", { a: "new" });
      expect(store.get("r4")).toBe(before[4]);
      expect(store.get("r5")).toEqual({ a: "new" });
      await store.undo();
      expect(store.get("r6")).toBe(before[6]);
      const after = store.all();
      expect(after[5]).toEqual(before[5]);
      expect(after[6]).toBe(before[6]);
      expect(after).toHaveLength(4000);
      // what a caller does with the array is not the store's
      after.length = 0;
      expect(store.all()).toHaveLength(4000);
    });
  });
});
