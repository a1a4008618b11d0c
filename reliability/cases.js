/** What the harnesses share: arguments, samples, the closing line. */
import { parseArgs } from "node:util";

/**
 * @typedef {object} Flags
 * @property {boolean} short a sample, for every run of CI
 * @property {number} seed of the sample
 * @property {string | undefined} workload one only
 * @property {string | undefined} at one case only, as a failure names it
 * @property {boolean} upstream test the replaced package instead
 */

/** @returns {Flags} */
export function flagsOf() {
  const { values } = parseArgs({
    options: {
      short: { type: "boolean", default: false },
      upstream: { type: "boolean", default: false },
      seed: { type: "string", default: "1" },
      workload: { type: "string" },
      at: { type: "string" },
    },
  });
  return { ...values, seed: Number(values.seed), workload: values.workload, at: values.at };
}

/**
 * A generator of numbers from 0 to below 1, the same for the same seed (mulberry32).
 * @param {number} seed
 * @returns {() => number}
 */
export function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * @template T
 * @param {T[]} items
 * @param {number} count
 * @param {() => number} random
 * @returns {T[]} at most `count` of them, in their order
 */
export function sample(items, count, random) {
  if (items.length <= count) return items;
  const keys = items.map((_item, at) => at);
  for (let at = 0; at < count; at++) {
    const other = at + Math.floor(random() * (keys.length - at));
    [keys[at], keys[other]] = [keys[other], keys[at]];
  }
  return keys.slice(0, count).sort((a, b) => a - b).map((at) => items[at]);
}

/** A word on the way, where somebody watches. @param {string} text */
export function say(text) {
  console.log(text);
}

/** Failures of each workload that are printed; the rest is counted. */
const SHOWN = 6;

/** Counts cases and tells failures, with what is needed to run them again. */
export class Tally {
  cases = 0;
  failures = 0;
  /** @type {Map<string, number>} */
  #shown = new Map();

  /** @param {string} command as `npm run` knows it @param {Flags} flags */
  constructor(command, flags) {
    this.command = command;
    this.flags = flags;
    this.started = Date.now();
  }

  /**
   * @param {string} workload
   * @param {string | number} at
   * @param {string} text
   */
  fail(workload, at, text) {
    this.failures++;
    const shown = (this.#shown.get(workload) ?? 0) + 1;
    this.#shown.set(workload, shown);
    if (shown > SHOWN) return;
    const upstream = this.flags.upstream ? " --upstream" : "";
    console.error(`FAILED ${workload} at ${at}: ${text}\n  again: npm run ${this.command} -- --workload ${workload} --at ${at}${upstream}`);
  }

  /**
   * The closing line; sets the exit code.
   * @param {number} workloads
   * @param {string} [more]
   */
  close(workloads, more = "") {
    const seconds = Math.round((Date.now() - this.started) / 1000);
    const form = this.flags.short ? `short, seed ${this.flags.seed}` : "full";
    const of = this.flags.upstream ? ", upstream" : "";
    console.log(`${this.command} (${form}${of}): ${workloads} workloads, ${this.cases} cases, ${this.failures} failures${more} (${seconds} s)`);
    if (this.failures > 0) process.exitCode = 1;
  }
}
