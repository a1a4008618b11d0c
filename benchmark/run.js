// `npm run bench`: ours beside its rivals, in one run.
//
//   npm run bench                          every scenario; exit code 1 if a goal is missed
//   npm run bench -- --quick               tiny sizes: shows that everything runs; goals are not judged
//   npm run bench -- --only set-os,open    some scenarios
//   npm run bench -- --trials 9            trials per contender (default 5)
//   npm run bench -- --record 4096         bytes of a record (default 250)
//   npm run bench -- --dir PATH            where the stores are written (default benchmark/.work)
//
// Each trial is a process of its own, contenders take turns (A B A B …), medians are compared.
// The table goes to standard output and, with every single measurement, to benchmark/results/.

import { execFile } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";

import cliProgress from "cli-progress";

import { describeMachine } from "./machine.js";
import { markdown, NOISE, summarise } from "./report.js";
import { scenarios } from "./scenarios.js";

/** @typedef {import("./report.js").Row} Row */
/** @typedef {import("./scenarios.js").Scenario} Scenario */
/** @typedef {import("./scenarios.js").Measurement} Measurement */

const here = fileURLToPath(new URL(".", import.meta.url));
const { values: flags } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string" },
    trials: { type: "string" },
    record: { type: "string", default: "250" },
    dir: { type: "string", default: join(here, ".work") },
  },
});
const trialCount = positive("--trials", flags.trials ?? (flags.quick ? "2" : "5"));
const bytes = positive("--record", flags.record);
const work = join(resolve(flags.dir), `run-${process.pid}`);
const chosen = choose(flags.only);

mkdirSync(work, { recursive: true });
const machine = describeMachine(work);
const turns = chosen.reduce((sum, { contenders }) => sum + contenders.length * trialCount, 0);
const bar = new cliProgress.SingleBar(
  { format: "{bar} {value}/{total} trials | {task}", stream: process.stderr, clearOnComplete: true },
  cliProgress.Presets.shades_classic,
);

/** @type {Row[]} */
const rows = [];
bar.start(turns, 0, { task: "" });
try {
  for (const scenario of chosen) rows.push(...(await measure(scenario)));
} finally {
  bar.stop();
  rmSync(work, { recursive: true, force: true });
}
publish();

/**
 * All trials of one scenario.
 * @param {Scenario} scenario
 */
async function measure(scenario) {
  const size = flags.quick ? scenario.size.quick : scenario.size.full;
  /** @type {Map<string, { version: string, measurements: Measurement[] }>} */
  const trials = new Map();
  /** @param {string} contender */
  const directory = (contender) => join(work, scenario.name, contender);

  for (const contender of scenario.contenders) {
    trials.set(contender, { version: "", measurements: [] });
    const dir = directory(contender);
    if (scenario.prepare !== undefined) await runTrial({ scenario, contender, stage: "prepare", dir, size });
  }
  for (let turn = 0; turn < trialCount; turn += 1) {
    for (const [contender, { measurements }] of trials) {
      bar.update({ task: `${scenario.name}: ${contender}` });
      const dir = directory(contender);
      const { version, ...measurement } = await runTrial({ scenario, contender, stage: "run", dir, size });
      measurements.push(measurement);
      trials.set(contender, { version, measurements });
      if (scenario.prepare === undefined) rmSync(dir, { recursive: true, force: true });
      bar.increment();
    }
  }
  rmSync(join(work, scenario.name), { recursive: true, force: true });
  return summarise(scenario, trials);
}

/**
 * @param {{ scenario: Scenario, contender: string, stage: "prepare" | "run", dir: string, size: number }} order
 * @returns {Promise<Measurement & { version: string }>}
 */
async function runTrial({ scenario, contender, stage, dir, size }) {
  const order = JSON.stringify({ scenario: scenario.name, contender, stage, dir, size, bytes });
  const { stdout } = await promisify(execFile)(process.execPath, ["--expose-gc", join(here, "trial.js"), order]);
  return JSON.parse(stdout);
}

function publish() {
  const title = flags.quick ? "Quick run: shows that everything runs. The figures mean nothing." : "Benchmark";
  const text = [
    `## ${title}`,
    "",
    `${machine.cpu}, ${machine.cores} cores, ${machine.memory}; ${machine.system}; Node ${machine.node}; ${machine.fileSystem}.`,
    `Records of ${bytes} bytes; ${trialCount} trials per contender, in turns, each in its own process; medians.`,
    "",
    markdown(rows, !flags.quick),
    "",
    `"2x as fast" is a ratio of medians of this run. A goal of 1.00x counts as met from ${NOISE}x on.`,
    "",
  ].join("\n");
  const results = join(here, "results");
  mkdirSync(results, { recursive: true });
  const date = new Date().toISOString();
  const file = join(results, `${flags.quick ? "quick" : "bench"}-${date.replaceAll(":", "-")}`);
  writeFileSync(`${file}.json`, `${JSON.stringify({ date, machine, bytes, trials: trialCount, rows }, null, 2)}\n`);
  writeFileSync(`${file}.md`, text);
  console.log(text);
  if (!flags.quick && rows.some(({ met }) => met === false)) process.exitCode = 1;
}

/**
 * @param {string | undefined} only comma-separated names
 * @returns {Scenario[]}
 */
function choose(only) {
  if (only === undefined) return scenarios;
  return only.split(",").map((name) => {
    const scenario = scenarios.find((candidate) => candidate.name === name);
    if (scenario !== undefined) return scenario;
    console.error(`--only: no scenario ${name}; there are ${scenarios.map((known) => known.name).join(", ")}`);
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
