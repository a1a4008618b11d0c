// What is measured. A scenario runs once per trial, in a process of its own, against one contender.
//
// Records are made before the clock starts, and a tenth of the work is done beforehand so that the code is compiled.

import { task, taskId } from "./record.js";

/** @typedef {import("./contenders/contender.js").Guarantee} Guarantee */
/** @typedef {import("./contenders/contender.js").Handle} Handle */

/**
 * The result of one trial. `seconds` is what the goal is judged by; `flushed` also counts the final `flush`.
 * @typedef {{ operations: number, seconds: number, flushed?: number, bytes?: number }} Measurement
 */

/**
 * @typedef {object} Trial
 * @property {string} dir empty, unless the scenario has a `prepare`: then what that left behind
 * @property {number} size
 * @property {number} bytes size of a record
 * @property {() => Promise<Handle>} open
 */

/**
 * @typedef {object} Scenario
 * @property {string} name
 * @property {string} title
 * @property {string} unit what is counted per second
 * @property {{ full: number, quick: number }} size
 * @property {Guarantee} guarantee
 * @property {string[]} contenders in the order in which they take turns; the first is ours
 * @property {{ against: string, times: number }[]} goals ours must be at least `times` as fast
 * @property {(trial: Trial) => Promise<void>} [prepare] once per contender, untimed, in a process of its own
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

/** @type {Scenario[]} */
export const scenarios = [
  {
    name: "set-os",
    title: 'sequential `set`, immediate, `"os"`',
    unit: "set",
    size: { full: 10_000, quick: 200 },
    guarantee: written,
    contenders: [OURS, UPSTREAM, "raw"],
    goals: [{ against: UPSTREAM, times: 20 }],
    run: sequentialSets,
  },
  {
    name: "set-fsync",
    title: 'sequential `set`, immediate, `"fsync"` (upstream does not sync)',
    unit: "set",
    size: { full: 2_000, quick: 50 },
    guarantee: stored,
    contenders: [OURS, UPSTREAM, "raw"],
    goals: [{ against: UPSTREAM, times: 1 }],
    run: sequentialSets,
  },
  {
    name: "set-concurrent",
    title: '1,000 concurrent `set`s, immediate, `"fsync"` (upstream does not sync)',
    unit: "set",
    size: { full: 10_000, quick: 2_000 },
    guarantee: stored,
    contenders: [OURS, UPSTREAM],
    goals: [{ against: UPSTREAM, times: 15 }],
    run: concurrentSets,
  },
  {
    name: "async-create",
    title: "sequential `set`, async, of new records",
    unit: "set",
    size: { full: 20_000, quick: 500 },
    guarantee: buffered,
    contenders: [OURS, UPSTREAM, "floor"],
    goals: [],
    run: sequentialSets,
  },
  {
    name: "async-update",
    title: "sequential `set`, async, of records that exist",
    unit: "set",
    size: { full: 20_000, quick: 500 },
    guarantee: buffered,
    contenders: [OURS, UPSTREAM, "floor"],
    goals: [{ against: UPSTREAM, times: 4 }],
    run: updates,
  },
  {
    name: "batch",
    title: '`batch` of 1,000, `"fsync"` (upstream does not sync)',
    unit: "set",
    size: { full: 20_000, quick: 2_000 },
    guarantee: stored,
    contenders: [OURS, UPSTREAM, "raw"],
    goals: [],
    run: batches,
  },
  {
    name: "open",
    title: "`open` of 200,000 records",
    unit: "record",
    size: { full: 200_000, quick: 2_000 },
    guarantee: stored,
    contenders: [OURS, UPSTREAM],
    goals: [{ against: UPSTREAM, times: 5 }],
    prepare: fillAndCheckpoint,
    run: opening,
  },
  {
    name: "get-cached",
    title: "`get` of a record that was read before (100,000 records)",
    unit: "get",
    size: { full: 100_000, quick: 1_000 },
    guarantee: written,
    contenders: [OURS, UPSTREAM],
    goals: [{ against: UPSTREAM, times: 1 }],
    run: cachedGets,
  },
];

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
  const width = 1_000;
  const entries = makeEntries(size + width, bytes);
  let seconds = 0;
  for (let start = 0; start < entries.length; start += width) {
    const round = entries.slice(start, start + width);
    const started = performance.now();
    await Promise.all(round.map(([id, record]) => /** @type {Promise<void>} */ (handle.set(id, record))));
    // the first round warms up
    if (start > 0) seconds += (performance.now() - started) / 1000;
  }
  await handle.close();
  return { operations: size, seconds };
}

/** @param {Trial} trial @returns {Promise<Measurement>} */
async function batches({ open, size, bytes }) {
  const handle = await open();
  const width = 1_000;
  const entries = makeEntries(size + width, bytes);
  let seconds = 0;
  for (let start = 0; start < entries.length; start += width) {
    const round = entries.slice(start, start + width);
    const started = performance.now();
    await handle.batch(round);
    if (start > 0) seconds += (performance.now() - started) / 1000;
  }
  await handle.close();
  return { operations: size, seconds };
}

/** @param {Trial} trial */
async function fillAndCheckpoint({ open, size, bytes }) {
  const handle = await open();
  const width = 1_000;
  const entries = makeEntries(size, bytes);
  for (let start = 0; start < size; start += width) await handle.batch(entries.slice(start, start + width));
  await handle.checkpoint();
  await handle.close();
}

/** @param {Trial} trial @returns {Promise<Measurement>} */
async function opening({ open, size }) {
  globalThis.gc?.();
  const before = process.memoryUsage().rss;
  const started = performance.now();
  const handle = await open();
  const seconds = (performance.now() - started) / 1000;
  globalThis.gc?.();
  const bytes = process.memoryUsage().rss - before;
  if (handle.get(taskId(size - 1)) === undefined) throw new Error("the last record was not loaded");
  await handle.close();
  return { operations: size, seconds, bytes };
}

/** @param {Trial} trial @returns {Promise<Measurement>} */
async function cachedGets({ open, size, bytes }) {
  const handle = await open();
  await handle.batch(makeEntries(size, bytes));
  const ids = Array.from({ length: size }, (_, index) => taskId((index * 7919) % size));
  const rounds = 10;
  let found = 0;
  const readAll = () => {
    for (const id of ids) if (handle.get(id) !== undefined) found += 1;
  };
  readAll();
  readAll();
  const started = performance.now();
  for (let round = 0; round < rounds; round += 1) readAll();
  const seconds = (performance.now() - started) / 1000;
  if (found !== size * (rounds + 2)) throw new Error("a record was not found");
  await handle.close();
  return { operations: size * rounds, seconds };
}

/**
 * @param {Handle} handle
 * @param {[string, object][]} entries
 * @returns {Promise<Measurement>}
 */
async function timeSets(handle, entries) {
  const started = performance.now();
  await setEach(handle, entries);
  const seconds = (performance.now() - started) / 1000;
  await handle.flush();
  const flushed = (performance.now() - started) / 1000;
  await handle.close();
  return { operations: entries.length, seconds, flushed };
}

/**
 * @param {Handle} handle
 * @param {[string, object][]} entries
 */
async function setEach(handle, entries) {
  for (const [id, record] of entries) await handle.set(id, record);
}

/**
 * @param {number} count
 * @param {number} bytes
 * @param {number} revision
 * @returns {[string, object][]}
 */
function makeEntries(count, bytes, revision = 0) {
  return Array.from({ length: count }, (_, index) => [taskId(index), task(index, revision, bytes)]);
}
