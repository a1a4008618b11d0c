/** Making and copying the directories that the harnesses work on. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, statSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as ours from "../index.js";
import { run, toError } from "./run.js";
import { MIGRATION } from "./workloads.js";

/** @typedef {import("./workloads.js").Workload} Workload */

/**
 * @param {string} kind `ours` or `upstream`
 * @returns {Promise<typeof import("../index.js")>}
 */
export async function implementation(kind) {
  return kind === "upstream" ? /** @type {any} */ (await import("@backloghq/opslog")) : ours;
}

/** Recovery's reports are expected, thousands of times. */
const { error } = console;
console.error = (...args) => {
  if (!String(args[0]).startsWith("opslog")) error(...args);
};

/**
 * @param {Workload} workload
 * @param {string} [kind]
 * @returns {import("../index.js").StoreOptions} of every `open` under fire and after it
 */
export function optionsOf(workload, kind = "ours") {
  const { durability, ...options } = workload.options;
  const own = kind === "upstream" || durability === undefined ? options : { ...options, durability };
  return workload.upgrade ? { ...own, ...MIGRATION } : own;
}

/**
 * Makes the directory of this run. In memory where there is such a file system: what is tested is what we write when,
 * and syncing a real disk thousands of times shows nothing more.
 * @returns {string}
 */
export function workplace() {
  const base = existsSync("/dev/shm") ? "/dev/shm" : realpathSync(tmpdir());
  const place = mkdtempSync(join(base, "opslog-reliability-"));
  process.once("exit", () => rmSync(place, { recursive: true, force: true }));
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(130));
  return place;
}

/**
 * Makes the store on which a workload's steps begin.
 * @param {Workload} workload
 * @param {string} dir
 * @param {string} [kind]
 */
export async function prepare(workload, dir, kind = "ours") {
  mkdirSync(dir, { recursive: true });
  if (workload.prepare.length === 0) return;
  const { Store } = await implementation(kind);
  const store = /** @type {import("../index.js").Store<unknown>} */ (new Store());
  await store.open(dir, { checkpointThreshold: Infinity, checkpointOnClose: false });
  await run(workload.prepare, {
    store: () => store,
    open: async () => {},
    before: () => {},
    after: (_at, error) => {
      if (error !== undefined) throw toError(error);
    },
  });
  const log = join(dir, store.getManifest()?.activeOps ?? "");
  await store.close();
  if (workload.torn !== undefined) truncateSync(log, statSync(log).size - workload.torn);
}

/** @param {string} from @param {string} to */
export function copyStore(from, to) {
  rmSync(to, { recursive: true, force: true });
  cpSync(from, to, { recursive: true, preserveTimestamps: true });
}

/**
 * @param {string} dir
 * @returns {string[]} paths of all files, sorted
 */
export function filesIn(dir) {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(dir.length + 1))
    .sort();
}
