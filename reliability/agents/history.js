/** From an agent's journals to the worlds in which all that it was told, and all that it found, is true. */
import { textOf, World } from "./world.js";

/** @typedef {import("./journal.js").Call} Call */
/** @typedef {import("./journal.js").Change} Change */
/** @typedef {import("./journal.js").Line} Line */
/** @typedef {import("./journal.js").Seen & { who: string }} Sight */

/** @typedef {{ by: string, at: number }} Burial an operation, and when it was acknowledged */

/** Errors that a call may end with where nothing is wrong: another agent was at work, or has removed the record. */
const EXPECTED = ["OPSLOG_LOCKED", "OPSLOG_NOT_FOUND"];

/** More ways than that are not told apart: kills that nothing can be learned from came too close to each other. */
const MOST_WORLDS = 512;

/** @param {Record<string, string>} seen @param {string} agent */
export function ownPart(seen, agent) {
  return textOf(Object.entries(seen).filter(([id]) => id.startsWith(`${agent}/`)));
}

/** @param {Call} call @returns {Change[]} */
export function changesOf(call) {
  if (call.do === "set" || call.do === "delete") return [call];
  return call.do === "batch" || call.do === "together" ? call.parts : [];
}

export class History {
  /** @type {World[]} */
  worlds;
  /** @type {string[]} */
  problems = [];
  /** @type {Sight[]} */
  sights = [];
  /** Values of shared records that this agent wrote over, having seen or made them, and what with. @type {Map<string, Burial[]>} */
  buried = new Map();
  /** Clocks of operations on shared records, as far as they are known. @type {Map<string, number>} */
  clocks = new Map();
  /** This agent's acknowledged operations with such a clock, in order, by record. @type {Map<string, Burial[]>} */
  clocked = new Map();
  /** This agent's last operation on each shared record. @type {Map<string, string>} */
  #last = new Map();
  /** When operations were taken back, or may have been. @type {{ from: number, to: number }[]} */
  undos = [];
  /** Names of all that was ever tried, and when. @type {Map<string, number>} */
  tried = new Map();
  #place = "";
  counts = { acknowledged: 0, undone: 0, notUndone: 0, archives: 0, compactions: 0, opens: 0, locked: 0, unanswered: 0 };

  /** @param {string} agent @param {Line[][]} sessions */
  constructor(agent, sessions) {
    this.agent = agent;
    this.worlds = [new World(agent)];
    sessions.forEach((lines, at) => this.#session(lines, at + 1));
  }

  /** @param {Line[]} lines @param {number} session */
  #session(lines, session) {
    /** @type {{ call: Call, at: number } | undefined} */
    let open;
    for (const [at, line] of lines.entries()) {
      this.#place = `${this.agent}, line ${at + 1} of session ${session}`;
      if ("call" in line) open = line;
      else if ("done" in line && open !== undefined) {
        this.#done(open.call, open.at, line.at, line.done);
        open = undefined;
      } else if ("failed" in line && open !== undefined) {
        this.#failed(open.call, line.failed, line.code);
        open = undefined;
      } else if ("clock" in line) this.#clock(line);
      else if ("seen" in line) this.#seen({ ...line, who: this.agent });
      if (this.problems.length > 0) return;
    }
    if (open !== undefined) this.#unanswered(open.call, open.at);
  }

  /** @param {Call} call @param {number} from @param {number} at */
  #try(call, from, at) {
    for (const { key, name } of changesOf(call)) {
      this.tried.set(name, from);
      if (!key.startsWith("shared/")) continue;
      for (const before of new Set([this.#last.get(key), "over" in call ? call.over : undefined])) {
        if (before !== undefined) this.buried.set(before, [...(this.buried.get(before) ?? []), { by: name, at }]);
      }
      this.#last.set(key, name);
    }
  }

  /** @param {Call} call @param {number} from @param {number} at @param {unknown} result */
  #done(call, from, at, result) {
    const { counts } = this;
    counts.acknowledged++;
    if (call.do === "undo") {
      counts[result === true ? "undone" : "notUndone"]++;
      if (result === true) this.undos.push({ from, to: at });
    }
    if (call.do === "archive" && result !== 0) counts.archives++;
    if (call.do === "compact") counts.compactions++;
    if (call.do === "open") counts.opens++;
    this.#try(call, from, at);
    /** @type {string[]} */
    const reasons = [];
    const left = this.worlds.filter((world) => {
      const reason = world.apply(call, from, at, result);
      if (reason !== undefined) reasons.push(reason);
      return reason === undefined;
    });
    if (left.length === 0) this.problems.push(`${this.#place}: ${reasons[0]}`);
    else this.worlds = left;
    if (call.do === "undo" || call.do === "archive") this.#merge();
  }

  /** Worlds that nothing tells apart any more are one. */
  #merge() {
    this.worlds = [...new Map(this.worlds.map((world) => [world.rest, world])).values()];
  }

  /** @param {{ clock: number, name: string, at: number }} line of the operation that was acknowledged last */
  #clock({ clock, name, at }) {
    const key = [...this.#last].find(([, last]) => last === name)?.[0];
    if (key === undefined) return;
    this.clocks.set(name, clock);
    this.clocked.set(key, [...(this.clocked.get(key) ?? []), { by: name, at }]);
  }

  /** @param {Call} call @param {string} message @param {string | undefined} code */
  #failed(call, message, code = "") {
    this.counts.locked += code === "OPSLOG_LOCKED" ? 1 : 0;
    if (!EXPECTED.includes(code)) this.problems.push(`${this.#place}: ${call.do} was rejected: ${message} (${code})`);
  }

  /** @param {Call} call @param {number} from */
  #unanswered(call, from) {
    this.counts.unanswered++;
    if (call.do === "undo") this.undos.push({ from, to: Infinity });
    this.#try(call, from, Infinity);
    this.worlds = this.worlds.flatMap((world) => {
      const calls = call.do === "together" ? call.parts.map((_, at) => ({ ...call, parts: call.parts.slice(0, at + 1) })) : [call];
      const others = calls.map((some) => {
        const other = world.fork();
        other.apply(some, from, Infinity, undefined);
        return other;
      });
      const before = world.moments.length;
      const texts = others.flatMap((other) => other.moments.slice(before).map(({ text }) => text));
      for (const text of new Set(texts)) world.glimpses.push({ text, from, to: Infinity });
      return [world, ...others.filter((other) => other.moments.length > before || other.rest !== world.rest)];
    });
  }

  /** @param {Sight} sight */
  #seen(sight) {
    this.sights.push(sight);
    const text = ownPart(sight.seen, this.agent);
    const left = this.worlds.filter((world) => textOf(world.own) === text);
    if (left.length === 0) {
      const expected = [...new Set(this.worlds.map((world) => textOf(world.own)))];
      this.problems.push(
        `${this.#place}: finds other records of its own after ${sight.how}: ${difference(text, expected[0])}` +
          (expected.length > 1 ? ` (or one of ${expected.length - 1} more)` : ""),
      );
      return;
    }
    this.worlds = left;
    for (const world of left) world.found(sight.at);
    if (left.length > MOST_WORLDS) this.problems.push(`${this.agent}: ${left.length} ways to have gone, which proves nothing`);
  }
}

/** @param {string} found @param {string} expected of {@link textOf} */
export function difference(found, expected) {
  const [has, should] = [found, expected].map((text) => new Set(text.split(" ").filter(Boolean)));
  const more = [...has].filter((record) => !should.has(record));
  const less = [...should].filter((record) => !has.has(record));
  return `found [${more.join(", ")}] instead of [${less.join(", ")}]`;
}
