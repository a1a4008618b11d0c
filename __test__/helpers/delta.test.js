/** The exported delta functions: upstream's answers, and right ones where upstream loses members. */
import * as upstream from "@backloghq/opslog";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { applyDelta, createDelta, isDeltaSmaller } from "../../index.js";
import { temporaryDirectory } from "../support/directory.js";
import { openStore } from "../support/stores.js";

/** What a call comes to: its result, or the class of its error. */
function outcomeOf(call) {
  try {
    return { result: call() };
  } catch (error) {
    return { threw: error.name };
  }
}

/** Member names that no object inherits. */
const NAME = fc.oneof(
  fc.constantFrom("a", "b", "c", "", "$set", "$unset", "10", "9", "\ud800", "\u2028", "日本"),
  fc.string().filter((name) => !(name in {})),
);
const VALUE = fc.oneof(fc.constantFrom(undefined, null, 0, -0, 1, NaN, "x", [], {}), fc.jsonValue(), fc.date());
const RECORD = fc.dictionary(NAME, VALUE, { maxKeys: 8 });
const ANY_RECORD = fc.dictionary(fc.oneof(NAME, fc.constantFrom("__proto__", "constructor", "toString")), fc.jsonValue());

describe("createDelta", () => {
  it("agrees with upstream on records whose members nobody inherits", () => {
    fc.assert(
      fc.property(RECORD, RECORD, (before, after) => {
        expect(createDelta(before, after)).toStrictEqual(upstream.createDelta(before, after));
      }),
      { numRuns: 3000 },
    );
  });

  it("agrees with upstream where most members stay", () => {
    fc.assert(
      fc.property(RECORD, RECORD, fc.array(NAME), (before, changes, gone) => {
        const after = { ...before, ...changes };
        for (const name of gone) delete after[name];
        expect(createDelta(before, after)).toStrictEqual(upstream.createDelta(before, after));
        expect(JSON.stringify(createDelta(before, after))).toBe(JSON.stringify(upstream.createDelta(before, after)));
      }),
      { numRuns: 3000 },
    );
  });

  it.each([
    ["a create", null, { a: 1 }],
    ["nothing changed", { a: 1, b: [1] }, { b: [1], a: 1 }],
    ["an array", [1, 2, 3], [1, 9]],
    ["a string", "ab", { 0: "a" }],
    ["a function", { a: () => 1 }, { a: undefined }],
    ["a symbol", { a: Symbol("s") }, { a: null }],
    ["a BigInt that is not compared", { a: 1n }, {}],
    ["a BigInt that is compared", { a: 1n }, { a: 2n }],
    ["undefined", undefined, {}],
    ["to undefined", {}, undefined],
    ["to null", { a: 1 }, null],
    ["to a number", { a: 1 }, 5],
    ["to a number, from nothing", {}, 5],
    ["from a number", 5, { a: 1 }],
    ["toJSON", { a: new Date(5) }, { a: "1970-01-01T00:00:00.005Z" }],
  ])("agrees with upstream on %s", (_name, before, after) => {
    expect(outcomeOf(() => createDelta(before, after))).toStrictEqual(outcomeOf(() => upstream.createDelta(before, after)));
  });

  it("hands the old values through as they are", () => {
    const date = new Date(0);
    expect(createDelta({ a: date }, {}).$set.a).toBe(date);
  });

  it("keeps members named as those of Object.prototype, which upstream misses", () => {
    const before = { constructor: 1, toString: 2, a: 1 };
    expect(createDelta(before, { a: 1 })).toEqual({ $set: { constructor: 1, toString: 2 } });
    expect(upstream.createDelta({ valueOf: undefined }, {})).toBe(null);
    expect(createDelta({ valueOf: undefined }, {})).toStrictEqual({ $set: { valueOf: undefined } });
    expect(upstream.createDelta({ a: 1 }, { a: 1, constructor: 2 })).toBe(null);
    expect(createDelta({ a: 1 }, { a: 1, constructor: 2 })).toEqual({ $unset: ["constructor"] });
  });

  it("keeps a member named __proto__, which upstream loses", () => {
    const before = JSON.parse('{"__proto__":{"x":1},"a":1}');
    expect(JSON.stringify(upstream.createDelta(before, { a: 1 }))).not.toContain("x");
    const patch = createDelta(before, { a: 1 });
    expect(JSON.stringify(patch)).toBe('{"$set":{"__proto__":{"x":1}}}');
    expect(Object.getPrototypeOf(patch.$set)).toBe(Object.prototype);
  });

  it("is the rule by which the store encodes prev", async () => {
    const store = await openStore(temporaryDirectory(), { durability: "os", checkpointThreshold: Infinity });
    const pairs = fc.sample(fc.tuple(ANY_RECORD, ANY_RECORD), { numRuns: 200, seed: 1 });
    for (const [one, other] of pairs) {
      const [before, after] = [one, { ...one, ...other }].map((value) => JSON.parse(JSON.stringify(value)));
      await store.set("id", before);
      await store.set("id", after);
      const { prev, encoding } = store.getHistory("id").at(-1);
      const patch = createDelta(before, after);
      const smaller = isDeltaSmaller(patch, before);
      expect(encoding).toBe(smaller ? "delta" : undefined);
      expect(JSON.stringify(prev)).toBe(JSON.stringify(smaller ? patch : before));
    }
  });
});

