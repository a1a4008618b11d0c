/**
 * What an operation changed, member by member.
 */
import { isDeepStrictEqual } from "node:util";
import { applyDelta } from "../index.js";

/** @typedef {import("../index.js").Operation<any>} Operation */
/** @typedef {{ path: (string | number)[], before?: any, after?: any }} Change */

/**
 * The record before and after an operation; undefined where there is none.
 * @param {Operation} operation
 */
export function sides({ op, data, prev, encoding }) {
  const after = op === "set" ? data : undefined;
  if (prev === null || prev === undefined) return { before: undefined, after };
  return { before: encoding === "delta" ? applyDelta(after, prev) : prev, after };
}

/**
 * What is different between two values: the innermost members of objects that differ. Arrays differ as a whole.
 * @param {any} before
 * @param {any} after
 * @returns {Change[]}
 */
export function changes(before, after) {
  /** @type {Change[]} */
  const found = [];
  compare([], before, after, found);
  return found;
}

/**
 * @param {Change["path"]} path
 * @param {any} before
 * @param {any} after
 * @param {Change[]} found
 */
function compare(path, before, after, found) {
  if (isObject(before) && isObject(after)) {
    for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
      compare([...path, key], own(before, key), own(after, key), found);
    }
  } else if (!isDeepStrictEqual(before, after)) {
    found.push({ path, ...(before !== undefined && { before }), ...(after !== undefined && { after }) });
  }
}

/** @param {unknown} value */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * @param {any} object
 * @param {string} key
 */
function own(object, key) {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}
