/** Agents that register all at once, and agents that come and go. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { randomFrom } from "../cases.js";
import { checkpoint, finish, manifestOf, observe } from "./end.js";
import { howItEnded, start } from "./processes.js";

/** @typedef {{ problems: string[], counts: Record<string, number> }} Outcome */
/** @typedef {import("./visitor.js").Order} Order */

/** Ids that are no plain file names, among the plain ones. */
const STRANGE = ["a/b", "..", "ä ö", "CON", "%2e", "A", "a", "\u{1f600}"];

/** Records that each agent writes. */
const RECORDS = 20;

/** How many processes of short-lived agents there are at once, and how many agents one has, one after the other. */
const AT_ONCE = 4;
const AGENTS_EACH = 5;

/** Superseded logs stay for a minute for readers, and so many of them at most (docs/design.md); and the current ones. */
const LOGS_STAY_MS = 61_000;
const MOST_LOGS = 256 + 2;
/** A manifest with an agent or two, and two generations. */
const MANIFEST_BYTES = 2_000;

/** @param {string[]} ids @param {number} records @returns {Record<string, string>} */
function expected(ids, records) {
  return Object.fromEntries(ids.flatMap((id) => Array.from({ length: records }, (_, n) => [`${id}/${n}`, `${id}:${n}`])));
}

/**
 * @param {Record<string, string>} should what was acknowledged
 * @param {Record<string, string>} may what was tried
 * @param {Record<string, string>} has
 */
function lost(should, may, has) {
  const missing = Object.keys(should).filter((id) => has[id] !== should[id]);
  const more = Object.keys(has).filter((id) => may[id] !== has[id]);
  return [
    ...(missing.length > 0 ? [`${missing.length} records are lost: ${missing.slice(0, 10).join(", ")}`] : []),
    ...(more.length > 0 ? [`${more.length} records are there that nobody wrote: ${more.slice(0, 10).join(", ")}`] : []),
  ];
}

/**
 * @param {string} place
 * @param {{ processes: number, rounds: number }} size
 * @returns {Promise<Outcome>}
 */
export async function storm(place, { processes, rounds }) {
  /** @type {string[]} */
  const problems = [];
  let slowest = 0;
  for (let round = 1; round <= rounds; round++) {
    const dir = join(place, `store-${round}`);
    const ids = Array.from({ length: processes }, (_, at) => STRANGE[at] ?? `agent ${at}`);
    const children = ids.map((id) => start("visitor.js", visit(dir, [id], { records: RECORDS }), 60_000));
    await Promise.all(children.map(({ ready }) => ready));
    const began = performance.now();
    for (const { go } of children) go();
    const ends = await Promise.all(children.map(({ ended }) => ended));
    slowest = Math.max(slowest, performance.now() - began);
    ends.forEach((ended, at) => {
      if (ended.code !== 0) problems.push(`round ${round}, agent ${JSON.stringify(ids[at])}: ${howItEnded(ended)}`);
    });
    const well = ids.filter((_id, at) => ends[at].code === 0);
    const left = await settled(dir, expected(well, RECORDS), expected(ids, RECORDS));
    problems.push(...left.map((text) => `round ${round}: ${text}`));
  }
  return { problems, counts: { rounds, processes, records: rounds * processes * RECORDS, "ms the slowest round": Math.round(slowest) } };
}

/**
 * @param {string} dir
 * @param {Record<string, string>} should
 * @param {Record<string, string>} [may]
 */
async function settled(dir, should, may = should) {
  const { content, problems } = await observe(dir, false);
  return [...problems, ...lost(should, may, content.records), ...(await finish(dir, content))];
}

/** @param {string} dir @param {string[]} ids @param {Partial<Order>} options @returns {Order} */
const visit = (dir, ids, options) => ({ dir, ids, records: 1, checkpointThreshold: 100, killed: false, ...options });

/**
 * Agents with ids of their own come and go, some are killed.
 *
 * @param {string} dir
 * @param {{ agents: number, seed: number }} size
 * @returns {Promise<Outcome>}
 */
