/**
 * Sets that go over to the engine together: a call for each costs as much as all that the engine does with it.
 *
 * Held are the sets of a batch function, and those of one turn of the event loop after its first, where nobody is told
 * anything before the turn has ended. Whatever else is asked of the store comes after them (`Store.#handOver`), so
 * nobody sees the difference.
 */

/** @typedef {import("./calls.js").Waiting} Waiting */

/** The clock, whatever a caller's tests put in the place of `Date` later. */
const { now } = Date;

/** That many are held at most, and texts of that many characters (or one that is longer). */
const MOST = 512;
const MOST_TEXT = 64 * 1024;

export class HeldSets {
  /** @type {string[]} */
  ids = [];
  /** JSON texts of their values. @type {string[]} */
  texts = [];
  /** Their callers; nobody in a batch. @type {Waiting[]} */
  waiting = [];
  /** When they were called, in milliseconds since 1970: operations carry their own time. */
  calledAt = 0;
  #size = 0;

  get isEmpty() {
    return this.ids.length === 0;
  }

  /**
   * True if a set of now goes over with those that are held: always, where there are none.
   * @param {string} text
   */
  takes(text) {
    const time = now();
    if (this.ids.length === 0) {
      this.calledAt = time;
      return true;
    }
    return time === this.calledAt && this.ids.length < MOST && this.#size + text.length <= MOST_TEXT;
  }

  /**
   * @param {string} id
   * @param {string} text
   */
  add(id, text) {
    this.ids.push(id);
    this.texts.push(text);
    this.#size += text.length;
  }

  /**
   * The promise of the set that was added last.
   * @returns {Promise<void>}
   */
  wait() {
    return new Promise((resolve, reject) => {
      this.waiting.push({ ticket: 0, resolve: /** @type {Waiting["resolve"]} */ (resolve), reject });
    });
  }

  /** All that are held, from now on by the caller. */
  take() {
    const { ids, texts, waiting, calledAt } = this;
    this.ids = [];
    this.texts = [];
    this.waiting = [];
    this.#size = 0;
    return { ids, texts, waiting, calledAt };
  }
}
