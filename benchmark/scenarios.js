// What is measured. A scenario runs once per trial, in a process of its own, against one contender.
//
// Records are made before the clock starts, and a tenth of the work is done beforehand so that the code is compiled.

import { execFileSync } from "node:child_process";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";

import { task, taskId } from "./record.js";
import { watched } from "./stalls.js";

/** @typedef {import("./contenders/contender.js").Guarantee} Guarantee */
/** @typedef {import("./contenders/contender.js").Handle} Handle */
/** @typedef {import("./contenders/contender.js").Scans} Scans */

/**
 * The result of one trial: metrics by name, in their units.
 * @typedef {Record<string, number>} Measurement
 */

/**
 * What ours must reach, by medians of one run:
 * - `{ against, times }`: at least so many times as good as a contender
 * - `{ against, within }`: at most so many times as bad as a contender
 * - `{ against, plus }`: at most so much more than a contender
 * - `{ atMost }`: at most that, whatever others do
 * @typedef {{ against: string, times: number } | { against: string, within: number } | { against: string, plus: number } | { atMost: number }} Goal
 */

/**
 * @typedef {object} Metric
 * @property {string} name
 * @property {string} [title] said in addition to the scenario's title
 * @property {string} unit
 * @property {"more" | "less"} better
 * @property {Goal[]} goals
 */

/**
 * @typedef {object} Trial
 * @property {string} contender
 * @property {string} dir empty, unless the scenario has a `prepare`: then a copy of what that left behind
 * @property {number} size
 * @property {number} bytes size of a record
 * @property {(agent?: string) => Promise<Handle>} open as one of several writers, if one is named
 */

/**
 * @typedef {object} Scenario
 * @property {string} name
 * @property {(size: string) => string} title
 * @property {{ full: number, quick: number, large?: number }} size `large`: with records of 4 KB; not run if absent
 * @property {Guarantee} guarantee
 * @property {string[]} contenders in the order in which they take turns; the first is ours
 * @property {Metric[]} metrics
 * @property {(trial: Trial) => Promise<void>} [prepare] once per contender and size, untimed, in a process of its own
 * @property {(trial: Trial) => Promise<Measurement>} run
 */

const OURS = "opslog-native";
const UPSTREAM = "upstream";

/** @type {Guarantee} */
const stored = { mode: "immediate", durability: "fsync" };
/** @type {Guarantee} */
const written = { mode: "immediate", durability: "os" };
/** @type {Guarantee} */
const buffered = { mode: "async", durability: "os" };
/** @type {Guarantee} */
const defaults = { mode: "immediate", durability: "fsync", defaults: true };

/** @param {Goal[]} goals @returns {Metric} */
const sets = (...goals) => ({ name: "rate", unit: "set/s", better: "more", goals });
/** @type {Metric} */
const flushed = { name: "flushed", title: "until flushed", unit: "set/s", better: "more", goals: [] };

