// Does a store come and go without a trace? `npm run check:lifecycle [-- --short]`
//
// Each case is a process of its own (lifecycle-scenarios.js): cycles of open and close, stores left to the garbage
// collector, workers that are terminated while they write, process.exit where callers run code, children that outlive
// their parent, and processes that end by themselves. Linux: it counts in /proc.

import { Store } from "../index.js";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readlinkSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const SCENARIOS = join(dirname(fileURLToPath(import.meta.url)), "lifecycle-scenarios.js");
const { values: flags } = parseArgs({ options: { short: { type: "boolean", default: false } } });
const CYCLES = flags.short ? 150 : 1000;
const WORKERS = flags.short ? 30 : 200;
const STORES = flags.short ? 60 : 300;

/** A process that takes longer hangs, also on a busy machine. */
const TIMEOUT_MS = 600_000;
/**
 * What a process may grow by between the two counts: garbage of V8, which gives pages back late, and what malloc keeps of
 * threads that have ended. It does not grow with their number: a leak of a store, a writer's stack or a worker would.
 */
const GROWTH_KB = { cycles: 24 * 1024, stores: 48 * 1024, workers: 128 * 1024 };
/** Node's and the addon's pools may start a thread late. */
const LATE_THREADS = 3;

const base = mkdtempSync(join(realpathSync(tmpdir()), "opslog-lifecycle-"));
let cases = 0;
/** @type {string[]} */
const failures = [];
/** @type {string[]} */
const notes = [];

try {
  await cycles();
  await collected();
  await workers();
  await exits();
  await children();
  await drained();
} finally {
  rmSync(base, { recursive: true, force: true });
}
for (const failure of failures) console.error(failure);
console.log(`check:lifecycle: ${cases} cases, ${failures.length} failed; ${notes.join("; ")}`);
if (failures.length > 0) process.exit(1);

/**
 * @param {string} what the case
 * @param {boolean} holds whether what must hold does
 * @param {unknown} seen for the message
 */
function check(what, holds, seen) {
  if (!holds) failures.push(`${what}: ${JSON.stringify(seen)}`);
}

/** @typedef {{ code: number | null, signal: string | null, stderr: string, reports: any[], ms: number }} Ended */

/**
 * Runs a scenario to its end.
 *
 * @param {string} name of the scenario
 * @param {object} args its arguments
 * @returns {Promise<Ended>} how it ended
 */
function run(name, args) {
  return start(name, args).ended;
}

/**
 * @param {string} name of the scenario
 * @param {object} args its arguments
 * @returns {{ child: import("node:child_process").ChildProcess, first: Promise<any>, ended: Promise<Ended> }} it, running
 */
function start(name, args) {
  const began = Date.now();
  const child = spawn(process.execPath, ["--expose-gc", SCENARIOS, name, JSON.stringify(args)], { stdio: ["ignore", "pipe", "pipe"] });
  const timer = setTimeout(() => child.kill("SIGKILL"), TIMEOUT_MS);
  let stdout = "";
  let stderr = "";
  child.stderr.on("data", (data) => void (stderr += data));
  const reports = () => stdout.split("\n").filter((line) => line.startsWith("{") || line.startsWith('"')).map((line) => JSON.parse(line));
  const first = new Promise((resolve) => {
    child.stdout.on("data", (data) => {
      stdout += data;
      if (stdout.includes("\n")) resolve(reports()[0]);
    });
    child.once("exit", () => resolve(undefined));
  });
  /** @type {Promise<Ended>} */
  const ended = new Promise((resolve) => {
    // not `close`: a child that inherited the pipe would hold it up
    child.once("exit", (code, signal) => {
      clearTimeout(timer);
      setTimeout(() => resolve({ code, signal, stderr, reports: reports(), ms: Date.now() - began }), 50);
    });
  });
  return { child, first, ended };
}

/**
 * @param {string} what the case
 * @param {Ended} ended how its process ended
 * @param {number} [growth] kilobytes that it may have grown by
 * @returns {any} its report
 */
