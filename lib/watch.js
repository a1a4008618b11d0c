/**
 * Polling for new operations. Keeps the process alive until it is stopped.
 *
 * The next look is planned when the last one has ended: looks never overlap. An error of the caller's callback is an
 * uncaught exception, as one of any timer's callback is; an error of reading is told, once until it changes, and looked
 * past.
 */

import { wordsOf } from "./errors.js";
import { LONGEST } from "./timers.js";

/** @template T */
export class Watch {
  #tail;
  #callback;
  #giveBack;
  #fail;
  #delay;
  #stopped = false;
  #told = "";
  /** @type {NodeJS.Timeout} */
  #timer;

  /**
   * @param {() => Promise<import("../index.js").Operation<T>[]>} tail
   * @param {(ops: import("../index.js").Operation<T>[]) => void} callback
   * @param {(ops: import("../index.js").Operation<T>[]) => void} giveBack Takes what was read when nobody watches any more.
   * @param {(error: unknown) => void} fail
   * @param {number} intervalMs
   */
  constructor(tail, callback, giveBack, fail, intervalMs) {
    this.#giveBack = giveBack;
    this.#fail = fail;
    this.#tail = tail;
    this.#callback = callback;
    this.#delay = Math.min(Math.max(Math.ceil(intervalMs), 1), LONGEST);
    this.#timer = this.#plan();
  }

  #plan() {
    return setTimeout(() => void this.#look(), this.#delay);
  }

  async #look() {
    /** @type {import("../index.js").Operation<T>[]} */
    let operations = [];
    try {
      operations = await this.#tail();
      this.#told = "";
    } catch (error) {
      const message = wordsOf(error);
      if (!this.#stopped && message !== this.#told) this.#fail(error);
      this.#told = message;
    }
    if (this.#stopped) {
      this.#giveBack(operations);
      return;
    }
    this.#timer = this.#plan();
    if (operations.length > 0) process.nextTick(this.#callback, operations);
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }
}
