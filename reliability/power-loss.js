// Power loss. `npm run check:power-loss [-- --short]`
//
// A driver process runs a workload under the shim, which records every call that changes a file. At every point of that
// record the states are built that a file system may leave when the power goes (`power/disk.js` says which), and each
// of them must open to a state that the acknowledgements allow, take a write, and open again. Then upstream runs the
// same workloads, and what it loses is counted beside.
//
// One kind of refusal is counted apart ("holes"), under `"os"` and in buffered modes, where several writes may be on their
// way at once: damage in bytes that no sync had covered yet, with lines of a later write after it. A bad line with good ones
// after it is refused (`OPSLOG_CORRUPT`), and nothing in the file tells this one from a damaged acknowledged line. Nothing
// is lost: `recovery: "skip"` opens it, which is checked.
//
// Options: `--short` (fewer states), `--seed N`, `--workload NAME`, `--at POINT.STATE` as a failure names it (the
// driver runs anew, so points can shift by a few), `--upstream` (upstream only, with its failures told).

import { mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { flagsOf, randomFrom, say, Tally } from "./cases.js";
import { check } from "./check.js";
import { rangeOf } from "./model.js";
import { Disk } from "./power/disk.js";
import { hashOf, statesOf } from "./power/states.js";
import { parseTrace } from "./power/trace.js";
import { buildShim, runNode, shimmed } from "./shim.js";
import { copyStore, filesIn, optionsOf, prepare, workplace } from "./stores.js";
import { Store } from "../index.js";
import { chosen } from "./workloads.js";

/** @typedef {import("./workloads.js").Workload} Workload */
/** @typedef {{ states: number, holes: number, faults: Record<string, number> }} Count */

/** States at each point, and of each workload. */
const [STATES, MOST] = [60, 4_000];
const [SHORT_STATES, SHORT_MOST] = [8, 90];

const flags = flagsOf();
const place = workplace();
const tally = new Tally("check:power-loss", flags);

/** @param {import("./power/states.js").Tree} tree @param {Set<string>} folders @param {string} dir */
function lay(tree, folders, dir) {
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  for (const folder of folders) mkdirSync(join(dir, folder), { recursive: true });
  // The manifest last: what it does not name is older than it is, and may be removed.
  for (const name of [...tree.keys()].sort((a, b) => Number(a === "manifest.json") - Number(b === "manifest.json"))) {
    const path = join(dir, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, /** @type {Buffer} */ (tree.get(name)));
    // A lock from before the machine was started again, whatever process has its pid by now.
    if (name.startsWith(".")) utimesSync(path, 0, 0);
  }
}

/**
 * @param {Workload} workload
 * @param {string} kind
 * @returns {Promise<Count>}
 */
async function cut(workload, kind) {
  const [template, box] = [join(place, "template"), join(place, "box")];
  const [dir, control, trace] = ["store", "control", "trace"].map((name) => join(box, name));
  for (const path of [template, box]) rmSync(path, { recursive: true, force: true });
  await prepare(workload, template, kind);
  copyStore(template, dir);
  const env = shimmed({ DIR: dir, MODE: "record", CONTROL: control, TRACE: trace });
  const ended = await runNode("driver.js", [kind, workload.name, dir, control], env);
  const events = parseTrace(readFileSync(trace), dir);
  const last = events.at(-1);
  if (last?.name !== "mark" || last.text !== "end") {
    tally.fail(workload.name, 0, `the driver ended with ${ended.signal ?? ended.code}: ${ended.stderr}`);
    return { states: 0, holes: 0, faults: {} };
  }
  const disk = new Disk();
  for (const path of filesIn(template)) disk.put(path, readFileSync(join(template, path)));
  const random = randomFrom(flags.seed);
  const limit = flags.short ? SHORT_STATES : STATES;
  /** @type {Map<string, { at: string, ranges: Map<string | undefined, import("./model.js").Range>, tree: import("./power/states.js").Tree, folders: Set<string>, durable: Map<string, number> }>} */
  const states = new Map();
  /** @type {string[]} */
  const marks = [];
  let [changed, point] = [true, 0];
  for (const event of [...events, last]) {
    if (event.name === "mark" && event !== last) {
      marks.push(event.text);
      continue;
    }
    // What was acknowledged up to the next change counts for the states before it.
    if (changed) {
      point++;
      const ranges = new Map((workload.agents ?? [undefined]).map((agent) => [agent, rangeOf(workload, marks, "power", agent)]));
      const durable = new Map([...disk.names].map(([name, file]) => [name, file.durable.length]));
      const allowed = [...ranges.values()].map(({ from, to }) => `${from}-${to}`).join();
      statesOf(disk, limit, random).forEach((tree, number) => {
        const hash = hashOf(tree, allowed);
        if (!states.has(hash)) states.set(hash, { at: `${point}.${number}`, ranges, tree, durable, folders: new Set(disk.folders) });
      });
    }
    changed = disk.apply(event);
  }
  const most = flags.short ? SHORT_MOST : MOST;
  let chosenStates = [...states.values()];
  if (chosenStates.length > most) {
    chosenStates = chosenStates.map((state) => ({ state, key: random() })).sort((a, b) => a.key - b.key).slice(0, most).map(({ state }) => state);
  }
  if (flags.at !== undefined) chosenStates = chosenStates.filter(({ at }) => at === flags.at);
  /** @type {Count} */
  const count = { states: chosenStates.length, holes: 0, faults: {} };
  const work = join(place, "state");
  for (const { at, ranges, tree, folders, durable } of chosenStates) {
    lay(tree, folders, work);
    let fault = await check(workload, work, ranges, kind);
    if (fault !== undefined && kind === "ours" && !workload.agents && !isSynced(workload) && isHole(fault, durable, work)) {
      count.holes++;
      lay(tree, folders, work);
      fault = await opensSkipping(workload, work, ranges);
    }
    if (fault === undefined) continue;
    count.faults[fault.kind] = (count.faults[fault.kind] ?? 0) + 1;
    if (kind === "ours" || flags.upstream) {
      const files = [...tree].map(([name, bytes]) => `${name} ${bytes.length}`).join(", ");
      tally.fail(workload.name, at, `${fault.text}\n  files: ${files}`);
    }
  }
  return count;
}

/**
 * True where a write is synced before the next one begins.
 * @param {Workload} workload
 */
function isSynced(workload) {
  const { durability = "fsync", writeMode = "immediate" } = optionsOf(workload);
  return durability === "fsync" && writeMode === "immediate";
}

/**
 * @param {import("./check.js").Fault} fault
 * @param {Map<string, number>} durable how long each file surely was
 * @param {string} dir
 */
function isHole({ error }, durable, dir) {
  const path = error?.path?.slice(dir.length + 1) ?? "";
  return error?.code === "OPSLOG_CORRUPT" && path.startsWith("ops/") && (error.byte ?? -1) >= (durable.get(path) ?? Infinity);
}

/**
 * With `recovery: "skip"` the store opens, and every record that surely lasts is there.
 * @param {Workload} workload
 * @param {string} dir
 * @param {Map<string | undefined, import("./model.js").Range>} ranges
 * @returns {Promise<import("./check.js").Fault | undefined>}
 */
async function opensSkipping(workload, dir, ranges) {
  const store = new Store();
  try {
    await store.open(dir, { ...optionsOf(workload), recovery: "skip" });
  } catch (error) {
    return { kind: "refused", text: `does not open with recovery "skip" either: ${error}` };
  }
  const range = /** @type {import("./model.js").Range} */ (ranges.get(undefined));
  const later = new Set(range.states.slice(range.from, range.to + 1).flatMap(({ records }) => [...records.keys()]));
  const missing = [...range.states[range.from].records.keys()].filter((id) =>
    !store.has(id) && range.states.slice(range.from, range.to + 1).every(({ records }) => records.has(id)));
  const foreign = store.entries().filter(([id]) => !later.has(id));
  await store.close();
  if (missing.length + foreign.length === 0) return undefined;
  return { kind: "lost", text: `with recovery "skip" ${JSON.stringify({ missing, foreign })}` };
}

/** @param {Record<string, number>} faults */
const told = (faults) => Object.entries(faults).map(([kind, count]) => `${count} ${kind}`).join(", ") || "none wrong";

/** @param {Count[]} counts @returns {Count} */
function sum(counts) {
  /** @type {Count} */
  const all = { states: 0, holes: 0, faults: {} };
  for (const { states, faults } of counts) {
    all.states += states;
    for (const [kind, count] of Object.entries(faults)) all.faults[kind] = (all.faults[kind] ?? 0) + count;
  }
  return all;
}

// Upstream leaves files open where `open` fails, and Node warns of each.
process.removeAllListeners("warning");

buildShim();
const workloads = chosen(flags.workload).filter(({ peer }) => peer === undefined);
/** @type {Count[]} */
const upstreams = [];
let holes = 0;
for (const workload of workloads) {
  const lines = [];
  if (!flags.upstream) {
    const count = await cut(workload, "ours");
    tally.cases += count.states;
    holes += count.holes;
    lines.push(`${count.states} states, ${told(count.faults)}${count.holes > 0 ? ` (${count.holes} holes)` : ""}`);
  }
  if (!workload.ours && (flags.at === undefined || flags.upstream)) {
    const count = await cut(workload, "upstream");
    upstreams.push(count);
    if (flags.upstream) tally.cases += count.states;
    lines.push(`upstream ${count.states} states, ${told(count.faults)}`);
  }
  say(`${workload.name}: ${lines.join("; ")}`);
}
const upstream = sum(upstreams);
tally.close(workloads.length, flags.upstream ? `, ${told(upstream.faults)}` : `, ${holes} holes; upstream: ${upstream.states} cases, ${told(upstream.faults)}`);
