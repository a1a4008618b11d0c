// `npm run bench`: ours beside its rivals, in one run.
//
//   npm run bench                          every scenario; exit code 1 if a goal is missed
//   npm run bench -- --quick               tiny sizes: shows that everything runs; goals are not judged
//   npm run bench -- --growth              open, memory, set and checkpoint at 10 thousand, 100 thousand, 1 million records
//   npm run bench -- --growth=5000000      … at sizes of one's own, separated by commas
//   npm run bench -- --agents                several writers on one directory: writing in 1 to 8 processes, refreshing
//   npm run bench -- --only set-os,open    some scenarios
//   npm run bench -- --trials 9            trials per contender (default 5; 3 with records of 4 KB, and for --growth)
//   npm run bench -- --record 4096         records of one size only (default: 250 bytes, and again 4,096)
//   npm run bench -- --without lmdb        without a rival
//   npm run bench -- --dir PATH            where the stores are written (default benchmark/.work)
//   npm run bench -- --note TEXT           a remark on the circumstances, kept with the results
//   npm run bench -- --publish             also replaces benchmark/results/published, which is committed
//
// Each trial is a process of its own, contenders take turns (A B A B …), medians are compared. Every single
// measurement, the table and a chart go to benchmark/results/, the table to standard output as well.

import { execFile } from "node:child_process";
import { closeSync, cpSync, fsyncSync, mkdirSync, openSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";

import cliProgress from "cli-progress";

import { agents } from "./agents.js";
import { growthChart, ratioChart } from "./charts.js";
import { describeMachine } from "./machine.js";
import { count, markdown, NOISE, summarise } from "./report.js";
import { installRivals, unavailable } from "./rivals.js";
import { growth, scenarios } from "./scenarios.js";

/** @typedef {import("./report.js").Row} Row */
/** @typedef {import("./scenarios.js").Scenario} Scenario */
/** @typedef {import("./scenarios.js").Measurement} Measurement */

/**
 * One scenario at one size.
 * @typedef {{ scenario: Scenario, contenders: string[], size: number, bytes: number, trials: number }} Item
 */

const LARGE = 4_096;

const here = fileURLToPath(new URL(".", import.meta.url));
const { values: flags } = parseArgs({
  args: process.argv.slice(2).map((flag) => (flag === "--growth" ? "--growth=10000,100000,1000000" : flag)),
  options: {
    quick: { type: "boolean", default: false },
    growth: { type: "string" },
    agents: { type: "boolean", default: false },
    only: { type: "string" },
    trials: { type: "string" },
    record: { type: "string" },
    without: { type: "string", default: "" },
    dir: { type: "string", default: join(here, ".work") },
    note: { type: "string", default: "" },
    publish: { type: "boolean", default: false },
  },
});
const without = flags.without.split(",");
const chosen = flags.growth === undefined ? choose(flags.only, flags.agents ? agents : scenarios) : [growth];
await installRivals(!flags.quick);
const missing = await unavailable([...new Set(chosen.flatMap(({ contenders }) => contenders))].filter((name) => !without.includes(name)));
for (const [contender, reason] of missing) console.error(`${contender} cannot be run here: ${reason}`);
if (missing.size > 0 && !flags.quick) {
  console.error(`Give \`--without ${[...missing.keys()].join(",")}\` to measure the others, or see benchmark/package.json.`);
  process.exit(2);
}

const work = join(resolve(flags.dir), `run-${process.pid}`);
mkdirSync(work, { recursive: true });
const machine = describeMachine(work);
const loadBefore = loadavg()[0] ?? NaN;
const started = Date.now();
const items = plan();
const bar = new cliProgress.SingleBar(
  { format: "{bar} {value}/{total} trials | {task}", stream: process.stderr, clearOnComplete: true },
  cliProgress.Presets.shades_classic,
);

/** @type {(Row & { bytes: number })[]} */
const rows = [];
bar.start(
  items.reduce((sum, { contenders, trials }) => sum + contenders.length * trials, 0),
  0,
  { task: "" },
);
try {
  for (const item of items) rows.push(...(await measure(item)));
} finally {
  bar.stop();
  rmSync(work, { recursive: true, force: true });
}
await publish();

/** @returns {Item[]} */
function plan() {
  const sizes = flags.growth?.split(",").map((size) => positive("--growth", size));
  const records = flags.record === undefined ? [250, ...(sizes === undefined ? [LARGE] : [])] : [positive("--record", flags.record)];
  return records.flatMap((bytes) =>
    // a quick run only shows that large records work at all
    (flags.quick && records.length > 1 && bytes === LARGE ? chosen.slice(0, 1) : chosen).flatMap((scenario) => {
      const trials = positive("--trials", flags.trials ?? (flags.quick ? "1" : bytes >= LARGE || sizes ? "3" : "5"));
      const contenders = scenario.contenders.filter((name) => !without.includes(name) && !missing.has(name));
      const full = bytes >= LARGE ? scenario.size.large : scenario.size.full;
      const wanted = sizes ?? (full === undefined ? [] : [flags.quick ? scenario.size.quick : full]);
      return wanted.map((size) => ({ scenario, contenders, size, bytes, trials }));
    }),
  );
}

/**
 * All trials of one scenario at one size.
 * @param {Item} item
 */
async function measure({ scenario, contenders, size, bytes, trials }) {
  /** @type {Map<string, { version: string, measurements: Measurement[] }>} */
  const results = new Map();
  for (const contender of contenders) {
    results.set(contender, { version: "", measurements: [] });
    if (scenario.prepare === undefined) continue;
    bar.update({ task: `${scenario.name}: filling ${contender}` });
    await runTrial({ scenario, contender, stage: "prepare", dir: join(work, "prepared", contender), size, bytes });
  }
  for (let turn = 0; turn < trials; turn += 1) {
    for (const [contender, { measurements }] of results) {
      bar.update({ task: `${scenario.name}: ${contender}` });
      const dir = join(work, contender);
      mkdirSync(dir);
      if (scenario.prepare !== undefined) copyStored(join(work, "prepared", contender), dir);
      const { version, measurement } = await runTrial({ scenario, contender, stage: "run", dir, size, bytes });
      measurements.push(measurement);
      results.set(contender, { version, measurements });
      rmSync(dir, { recursive: true, force: true });
      bar.increment();
    }
  }
  rmSync(join(work, "prepared"), { recursive: true, force: true });
  // the goals are for small records
  return summarise(scenario, size, results).map((row) => ({ ...row, bytes, verdicts: bytes < LARGE ? row.verdicts : [] }));
}

/**
 * @param {{ scenario: Scenario, contender: string, stage: "prepare" | "run", dir: string, size: number, bytes: number }} order
 * @returns {Promise<{ version: string, measurement: Measurement }>}
 */
async function runTrial({ scenario, ...order }) {
  // a million records as JavaScript objects need more than the default
  const heap = scenario === growth ? ["--max-old-space-size=16384"] : [];
  const argument = JSON.stringify({ scenario: scenario.name, ...order });
  const { stdout } = await promisify(execFile)(process.execPath, ["--expose-gc", ...heap, join(here, "trial.js"), argument]);
  return JSON.parse(stdout);
}

/**
 * Copies a store and waits until the copy is on the disk: the trial's own syncs must not wait for it.
 * @param {string} from
 * @param {string} to
 */
function copyStored(from, to) {
  cpSync(from, to, { recursive: true });
  for (const entry of readdirSync(to, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = openSync(join(entry.parentPath, entry.name), "r+");
    fsyncSync(file);
    closeSync(file);
  }
}

async function publish() {
  const minutes = (Date.now() - started) / 60_000;
  const circumstances = [
    `${machine.cpu}, ${machine.cores} cores, ${machine.memory}; ${machine.system}; Node ${machine.node}; ${machine.fileSystem}.`,
    `Load average before the run: ${loadBefore.toFixed(2)}. ${flags.note}`.trim(),
  ];
  const kind = flags.agents ? "agents" : flags.growth === undefined ? "bench" : "growth";
  const parts = [...new Set(items.map(({ bytes }) => bytes))].map((bytes) => {
    const own = items.filter((item) => item.bytes === bytes);
    return [
      `### Records of ${count(bytes)} bytes, ${own[0]?.trials} trials`,
      "",
      markdown(
        rows.filter((row) => row.bytes === bytes),
        !flags.quick,
      ),
    ].join("\n");
  });
  const text = [
    flags.quick ? "## Quick run: shows that everything runs. The figures mean nothing." : `## ${{ agents: "Several writers", bench: "Benchmark", growth: "Growth" }[kind]}`,
    "",
    ...circumstances,
    `Each trial in its own process, contenders in turns; medians. ${minutes.toFixed(1)} minutes.`,
    "",
    parts.join("\n\n"),
    "",
    `"2x as good" is a ratio of medians of this run: twice the rate, or half the time, memory or disk.`,
    `A goal of 1.00x counts as met from ${NOISE}x on. Upstream never syncs, whatever the scenario asks for.`,
    "",
  ].join("\n");

  const date = new Date(started).toISOString();
  const json = { date, machine, loadBefore, note: flags.note, quick: flags.quick, minutes, missing: Object.fromEntries(missing), rows };
  const chart = await draw(kind, `Node ${machine.node}, ${machine.cores} cores, ${machine.fileSystem}; records of ${count(rows[0]?.bytes ?? 0)} bytes`);
  const targets = [join(here, "results", `${flags.quick ? "quick" : kind}-${date.replaceAll(":", "-")}`)];
  if (flags.publish) targets.push(join(here, "results/published", kind));
  for (const target of targets) {
    mkdirSync(resolve(target, ".."), { recursive: true });
    writeFileSync(`${target}.json`, `${JSON.stringify(json, null, 2)}\n`);
    writeFileSync(`${target}.md`, text);
    if (chart !== undefined) writeFileSync(`${target}.svg`, chart);
  }
  console.log(text);
  const missed = rows.some(({ verdicts }) => verdicts.some(({ met }) => !met));
  if (!flags.quick && missed) process.exitCode = 1;
}

/**
 * @param {string} kind
 * @param {string} subtitle
 * @returns {Promise<string | undefined>}
 */
async function draw(kind, subtitle) {
  const own = rows.filter(({ bytes }) => bytes === rows[0]?.bytes);
  try {
    return await (kind === "growth" ? growthChart(own, subtitle) : ratioChart(own, subtitle));
  } catch (error) {
    // offline: the figures are what counts
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== "ERR_MODULE_NOT_FOUND") throw error;
    console.error("No chart: vega and vega-lite are not installed.");
    return undefined;
  }
}

/**
 * @param {string | undefined} only comma-separated names
 * @param {Scenario[]} among
 * @returns {Scenario[]}
 */
function choose(only, among) {
  if (only === undefined) return among;
  return only.split(",").map((name) => {
    const scenario = among.find((candidate) => candidate.name === name);
    if (scenario !== undefined) return scenario;
    console.error(`--only: no scenario ${name}; there are ${among.map((known) => known.name).join(", ")}`);
    process.exit(2);
  });
}

/**
 * @param {string} flag
 * @param {string} text
 */
function positive(flag, text) {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  console.error(`${flag} must be a positive integer, not ${text}`);
  process.exit(2);
}