/** @type {Scenario[]} */
export const scenarios = [
  {
    name: "async-create",
    title: () => "`set`, async, of new records",
    size: { full: 100_000, quick: 500, large: 20_000 },
    guarantee: buffered,
    contenders: [OURS, UPSTREAM, "floor"],
    metrics: [sets({ against: UPSTREAM, times: 4 }, { against: "floor", within: 1.7 }), flushed],
    run: sequentialSets,
  },
  {
    name: "async-update",
    title: () => "`set`, async, of records that exist",
    size: { full: 100_000, quick: 500, large: 20_000 },
    guarantee: buffered,
    contenders: [OURS, UPSTREAM, "floor"],
    metrics: [sets({ against: UPSTREAM, times: 6 }, { against: "floor", within: 1.7 }), flushed],
    run: updates,
  },
  {
    name: "group-create",
    title: () => '`set`, group, `"os"`, of new records',
    size: { full: 50_000, quick: 500, large: 10_000 },
    guarantee: { mode: "group", durability: "os" },
    contenders: [OURS, UPSTREAM],
    metrics: [sets({ against: UPSTREAM, times: 4 }), flushed],
    run: sequentialSets,
  },
  {
    name: "set-os",
    title: () => '`set` one after the other, immediate, `"os"`',
    size: { full: 10_000, quick: 200, large: 3_000 },
    guarantee: written,
    contenders: [OURS, UPSTREAM, "better-sqlite3", "lmdb", "classic-level", "nedb", "raw"],
    metrics: [sets({ against: UPSTREAM, times: 30 })],
    run: sequentialSets,
  },
  {
    name: "set-fsync",
    title: () => '`set` one after the other, immediate, `"fsync"`',
    size: { full: 1_000, quick: 50, large: 500 },
    guarantee: stored,
    contenders: [OURS, UPSTREAM, "better-sqlite3", "lmdb", "classic-level", "raw", "raw-awaited"],
    metrics: [
      sets(
        { against: UPSTREAM, times: 1 },
        { against: "better-sqlite3", times: 1 },
        { against: "lmdb", times: 1.5 },
        { against: "raw", times: 0.8 },
      ),
    ],
    run: sequentialSets,
  },
  {
    name: "set-concurrent",
    title: () => '1,000 concurrent `set`s, immediate, `"fsync"`',
    size: { full: 20_000, quick: 2_000, large: 10_000 },
    guarantee: stored,
    contenders: [OURS, UPSTREAM, "lmdb", "classic-level"],
    metrics: [sets({ against: UPSTREAM, times: 25 }, { against: "lmdb", times: 1.5 })],
    run: concurrentSets,
  },
  {
    name: "batch",
    title: () => '`batch` of 1,000, `"fsync"`',
    size: { full: 50_000, quick: 2_000, large: 10_000 },
    guarantee: stored,
    contenders: [OURS, UPSTREAM, "better-sqlite3", "lmdb", "classic-level", "raw"],
    metrics: [sets({ against: UPSTREAM, times: 4 }, { against: "better-sqlite3", times: 2 })],
    run: batches,
  },
  {
    name: "warm-reads",
    title: (size) => `reads over ${size} records that were read before`,
    size: { full: 100_000, quick: 1_000, large: 20_000 },
    guarantee: written,
    contenders: [OURS, UPSTREAM],
    metrics: ["get", "filter", "all", "entries"].map((name) => ({
      name,
      title: `\`${name}\``,
      unit: name === "get" ? "get/s" : "ms",
      better: name === "get" ? "more" : "less",
      goals: [{ against: UPSTREAM, times: 1 }],
    })),
    prepare: fillAndCheckpoint,
    run: warmReads,
  },
  {
    name: "open",
    title: (size) => `\`open\` of ${size} records`,
    size: { full: 200_000, quick: 2_000, large: 20_000 },
    guarantee: stored,
    contenders: [OURS, UPSTREAM],
    metrics: [
      { name: "open", title: "time", unit: "ms", better: "less", goals: [{ against: UPSTREAM, times: 8 }] },
      { name: "memory", title: "memory grown", unit: "MiB", better: "less", goals: [{ against: UPSTREAM, times: 3 }] },
      { name: "filter", title: "time with the first `filter`", unit: "ms", better: "less", goals: [{ against: UPSTREAM, times: 1.5 }] },
    ],
    prepare: fillAndCheckpoint,
    run: opening,
  },
  {
    name: "checkpoint",
    title: (size) => `checkpoint of ${size} records`,
    size: { full: 200_000, quick: 2_000, large: 20_000 },
    guarantee: stored,
    contenders: [OURS, UPSTREAM],
    metrics: [
      { name: "duration", title: "duration", unit: "ms", better: "less", goals: [{ against: UPSTREAM, times: 15 }] },
      {
        name: "stall",
        title: "longest stall of the event loop",
        unit: "ms",
        better: "less",
        goals: [{ against: UPSTREAM, times: 30 }, { atMost: 10 }],
      },
    ],
    prepare: fillAndCheckpoint,
    run: checkpointing,
  },
  {
    name: "defaults",
    title: (size) => `no options, ${size} records, 400 more \`set\`s one after the other`,
    size: { full: 100_000, quick: 1_000, large: 10_000 },
    guarantee: defaults,
    contenders: [OURS, UPSTREAM],
    metrics: [
      sets({ against: UPSTREAM, times: 20 }),
      { name: "stall", title: "longest stall of the event loop", unit: "ms", better: "less", goals: [{ atMost: 10 }] },
    ],
    prepare: fillAndCheckpoint,
    run: setsByDefault,
  },
  {
    name: "disk",
    title: (size) => `no options, bytes on disk after ${size} \`set\`s of new records`,
    size: { full: 5_000, quick: 500 },
    guarantee: defaults,
    contenders: [OURS, UPSTREAM],
    metrics: [
      { name: "disk", title: "while open", unit: "MiB", better: "less", goals: [{ against: UPSTREAM, times: 5 }] },
      { name: "amplification", title: "while open, by the bytes of the records", unit: "x", better: "less", goals: [{ atMost: 3 }] },
      { name: "closed", title: "after `close`", unit: "MiB", better: "less", goals: [] },
    ],
    run: bytesOnDisk,
  },
  {
    name: "import",
    title: () => "a fresh process that imports the package",
    size: { full: 15, quick: 2 },
    guarantee: defaults,
    contenders: [OURS, UPSTREAM, "empty"],
    metrics: [{ name: "time", unit: "ms", better: "less", goals: [{ against: "empty", plus: 15 }] }],
    run: importing,
  },
];

/**
 * How cost grows with the number of records (`--growth`).
 * @type {Scenario}
 */
