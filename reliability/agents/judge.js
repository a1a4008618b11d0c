/** Compares what readers and agents saw, and what is there in the end, with the agents' histories. */
import { difference, ownPart } from "./history.js";

/** @typedef {import("./history.js").History} History */
/** @typedef {import("./history.js").Sight} Sight */
/** @typedef {import("./world.js").World} World */
/** @typedef {Record<string, string>} Records names by id */

/** The agent that made a name. @param {string} name */
const makerOf = (name) => name.slice(0, name.lastIndexOf(":"));

/**
 * Whoever looks at all logs finds every agent's records as they were at one moment of that time: nothing older than what
 * was acknowledged before, no half of a batch.
 * @param {Map<string, History>} histories
 * @param {Sight[]} sights
 * @returns {string[]} what is wrong
 */
export function judgeSights(histories, sights) {
  /** @type {string[]} */
  const problems = [];
  for (const { seen, how, since, at, who } of sights) {
    problems.push(...returned(histories, seen, since).map((text) => `${who} (${how}): ${text}`));
    for (const [agent, { worlds }] of histories) {
      const text = ownPart(seen, agent);
      if (worlds.some((world) => world.mayShow(text, since, at))) continue;
      const known = worlds[0].moments.findLast((moment) => moment.known <= since)?.text ?? "";
      const when = `${how}, ${(at - since) / 1000} ms`;
      problems.push(`${who} (${when}) finds records of ${agent} as they never were then: ${difference(text, known)}`);
    }
    problems.push(...strangers(histories, seen, at).map((text) => `${who} (${how}): ${text}`));
  }
  return problems;
}

/**
 * A reader of upstream's finds the snapshot and one log: older records, and half a batch, but nothing older than it has
 * found before, of what was acknowledged by then. Its refresh counts lines, which an undo leads astray: there each value
 * is one that was written. So it is where an operation is taken back while a log is read: it reads in pieces, goes on where
 * the undone line ended, in the middle of another line now, and leaves that one out without a word.
 * @param {Map<string, History>} histories
 * @param {Sight[]} sights of one reader, in order
 * @returns {string[]} what is wrong
 */
export function judgeUpstreamSights(histories, sights) {
  /** @type {string[]} */
  const problems = [];
  /** @type {Map<World, number>} */
  const firsts = new Map();
  for (const { seen, how, since, at, who } of sights) {
    problems.push(...strangers(histories, seen, at).map((text) => `${who} (upstream, ${how}): ${text}`));
    if (how !== "open") continue;
    for (const [agent, { worlds, undos }] of histories) {
      if (undos.some(({ from, to }) => from <= at && to >= since)) continue;
      const text = ownPart(seen, agent);
      const legal = worlds.filter((world) => {
        const first = firsts.get(world) ?? 0;
        const found = world.momentOf(text, first, at);
        if (found !== undefined && world.moments[found].known <= since) firsts.set(world, found);
        return found !== undefined || world.glimpses.some((glimpse) => glimpse.text === text && glimpse.from <= at);
      });
      if (legal.length > 0) continue;
      const [world] = worlds;
      const before = world.moments[firsts.get(world) ?? 0].text;
      const what = world.momentOf(text, 0, at) === undefined ? "as they never were" : "as they were before";
      problems.push(`${who} (upstream) finds records of ${agent} ${what}: ${difference(text, before)}`);
    }
  }
  return problems;
}

/**
 * @param {Map<string, History>} histories
 * @param {Records} seen
 * @param {number} at
 */
function strangers(histories, seen, at) {
  return Object.entries(seen)
    .filter(([, name]) => (histories.get(makerOf(name))?.tried.get(name) ?? Infinity) > at)
    .map(([id, name]) => `${id} is ${name}, which nobody had written`);
}

/**
 * Values that others stand before, of what was acknowledged before somebody looked from `since` on: those that were
 * written over by who knew them, and those before the greatest (clock, agent).
 * @param {Map<string, History>} histories
 * @param {Records} seen
 * @param {number} since
 */
