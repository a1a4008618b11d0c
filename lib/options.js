/**
 * Options of `open`: checked here, with defaults filled in.
 */
import { argumentError, show } from "./errors.js";

/** @typedef {import("../index.js").StoreOptions} StoreOptions */
/** @typedef {import("../binding.js").OpenOptions} OpenOptions */
/** @typedef {import("./observe.js").OnError} OnError */
/** @typedef {import("./observe.js").OnProgress} OnProgress */
/** @typedef {(record: unknown, fromVersion: number) => unknown} Migrate */

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
 * Checks a function that is to be called back.
 * @template {Function} F
 * @param {string} name
 * @param {unknown} value
 * @returns {F | undefined}
 */
function callback(name, value) {
  if (value !== undefined && typeof value !== "function") {
    throw argumentError(`Option '${name}' must be a function, got ${show(value)}`);
  }
  return /** @type {F | undefined} */ (value);
}

/**
 * Who is told how far a call has come, among the options of a call.
 * @param {unknown} options an object, or undefined
 * @returns {OnProgress | undefined}
 */
export function progressOf(options) {
  return callback("onProgress", /** @type {{ onProgress?: unknown } | undefined} */ (options)?.onProgress);
}

/**
 * Checks a signal that may end a call.
 * @param {unknown} signal
 * @returns {AbortSignal | undefined}
 */
export function readSignal(signal) {
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw argumentError(`Option 'signal' must be an AbortSignal, got ${show(signal)}`);
  }
  return signal;
}

/**
 * The signal among the options of a call.
 * @param {unknown} options
 */
export function signalOf(options) {
  if (options !== undefined && (typeof options !== "object" || options === null)) {
    throw argumentError(`Argument 'options' must be an object, got ${show(options)}`);
  }
  const signal = readSignal(/** @type {{ signal?: unknown } | undefined} */ (options)?.signal);
  signal?.throwIfAborted();
  return signal;
}

/**
 * Checks the options and fills in the defaults. `undefined` means the default.
 * @param {StoreOptions | undefined} options
 * @returns {{
 *   native: OpenOptions,
 *   backend: import("../index.js").StorageBackend | undefined,
 *   agentId: string | undefined,
 *   signal: AbortSignal | undefined,
 *   migrate: Migrate | undefined,
 *   onError: OnError | undefined,
 *   onProgress: OnProgress | undefined,
 * }}
 */
export function readOptions(options) {
  if (options !== undefined && (typeof options !== "object" || options === null)) {
    throw argumentError(`Argument 'options' must be an object, got ${show(options)}`);
  }
  /** @type {Record<string, unknown>} */
  const given = { ...options };
  const { backend } = given;
  if (backend !== undefined && (typeof backend !== "object" || backend === null)) {
    throw argumentError(`Option 'backend' must be a StorageBackend, got ${show(backend)}`);
  }
  const migrate = /** @type {Migrate | undefined} */ (callback("migrate", given.migrate));
  const onError = /** @type {OnError | undefined} */ (callback("onError", given.onError));
  const {
    checkpointThreshold,
    checkpointOnClose = true,
    version = 1,
    readOnly = false,
    skipLoad = false,
    agentId,
    writeMode = "immediate",
    groupCommitSize = 50,
    groupCommitMs = 100,
    durability = "fsync",
    recovery = "reject",
  } = given;
  if (agentId !== undefined && typeof agentId !== "string") {
    throw argumentError(`Option 'agentId' must be a string, got ${show(agentId)}`);
  }
  const agent = /** @type {string | undefined} */ (agentId);
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
  if (agent && native.writeMode !== "immediate") {
    console.error(
      `opslog: writeMode '${native.writeMode}' is not compatible with multi-writer (agentId). Using 'immediate'.`,
    );
    native.writeMode = "immediate";
  }
  return {
    native: /** @type {OpenOptions} */ (native),
    backend: /** @type {import("../index.js").StorageBackend | undefined} */ (backend),
    signal: readSignal(given.signal),
    // COMPAT: as upstream, an empty id is none.
    agentId: agent === "" ? undefined : agent,
    migrate,
    onError,
    onProgress: progressOf(given),
  };
}
