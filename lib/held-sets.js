/**
 * Sets that go over to the engine together: a call for each costs as much as all that the engine does with it.
 *
 * Held are the sets of a batch function, and those of one turn of the event loop after its first, where nobody is told
 * anything before the turn has ended. Whatever else is asked of the store comes after them (`Store.#handOver`), so
 * nobody sees the difference.
 *
 * What could go wrong if: the caller's stack overflows between two steps (what is held stays held until the engine has
 * it, and from there to the tickets nothing is called); a string gets too long (ids and values are texts when they come
 * here, and long ones do not).
 */

/** @typedef {import("./calls.js").Waiting} Waiting */

/** The clock, whatever a caller's tests put in the place of `Date` later. */
const { now } = Date;

/** That many are held at most, */
const MOST = 512;
/** and that many characters. */
const MOST_TEXT = 64 * 1024;

export class HeldSets {
  /** JSON texts: an id, its value, the next id, … @type {string[]} */
  lines = [];
  /** Callers, in the same order; nobody in a batch. @type {Waiting[]} */
  waiting = [];
  #size = 0;
  #calledAt = 0;

  get isEmpty() {
    return this.lines.length === 0;
  }

  /** How many milliseconds ago they were called: operations carry the time of their call. */
  get age() {
    return Math.max(0, now() - this.#calledAt);
  }

  /** @param {number} size characters */
  static isShort(size) {
    return size <= MOST_TEXT;
  }

  /**
   * True if a set of now goes over with those that are held: always, where there are none.
   * @param {number} size characters
   */
  takes(size) {
    const time = now();
    if (this.lines.length === 0) {
      this.#calledAt = time;
      this.#size = size;
      return true;
    }
    this.#size += size;
    return time === this.#calledAt && this.lines.length < 2 * MOST && this.#size <= MOST_TEXT;
  }
}
