/**
 * Values and ids cross to the engine as JSON text.
 */
import { argumentError, show } from "./errors.js";

/**
 * The JSON text of an id.
 * @param {unknown} id
 */
export function idText(id) {
  checkId(id);
  return JSON.stringify(id);
}

/**
 * @param {unknown} id
 * @returns {asserts id is string}
 */
export function checkId(id) {
  if (typeof id !== "string" || id === "") {
    throw argumentError(`Argument 'id' must be a non-empty string, got ${show(id)}`);
  }
}

/** How V8 begins its messages for what has no JSON text. */
const NO_JSON = /^(Do not know how to serialize|Converting circular structure)/;

/**
 * The JSON text of a value, as it is now. What a getter or `toJSON` of the caller's throws goes to the caller.
 * @param {unknown} value
 */
export function valueText(value) {
  let text;
  try {
    text = /** @type {string | undefined} */ (JSON.stringify(value));
  } catch (error) {
    if (!(error instanceof TypeError) || !NO_JSON.test(error.message)) throw error;
    throw argumentError(`Argument 'value' must be a JSON value: ${error.message}`);
  }
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