describe("applyDelta", () => {
  it("agrees with upstream on any patch over names that nobody inherits", () => {
    const patches = fc.record({ $set: RECORD, $unset: fc.array(NAME) }, { requiredKeys: [] });
    fc.assert(
      fc.property(RECORD, patches, (record, patch) => {
        const entries = Object.entries(record);
        expect(applyDelta(record, patch)).toStrictEqual(upstream.applyDelta(record, patch));
        expect(JSON.stringify(applyDelta(record, patch))).toBe(JSON.stringify(upstream.applyDelta(record, patch)));
        expect(Object.entries(record)).toStrictEqual(entries);
      }),
      { numRuns: 2000 },
    );
  });

  it("turns the new record into the old one, whatever the names", () => {
    fc.assert(
      fc.property(ANY_RECORD, ANY_RECORD, (one, other) => {
        const [before, after] = [one, other].map((value) => JSON.parse(JSON.stringify(value)));
        const patch = createDelta(before, after);
        const back = patch === null ? after : applyDelta(after, patch);
        const sorted = (record) => Object.entries(record).map((entry) => JSON.stringify(entry)).sort();
        expect(sorted(back)).toEqual(sorted(before));
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    ["null", null, { $set: { a: 1 } }],
    ["an array", [1, 2], { $unset: ["0"] }],
    ["no patch", { a: 1 }, {}],
    ["a null patch", { a: 1 }, null],
    ["empty parts", { a: 1 }, { $set: null, $unset: null }],
    ["a symbol member", { [Symbol.for("s")]: 1 }, { $set: { a: 1 } }],
  ])("agrees with upstream on %s", (_name, record, patch) => {
    expect(outcomeOf(() => applyDelta(record, patch))).toStrictEqual(outcomeOf(() => upstream.applyDelta(record, patch)));
  });

  it("puts a member named __proto__ back, where upstream sets the prototype", () => {
    const patch = JSON.parse('{"$set":{"__proto__":{"x":1}}}');
    expect(Object.hasOwn(upstream.applyDelta({}, patch), "__proto__")).toBe(false);
    expect(JSON.stringify(applyDelta({}, patch))).toBe('{"__proto__":{"x":1}}');
    expect(applyDelta({}, patch).x).toBe(undefined);
  });
});

describe("isDeltaSmaller", () => {
  it("agrees with upstream", () => {
    const either = fc.oneof(fc.constant(null), RECORD, fc.string(), fc.constant(undefined));
    fc.assert(
      fc.property(either, either, (patch, record) => {
        const [ours, theirs] = [isDeltaSmaller, upstream.isDeltaSmaller].map((is) => outcomeOf(() => is(patch, record)));
        expect(ours).toEqual(theirs);
      }),
      { numRuns: 1000 },
    );
  });
});
