/** Random choices that a seed repeats. */

/**
 * A source of choices (mulberry32).
 *
 * @param {number} seed any integer
 * @returns {(n: number) => number} gives an integer from 0 to n - 1
 */
export function choices(seed) {
  let state = seed | 0;
  return (n) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * n);
  };
}

/**
 * The seeds to run with: those given, or the one of `OPSLOG_SEED` (to repeat a failure).
 *
 * @param {number[]} seeds those of an ordinary run
 * @returns {number[]} those of this run
 */
export const seedsOf = (seeds) => (process.env.OPSLOG_SEED ? [Number(process.env.OPSLOG_SEED)] : seeds);
