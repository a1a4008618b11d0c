// Many agents on one directory: is anything lost? `npm run check:agents [-- --short]`
//
// Processes that write, read, are killed and come back, beside readers of ours and of upstream 0.8.1; then processes that
// register all at once, and hundreds of agents that come and go. Each notes what it does; what they were told and what
// they saw is compared with what is there. Linux.
//
// Options: `--short` (a sample), `--seed N` (of all choices), `--only PART` (agents, readers, storm, short-lived).
// Where something is wrong the directory is kept, with the journals.

import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { realRun } from "./agents/real-run.js";
import { comeAndGo, leftBehind, storm } from "./agents/storm.js";

/** Problems of each part that are printed, and characters of each; the rest is counted. */
const SHOWN = 8;
const WIDTH = 500;

const { values: flags } = parseArgs({
  options: { short: { type: "boolean", default: false }, seed: { type: "string" }, only: { type: "string" } },
});
const seed = Number(flags.seed ?? 1 + Math.floor(Math.random() * 999_999));
const size = flags.short
  ? { agents: 4, seconds: 20, storm: 12, rounds: 2, lived: 60 }
  : { agents: 8, seconds: 60, storm: 32, rounds: 5, lived: 400 };

const base = mkdtempSync(join(realpathSync(tmpdir()), "opslog-agents-"));
const started = Date.now();
let failures = 0;
/** @type {string[]} */
const told = [];

/** @typedef {{ problems: string[], counts: Record<string, number> }} Outcome */

/** Each part, in a folder of its name. @type {Record<string, (place: string) => Promise<Outcome>>} */
const parts = {
  "short-lived": (place) => comeAndGo(place, { agents: size.lived, seed }),
  agents: (place) => realRun(place, { ...size, ourReaders: 1, upstreamReaders: 0, seed }),
  readers: (place) => realRun(place, { ...size, agents: size.agents - 2, ourReaders: 0, upstreamReaders: 2, seed: seed + 1 }),
  storm: (place) => storm(place, { processes: size.storm, rounds: size.rounds }),
};
if (flags.only !== undefined && !Object.hasOwn(parts, flags.only)) {
  console.error(`--only: no part ${flags.only}: ${Object.keys(parts).join(", ")}`);
  process.exit(2);
}

const chosen = Object.keys(parts).filter((name) => flags.only === undefined || flags.only === name);
for (const name of chosen) await report(name, name, parts[name]);
// Last: what may stay for a minute is gone by now.
if (chosen.includes("short-lived")) await report("short-lived, later", "short-lived", leftBehind);
if (failures === 0) rmSync(base, { recursive: true, force: true });
else process.exitCode = 1;
const seconds = Math.round((Date.now() - started) / 1000);
console.log(`check:agents (${flags.short ? "short" : "full"}, seed ${seed}): ${told.length} parts, ${failures} failures (${told.join(", ")}) (${seconds} s)`);

/**
 * @param {string} name
 * @param {string} folder
 * @param {(place: string) => Promise<Outcome>} part
 */
async function report(name, folder, part) {
  const place = join(base, folder);
  /** @type {Outcome} */
  const { problems, counts } = await part(place).catch((error) => ({ problems: [String(error?.stack ?? error)], counts: {} }));
  console.log(`${name}: ${Object.entries(counts).map(([what, count]) => `${count} ${what}`).join(", ")}`);
  told.push(`${name} ${problems.length}`);
  failures += problems.length;
  if (problems.length === 0) return;
  for (const problem of problems.slice(0, SHOWN)) {
    console.error(`FAILED ${name}: ${problem.length > WIDTH ? `${problem.slice(0, WIDTH)}…` : problem}`);
  }
  if (problems.length > SHOWN) console.error(`  and ${problems.length - SHOWN} more`);
  const form = flags.short ? "--short " : "";
  console.error(`  kept: ${place}\n  the same choices again: npm run check:agents -- ${form}--seed ${seed} --only ${folder}`);
}
