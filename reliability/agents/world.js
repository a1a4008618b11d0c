/**
 * One way in which an agent's calls may have gone: what it has made of its own records, of those that all agents share,
 * and when.
 *
 * Only the agent itself writes records whose ids begin with its own, so these are known exactly. Of the shared ones it is
 * known which of the agent's own operations count: the last one is the only one that a reader may still find.
 *
 * A call that a kill left without an answer was made or not: that is two worlds, and what the agent finds at its next
 * open says which one it is.
 */

/** @typedef {import("./journal.js").Call} Call */
/** @typedef {import("./journal.js").Change} Change */

/**
 * The agent's own records from one call to the next one.
 * @typedef {object} Moment
 * @property {string} text
 * @property {string[]} parts what is between the one before and this one: nobody is to see it who knows batches
 * @property {number} from the call was made
 * @property {number} known the call had ended, or its effect was found
 */

/** @typedef {{ text: string, from: number, to: number }} Glimpse what may have been seen of a call that was never made */
/** @typedef {{ key: string, before: string | undefined, change: Change }} Undoable */

/** @param {Iterable<[string, string]>} records */
export function textOf(records) {
  return [...records].sort(([a], [b]) => (a < b ? -1 : 1)).map(([id, name]) => `${id}=${name}`).join(" ");
}

export class World {
  /** @type {Map<string, string>} */
  own = new Map();
  /** Operations that may be taken back, and have not been. @type {Undoable[]} */
  stack = [];
  /** The agent's operations on each shared record that count. @type {Map<string, Change[]>} */
  shared = new Map();
  /** @type {Map<string, { name: string, segment: string }>} */
  archived = new Map();
  /** Names of operations that were taken back. @type {Set<string>} */
  undone = new Set();
  /** @type {Moment[]} */
  moments = [{ text: "", parts: [], from: -Infinity, known: -Infinity }];
  /** @type {Glimpse[]} */
  glimpses = [];

  /** @param {string} agent */
  constructor(agent) {
    this.agent = agent;
  }

  fork() {
    const other = new World(this.agent);
    other.own = new Map(this.own);
    other.stack = [...this.stack];
    other.shared = new Map([...this.shared].map(([key, changes]) => [key, [...changes]]));
    other.archived = new Map(this.archived);
    other.undone = new Set(this.undone);
    other.moments = this.moments.map((moment) => ({ ...moment }));
    other.glimpses = this.glimpses.map((glimpse) => ({ ...glimpse }));
    return other;
  }

  /** What tells it from other worlds in which the agent has the same records. */
  get rest() {
    const changes = [...this.shared].map(([key, list]) => [key, list.map(({ name }) => name)]);
    return JSON.stringify([this.stack.map(({ change }) => change.name), changes.sort()]);
  }

  /** @param {Change} change */
  #change(change) {
    const { key } = change;
    if (key.startsWith("shared/")) {
      this.stack.push({ key, before: undefined, change });
      this.shared.set(key, [...(this.shared.get(key) ?? []), change]);
      return;
    }
    this.stack.push({ key, before: this.own.get(key), change });
    if (change.do === "set") this.own.set(key, change.name);
    else this.own.delete(key);
  }

  /** @param {number} from @param {number} known @param {string[]} [parts] */
  #note(from, known, parts = []) {
    const text = textOf(this.own);
    const last = /** @type {Moment} */ (this.moments.at(-1));
    if (text !== last.text || parts.length > 0) this.moments.push({ text, parts, from, known });
  }

  /** Nothing before this can be taken back: of shared records the last operation is all that matters. */
  #settle() {
    this.stack = [];
    this.shared = new Map([...this.shared].map(([key, changes]) => [key, changes.slice(-1)]));
  }

  /**
   * @param {Call} call
   * @param {number} from
   * @param {number} known Infinity where there was no answer
   * @param {unknown} result undefined where there was no answer
   * @returns {string | undefined} why it cannot have answered that
   */
  apply(call, from, known, result) {
    switch (call.do) {
      case "set":
      case "delete":
        this.#change(call);
        this.#note(from, known);
        return undefined;
      case "batch": {
        /** @type {string[]} */
        const parts = [];
        for (const part of call.parts) {
          this.#change(part);
          parts.push(textOf(this.own));
        }
        this.#note(from, known, parts.slice(0, -1));
        return undefined;
      }
      case "together":
        call.parts.forEach((part, at) => {
          if (typeof result === "number" && (result & (1 << at)) === 0) return;
          this.#change(part);
          this.#note(from, known);
        });
        return undefined;
      case "undo":
        return this.#undo(from, known, result);
      case "archive":
        return this.#archive(call.segment, from, known, result);
      default:
        // A checkpoint may be left out where a peer is making one: undo may reach behind it.
        return undefined;
    }
  }

  /** @param {number} from @param {number} known @param {unknown} result */
  #undo(from, known, result) {
    if (result === false) {
      this.#settle();
      return undefined;
    }
    const last = this.stack.pop();
    if (last === undefined) return result === true ? "undo took something back where nothing was left" : undefined;
    const { key, before, change } = last;
    this.undone.add(change.name);
    if (key.startsWith("shared/")) this.shared.get(key)?.pop();
    else if (before === undefined) this.own.delete(key);
    else this.own.set(key, before);
    this.#note(from, known);
    return undefined;
  }

  /** @param {string} segment @param {number} from @param {number} known @param {unknown} result */
  #archive(segment, from, known, result) {
    const moved = [...this.own].filter(([id]) => id.startsWith(`${this.agent}/old/`));
    if (result !== undefined && result !== moved.length) return `archive answered ${result}, there were ${moved.length} records`;
    for (const [id, name] of moved) {
      this.own.delete(id);
      this.archived.set(id, { name, segment });
    }
    if (moved.length > 0 && result !== undefined) this.#settle();
    this.#note(from, known);
    return undefined;
  }

  /** What has been found now had been made before. @param {number} at */
  found(at) {
    for (let last = this.moments.length - 1; this.moments[last].known === Infinity; last--) this.moments[last].known = at;
    for (let last = this.glimpses.length - 1; last >= 0 && this.glimpses[last].to === Infinity; last--) this.glimpses[last].to = at;
  }

  /**
   * Whether somebody who looked from `since` to `at` may have found these records of the agent.
   * @param {string} text
   * @param {number} since
   * @param {number} at
   */
  mayShow(text, since, at) {
    const { moments } = this;
    // The last call that had surely ended before.
    let low = 0;
    for (let high = moments.length - 1; low < high; ) {
      const middle = Math.ceil((low + high) / 2);
      if (moments[middle].known <= since) low = middle;
      else high = middle - 1;
    }
    for (let i = low; i < moments.length && moments[i].from <= at; i++) if (moments[i].text === text) return true;
    return this.glimpses.some((glimpse) => glimpse.from <= at && glimpse.to >= since && glimpse.text === text);
  }

  /**
   * The first moment from `first` on in which somebody who knows no batches may have found these records, looking until
   * `at`.
   * @param {string} text
   * @param {number} first
   * @param {number} at
   */
  momentOf(text, first, at) {
    for (let i = first; i < this.moments.length && this.moments[i].from <= at; i++) {
      if (this.moments[i].text === text || this.moments[i].parts.includes(text)) return i;
    }
    return undefined;
  }
}
