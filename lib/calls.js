/**
 * Promises of calls that the engine has not ended yet.
 *
 * Writes end in the order of their tickets: a list, settled from its front in one go for each wake-up. Other calls
 * end one by one: a map.
 */
import { toError } from "./errors.js";

/** @typedef {import("../binding.js").News} News */
/** @typedef {import("../binding.js").Ended} Ended */

/**
 * @typedef {object} Waiting
 * @property {number} ticket
 * @property {(value?: unknown) => void} resolve
 * @property {(error: Error) => void} reject
 */

export class Calls {
  /** @type {Waiting[]} */
  #writes = [];
  #first = 0;
  /** @type {Map<number, Waiting>} */
  #others = new Map();

  get isEmpty() {
    return this.#first === this.#writes.length && this.#others.size === 0;
  }

  /**
   * A write that ends once the engine reaches its ticket.
   * @param {number} ticket
   * @returns {Promise<void>}
   */
  write(ticket) {
    return new Promise((resolve, reject) => {
      this.#writes.push({ ticket, resolve: /** @type {Waiting["resolve"]} */ (resolve), reject });
    });
  }

  /** The list of writes: whoever has tickets for several appends them, in their order. */
  get writes() {
    return this.#writes;
  }

  /**
   * A caller who waited before there was a ticket.
   * @param {Waiting} waiting
   * @param {number} code As `set` answers it: the ticket of a write, or the negative one of a call whose end is told by itself.
   */
  begin(waiting, code) {
    waiting.ticket = Math.abs(code);
    if (code > 0) this.#writes.push(waiting);
    else this.#others.set(waiting.ticket, waiting);
  }

  /**
   * A call whose end is told by itself.
   * @param {number} ticket
   * @returns {Promise<unknown>}
   */
  other(ticket) {
    return new Promise((resolve, reject) => {
      this.#others.set(ticket, { ticket, resolve, reject });
    });
  }

  /**
   * Resolves the writes up to a ticket.
   * @param {number} through
   * @param {Map<number, Ended>} [ended] Ends that are told by themselves.
   */
  settle(through, ended) {
    const writes = this.#writes;
    let first = this.#first;
    for (; first < writes.length; first++) {
      const write = writes[first];
      const end = ended?.get(write.ticket);
      if (end?.failure !== undefined) write.reject(toError(end.failure));
      else if (write.ticket <= through) write.resolve();
      else break;
    }
    if (first === writes.length) {
      this.#writes = [];
      first = 0;
    }
    this.#first = first;
  }

  /**
   * Settles everything that the engine tells.
   * @param {News} news
   */
  tell(news) {
    const ended = new Map(news.ended.map((end) => [end.ticket, end]));
    for (const end of [...news.ended].sort((a, b) => a.ticket - b.ticket)) {
      const waiting = this.#others.get(end.ticket);
      if (waiting === undefined) continue;
      // ORDER: what was called before it and has ended as well settles first.
      this.settle(Math.min(news.through, end.ticket), ended);
      this.#others.delete(end.ticket);
      if (end.failure !== undefined) waiting.reject(toError(end.failure));
      else waiting.resolve(end.flag ?? end.count);
    }
    this.#rejectAhead(ended, news.through);
    this.settle(news.through, ended);
  }

  /**
   * Rejects writes beyond the ticket that was reached: they failed before those in front of them ended.
   * @param {Map<number, Ended>} ended
   * @param {number} through
   */
  #rejectAhead(ended, through) {
    if (![...ended.keys()].some((ticket) => ticket > through)) return;
    const writes = this.#writes.slice(this.#first);
    this.#writes = writes.filter((write) => {
      const failure = ended.get(write.ticket)?.failure;
      if (failure !== undefined) write.reject(toError(failure));
      return failure === undefined;
    });
    this.#first = 0;
  }
}
