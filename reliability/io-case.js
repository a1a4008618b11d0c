/** One workload with one failing call: what was promised to the callers must be what is in memory and on disk. */
import { readdirSync, readlinkSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { within } from "./check.js";
import { apply, callsOf, prepared } from "./model.js";
import { run } from "./run.js";
import { copyStore, filesIn, optionsOf } from "./stores.js";
import { Store } from "../index.js";

/** @typedef {import("./workloads.js").Workload} Workload */
/** @typedef {import("./model.js").State} State */
/** @typedef {Map<string | undefined, State>} World the state by agent */

/** What the shim says that it did: name of the call and path. @typedef {{ name: string, path: string }} Hit */

/**
 * @typedef {object} Disk what a case may do with the disk
 * @property {() => void} mend nothing fails from now on
 * @property {() => Hit[]} hits what has failed so far
 * @property {boolean} full true where the disk is full until it is mended
 */

/** @returns {string[]} what the process has open, without what the process itself opens and closes on the way */
const descriptors = () =>
  readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith("/proc/") ? [] : [target];
    } catch {
      return [];
    }
  }).sort();

/** @param {[string, unknown][]} entries @param {string | undefined} agent */
const part = (entries, agent) => (agent === undefined ? entries : entries.filter(([id]) => id.startsWith(agent)).sort());

/** @param {State} state @param {string | undefined} agent */
const entriesOf = (state, agent) => part([...state.records], agent);

/** A folder that cannot be opened cannot be synced. @param {Hit} hit */
const isSync = ({ name, path }) => name === "fsync" || name === "fdatasync" || (name === "open" && /\/(store|ops|snapshots|archive)$/.test(path));

/** @param {unknown} value */
const short = (value) => JSON.stringify(value).slice(0, 600);

/** True where the model would refuse the call as well. @param {State} state @param {import("./workloads.js").Step} step */
const isRefused = (state, step) => {
  const deletes = step[0] === "batch" ? step[1] : [step];
  let now = state;
  for (const change of deletes) {
    if (change[0] === "delete" && !now.records.has(change[1])) return true;
    if (step[0] === "batch") now = apply(now, change);
  }
  return false;
};

/**
 * @param {Workload} workload
 * @param {string} template the prepared store
 * @param {string} dir
 * @param {Disk} disk
 * @param {() => void} arm the disk is bad from now on
 * @returns {Promise<string | undefined>} what is wrong
 */
