/**
 * The rules of the format, for values of callers.
 *
 * Plain JavaScript, not the engine: these functions take any value (with getters, prototypes, `undefined` members, no
 * JSON text at all), answer with that very value, and have nothing to read or write. The engine checks JSON texts by
 * the same rules in `src/format/`; the tests hold both to upstream's words.
 */
import { withCode } from "./errors.js";

/** @typedef {import("../index.js").Manifest} Manifest */

/**
 * @param {string} kind
 * @returns {(sound: boolean, complaint: string) => void}
 */
function checksOf(kind) {
  return (sound, complaint) => {
    if (!sound) throw withCode(new Error(`Invalid ${kind}: ${complaint}`), "OPSLOG_INVALID");
  };
}

/**
 * @param {unknown} value
 * @returns {value is Record<string, unknown>}
 */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @param {unknown} value */
function isText(value) {
  return typeof value === "string" && value !== "";
}

/**
 * @param {unknown} value
 * @param {number} least
 */
function isIntegerFrom(value, least) {
  return typeof value === "number" && Number.isInteger(value) && value >= least;
}

/**
 * @param {unknown} raw
 * @returns {any}
 */
export function validateOp(raw) {
  const must = checksOf("operation");
  must(isObject(raw), "not an object");
  const op = /** @type {Record<string, unknown>} */ (raw);
  must(isText(op.ts), "ts must be a non-empty string");
  const isSet = op.op === "set";
  const isDelete = op.op === "delete";
  if (!isSet && !isDelete) must(false, `op must be "set" or "delete", got "${op.op}"`);
  must(isText(op.id), "id must be a non-empty string");
  must("prev" in op, "missing prev");
  must(op.prev === null || isObject(op.prev), "prev must be an object or null");
  must(!isSet || ("data" in op && op.data !== null), "set op must have non-null data");
  must(!isDelete || op.prev !== null, "delete op must have non-null prev");
  must(!isDelete || !("data" in op), "delete op must not have data field");
  if ("encoding" in op && op.encoding !== "full" && op.encoding !== "delta") {
    must(false, `encoding must be "full" or "delta", got "${op.encoding}"`);
  }
  must(!("agent" in op) || isText(op.agent), "agent must be a non-empty string");
  must(!("clock" in op) || isIntegerFrom(op.clock, 0), "clock must be a non-negative integer");
  return raw;
}

/**
 * @param {unknown} raw
 * @returns {Manifest}
 */
export function validateManifest(raw) {
  const must = checksOf("manifest");
  must(isObject(raw), "not an object");
  const manifest = /** @type {Record<string, unknown>} */ (raw);
  must(isIntegerFrom(manifest.version, 1), "version must be a positive finite integer");
  must(isText(manifest.currentSnapshot), "missing currentSnapshot");
  must(isText(manifest.activeOps), "missing activeOps");
  must(Array.isArray(manifest.archiveSegments), "archiveSegments must be an array");
  for (const segment of /** @type {unknown[]} */ (manifest.archiveSegments)) {
    must(isText(segment), "archiveSegments entries must be non-empty strings");
  }
  must(isObject(manifest.stats), "missing stats");
  const stats = /** @type {Record<string, unknown>} */ (manifest.stats);
  for (const name of ["activeRecords", "archivedRecords", "opsCount"]) {
    must(isIntegerFrom(stats[name], 0), `stats.${name} must be a non-negative integer`);
  }
  for (const name of ["created", "lastCheckpoint"]) {
    must(isText(stats[name]), `stats.${name} must be a non-empty string`);
  }
  const agents = manifest.activeAgentOps;
  if (agents !== undefined) {
    must(isObject(agents), "activeAgentOps must be an object");
    must(Object.values(/** @type {object} */ (agents)).every(isText), "activeAgentOps values must be non-empty strings");
  }
  return /** @type {Manifest} */ (raw);
}

/**
 * @param {unknown} raw
 * @returns {any}
 */
export function validateSnapshot(raw) {
  const must = checksOf("snapshot");
  must(isObject(raw), "not an object");
  const snapshot = /** @type {Record<string, unknown>} */ (raw);
  must(isIntegerFrom(snapshot.version, 1), "version must be a positive finite integer");
  must(isText(snapshot.timestamp), "timestamp must be a non-empty string");
  must(isObject(snapshot.records), "records must be an object");
  return raw;
}

/**
 * @param {unknown} raw
 * @returns {any}
 */
export function validateArchiveSegment(raw) {
  const must = checksOf("archive segment");
  must(isObject(raw), "not an object");
  const segment = /** @type {Record<string, unknown>} */ (raw);
  must(isIntegerFrom(segment.version, 1), "version must be a positive finite integer");
  must(isText(segment.period), "period must be a non-empty string");
  must(isText(segment.timestamp), "timestamp must be a non-empty string");
  must(isObject(segment.records), "records must be an object");
  return raw;
}
