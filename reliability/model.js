/**
 * What a store must hold: a plain model of the workloads' steps, and which of its states a crash may leave.
 *
 * Calls take effect in the order in which they were called. So after a crash the store holds what the first `k` calls
 * made, for one `k`: all that were acknowledged and had to last, and at most those that had been made.
 */
import { MIGRATION } from "./workloads.js";

/** @typedef {import("./workloads.js").Step} Step */
/** @typedef {import("./workloads.js").Workload} Workload */

/**
 * @typedef {object} State
 * @property {Map<string, unknown>} records in order
 * @property {Map<string, unknown>[]} undo the records before each operation since the last checkpoint
 * @property {Map<string, Map<string, unknown>>} archives records by segment
 */

/** @typedef {{ step: Step, agent: string | undefined }} Call */

/** @type {State} */
const EMPTY = { records: new Map(), undo: [], archives: new Map() };

/** @param {unknown} value */
export const copy = (value) => JSON.parse(JSON.stringify(value));

/**
 * @param {State} state
 * @param {Step} step
 * @returns {State} a new one
 */
export function apply(state, step) {
  const records = new Map(state.records);
  const undo = [...state.undo, state.records];
  switch (step[0]) {
    case "set":
      records.set(step[1], copy(step[2]));
      return { ...state, records, undo };
    case "delete":
      records.delete(step[1]);
      return { ...state, records, undo };
    case "batch":
      return step[1].reduce(apply, state);
    case "undo":
      return state.undo.length === 0 ? state : { ...state, records: state.undo[state.undo.length - 1], undo: state.undo.slice(0, -1) };
    case "archive": {
      const moved = [...records].filter(([id]) => id.startsWith(step[1]));
      if (moved.length === 0) return state;
      for (const [id] of moved) records.delete(id);
      const segment = new Map([...(state.archives.get(step[2]) ?? []), ...moved]);
      return { records, undo: [], archives: new Map(state.archives).set(step[2], segment) };
    }
    case "compact":
    case "close":
      return { ...state, undo: [] };
    case "flush":
    case "sync":
    case "open":
    case "pause":
      return state;
    default:
      throw new Error(`no single call: ${step[0]}`);
  }
}

/**
 * @param {Step[]} steps
 * @param {string} [agent]
 * @returns {Call[]} one for each call, in the order in which they are made
 */
export function callsOf(steps, agent) {
  return steps.flatMap((step) => {
    if (step[0] === "together") return callsOf(step[1], agent);
    if (step[0] === "as") return callsOf([step[2]], step[1]);
    return step[0] === "pause" ? [] : [{ step, agent }];
  });
}

/** @param {State} state @returns {State} */
function migrated(state) {
  /** @param {Map<string, unknown>} records */
  const all = (records) => new Map([...records].map(([id, value]) => [id, MIGRATION.migrate(value)]));
  return { records: all(state.records), undo: [], archives: new Map([...state.archives].map(([name, records]) => [name, all(records)])) };
}

/**
 * @param {Workload} workload
 * @returns {State} what is there when the steps begin
 */
export function prepared(workload) {
  const kept = callsOf(workload.prepare).map(({ step }) => step);
  // What is cut off takes the last call with it.
  const state = (workload.torn === undefined ? kept : kept.slice(0, -1)).reduce(apply, EMPTY);
  return workload.upgrade ? migrated(state) : state;
}

/** Calls after which everything before them is with the system, and synced if the store syncs at all. */
const BARRIERS = ["flush", "sync", "compact", "archive", "close"];

/**
 * @typedef {object} Range what a crash may leave of some calls
 * @property {State[]} states after 0, 1, 2, … calls
 * @property {number} from so many calls count at least
 * @property {number} to and so many at most
 */

/**
 * @param {Workload} workload
 * @param {string[]} marks what the driver wrote: `i N` before call N, `a N` once it was acknowledged
 * @param {"kill" | "power"} crash
 * @param {string} [agent] whose calls
 * @returns {Range}
 */
export function rangeOf(workload, marks, crash, agent) {
  const all = callsOf(workload.steps);
  const own = all.map((call, at) => ({ ...call, at })).filter((call) => call.agent === agent);
  const made = new Set(marks.filter((mark) => mark.startsWith("i ")).map((mark) => Number(mark.slice(2))));
  const done = new Set(marks.filter((mark) => mark.startsWith("a ")).map((mark) => Number(mark.slice(2))));
  const states = [prepared(workload)];
  for (const { step } of own) states.push(apply(states[states.length - 1], step));
  let [from, to, buffered] = [0, 0, 0];
  const { writeMode = "immediate", durability = "fsync", groupCommitSize = 50 } = workload.options;
  own.forEach(({ step, at }, index) => {
    if (made.has(at)) to = index + 1;
    if (!done.has(at)) return;
    const barrier = BARRIERS.includes(step[0]);
    const lasts =
      writeMode !== "immediate" ? barrier : crash === "kill" || durability === "fsync" || (barrier && step[0] !== "flush");
    if (lasts) [from, buffered] = [index + 1, 0];
    else if (writeMode === "group" && crash === "power") {
      // CONTRACT 2: a power cut loses at most `groupCommitSize` operations of group mode.
      buffered += step[0] === "batch" ? step[1].length : 1;
      if (buffered > groupCommitSize) from = Math.max(from, index + 1 - groupCommitSize);
    }
  });
  return { states, from, to };
}
