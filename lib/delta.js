/**
 * Reverse patches over top-level members.
 *
 * Which members differ is the engine's answer (`src/format/delta.rs`, the rule by which `prev` is encoded). What stays
 * here works on the caller's own objects: values that JSON has no text for are handed through as they are, which the
 * engine could not do.
 *
 * Members are own members: `constructor` or `__proto__` are names like others. Upstream looks names up along the
 * prototype chain and assigns, so it misses or drops those.
 */
import * as native from "../binding.js";
import { argumentError, show } from "./errors.js";

/** @typedef {import("../index.js").DeltaPatch} DeltaPatch */
/** @typedef {Record<string, unknown>} Plain */

/**
 * Stands for a value without a JSON text (`undefined`, a function): valid JSON, and never what `JSON.stringify` writes.
 */
const NO_TEXT = "0e0";

/** @param {unknown} value */
function mayHoldMembers(value) {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}

/**
 * @param {[string, unknown][]} entries
 * @param {object} other Only what it has as well is compared, so nothing else needs a text.
 */
function membersText(entries, other) {
  const members = entries.map(([name, value]) => {
    const text = Object.hasOwn(other, name) ? (JSON.stringify(value) ?? NO_TEXT) : NO_TEXT;
    return `${JSON.stringify(name)}:${text}`;
  });
  return `{${members.join(",")}}`;
}

/**
 * @param {Plain | null} oldRecord
 * @param {Plain} newRecord
 * @returns {DeltaPatch | null}
 */
export function createDelta(oldRecord, newRecord) {
  if (oldRecord === null) return null;
  const before = Object.entries(oldRecord);
  const after = Object.entries(newRecord);
  for (const [name, record, others] of /** @type {[string, unknown, unknown[]][]} */ ([
    ["newRecord", newRecord, before],
    ["oldRecord", oldRecord, after],
  ])) {
    if (others.length > 0 && !mayHoldMembers(record)) {
      throw argumentError(`Argument '${name}' must be an object, got ${show(record)}`);
    }
  }
  const text = native.createDelta(membersText(before, newRecord), membersText(after, oldRecord));
  if (text === null) return null;
  const names = /** @type {DeltaPatch} */ (JSON.parse(text));
  /** @type {DeltaPatch} */
  const patch = {};
  if (names.$set !== undefined) {
    const changed = names.$set;
    patch.$set = Object.fromEntries(before.filter(([name]) => Object.hasOwn(changed, name)));
  }
  if (names.$unset !== undefined) patch.$unset = names.$unset;
  return patch;
}

/**
 * @param {Plain} record
 * @param {DeltaPatch} patch
 * @returns {Plain}
 */
export function applyDelta(record, patch) {
  const result = { ...record };
  const { $set, $unset } = patch;
  if ($set) {
    for (const [name, value] of Object.entries($set)) {
      // Not an assignment, which would set the prototype where the name is `__proto__`.
      Object.defineProperty(result, name, { value, writable: true, enumerable: true, configurable: true });
    }
  }
  if ($unset) for (const name of $unset) delete result[name];
  return result;
}

/**
 * @param {DeltaPatch | null} patch
 * @param {Plain | null} fullRecord
 * @returns {boolean}
 */
export function isDeltaSmaller(patch, fullRecord) {
  if (patch === null || fullRecord === null) return false;
  return JSON.stringify(patch).length < JSON.stringify(fullRecord).length;
}
