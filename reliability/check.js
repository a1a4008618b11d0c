/** Opens what a crash left, and says what is wrong with it. */
import { utimesSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { implementation, filesIn, optionsOf } from "./stores.js";

/** @typedef {import("./model.js").Range} Range */
/** @typedef {import("./model.js").State} State */
/** @typedef {import("./workloads.js").Workload} Workload */

/** A store that does not open or close within this time hangs. Long: a busy machine may let this process starve. */
const PATIENCE_MS = 120_000;

/**
 * @template T
 * @param {Promise<T>} promise
 * @param {string} what
 * @returns {Promise<T>}
 */
export function within(promise, what) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} does not end`)), PATIENCE_MS);
  });
  return Promise.race([promise, /** @type {Promise<never>} */ (late)]).finally(() => clearTimeout(timer));
}

/**
 * @param {import("../index.js").Store<unknown>} store
 * @param {State} state
 * @param {Range} range
 * @returns {Promise<boolean>} true if the segments hold what they must, and nothing that was never archived
 */
async function archivesFit(store, state, range) {
  const all = range.states[range.to].archives;
  for (const path of store.listArchiveSegments()) {
    const segment = /archive-(.*)\.json$/.exec(path)?.[1] ?? path;
    const found = await store.loadArchive(path);
    for (const [id, value] of found) {
      // A crash may leave the records of an archive call in the segment as well as in the store.
      if (!isDeepStrictEqual(all.get(segment)?.get(id), value)) return false;
    }
    for (const [id] of state.archives.get(segment) ?? []) if (!found.has(id)) return false;
  }
  const listed = store.listArchiveSegments().join(" ");
  return [...state.archives.keys()].every((segment) => listed.includes(`archive-${segment}.json`));
}

/**
 * @typedef {object} Fault
 * @property {"refused" | "lost" | "invented" | "broken"} kind
 * @property {string} text
 * @property {{ code?: string, path?: string, byte?: number }} [error] why it does not open
 */

/**
 * @param {Workload} workload
 * @param {Map<string | undefined, Range>} ranges by agent
 * @param {[string, unknown][]} entries
 * @param {import("../index.js").Store<unknown>} store
 * @returns {Promise<Fault | undefined>}
 */
async function compare(workload, ranges, entries, store) {
  for (const [agent, range] of ranges) {
    const own = agent === undefined ? entries : entries.filter(([id]) => id.startsWith(agent)).sort();
    /** @param {State} state */
    const same = (state) => {
      const records = [...state.records];
      return isDeepStrictEqual(agent === undefined ? records : records.sort(), own);
    };
    let fits = false;
    for (let at = range.from; at <= range.to && !fits; at++) {
      const state = range.states[at];
      fits = same(state) && (agent !== undefined || (await archivesFit(store, state, range)));
    }
    if (fits) continue;
    const before = range.states.findIndex(same);
    const kind = before >= 0 && before < range.from ? "lost" : "invented";
    const which = before >= 0 ? `the state after ${before} calls` : "a state that nobody made";
    return {
      kind,
      text: `opens to ${which}, not to one after ${range.from} to ${range.to}${agent === undefined ? "" : ` of agent ${agent}`}\n` +
        `  found    ${short(own)}\n  expected ${short([...range.states[range.from].records])}\n` +
        `  archived ${short(store.listArchiveSegments())}`,
    };
  }
  return undefined;
}

/** @param {string} path */
export const isTemporaryLock = (path) => path.startsWith(".") && path.includes("lock.") && path.endsWith(".tmp");

/** @param {unknown} value */
function short(value) {
  const text = JSON.stringify(value);
  return text.length > 900 ? `${text.slice(0, 900)}… (${text.length})` : text;
}

/**
 * Opens a directory as the next process would, compares, writes, closes, and reads it once more.
 *
 * @param {Workload} workload
 * @param {string} dir
 * @param {Map<string | undefined, Range>} ranges
 * @param {string} [kind] whose store
 * @returns {Promise<Fault | undefined>} undefined where all is well
 */
export async function check(workload, dir, ranges, kind = "ours") {
  const { Store } = await implementation(kind);
  const options = { ...optionsOf(workload, kind), ...(workload.agents ? { agentId: workload.agents[0] } : {}) };
  // Temporary lock files may belong to somebody who is opening right now: only old ones are removed.
  for (const path of filesIn(dir)) if (isTemporaryLock(path)) utimesSync(join(dir, path), 0, 0);
  const store = /** @type {import("../index.js").Store<unknown>} */ (new Store());
  try {
    await within(store.open(dir, options), "open");
  } catch (error) {
    return { kind: "refused", text: `does not open: ${error}`, error: /** @type {any} */ (error) };
  }
  try {
    const fault = await compare(workload, ranges, store.entries(), store);
    if (fault !== undefined || kind !== "ours") {
      await within(store.close(), "close").catch(() => {});
      return fault;
    }
    await within(Promise.resolve(store.set("after the crash", 1)), "set");
    const entries = store.entries();
    await within(store.close(), "close");
    const again = /** @type {import("../index.js").Store<unknown>} */ (new Store());
    // No lock tells an agent that temporary files are nobody's: the next single writer removes them.
    await within(again.open(dir, { ...optionsOf(workload), ...(workload.agents ? {} : { readOnly: true }) }), "open");
    const found = again.entries();
    await again.close();
    if (!isDeepStrictEqual(found, entries)) return { kind: "broken", text: `does not go on: ${short(found)} instead of ${short(entries)}` };
    const left = filesIn(dir).filter((path) => path.endsWith(".tmp"));
    return left.length === 0 ? undefined : { kind: "broken", text: `leaves ${left.join(", ")}` };
  } catch (error) {
    return { kind: "broken", text: `does not go on: ${error}` };
  }
}
