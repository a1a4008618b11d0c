/** The README's figures are those of the published run. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

/** @param {string} path in the repository */
const read = (path) => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), "utf8");

const readme = read("README.md");
/** @type {{ rows: any[] }} */
const { rows } = JSON.parse(read("benchmark/results/published/bench.json"));

/** Rows of the table "Beside others" that hold figures, and what was measured for them. */
const MEASURED = [
  ["`set` one after the other, synced", "set-fsync"],
  ["1,000 concurrent `set`s, synced", "set-concurrent"],
  ["`batch` of 1,000, synced", "batch"],
  ["`set` one after the other, not synced", "set-os"],
];

/** Upstream and nedb never sync: what they do is not what these rows are about. */
const NEVER_SYNCS = ["upstream", "nedb"];

/** @param {string} line */
const cellsOf = (line) => line.split("|").slice(1, -1).map((cell) => cell.trim());

const table = readme.split("## Beside others\n\n")[1]?.split("\n\n")[0]?.split("\n").map(cellsOf) ?? [];

/** @param {string} scenario @param {string} metric @param {string} contender */
const rowOf = (scenario, metric, contender) =>
  rows.find((row) => row.bytes === 250 && row.scenario === scenario && row.metric === metric && row.contender === contender);

describe("the README's table", () => {
  it("has no figures but those of these rows", () => {
    const withFigures = table.filter((cells) => cells.some((cell) => cell.endsWith("/s"))).map(([name]) => name);
    expect(withFigures).toEqual(MEASURED.map(([name]) => name));
  });

  it.each(MEASURED)("%s: medians of the published run", (name, scenario) => {
    const [, ...contenders] = table[0];
    const expected = contenders.map((contender) => {
      const row = scenario !== "set-os" && NEVER_SYNCS.includes(contender) ? undefined : rowOf(scenario, "rate", contender);
      return row === undefined ? "" : `${Math.round(row.median).toLocaleString("en-US")} set/s`;
    });
    expect(table.find(([first]) => first === name)?.slice(1)).toEqual(expected);
  });
});

/** The README without its line breaks: where a sentence wraps depends on the figures in it. */
const prose = readme.replace(/\s+/g, " ");

describe("the README's words about upstream", () => {
  it.each([
    [/a buffered update is ([\d.]+) times/, "async-update", "rate"],
    [/`set` under `"os"` ([\d.]+) times/, "set-os", "rate"],
    [/1,000 concurrent durable `set`s ([\d.]+) times/, "set-concurrent", "rate"],
    [/200,000 records open ([\d.]+) times/, "open", "open"],
    [/all read for the first time ([\d.]+) times/, "open", "filter"],
  ])("%s: the ratio of the published run", (words, scenario, metric) => {
    const told = Number(words.exec(prose)?.[1]);
    const { ratio } = rowOf(scenario, metric, "upstream");
    expect(told).toBe(Number(ratio.toFixed(ratio < 10 ? 1 : 0)));
  });

  it("and the stall of a checkpoint", () => {
    const [, ours, theirs] = /the event loop up for (\d+) ms instead of (\d+)\./.exec(prose) ?? [];
    const stalls = ["opslog-native", "upstream"].map((name) => Math.round(rowOf("checkpoint", "stall", name).median));
    expect([Number(ours), Number(theirs)]).toEqual(stalls);
  });
});
