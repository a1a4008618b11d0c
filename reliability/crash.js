// Kill -9 at every call that changes a file. `npm run check:crash [-- --short]`
//
// A driver process runs a workload under the shim, which kills it instead of its 1st, 2nd, 3rd … changing call, and
// where that call is a write, also after half of it. What is left must open to a state that the acknowledgements
// allow, take a write, and open again. Some workloads have a peer (agents/peer.js): a second agent, in a process that is
// not killed, works meanwhile and goes on afterwards; nothing of it may be lost or refused.
//
// Options: `--short` (a sample), `--seed N` (of the sample), `--workload NAME`, `--at N` or `--at N.half`, `--upstream`.

import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { howItEnded, start } from "./agents/processes.js";
import { flagsOf, randomFrom, sample, say, Tally } from "./cases.js";
import { check } from "./check.js";
import { rangeOf } from "./model.js";
import { parseTrace } from "./power/trace.js";
import { buildShim, runNode, shimmed } from "./shim.js";
import { copyStore, prepare, workplace } from "./stores.js";
import { chosen } from "./workloads.js";

/** Cases of each workload in the short form. */
const SHORT = 12;

const flags = flagsOf();
const kind = flags.upstream ? "upstream" : "ours";
const place = workplace();
const tally = new Tally("check:crash", flags);
/** @type {Record<string, number>} */
const kinds = {};

/** @typedef {import("./workloads.js").Workload} Workload */
/** @typedef {{ at: number, half: boolean }} Point */
/** @typedef {{ point: Point, dir: string, marks: string[], theirs: string[], killed: string | undefined, problem: string | undefined }} Crash */

/** @param {Point} point */
const nameOf = ({ at, half }) => `${at}${half ? ".half" : ""}`;

/** @param {string} path @returns {string[]} */
const marksIn = (path) => (existsSync(path) ? readFileSync(path, "utf8").split("\n").filter(Boolean).map((line) => line.slice("mark ".length)) : []);

/**
 * Runs the driver to its end, beside its peer if it has one, and lets that one finish.
 * @param {Workload} workload
 * @param {string} box
 * @param {Record<string, string>} shim
 */
async function drive({ name, peer }, box, shim) {
  const [dir, marks, theirs] = ["store", "marks", "theirs"].map((part) => join(box, part));
  const beside = peer && start("peer.js", { kind, workload: name, dir, marks: theirs, other: marks }, 0);
  await beside?.ready;
  const ended = await runNode("driver.js", [kind, name, dir, marks], shimmed({ DIR: dir, ...shim }));
  beside?.go();
  const peerEnded = await beside?.ended;
  const problem = peerEnded === undefined || peerEnded.code === 0 ? undefined : `the peer ${howItEnded(peerEnded)}`;
  return { ...ended, marks: marksIn(marks), theirs: marksIn(theirs), problem };
}

/**
 * Runs the driver until it dies.
 * @param {Workload} workload
 * @param {Point} point
 * @param {string} template
 * @returns {Promise<Crash>}
 */
async function crash(workload, point, template) {
  const box = join(place, `crash-${nameOf(point)}`);
  const [dir, trace] = ["store", "trace"].map((name) => join(box, name));
  rmSync(box, { recursive: true, force: true });
  copyStore(template, dir);
  const driven = await drive(workload, box, { MODE: "kill", AT: String(point.at), HALF: point.half ? "1" : "0", TRACE: trace });
  const { signal, code, stderr, marks, theirs } = driven;
  const told = existsSync(trace) ? readFileSync(trace, "utf8") : "";
  const ended = marks.at(-1) === "end";
  return {
    point, dir, marks, theirs, killed: ended ? undefined : /^killed\t(.*)\t/.exec(told)?.[1],
    problem: signal === "SIGKILL" && (ended || told !== "") ? driven.problem : `the driver ended with ${signal ?? code}: ${stderr}`,
  };
}

/** @param {Workload} workload @param {Crash} found */
async function judge(workload, { point, dir, marks, theirs, killed, problem }) {
  tally.cases++;
  if (problem !== undefined) {
    tally.fail(workload.name, nameOf(point), problem);
    return;
  }
  const ranges = new Map((workload.agents ?? [undefined]).map((agent) => [agent, rangeOf(workload, marks, "kill", agent)]));
  if (workload.peer !== undefined) {
    const { agent, beside, after } = workload.peer;
    ranges.set(agent, rangeOf({ ...workload, steps: [...beside, ...after] }, theirs, "kill", agent));
  }
  const fault = await check(workload, dir, ranges, kind);
  if (fault !== undefined) {
    kinds[fault.kind] = (kinds[fault.kind] ?? 0) + 1;
    tally.fail(workload.name, nameOf(point), `killed at ${killed ?? "the end"}: ${fault.text}`);
  }
  if (flags.at === undefined) rmSync(join(dir, ".."), { recursive: true, force: true });
}

/**
 * How many calls of a run in peace change a file. A few more, as those that fail count as well.
 * @param {Workload} workload
 * @param {string} template
 */
async function countChanges(workload, template) {
  const box = join(place, "count");
  const [dir, control, trace] = ["store", "marks", "trace"].map((name) => join(box, name));
  rmSync(box, { recursive: true, force: true });
  copyStore(template, dir);
  await drive(workload, box, { MODE: "record", CONTROL: control, TRACE: trace });
  const events = parseTrace(readFileSync(trace), dir);
  return events.filter((event) => (event.name === "open" ? event.creates || event.cuts : event.name !== "close" && event.name !== "mark")).length + 2;
}

/** @param {Workload} workload */
async function attack(workload) {
  const template = join(place, "template");
  rmSync(template, { recursive: true, force: true });
  await prepare(workload, template, kind);
  /** @type {number[] | undefined} */
  let numbers;
  if (flags.at !== undefined) numbers = [Number.parseInt(flags.at, 10)];
  else if (flags.short) {
    const high = await countChanges(workload, template);
    numbers = sample(Array.from({ length: high }, (_, at) => at + 1), SHORT, randomFrom(flags.seed));
  }
  const before = tally.cases;
  /** Where a kill is followed by one after half of the same call. @type {Promise<void>} */
  let judged = Promise.resolve();
  let survived = 0;
  // The number of calls differs a little from run to run: two that survive are the end.
  for (let at = 1; numbers === undefined ? survived < 2 : at <= numbers.length; at++) {
    const number = numbers === undefined ? at : numbers[at - 1];
    const halves = flags.at === undefined ? [false, true] : [flags.at.endsWith(".half")];
    for (const half of halves) {
      const found = await crash(workload, { at: number, half }, template);
      // Checking goes on beside the next driver.
      await judged;
      judged = judge(workload, found);
      survived = found.killed === undefined && found.problem === undefined ? survived + 1 : 0;
      if (!half && found.killed !== "write") break;
    }
  }
  await judged;
  say(`${workload.name}: ${tally.cases - before} cases`);
}

buildShim();
const workloads = chosen(flags.workload).filter((workload) => !(flags.upstream && workload.ours));
for (const workload of workloads) await attack(workload);
const counted = Object.entries(kinds).map(([name, count]) => `, ${count} ${name}`).join("");
tally.close(workloads.length, counted);
