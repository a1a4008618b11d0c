/**
 * Values and ids cross to the engine as JSON text.
 */
import { argumentError, show } from "./errors.js";

/**
 * The JSON text of an id.
 * @param {unknown} id
 */
export function idText(id) {
  if (typeof id !== "string" || id === "") {
    throw argumentError(`Argument 'id' must be a non-empty string, got ${show(id)}`);
  }
  return JSON.stringify(id);
}

/**
 * The JSON text of a value, as it is now. What `JSON.stringify` throws (cycles, BigInt, a `toJSON` of the caller's)
 * goes to the caller.
 * @param {unknown} value
 */
export function valueText(value) {
  const text = /** @type {string | undefined} */ (JSON.stringify(value));
  if (text === undefined || text === "null") {
    throw argumentError(`Argument 'value' must be a JSON value other than null, got ${show(value)}`);
  }
  return text;
}

/**
 * True for what `await` would wait for.
 * @param {unknown} value
 * @returns {value is PromiseLike<unknown>}
 */
export function isThenable(value) {
  return (
    (typeof value === "object" || typeof value === "function") &&
    value !== null &&
    typeof (/** @type {{ then?: unknown }} */ (value).then) === "function"
  );
}
