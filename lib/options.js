/**
 * Options of `open`: checked here, with defaults filled in.
 */
import { argumentError, show, withCode } from "./errors.js";
import { isPlain } from "./fs-backend.js";

/** @typedef {import("../index.js").StoreOptions} StoreOptions */
/** @typedef {import("../binding.js").OpenOptions} OpenOptions */

/** Options of upstream that this version does not have yet: refused, not ignored. */
const NOT_YET = /** @type {const} */ (["agentId"]);

/**
 * @param {string} name
 * @param {unknown} value
 * @param {readonly string[]} allowed
 */
function oneOf(name, value, allowed) {
  if (typeof value !== "string" || !allowed.includes(value)) {
    const list = allowed.map((item) => `"${item}"`).join(", ");
    throw argumentError(`Option '${name}' must be one of ${list}, got ${show(value)}`);
  }
  return value;
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function flag(name, value) {
  if (typeof value !== "boolean") throw argumentError(`Option '${name}' must be a boolean, got ${show(value)}`);
  return value;
}

/**
 * @param {string} name
 * @param {unknown} value
 * @param {boolean} [finite]
 */
function count(name, value, finite = false) {
  const sound = typeof value === "number" && value >= 1 && (Number.isSafeInteger(value) || (value === Infinity && !finite));
  if (!sound) {
    const range = finite ? "an integer from 1 to Number.MAX_SAFE_INTEGER" : "an integer from 1 on, or Infinity";
    throw argumentError(`Option '${name}' must be ${range}, got ${show(value)}`);
  }
  return value;
}

/**
 * Checks the options and fills in the defaults. `undefined` means the default.
 * @param {StoreOptions | undefined} options
 * @returns {{
 *   native: OpenOptions,
 *   backend: import("./fs-backend.js").FsBackend | undefined,
 *   migrate: ((record: unknown, fromVersion: number) => unknown) | undefined,
 * }}
 */
export function readOptions(options) {
  if (options !== undefined && (typeof options !== "object" || options === null)) {
    throw argumentError(`Argument 'options' must be an object, got ${show(options)}`);
  }
  /** @type {Record<string, unknown>} */
  const given = { ...options };
  for (const name of NOT_YET) {
    if (given[name] !== undefined && given[name] !== false) {
      throw withCode(new Error(`Option '${name}' is not supported by this version of opslog-native`), "OPSLOG_INVALID");
    }
  }
  const { backend, migrate } = given;
  if (backend !== undefined && !isPlain(backend)) {
    const message = "Option 'backend' must be an unmodified FsBackend: this version of opslog-native supports no other yet";
    throw withCode(new Error(message), "OPSLOG_INVALID");
  }
  if (migrate !== undefined && typeof migrate !== "function") {
    throw argumentError(`Option 'migrate' must be a function, got ${show(migrate)}`);
  }
  const {
    checkpointThreshold,
    checkpointOnClose = true,
    version = 1,
    readOnly = false,
    skipLoad = false,
    writeMode = "immediate",
    groupCommitSize = 50,
    groupCommitMs = 100,
    durability = "fsync",
    recovery = "reject",
  } = given;
  const native = {
    checkpointThreshold:
      checkpointThreshold === undefined ? undefined : count("checkpointThreshold", checkpointThreshold),
    checkpointOnClose: flag("checkpointOnClose", checkpointOnClose),
    version: count("version", version, true),
    readOnly: flag("readOnly", readOnly),
    skipLoad: flag("skipLoad", skipLoad),
    writeMode: oneOf("writeMode", writeMode, ["immediate", "group", "async"]),
    groupCommitSize: count("groupCommitSize", groupCommitSize),
    groupCommitMs: count("groupCommitMs", groupCommitMs),
    durability: oneOf("durability", durability, ["fsync", "os"]),
    recovery: oneOf("recovery", recovery, ["reject", "skip"]),
  };
  return {
    native: /** @type {OpenOptions} */ (native),
    backend,
    migrate: /** @type {((record: unknown, fromVersion: number) => unknown) | undefined} */ (migrate),
  };
}