export const growth = {
  name: "growth",
  title: (size) => `${size} records`,
  size: { full: 0, quick: 1_000 },
  guarantee: written,
  contenders: [OURS, UPSTREAM],
  metrics: [
    { name: "open", title: "`open`", unit: "ms", better: "less", goals: [] },
    { name: "memory", title: "memory grown by `open`", unit: "MiB", better: "less", goals: [] },
    { name: "rate", title: '`set` one after the other, immediate, `"os"`', unit: "set/s", better: "more", goals: [] },
    { name: "checkpoint", title: "checkpoint", unit: "ms", better: "less", goals: [] },
    { name: "stall", title: "longest stall of the event loop in it", unit: "ms", better: "less", goals: [] },
  ],
  prepare: fillAndCheckpoint,
  run: growing,
};

/** @param {Trial} trial @returns {Promise<Measurement>} */
async function sequentialSets({ open, size, bytes }) {
  const handle = await open();
  const warmUp = Math.ceil(size / 10);
  const entries = makeEntries(size + warmUp, bytes);
  await setEach(handle, entries.slice(0, warmUp));
  await handle.flush();
  return await timeSets(handle, entries.slice(warmUp));
}

/** @param {Trial} trial @returns {Promise<Measurement>} */
async function updates({ open, size, bytes }) {
  const handle = await open();
  const existing = Math.max(1, size / 10);
  const rounds = size / existing;
  await setEach(handle, makeEntries(existing, bytes));
  await handle.flush();
  /** @type {[string, object][]} */
  const entries = [];
  for (let round = 1; round <= rounds; round += 1) entries.push(...makeEntries(existing, bytes, round));
  return await timeSets(handle, entries);
}

/** @param {Trial} trial @returns {Promise<Measurement>} */
async function concurrentSets({ open, size, bytes }) {
  const handle = await open();
  return await inRounds(handle, size, bytes, (round) =>
    Promise.all(round.map(([id, record]) => /** @type {Promise<unknown>} */ (handle.set(id, record)))),
  );
}

/** @param {Trial} trial @returns {Promise<Measurement>} */
async function batches({ open, size, bytes }) {
  const handle = await open();
  return await inRounds(handle, size, bytes, async (round) => await handle.batch(round));
}

/**
 * Rounds of 1,000; the first one warms up.
 * @param {Handle} handle
 * @param {number} size
 * @param {number} bytes
 * @param {(round: [string, object][]) => Promise<unknown>} work
 * @returns {Promise<Measurement>}
 */
async function inRounds(handle, size, bytes, work) {
  const width = 1_000;
  const entries = makeEntries(size + width, bytes);
  let seconds = 0;
  for (let start = 0; start < entries.length; start += width) {
    const round = entries.slice(start, start + width);
    const started = performance.now();
    await work(round);
    if (start > 0) seconds += (performance.now() - started) / 1000;
  }
  await handle.close();
  return { rate: size / seconds };
}

/** @param {Trial} trial */
export async function fillAndCheckpoint({ open, size, bytes }) {
  const handle = await open();
  const width = 1_000;
  for (let start = 0; start < size; start += width) {
    await handle.batch(makeEntries(Math.min(width, size - start), bytes, 0, start));
  }
  await handle.checkpoint();
  await handle.close();
}

/** @param {Trial} trial @returns {Promise<Measurement>} */
async function opening(trial) {
  const { handle, milliseconds, memory } = await timeOpen(trial);
  const scans = scansOf(handle);
  const started = performance.now();
  const found = scans.filter((record) => record.status === "open");
  const first = performance.now() - started;
  if (found.length === 0) throw new Error("nothing was found");
  await handle.close();
  return { open: milliseconds, memory, filter: milliseconds + first };
}

/** @param {Trial} trial */
async function timeOpen({ open, size }) {
  globalThis.gc?.();
  const before = process.memoryUsage().rss;
  const started = performance.now();
  const handle = await open();
  const milliseconds = performance.now() - started;
  globalThis.gc?.();
  const memory = (process.memoryUsage().rss - before) / 2 ** 20;
  if (handle.get(taskId(size - 1)) === undefined) throw new Error("the last record was not loaded");
  return { handle, milliseconds, memory };
}

/** @param {Trial} trial @returns {Promise<Measurement>} */
async function checkpointing({ open, size, bytes }) {
  const handle = await open();
  // so that there is something new
  await handle.set(taskId(0), task(0, 1, bytes));
  globalThis.gc?.();
  const { milliseconds, stall } = await watched(async () => await handle.checkpoint());
  if (handle.get(taskId(size - 1)) === undefined) throw new Error("a record is gone");
  await handle.close();
  return { duration: milliseconds, stall };
}

