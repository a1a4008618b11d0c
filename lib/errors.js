/**
 * Errors as callers see them: a class, a `code`, and for system errors Node's own words and fields.
 */
import { createRequire } from "node:module";

// Importing it would load all that it has getters for: most of a millisecond. Before Node 20.16 there is no other way than
// the second one. (A bundle in CommonJS has no import.meta.url.)
const { getSystemErrorMap } = process.getBuiltinModule?.("node:util") ?? utilBefore2016();

/** @returns {typeof import("node:util")} */
function utilBefore2016() {
  return createRequire(import.meta.url ?? __filename)("node:util");
}

/** @typedef {import("../binding.js").Failure} Failure */

/** @type {Readonly<Record<string, string>>} */
const STATE_MESSAGES = Object.freeze({
  OPSLOG_NOT_OPEN: "Store is not open. Call open() first.",
  OPSLOG_READ_ONLY: "Store is read-only. Cannot perform mutations.",
});

/**
 * Gives an error its code.
 * @template {Error} E
 * @param {E} error
 * @param {string} code
 * @returns {E & { code: string }}
 */
export function withCode(error, code) {
  return Object.assign(error, { code });
}

/**
 * An argument that cannot be accepted. The message names it and what it should be.
 * @param {string} message
 */
export function argumentError(message) {
  return withCode(new TypeError(message), "OPSLOG_INVALID");
}

/**
 * A call that the store's state does not allow.
 * @param {"OPSLOG_NOT_OPEN" | "OPSLOG_READ_ONLY"} code
 */
export function stateError(code) {
  return withCode(new Error(STATE_MESSAGES[code]), code);
}

/** Errors of callers' backends by number; the engine passes the numbers on. @type {Map<number, unknown>} */
const foreign = new Map();
let lastForeign = 0;

/** So many are kept: an error is told soon after it happened, or with the store's next call. */
const MOST_FOREIGN = 1000;

/**
 * Keeps an error of a caller's backend; `toError` gives that very error back.
 * @param {unknown} error
 * @returns {number}
 */
export function keepError(error) {
  foreign.set(++lastForeign, error);
  foreign.delete(lastForeign - MOST_FOREIGN);
  return lastForeign;
}

/**
 * Makes an error of what the engine reports.
 * @param {Failure} failure
 * @returns {Error & { code: string }}
 */
export function toError(failure) {
  const { code, path, syscall, errno, line, byte, backend } = failure;
  if (backend !== undefined && foreign.has(backend)) return /** @type {any} */ (foreign.get(backend));
  if (errno !== undefined) {
    const [name, words] = getSystemErrorMap().get(-errno) ?? [`E${errno}`, failure.message];
    const error = new Error(`${name}: ${words}, ${syscall} '${path}'`);
    return Object.assign(error, { errno: -errno, code: name, syscall, path });
  }
  if (failure.id !== undefined) return withCode(new Error(`Record '${JSON.parse(failure.id)}' not found`), code);
  const error = failure.argument ? argumentError(failure.message) : withCode(new Error(failure.message), code);
  return Object.assign(error, path === undefined ? {} : { path }, line === undefined ? {} : { line }, byte === undefined ? {} : { byte });
}

/**
 * The words of whatever was thrown: a caller's backend may throw what is no error.
 * @param {unknown} thrown
 */
export function wordsOf(thrown) {
  const { message } = /** @type {{ message?: unknown }} */ (Object(thrown));
  return typeof message === "string" ? message : show(thrown);
}

/**
 * How a value is shown in a message: short, and never throwing.
 * @param {unknown} value
 */
export function show(value) {
  if (typeof value === "string") return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "an array" : "an object";
  if (typeof value === "function") return "a function";
  return typeof value === "bigint" ? `${value}n` : String(value);
}

/**
 * True where the error says that there is no such file; nothing else does.
 * @param {unknown} error
 */
export function isMissing(error) {
  return /** @type {NodeJS.ErrnoException | null} */ (error)?.code === "ENOENT";
}