export async function comeAndGo(dir, { agents, seed }) {
  const random = randomFrom(seed);
  /** @type {string[]} */
  const problems = [];
  const ids = Array.from({ length: agents }, () => Math.floor(random() * 2 ** 48).toString(36));
  const groups = Array.from({ length: Math.ceil(agents / AGENTS_EACH) }, (_, at) => ids.slice(at * AGENTS_EACH, (at + 1) * AGENTS_EACH));
  let [entries, bytes] = [0, 0];
  const queue = async () => {
    for (let own = groups.pop(); own !== undefined; own = groups.pop()) {
      const killed = random() < 0.5;
      const child = start("visitor.js", visit(dir, own, { records: 2, checkpointThreshold: 5, killed }), 60_000);
      child.go();
      const ended = await child.ended;
      if (killed ? ended.signal !== "SIGKILL" : ended.code !== 0) problems.push(`agents ${own.join(", ")}: ${howItEnded(ended)}`);
      entries = Math.max(entries, Object.keys(manifestOf(dir).activeAgentOps ?? {}).length);
      bytes = Math.max(bytes, statSync(join(dir, "manifest.json")).size);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, queue));
  problems.push(...(await settled(dir, expected(ids, 2))));
  const files = filesOf(dir);
  if (files.logs.length > MOST_LOGS) problems.push(`${files.logs.length} logs are kept`);
  return { problems, counts: { agents, "entries at most": entries, "bytes of manifest at most": bytes, ...countsOf(dir) } };
}

/**
 * What the agents that have gone have left behind, once no reader can need it any more: nothing.
 * @param {string} dir
 * @returns {Promise<Outcome>}
 */
export async function leftBehind(dir) {
  const wait = newest(dir) + LOGS_STAY_MS - Date.now();
  if (wait > 0) await sleep(wait);
  // The second one removes what was current before the first.
  await checkpoint(dir, "last");
  await checkpoint(dir, "last");
  const { snapshots, logs, dotted } = filesOf(dir);
  const entries = Object.keys(manifestOf(dir).activeAgentOps ?? {});
  const { size } = statSync(join(dir, "manifest.json"));
  /** @type {string[]} */
  const problems = [];
  if (entries.some((id) => id !== "last")) problems.push(`the manifest names ${entries.length} agents, all but one of them gone`);
  if (size > MANIFEST_BYTES) problems.push(`the manifest has ${size} bytes`);
  if (snapshots.length > 2) problems.push(`${snapshots.length} snapshots are there: the current one and the one before are needed`);
  // Those of both checkpoints: the last agent's log and what it replaced.
  if (logs.length > 4) problems.push(`${logs.length} logs are there, of one agent and two checkpoints`);
  const locks = dotted.filter((name) => name.startsWith(".agent-"));
  if (locks.length > 1) problems.push(`lock files of ${locks.length} agents are there`);
  return { problems, counts: countsOf(dir) };
}

/** @param {string} dir */
function filesOf(dir) {
  /** @param {string} folder */
  const list = (folder) => {
    const entries = readdirSync(join(dir, folder), { withFileTypes: true });
    return entries.filter((entry) => entry.isFile()).map(({ name }) => name);
  };
  return { snapshots: list("snapshots"), logs: list("ops"), dotted: list(".").filter((name) => name.startsWith(".")) };
}

/** @param {string} dir @returns {Record<string, number>} */
function countsOf(dir) {
  const counts = Object.entries(filesOf(dir)).map(([what, names]) => [what === "dotted" ? "lock files" : what, names.length]);
  const { activeAgentOps = {} } = manifestOf(dir);
  const { size } = statSync(join(dir, "manifest.json"));
  return { ...Object.fromEntries(counts), entries: Object.keys(activeAgentOps).length, "bytes of manifest": size };
}

/** When something was last written. @param {string} dir */
function newest(dir) {
  const paths = [join(dir, "manifest.json"), ...readdirSync(join(dir, "ops")).map((name) => join(dir, "ops", name))];
  return Math.max(...paths.map((path) => statSync(path).mtimeMs));
}