/** @param {Trial} trial @returns {Promise<Measurement>} */
async function setsByDefault({ open, size, bytes }) {
  const handle = await open();
  const entries = makeEntries(400, bytes, 0, size);
  globalThis.gc?.();
  const { milliseconds, stall } = await watched(() => setEach(handle, entries));
  await handle.close();
  return { rate: entries.length / (milliseconds / 1000), stall };
}

/** @param {Trial} trial @returns {Promise<Measurement>} */
async function bytesOnDisk({ open, dir, size, bytes }) {
  const handle = await open();
  await setEach(handle, makeEntries(size, bytes));
  const whileOpen = bytesBelow(dir);
  await handle.close();
  return { disk: whileOpen / 2 ** 20, amplification: whileOpen / (size * bytes), closed: bytesBelow(dir) / 2 ** 20 };
}

/**
 * Whole processes, from start to end, one after the other.
 * @param {Trial} trial
 * @returns {Promise<Measurement>}
 */
async function importing({ contender, size }) {
  /** @type {Record<string, string>} */
  const modules = {
    [OURS]: new URL("../dist/index.js", import.meta.url).href,
    [UPSTREAM]: import.meta.resolve("@backloghq/opslog"),
    empty: new URL("contenders/empty.js", import.meta.url).href,
  };
  const program = `await import(${JSON.stringify(modules[contender])});`;
  const times = Array.from({ length: size + 1 }, () => {
    const started = performance.now();
    execFileSync(process.execPath, ["--input-type=module", "--eval", program]);
    return performance.now() - started;
  });
  // the first one reads the files from the disk
  return { time: /** @type {number} */ (times.slice(1).toSorted((a, b) => a - b)[Math.floor(size / 2)]) };
}

/**
 * Of a store that was opened and read: records that this process made itself would share their strings with it in the
 * one contender and not in the other.
 * @param {Trial} trial
 * @returns {Promise<Measurement>}
 */
async function warmReads({ open, size }) {
  const handle = await open();
  const { all, entries, filter } = scansOf(handle);
  // a caller's ids are strings of its own
  const ids = Array.from({ length: size }, (_, index) => taskId((index * 7919) % size));
  let found = 0;
  /** @type {(work: () => unknown) => number} */
  const time = (work) => {
    const rounds = 20;
    for (let round = 0; round < 3; round += 1) work();
    // what the records left behind when they were decoded is not the reads'
    globalThis.gc?.();
    const started = performance.now();
    for (let round = 0; round < rounds; round += 1) work();
    return (performance.now() - started) / rounds;
  };
  const filterTime = time(() => filter((record) => record.status === "open"));
  const allTime = time(all);
  const entriesTime = time(entries);
  const gets = time(() => {
    for (const id of ids) if (handle.get(id) !== undefined) found += 1;
  });
  if (found !== size * 23 || all().length !== size || entries().length !== size) throw new Error("a record was not found");
  await handle.close();
  return { get: size / (gets / 1000), filter: filterTime, all: allTime, entries: entriesTime };
}

/** @param {Trial} trial @returns {Promise<Measurement>} */
async function growing(trial) {
  const { handle, milliseconds, memory } = await timeOpen(trial);
  const count = 5_000;
  const entries = makeEntries(count + 500, trial.bytes, 0, trial.size);
  await setEach(handle, entries.slice(0, 500));
  const started = performance.now();
  await setEach(handle, entries.slice(500));
  const seconds = (performance.now() - started) / 1000;
  const checkpoint = await watched(async () => await handle.checkpoint());
  await handle.close();
  return { open: milliseconds, memory, rate: count / seconds, checkpoint: checkpoint.milliseconds, stall: checkpoint.stall };
}

/**
 * @param {Handle} handle
 * @param {[string, object][]} entries
 * @returns {Promise<Measurement>}
 */
async function timeSets(handle, entries) {
  globalThis.gc?.();
  const started = performance.now();
  await setEach(handle, entries);
  const rate = entries.length / ((performance.now() - started) / 1000);
  await handle.flush();
  const untilFlushed = entries.length / ((performance.now() - started) / 1000);
  await handle.close();
  return { rate, flushed: untilFlushed };
}

/**
 * @param {Handle} handle
 * @param {[string, object][]} entries
 */
async function setEach(handle, entries) {
  for (const [id, record] of entries) await handle.set(id, record);
}

/**
 * @param {Handle} handle
 * @returns {Scans}
 */
function scansOf({ scans }) {
  if (scans === undefined) throw new Error("this contender has no scans");
  return scans;
}

/**
 * @param {number} count
 * @param {number} bytes
 * @param {number} revision
 * @param {number} first
 * @returns {[string, object][]}
 */
export function makeEntries(count, bytes, revision = 0, first = 0) {
  return Array.from({ length: count }, (_, index) => [taskId(first + index), task(first + index, revision, bytes)]);
}

/** @param {string} dir */
function bytesBelow(dir) {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
}
