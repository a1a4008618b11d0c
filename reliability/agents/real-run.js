/** Agents and readers on one directory, killed and started again until the time is over; then what they wrote is judged. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { randomFrom } from "../cases.js";
import { finish, observe } from "./end.js";
import { History } from "./history.js";
import { now, readJournals } from "./journal.js";
import { judgeArchives, judgeEnd, judgeSights, judgeUpstreamSights } from "./judge.js";
import { howItEnded, start } from "./processes.js";

/** @typedef {import("./history.js").Sight} Sight */

/** A process lives at most so long before it is killed. Milliseconds. */
const SHORTEST_LIFE = 150;
const LONGEST_LIFE = 3_000;
/** The share of processes whose life is counted from their start, not from their first open. */
const KILLED_EARLY = 0.25;

/**
 * @typedef {object} Run
 * @property {number} agents
 * @property {number} ourReaders
 * @property {number} upstreamReaders
 * @property {number} seconds
 * @property {number} seed
 */

/**
 * @typedef {object} Outcome
 * @property {string[]} problems
 * @property {Record<string, number>} counts
 */

/**
 * @param {string} place where the store and the journals are to be
 * @param {Run} run
 * @returns {Promise<Outcome>}
 */
export async function realRun(place, { agents, ourReaders, upstreamReaders, seconds, seed }) {
  const [dir, journals] = [join(place, "store"), join(place, "journals")];
  mkdirSync(journals, { recursive: true });
  /** @param {string} prefix @param {number} count */
  const named = (prefix, count) => Array.from({ length: count }, (_, at) => `${prefix}${at + 1}`);
  const roles = new Map([
    ...named("a", agents).map((who) => /** @type {const} */ ([who, "agent"])),
    ...named("ours", ourReaders).map((who) => /** @type {const} */ ([who, "ours"])),
    ...named("upstream", upstreamReaders).map((who) => /** @type {const} */ ([who, "upstream"])),
  ]);
  const until = now() + seconds * 1e6;
  const lives = [...roles].map(([who, role], at) => live({ role, who, dir, journals, until }, seed * 1_000 + at));
  const ends = await Promise.all(lives);
  const problems = ends.flatMap((end) => end.problems);
  /** @type {Record<string, number>} */
  const counts = { processes: roles.size, sessions: sum(ends.map((end) => end.sessions)), kills: sum(ends.map((end) => end.kills)) };

  const histories = new Map(named("a", agents).map((who) => [who, new History(who, readJournals(journals, who))]));
  problems.push(...[...histories.values()].flatMap((history) => history.problems));
  for (const { counts: own } of histories.values()) {
    for (const [what, count] of Object.entries(own)) counts[what] = (counts[what] ?? 0) + count;
  }
  // Where an agent's own journals contradict each other nothing can be compared with them.
  if (problems.length > 0) return { problems, counts };

  const sights = [...histories.values()].flatMap((history) => history.sights);
  for (const who of named("ours", ourReaders)) sights.push(...sightsOf(journals, who));
  problems.push(...judgeSights(histories, sights));
  counts.sights = sights.length;
  for (const who of named("upstream", upstreamReaders)) {
    const own = sightsOf(journals, who);
    problems.push(...judgeUpstreamSights(histories, own));
    counts.sights += own.length;
  }
  counts.retries = sum(named("upstream", upstreamReaders).map((who) => readJournals(journals, who).flat().filter((line) => "note" in line).length));

  const { content, problems: others } = await observe(dir);
  problems.push(...others, ...judgeEnd(histories, content.records), ...judgeArchives(histories, content.records, content.segments));
  counts.archived = sum([...content.segments.values()].map((records) => Object.keys(records).length));
  problems.push(...(await finish(dir, content)));
  for (const what of ["kills", "undone", "archives", "compactions", "sights", "unanswered"]) {
    if (counts[what] === 0) problems.push(`nothing of this kind happened, which proves nothing: ${what}`);
  }
  return { problems, counts };
}

/** @param {number[]} numbers */
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** @param {string} journals @param {string} who @returns {Sight[]} */
function sightsOf(journals, who) {
  return readJournals(journals, who).flat().flatMap((line) => ("seen" in line ? [{ ...line, who }] : []));
}

/**
 * One process after the other under the same name, until one ends by itself.
 * @param {{ role: string, who: string, dir: string, journals: string, until: number }} order
 * @param {number} seed
 */
async function live(order, seed) {
  const random = randomFrom(seed);
  /** @type {string[]} */
  const problems = [];
  for (let [session, kills] = [1, 0]; ; session++) {
    const child = start("worker.js", { ...order, session, seed: Math.floor(random() * 2 ** 32) }, (order.until - now()) / 1000);
    // On a busy machine most processes would be killed before they have opened the store: some are meant to.
    if (random() >= KILLED_EARLY) await child.ready;
    const life = SHORTEST_LIFE + random() * (LONGEST_LIFE - SHORTEST_LIFE);
    const doomed = now() + life * 1000 < order.until;
    if (doomed) await Promise.race([sleep(life), child.ended]);
    if (doomed) child.kill();
    const ended = await child.ended;
    const killed = doomed && ended.signal === "SIGKILL";
    if (killed) kills++;
    else if (ended.code !== 0) problems.push(`${order.who}, session ${session}: ${howItEnded(ended)}`);
    if (!killed) return { problems, kills, sessions: session };
  }
}