function returned(histories, seen, since) {
  return Object.entries(seen).filter(([id]) => id.startsWith("shared/")).flatMap(([id, name]) => {
    const clock = histories.get(makerOf(name))?.clocks.get(name) ?? Infinity;
    return [...histories.values()].flatMap(({ agent, buried, clocked, clocks, worlds }) => {
      /** @param {import("./history.js").Burial} burial */
      const counts = ({ by, at }) => at <= since && !worlds.some(({ undone }) => undone.has(by));
      const problems = (buried.get(name) ?? []).filter(counts).map(({ by }) => `${id} is ${name}, which ${by} had written over`);
      const later = clocked.get(id)?.findLast(counts)?.by;
      if (later === undefined || agent === makerOf(name)) return problems;
      const ahead = /** @type {number} */ (clocks.get(later)) - clock;
      if (ahead > 0 || (ahead === 0 && agent > makerOf(name))) {
        problems.push(`${id} is ${name} (clock ${clock}), and not ${later} (clock ${clocks.get(later)})`);
      }
      return problems;
    });
  });
}

/**
 * What is there in the end.
 * @param {Map<string, History>} histories
 * @param {Records} records
 * @returns {string[]} what is wrong
 */
export function judgeEnd(histories, records) {
  const problems = strangers(histories, records, Infinity);
  for (const [agent, { worlds }] of histories) {
    const text = ownPart(records, agent);
    const [world] = worlds;
    const now = /** @type {string} */ (world.moments.at(-1)?.text);
    if (text !== now) problems.push(`records of ${agent}: ${difference(text, now)}`);
  }
  const keys = [...histories.values()].flatMap(({ worlds }) => worlds.flatMap(({ shared }) => [...shared.keys()]));
  for (const key of new Set(keys)) problems.push(...judgeShared(histories, key, records[key]));
  problems.push(...returned(histories, records, Number.MAX_VALUE));
  return problems;
}

/**
 * @param {Map<string, History>} histories
 * @param {string} key
 * @param {string | undefined} found
 */
function judgeShared(histories, key, found) {
  /** The last operation of each agent in each world. */
  const last = [...histories.values()].flatMap(({ worlds }) => worlds.map(({ shared }) => shared.get(key)?.at(-1)));
  if (found === undefined) {
    const gone = last.some((change) => change?.do === "delete") || last.every((change) => change === undefined);
    return gone ? [] : [`${key} is gone, and nobody removed it last`];
  }
  if (!last.some((change) => change?.do === "set" && change.name === found)) {
    return [`${key} is ${found}, and its agent wrote it again, removed it or took it back later`];
  }
  return [];
}

/**
 * What was archived is in the segments, and not among the records; and nothing else is there.
 * @param {Map<string, History>} histories
 * @param {Records} records
 * @param {Map<string, Records>} segments
 * @returns {string[]} what is wrong
 */
export function judgeArchives(histories, records, segments) {
  /** @type {string[]} */
  const problems = [];
  for (const { worlds } of histories.values()) {
    for (const [id, { name, segment }] of worlds[0].archived) {
      if (segments.get(segment)?.[id] !== name) problems.push(`${id} is not in segment ${segment}, where ${name} was archived`);
      if (records[id] !== undefined) problems.push(`${id} was archived, and is still there`);
    }
  }
  for (const [segment, archived] of segments) {
    const unknown = strangers(histories, archived, Infinity);
    problems.push(...unknown.map((text) => `segment ${segment}: ${text}`));
    for (const [id, name] of unknown.length > 0 ? [] : Object.entries(archived)) {
      const [world] = /** @type {History} */ (histories.get(makerOf(name))).worlds;
      // A killed call may have left it in both places; there it can be archived again, or taken back.
      const known = world.archived.has(id) || world.undone.has(name);
      if (!known && records[id] !== name) problems.push(`segment ${segment}: ${id} was never archived, and is not among the records`);
    }
  }
  return problems;
}
