/**
 * Lamport's logical clock, as agents order their operations by it.
 *
 * Plain JavaScript: two lines of arithmetic on a number that may be any number (upstream accepts what it is given);
 * crossing to the engine would cost more than they do.
 */
export class LamportClock {
  #time;

  /** @param {number} [initial] */
  constructor(initial = 0) {
    this.#time = initial;
  }

  /** A local event. @returns {number} */
  tick() {
    this.#time += 1;
    return this.#time;
  }

  /**
   * An event of somebody else's, at their time.
   * @param {number} received
   * @returns {number}
   */
  merge(received) {
    this.#time = 1 + Math.max(this.#time, received);
    return this.#time;
  }

  /** @returns {number} */
  get current() {
    return this.#time;
  }
}