function grown(what, ended, growth = GROWTH_KB.cycles) {
  const { code, signal, stderr, reports } = ended;
  const report = reports.findLast((one) => one?.after !== undefined);
  check(what, code === 0 && report !== undefined && stderr === "" && reports.length === 1, { code, signal, stderr, reports });
  if (report === undefined) return { before: {}, after: {} };
  const { before, after } = report;
  check(`${what}: open files`, after.files <= before.files, { before, after });
  check(`${what}: threads`, after.threads <= before.threads + LATE_THREADS, { before, after });
  check(`${what}: memory`, after.rss <= before.rss + growth, { before, after });
  notes.push(`${what}: ${after.rss - before.rss} KB, ${after.files - before.files} descriptors, ${after.threads - before.threads} threads more`);
  return report;
}

async function cycles() {
  cases++;
  grown(`${CYCLES} cycles of open and close`, await run("cycles", { dir: join(base, "cycles"), cycles: CYCLES }));
}

async function collected() {
  cases++;
  const { free } = grown(`${STORES} stores left to the collector`, await run("collected", { dir: join(base, "collected"), stores: STORES }), GROWTH_KB.stores);
  check("stores left to the collector can be opened again, with what was written", free === STORES, free);
}

async function workers() {
  cases++;
  const report = grown(`${WORKERS} workers terminated while they write`, await run("workers", { dir: join(base, "workers"), workers: WORKERS }), GROWTH_KB.workers);
  check("terminated workers", report.lost === 0 && report.refused === 0, report);
}

async function exits() {
  const places = [
    "then", "after the call", "batch", "toJSON", "predicate", "filter", "compact", "close", "exception", "migrate", "watch", "iterator",
  ];
  for (const where of places) {
    for (const mode of flags.short ? ["immediate"] : ["immediate", "group", "async"]) {
      cases++;
      const dir = join(base, `exit-${where}-${mode}`);
      const ended = await run("exit", { dir, where, mode });
      const what = `process.exit (${where}, ${mode})`;
      check(what, ended.code === 7 && ended.signal === null && ended.stderr === "", ended);
      check(`${what}: the lock`, !existsSync(join(dir, ".lock")), readdirSync(dir));
      const store = new Store();
      const opened = await store.open(dir, { version: 2, migrate: (value) => value }).then(() => undefined, String);
      check(`${what}: opens`, opened === undefined, opened);
      if (opened !== undefined) continue;
      check(`${what}: what was acknowledged is there, and half a batch is not`, store.has("told") && !store.has("half"), store.entries());
      await store.close();
    }
  }
}

async function children() {
  cases++;
  const dir = join(base, "children");
  const { child, first, ended } = start("children", { dir });
  const report = await first;
  const pids = /** @type {number[]} */ (report?.pids ?? []);
  check("children were started", pids.length === 4, report);
  child.kill("SIGKILL");
  await ended;
  for (const pid of pids) {
    const inherited = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`)).filter((path) => path.startsWith(dir));
    check(`child ${pid} of a killed parent has none of the store's files`, inherited.length === 0, inherited);
  }
  const store = new Store();
  const opened = await store.open(dir).then(() => undefined, String);
  check("a store whose holder was killed opens while the holder's children live", opened === undefined && store.count() === 2, opened);
  if (opened === undefined) await store.close();
  for (const pid of pids) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // it has ended with its parent
    }
  }
}

async function drained() {
  /** @type {Record<string, string | undefined>} what is done, and what must have been reported by the end */
  const kinds = {
    idle: undefined, pending: "last", buffered: undefined, compacting: "compacted", unwatched: undefined, closing: "closed", "failed open": undefined, reader: undefined,
  };
  for (const [what, expected] of Object.entries(kinds)) {
    cases++;
    const dir = join(base, `drained-${what}`);
    const ended = await run("drained", { dir, what });
    check(`a process ends by itself (${what})`, ended.code === 0 && ended.stderr === "" && ended.ms < 60_000, ended);
    check(`a process ends by itself (${what}): what was pending has ended`, ended.reports[0] === expected, ended);
    check(`a process ends by itself (${what}): the lock`, !existsSync(join(dir, ".lock")), readdirSync(dir));
    const store = new Store();
    await store.open(dir, { readOnly: true });
    check(`a process ends by itself (${what}): all is there`, store.count() === (what === "pending" || what === "buffered" ? 50 : 0), store.count());
    await store.close();
  }
}
