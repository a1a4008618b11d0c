/** CONTRACT.md 1: `set` and `delete`, and what they refuse. */
import { beforeEach, describe, expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { rejectionOf } from "../support/errors.js";
import { logLinesOf } from "../support/files.js";
import { isNative } from "../support/implementation.js";
import { openStore, stateIn, stateOf, withStore, WRITE_MODES } from "../support/stores.js";

const cycle = {};
cycle.self = cycle;

const BAD_VALUES = [
  ["undefined", undefined],
  ["null", null],
  ["a function", () => 1],
  ["a symbol", Symbol("s")],
  ["a BigInt", 1n],
  ["an object that holds a BigInt", { deep: [1n] }],
  ["a cycle", cycle],
  ["NaN, whose JSON text is null", NaN],
  ["an object whose toJSON gives undefined", { toJSON: () => undefined }],
  ["an object whose toJSON gives null", { toJSON: () => null }],
];

const BAD_IDS = [
  ["empty", ""],
  ["undefined", undefined],
  ["null", null],
  ["a number", 7],
  ["an object", {}],
  ["a symbol", Symbol("s")],
];

describe.each(WRITE_MODES)("set and delete ($mode)", ({ options }) => {
  let dir;
  let store;

  beforeEach(async () => {
    dir = temporaryDirectory();
    store = await openStore(dir, options);
  });

  it("return promises that resolve with undefined", async () => {
    const set = store.set("a", { n: 1 });
    expect(set).toBeInstanceOf(Promise);
    expect(await set).toBe(undefined);
    const deletion = store.delete("a");
    expect(deletion).toBeInstanceOf(Promise);
    expect(await deletion).toBe(undefined);
  });

  it("are there after a restart", async () => {
    await store.set("a", { n: 1 });
    await store.set("b", { n: 1 });
    await store.set("a", { n: 2 });
    await store.delete("b");
    await store.close();
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 2 }]]);
  });

  it("keep their order when nobody awaits them one by one", async () => {
    const pending = [];
    for (let n = 0; n < 500; n++) {
      pending.push(store.set(`k${n % 7}`, { n }));
      if (n % 5 === 4) pending.push(store.delete(`k${n % 7}`));
    }
    await Promise.all(pending);
    const before = store.entries();
    await store.close();
    expect((await stateOf(dir)).entries).toEqual(before);
  });

  it("of a missing id: delete rejects Record 'ID' not found", async () => {
    await store.set("there", { n: 1 });
    const error = await rejectionOf(store.delete("it's gone"));
    expect(error).toBeInstanceOf(Error);
    expect(error.message).toBe("Record 'it's gone' not found");
    expect(error.code).toBe("OPSLOG_NOT_FOUND");
    expect(store.entries()).toEqual([["there", { n: 1 }]]);
    expect(store.getOps()).toHaveLength(1);
  });

  it("of an id deleted by an earlier call that nobody awaited: delete rejects", async () => {
    const pending = [store.set("a", { n: 1 }), store.delete("a")];
    const error = await rejectionOf(store.delete("a"));
    expect(error.message).toBe("Record 'a' not found");
    await Promise.all(pending);
  });
});

describe("set refuses", () => {
  let dir;
  let store;

  beforeEach(async () => {
    dir = temporaryDirectory();
    store = await openStore(dir, { durability: "os" });
    await store.set("a", { n: 1 });
  });

  /** Nothing changed, nothing blocked. */
  async function expectUntouched() {
    expect(store.entries()).toEqual([["a", { n: 1 }]]);
    expect(store.getOps()).toHaveLength(1);
    expect(logLinesOf(dir)).toHaveLength(1);
    await store.set("b", { n: 2 });
    await store.close();
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }], ["b", { n: 2 }]]);
  }

  it.each(BAD_VALUES)("with a rejected TypeError that names the value: %s", async (_name, value) => {
    const error = await rejectionOf(store.set("a", value));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toMatch(/value/i);
    await expectUntouched();
  });

  it.each(BAD_IDS)("with a rejected TypeError that names the id: %s", async (_name, id) => {
    const error = await rejectionOf(store.set(id, { n: 2 }));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toMatch(/\bid\b/);
    await expectUntouched();
  });

  it.each([...BAD_VALUES.map(([name, value]) => [name, "b", value]), ...BAD_IDS.map(([name, id]) => [`${name} id`, id, 1])])(
    "with a thrown TypeError inside a batch, which may go on: %s",
    async (_name, id, value) => {
      await store.batch(() => {
        store.set("b", { n: 2 });
        expect(() => store.set(id, value)).toThrow(TypeError);
      });
      expect(store.entries()).toEqual([["a", { n: 1 }], ["b", { n: 2 }]]);
      await store.close();
      expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }], ["b", { n: 2 }]]);
    },
  );

  it("a value whose toJSON throws, with that error", async () => {
    const value = {
      toJSON() {
        throw new RangeError("no text for me");
      },
    };
    await expect(store.set("a", value)).rejects.toThrow("no text for me");
    await expectUntouched();
  });

  it("and a delete of no valid id rejects and changes nothing", async () => {
    await expect(store.delete("")).rejects.toThrow();
    await expect(store.delete(undefined)).rejects.toThrow();
    await expectUntouched();
  });
});

describe("set under many calls", () => {
  // each is an append of its own where somebody else keeps the files
  const MANY = isNative ? 5_000 : 500;

  it(`takes ${4 * MANY} un-awaited calls of several rounds`, async () => {
    const dir = temporaryDirectory();
    await withStore(dir, { durability: "os", checkpointThreshold: Infinity }, async (store) => {
      for (let round = 0; round < 4; round++) {
        const pending = [];
        for (let n = 0; n < MANY; n++) pending.push(store.set(`k${n}`, { round, n }));
        await Promise.all(pending);
      }
      expect(store.stats()).toMatchObject({ activeRecords: MANY, opsCount: 4 * MANY });
    });
    const { entries } = await stateOf(dir);
    expect(entries).toHaveLength(MANY);
    expect(entries.every(([id, value], n) => id === `k${n}` && value.round === 3 && value.n === n)).toBe(true);
  });

  it("is one operation each in the log, whose state equals the memory", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(dir, { durability: "os", checkpointThreshold: Infinity, checkpointOnClose: false });
    const pending = [];
    for (let n = 0; n < 300; n++) pending.push(store.set(`k${n % 3}`, { n, text: "some text that stays" }));
    await Promise.all(pending);
    const state = stateIn(store);
    await store.close();
    expect(await stateOf(dir)).toEqual(state);
  });
});
