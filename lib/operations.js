/**
 * Operations as upstream shows them, and their order.
 */

/** @typedef {import("../index.js").Operation} Operation */

/**
 * An operation with upstream's members, in upstream's order.
 * @param {Operation} operation
 * @returns {Operation}
 */
export function shown({ ts, op, id, prev, data, agent, clock, encoding }) {
  return { ts, op, id, prev: prev ?? null, data, agent, clock, encoding };
}

/** @param {Operation} operation */
export function textOf(operation) {
  return JSON.stringify(shown(operation));
}

/** @param {string[]} pages @returns {Operation[]} */
export function operationsOf(pages) {
  return pages.flatMap((page) => JSON.parse(page));
}

/**
 * How many items two lists have in common at their beginning.
 * @param {string[]} a
 * @param {string[]} b
 */
export function common(a, b) {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}

/**
 * By Lamport clock, then agent by UTF-16 code units.
 * @param {Operation} a
 * @param {Operation} b
 */
export function byClockAndAgent(a, b) {
  const [first = "", second = ""] = [a.agent, b.agent];
  return (a.clock ?? 0) - (b.clock ?? 0) || (first < second ? -1 : Number(first > second));
}

/**
 * True for an operation that was copied from log to log as it is. Sorted, the two stand side by side.
 * @param {Operation} operation
 * @param {Operation} other
 */
export function isCopy(operation, other) {
  return operation.clock === other.clock && operation.agent === other.agent && textOf(operation) === textOf(other);
}

/**
 * Operations that were read, and what else has changed: of the differences (pages of JSON text) those of other records.
 * @param {Operation[]} fresh
 * @param {string[]} differences
 */
export function withOthers(fresh, differences) {
  const ids = new Set(fresh.map(({ id }) => id));
  return [...fresh, ...operationsOf(differences).filter(({ id }) => !ids.has(id))];
}