export async function attempt(workload, template, dir, disk, arm) {
  copyStore(template, dir);
  const calls = callsOf(workload.steps);
  const agents = workload.agents ?? [undefined];
  const options = optionsOf(workload);
  /** @param {string | undefined} agent */
  const own = (agent) => (agent === undefined ? options : { ...options, agentId: agent });
  const before = descriptors();
  /** @type {Map<string | undefined, Store<unknown>>} */
  const stores = new Map();
  /** @type {World[]} every state since the beginning: what a store that failed may have lost */
  const worlds = [new Map(agents.map((agent) => [agent, prepared(workload)]))];
  /** States that a call whose outcome is unknown may have made. @type {World[]} */
  const unsure = [];
  /** @type {string[]} */
  const problems = [];
  let [plain, failed] = [0, false];

  /** @param {any} error @param {string} what */
  const rejected = (error, what) => {
    const text = `${what} rejects with ${error?.code}: ${error?.message}`;
    if (typeof error?.code !== "string") problems.push(`${text} (no code)`);
    const synced = disk.hits().some(isSync);
    const ofSync = error?.syscall === "fsync" || error?.syscall === "fdatasync";
    if (error?.code === "OPSLOG_FAILED" || (failed && error?.code === "OPSLOG_NOT_OPEN")) {
      failed = true;
      if (!synced) problems.push(`${text}, but no sync has failed`);
    } else if (synced && ofSync) {
      // CONTRACT 2: nothing is retried after a failed sync. Who shared it is told the same, and so is `close`, once.
      failed = true;
    } else if (disk.full) {
      if (error?.code !== "ENOSPC") problems.push(text);
    } else if (plain++ > 0) {
      problems.push(`${text}: a second call that fails`);
    }
    if (disk.hits().length === 0) problems.push(`${text} before anything has failed`);
  };
  const now = () => /** @type {World} */ (worlds.at(-1));
  /** @param {string} what */
  const compareMemory = (what) => {
    for (const agent of agents) {
      const store = stores.get(agent);
      const found = part(store?.entries() ?? [], agent);
      const expected = entriesOf(/** @type {State} */ (now().get(agent)), agent);
      if (!isDeepStrictEqual(found, expected)) problems.push(`memory after ${what}: ${short(found)} instead of ${short(expected)}`);
    }
  };
  /** @param {Store<unknown>} store @param {string | undefined} agent */
  const open = async (store, agent) => {
    try {
      await within(store.open(dir, own(agent)), "open");
    } catch (error) {
      rejected(error, "open");
      if (disk.full) disk.mend();
      await within(store.open(dir, own(agent)), "open");
    }
  };

  let failures = 0;
  /** @param {number} at @param {any} error @param {unknown} value */
  const settle = (at, error, value) => {
    const { step, agent } = calls[at];
    const state = /** @type {State} */ (now().get(agent));
    // Whether a peer's checkpoint has taken the last operation along depends on who was first; `undo` says so.
    const takenAlong = agent !== undefined && step[0] === "undo" && value === false;
    const next = takenAlong ? state : isRefused(state, step) ? undefined : apply(state, step);
    if (error === undefined && next === undefined) problems.push(`${step[0]} is not refused`);
    if (next === undefined) return;
    if (error === undefined) {
      worlds.push(new Map(now()).set(agent, next));
      return;
    }
    if (step[0] !== "close" || !failed) rejected(error, `call ${at} (${step[0]})`);
    // Whether a manifest whose name could not be synced counts is unknown: either state is complete.
    if (step[0] === "archive" && error.syscall === "fsync") unsure.push(new Map(now()).set(agent, next));
    failures++;
  };

  arm();
  try {
    for (const agent of agents) {
      const store = /** @type {Store<unknown>} */ (new Store());
      await open(store, agent);
      stores.set(agent, store);
    }
    let running = 0;
    /** @type {{ at: number, error: any, value: unknown }[]} */
    const settled = [];
    await run(workload.steps, {
      store: (agent) => /** @type {Store<unknown>} */ (stores.get(agent)),
      open: async (store, agent) => {
        // After a failed sync `close` has rejected, and this is the opening that the store asks for.
        if (store.getManifest() !== null) await within(store.close(), "close");
        failed = false;
        await open(store, agent);
      },
      before: () => {
        running++;
      },
      after: (at, error, value) => {
        running--;
        settled.push({ at, error, value });
        if (running > 0) return;
        // Calls that were made together settle in any order, and took effect in that of the calls.
        for (const each of settled.splice(0).sort((a, b) => a.at - b.at)) settle(each.at, each.error, each.value);
        // A full disk is freed once some calls have met it.
        if (failures >= 3 && disk.full) disk.mend();
        if (calls[at].step[0] !== "close") compareMemory(`call ${at} (${calls[at].step[0]})`);
      },
    });
    if (disk.full) disk.mend();
    for (const [agent, store] of stores) {
      const lastsUntilNow = store.getManifest() !== null;
      for (let round = 0; lastsUntilNow && round < 3; round++) {
        try {
          await within(store.close(), "close");
          break;
        } catch (error) {
          if (/** @type {any} */ (error).code === "OPSLOG_NOT_OPEN") break;
          // After a failed sync `close` rejects once, whatever was told before.
          if (!failed) rejected(error, `close ${agent ?? ""}`);
          failed = false;
        }
      }
    }
    disk.mend();
    await compareDisk();
  } catch (error) {
    problems.push(String(error instanceof Error ? error.stack : error));
  } finally {
    disk.mend();
  }
  // Descriptors are closed by threads that end after their store was closed.
  for (let wait = 1; wait < 200 && !isDeepStrictEqual(descriptors(), before); wait *= 2) await new Promise((resolve) => setTimeout(resolve, wait));
  const extra = descriptors().filter((target) => target.startsWith(dir));
  if (extra.length > 0) problems.push(`open still: ${extra.join(", ")}`);
  return problems.length === 0 ? undefined : problems.slice(0, 3).join("\n  ");

  async function compareDisk() {
    const left = filesIn(dir).filter((path) => path.endsWith(".tmp"));
    // What could not be removed stays; the next open removes it.
    const undone = disk.hits().some(({ name }) => name === "unlink");
    if (left.length > 0 && !undone) problems.push(`left: ${left.join(", ")}`);
    const again = /** @type {Store<unknown>} */ (new Store());
    await within(again.open(dir, { ...options, ...(workload.upgrade ? {} : { readOnly: true }) }), "open");
    const lossy = workload.options.writeMode !== undefined && disk.hits().some(isSync);
    const legal = [...(lossy ? worlds : [now()]), ...unsure];
    const found = again.entries();
    const fits = legal.some((world) => agents.every((agent) => isDeepStrictEqual(part(found, agent), entriesOf(/** @type {State} */ (world.get(agent)), agent))));
    if (!fits) problems.push(`disk: ${short(found)} instead of ${short([...now()].map(([agent, state]) => entriesOf(state, agent)).flat())}`);
    for (const path of again.listArchiveSegments()) {
      const segment = /archive-(.*)\.json$/.exec(path)?.[1] ?? path;
      const records = [...(await again.loadArchive(path))];
      if (!legal.some((world) => isDeepStrictEqual(records, [...(world.get(agents[0])?.archives.get(segment) ?? [])]))) {
        problems.push(`archive ${segment}: ${short(records)}`);
      }
    }
    await again.close();
  }
}
