// The arithmetic between measurements and the table: a wrong direction there would turn every figure around.
import { describe, expect, it } from "vitest";
import { advantage, judge, markdown, median, summarise } from "../../benchmark/report.js";

const more = { better: "more", unit: "set/s" };
const less = { better: "less", unit: "ms" };

describe("median", () => {
  it("is the middle of an odd number of values, in whatever order", () => expect(median([9, 1, 5])).toBe(5));
  it("is the mean of the two in the middle of an even number", () => expect(median([4, 1, 2, 100])).toBe(3));
  it("compares numbers, not their texts", () => expect(median([10, 9, 100])).toBe(10));
});

describe("advantage", () => {
  it("is above 1 where ours does more", () => expect(advantage(more, 20, 10)).toBe(2));
  it("is above 1 where ours takes less", () => expect(advantage(less, 10, 20)).toBe(2));
});

describe("a goal", () => {
  it.each([
    ["times", more, { against: "x", times: 4 }, 40, 10, true],
    ["times, just missed", more, { against: "x", times: 4 }, 39, 10, false],
    ["times, of a duration", less, { against: "x", times: 8 }, 10, 80, true],
    ["times, of a duration, missed", less, { against: "x", times: 8 }, 80, 10, false],
    ["no slower, in the noise", more, { against: "x", times: 1 }, 96, 100, true],
    ["no slower, beyond the noise", more, { against: "x", times: 1 }, 94, 100, false],
    ["within", more, { against: "x", within: 2 }, 50, 100, true],
    ["within, missed", more, { against: "x", within: 2 }, 49, 100, false],
    ["plus", less, { against: "x", plus: 15 }, 55, 40, true],
    ["plus, missed", less, { against: "x", plus: 15 }, 56, 40, false],
    ["at most", less, { atMost: 10 }, 10, 10, true],
    ["at most, missed", less, { atMost: 10 }, 11, 11, false],
  ])("%s", (_name, metric, goal, ours, theirs, met) => expect(judge(metric, goal, ours, theirs).met).toBe(met));
});

describe("a summary", () => {
  const scenario = {
    name: "s",
    title: (size) => `title of ${size}`,
    metrics: [
      { name: "rate", ...more, goals: [{ against: "them", times: 2 }] },
      { name: "stall", title: "stall", ...less, goals: [{ against: "them", times: 3 }, { atMost: 10 }] },
    ],
  };
  const trials = new Map([
    ["us", { version: "1", measurements: [{ rate: 30, stall: 11 }, { rate: 10, stall: 9 }, { rate: 20, stall: 12 }] }],
    ["them", { version: "2", measurements: [{ rate: 5, stall: 33 }] }],
  ]);
  const rows = summarise(scenario, 1234, trials);

  it("has a row for each metric and contender, ours first", () => {
    expect(rows.map(({ metric, contender, median: value, ratio }) => [metric, contender, value, ratio])).toEqual([
      ["rate", "us", 20, undefined], ["rate", "them", 5, 4], ["stall", "us", 11, undefined], ["stall", "them", 33, 3],
    ]);
  });

  it("judges relative goals at the rival's row and absolute ones at ours, once", () => {
    expect(rows.map(({ verdicts }) => verdicts.map(({ met }) => met))).toEqual([[], [true], [false], [true]]);
  });

  it("says in the table what was met and what was missed, unless nothing can be said", () => {
    const table = markdown(rows, true).split("\n").slice(2);
    expect(table[0]).toBe("| title of 1,234 | us 1 | 20 set/s | 10 – 30 |  |  |");
    expect(table[1]).toBe("|  | them 2 | 5 set/s | 5 – 5 | 4.00x as good | 2.00x: met |");
    expect(table[2]).toContain("| title of 1,234: stall | us 1 | 11 ms |");
    expect(table[2]).toContain("at most 10 ms: **missed** |");
    expect(markdown(rows, false)).not.toMatch(/met|missed/);
  });

  it("has one value where a contender had one trial", () => expect(rows[3]?.values).toEqual([33]));
});
