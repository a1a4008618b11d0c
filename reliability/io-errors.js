// Every call that reaches a file fails once. `npm run check:io-errors [-- --short]`
//
// A driver process runs a workload again and again under the shim. In each run one call fails, with each error that
// makes sense for it; in others the disk is full after so many bytes, until it is freed. After each run memory, disk
// and what the callers were told must agree (`io-case.js`).
//
// Options: `--short` (a sample), `--seed N` (of the sample), `--workload NAME`, `--at "COMMAND"` as a failure names it.

import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { flagsOf, randomFrom, sample, say, Tally } from "./cases.js";
import { buildShim, runNode, shimmed } from "./shim.js";
import { prepare, workplace } from "./stores.js";
import { chosen } from "./workloads.js";

/** Cases of each workload in the short form. */
const SHORT = 90;
const SHORT_AGENTS = 20;

const { ENOSPC, EIO, EACCES, EMFILE, EINTR } = constants.errno;

/** Errors that a call may meet. EINTR only where a signal can interrupt. @type {Record<string, (number | "short")[]>} */
const ERRORS = {
  create: [ENOSPC, EIO, EACCES, EMFILE, EINTR],
  open: [EIO, EACCES, EMFILE, EINTR],
  write: [ENOSPC, EIO, EINTR, "short"],
  fsync: [EIO, ENOSPC, EINTR],
  fdatasync: [EIO, ENOSPC, EINTR],
  ftruncate: [EIO, EINTR],
  rename: [ENOSPC, EIO, EACCES],
  link: [ENOSPC, EIO, EACCES],
  unlink: [EIO, EACCES],
  mkdir: [ENOSPC, EIO, EACCES],
  read: [EIO, EINTR],
  stat: [EIO, EACCES],
  opendir: [EIO, EACCES, EMFILE],
  flock: [EIO],
  close: [EIO, EINTR],
};

const flags = flagsOf();
const place = workplace();
const tally = new Tally("check:io-errors", flags);
let rejected = 0;

/** @typedef {{ command: string, hits?: import("./io-case.js").Hit[], problem?: string, done?: boolean }} Result */

/**
 * @param {string} name of the workload
 * @param {string[]} commands
 * @returns {Promise<{ results: Result[], calls: string[] }>}
 */
async function drive(name, commands) {
  const [template, dir, control, trace, cases, results] = ["template", "store", "control", "trace", "cases", "results"].map((file) => join(place, file));
  /** @type {Result[]} */
  const all = [];
  /** @type {string[]} */
  let calls = [];
  let rest = commands;
  while (rest.length > 0) {
    // A process does no more than some hundred cases: one that hangs takes no others with it.
    const now = rest.slice(0, 400);
    for (const file of [trace, results, control]) writeFileSync(file, "");
    writeFileSync(cases, JSON.stringify(now));
    const env = shimmed({ DIR: dir, MODE: "control", CONTROL: control, TRACE: trace });
    const { code, signal, stderr } = await runNode("io-driver.js", [name, template, dir, control, trace, cases, results], env);
    /** @type {Result[]} */
    const lines = readFileSync(results, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line));
    const done = lines.filter((line) => line.done);
    all.push(...done);
    calls = readFileSync(trace, "utf8").split("\n").filter((line) => line.startsWith("call\t"));
    if (code === 0 && done.length === now.length) {
      rest = rest.slice(now.length);
    } else {
      const problem = `the process ended with ${signal ?? code} in this case: ${stderr.slice(-1_500)}`;
      all.push({ command: now[done.length] ?? now[now.length - 1], problem, done: true });
      rest = rest.slice(done.length + 1);
    }
  }
  return { results: all, calls };
}

/** @param {string[]} calls @returns {string[]} */
function commandsFor(calls) {
  return calls.flatMap((line, index) => {
    const name = line.split("\t")[1];
    return (ERRORS[name] ?? [EIO]).map((error) => (error === "short" ? `short ${index + 1}` : `fail ${index + 1} ${error}`));
  });
}

buildShim();
const workloads = chosen(flags.workload).filter(({ peer }) => peer === undefined);
for (const workload of workloads) {
  rmSync(join(place, "template"), { recursive: true, force: true });
  await prepare(workload, join(place, "template"));
  let commands = [/** @type {string} */ (flags.at)];
  if (flags.at === undefined) {
    const { calls, results } = await drive(workload.name, ["list"]);
    if (results[0].problem !== undefined) tally.fail(workload.name, "list", results[0].problem);
    // Agents wait for the compaction lock, seconds for each call, as long as its file cannot be made.
    const full = Array.from({ length: workload.agents ? 3 : 40 }, (_, at) => `budget ${workload.agents ? at * 2_000 : at * at * 20}`);
    commands = [...commandsFor(calls), ...full];
    if (flags.short) commands = sample(commands, workload.agents ? SHORT_AGENTS : SHORT, randomFrom(flags.seed));
  }
  const { results } = await drive(workload.name, commands);
  tally.cases += results.length;
  rejected += results.filter((result) => (result.hits?.length ?? 0) > 0).length;
  for (const { command, hits = [], problem } of results) {
    if (problem === undefined) continue;
    const hit = hits.map(({ name, path }) => `${name} ${path.replace(place, "")}`).join(", ");
    tally.fail(workload.name, `"${command}"`, `hit ${hit || "nothing"}\n  ${problem}`);
  }
  say(`${workload.name}: ${results.length} cases`);
}
tally.close(workloads.length, `, ${rejected} with a call that failed`);
