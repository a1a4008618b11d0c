/** The exported validators: upstream's answers and words for any value. */
import * as upstream from "@backloghq/opslog";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as ours from "../../index.js";
import { thrownBy } from "../support/errors.js";

const stats = { activeRecords: 1, archivedRecords: 0, opsCount: 2, created: "t", lastCheckpoint: "t" };

/** A sound value for each validator. */
const SOUND = {
  validateOp: { ts: "t", op: "set", id: "a", prev: { n: 1 }, data: { n: 2 }, encoding: "full", agent: "x", clock: 3 },
  validateManifest: {
    version: 1, currentSnapshot: "s", activeOps: "o", activeAgentOps: { a: "b" }, archiveSegments: ["x"], stats,
  },
  validateSnapshot: { version: 1, timestamp: "t", records: { a: 1 } },
  validateArchiveSegment: { version: 1, period: "p", timestamp: "t", records: { a: 1 } },
};

/** What a call comes to: its result, or the message of its error. */
function outcomeOf(call) {
  try {
    return { result: call() };
  } catch (error) {
    return { name: error.name, message: error.message };
  }
}

const ODD = fc.oneof(
  fc.constantFrom(
    undefined, null, "", "x", "set", "delete", "full", "delta", 0, -0, 1, -1, 1.5, NaN, Infinity, 2 ** 60, 1n, true,
    [], [""], ["a"], [1], {}, { a: "" }, { a: 1 }, () => {}, new Date(0), Object.create(null), Object.create({ a: 1 }),
  ),
  fc.anything(),
);

/** A sound value with some members replaced or left out. */
function almost(sound) {
  const changes = fc.dictionary(fc.constantFrom(...Object.keys(sound)), ODD, { maxKeys: 3 });
  const absent = fc.subarray(Object.keys(sound), { maxLength: 2 });
  return fc.tuple(changes, absent, fc.boolean()).map(([changed, left, inherits]) => {
    const value = { ...sound, ...changed };
    for (const name of left) delete value[name];
    // `in` and member access see inherited members, too
    return inherits ? Object.create(value) : value;
  });
}

describe.each(Object.keys(SOUND))("%s", (name) => {
  const agree = (value) => {
    expect(outcomeOf(() => ours[name](value))).toEqual(outcomeOf(() => upstream[name](value)));
  };

  it("answers with the very value", () => {
    const value = SOUND[name];
    expect(ours[name](value)).toBe(value);
  });

  it("agrees with upstream on any value", () => {
    fc.assert(fc.property(ODD, agree), { numRuns: 500 });
  });

  it("agrees with upstream on values that are almost sound", () => {
    fc.assert(fc.property(almost(SOUND[name]), agree), { numRuns: 3000 });
  });

  it("agrees with upstream where one member is wrong", () => {
    for (const member of Object.keys(SOUND[name])) {
      for (const wrong of [undefined, null, "", "x", 0, 1, -1, 1.5, [], {}, [""], { a: "" }]) {
        agree({ ...SOUND[name], [member]: wrong });
      }
    }
  });

  it("throws errors with a code", () => {
    expect(thrownBy(() => ours[name](null))).toMatchObject({ code: "OPSLOG_INVALID" });
    expect(thrownBy(() => ours[name](null))).toBeInstanceOf(Error);
  });
});

it("validateManifest agrees with upstream on almost sound stats", () => {
  fc.assert(
    fc.property(almost(stats), (value) => {
      const manifest = { ...SOUND.validateManifest, stats: value };
      expect(outcomeOf(() => ours.validateManifest(manifest))).toEqual(outcomeOf(() => upstream.validateManifest(manifest)));
    }),
    { numRuns: 2000 },
  );
});

it("validateOp agrees with upstream on deletes", () => {
  const sound = { ts: "t", op: "delete", id: "a", prev: {} };
  fc.assert(
    fc.property(almost({ ...sound, data: 1 }), almost(sound), (one, other) => {
      for (const value of [one, other]) {
        expect(outcomeOf(() => ours.validateOp(value))).toEqual(outcomeOf(() => upstream.validateOp(value)));
      }
    }),
    { numRuns: 2000 },
  );
});
