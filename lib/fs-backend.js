/**
 * A store's files in a directory, behind the methods of upstream's `StorageBackend`.
 *
 * Formats, durability and recovery are the engine's (`src/files.rs`); small files go through Node (`durable.js`).
 * Methods know nothing of each other and keep nothing but the directory: an object may be subclassed, wrapped, put
 * behind `Object.create`, and single methods replaced. Inside a call of a store's the directory is that store's
 * (`directories.js`), otherwise the one that was initialised last.
 *
 * What needs a directory is told before anything is awaited. Modules that only some calls need are loaded by them: an
 * import of the package loads this file.
 *
 * What could go wrong if: two calls on one log overlap (they take turns, also those of several objects); the object is
 * initialised again while a call runs (each call has read the directory when it began).
 */
import { readFile, readdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import * as native from "../binding.js";
import { argumentError, isMissing, show, toError, withCode } from "./errors.js";
import { directoriesNow, useDirectories } from "./directories.js";
import { acquireLock, releaseLock } from "./lock.js";
import { operationsOf } from "./operations.js";
import { pagesOf, recordsOf } from "./pages.js";
import { inside } from "./paths.js";
import { tellRecovery } from "./recovery-report.js";
import { opened, records } from "./streams.js";
import { validateManifest } from "./validate.js";

/** @typedef {import("../index.js").Manifest} Manifest */
/** @typedef {import("../index.js").Operation} Operation */
/** @typedef {import("../index.js").LockHandle} LockHandle */
/** @typedef {import("../binding.js").FileResult} FileResult */

/** Who is at work on a log; the next call waits for it. @type {Map<string, Promise<unknown>>} */
const busy = new Map();

/**
 * Runs calls on one log one after the other.
 * @template R
 * @param {string} path
 * @param {() => Promise<R>} work
 * @returns {Promise<R>}
 */
async function inTurn(path, work) {
  const turn = (busy.get(path) ?? Promise.resolve()).then(work, work);
  busy.set(path, turn);
  try {
    return await turn;
  } finally {
    if (busy.get(path) === turn) busy.delete(path);
  }
}

/**
 * Throws what the engine reports; answers with the rest.
 * @param {FileResult} result
 */
function checked(result) {
  if (result.failure !== undefined) throw toError(result.failure);
  const { report } = result;
  if (report !== undefined) tellRecovery(report);
  return result;
}

/** A lock: its open file, and its directory. */
class FsLockHandle {
  /**
   * @param {import("node:fs/promises").FileHandle} fh
   * @param {string} dir
   */
  constructor(fh, dir) {
    this.fh = fh;
    this.dir = dir;
  }
}

/** The directory that was initialised last. */
const LAST = Symbol("directory");

/** An object's directory. What is made of an object by `Object.create` has it, until it gets one of its own. */
const DIRECTORY = {
  /** @this {FsBackend} */
  get() {
    return directoriesNow()?.get(this) ?? this[LAST];
  },
  /** @this {FsBackend} @param {string} dir */
  set(dir) {
    directoriesNow()?.set(this, dir);
    this[LAST] = dir;
  },
  enumerable: true,
  configurable: true,
};

export class FsBackend {
  [LAST] = "";
  /** Where the files are; an accessor, see {@link DIRECTORY}. */
  dir = "";

  constructor() {
    useDirectories();
    Object.defineProperty(this, "dir", DIRECTORY);
  }

  /**
   * @param {string} dir
   * @param {{ readOnly: boolean }} opts
   */
  async initialize(dir, { readOnly }) {
    this.dir = resolve(dir);
    if (!readOnly) checked(await native.createFolders(this.dir));
  }

  async shutdown() {}

  /** @returns {Promise<Manifest | null>} */
  async readManifest() {
    const path = join(directoryOf(this), "manifest.json");
    let text;
    try {
      text = await readFile(path, "utf8");
    } catch (error) {
      if (isMissing(error)) return null;
      // Node names no path where it is reading that fails.
      throw Object.assign(/** @type {Error} */ (error), { path });
    }
    try {
      return validateManifest(parsed(text));
    } catch (error) {
      const { message } = /** @type {Error} */ (error);
      throw Object.assign(withCode(new Error(`${message} (${path})`), "OPSLOG_CORRUPT"), { path });
    }
  }

  /** @param {Manifest} manifest */
  async writeManifest(manifest) {
    const path = join(directoryOf(this), "manifest.json");
    // What no open would accept must not take the place of what does.
    const text = JSON.stringify(validateManifest(manifest), null, 2);
    const { ownTemporary, replaceFile } = await import("./durable.js");
    await replaceFile(path, text, ownTemporary(path));
  }

  /**
   * @param {Map<string, unknown>} map
   * @param {number} version
   * @returns {Promise<string>}
   */
  async writeSnapshot(map, version) {
    if (!Number.isSafeInteger(version) || version < 1) {
      throw argumentError(`Argument 'version' must be an integer from 1 on, got ${show(version)}`);
    }
    const { path } = checked(await native.writeSnapshotFile(directoryOf(this), version, pagesOf(map)));
    return /** @type {string} */ (path);
  }

  /**
   * @param {string} relativePath
   * @returns {Promise<{ records: Map<string, unknown>, version: number }>}
   */
  async loadSnapshot(relativePath) {
    const dir = directoryOf(this);
    const result = await native.openSnapshotFile(dir, inside(dir, relativePath));
    /** @type {Map<string, unknown>} */
    const map = new Map();
    for await (const [id, value] of records(opened(result))) map.set(id, value);
    return { records: map, version: /** @type {number} */ (result.version) };
  }

  /**
   * @param {string} relativePath
   * @param {Operation[]} ops
   */
  async appendOps(relativePath, ops) {
    const dir = directoryOf(this);
    const path = inside(dir, relativePath);
    if (!Array.isArray(ops)) throw argumentError(`Argument 'ops' must be an array of operations, got ${show(ops)}`);
    if (ops.length === 0) return;
    const text = JSON.stringify(ops);
    await inTurn(join(dir, path), async () => checked(await native.appendOperations(dir, path, text)));
  }

  /**
   * @param {string} relativePath
   * @returns {Promise<Operation[]>}
   */
  async readOps(relativePath) {
    const dir = directoryOf(this);
    const path = inside(dir, relativePath);
    const { pages = [] } = await inTurn(join(dir, path), async () => checked(await native.readOperations(dir, path)));
    return operationsOf(pages);
  }

  /**
   * @param {string} relativePath
   * @returns {Promise<boolean>}
   */
  async truncateLastOp(relativePath) {
    const dir = directoryOf(this);
    const path = inside(dir, relativePath);
    const { flag } = await inTurn(join(dir, path), async () => checked(await native.takeLastOperation(dir, path)));
    return flag === true;
  }

  /** @returns {Promise<string>} */
  async createOpsFile() {
    const { path } = checked(await native.createLog(directoryOf(this), undefined));
    return /** @type {string} */ (path);
  }

  /**
   * @param {string} period
   * @param {Map<string, unknown>} map
   * @returns {Promise<string>}
   */
  async writeArchiveSegment(period, map) {
    const dir = directoryOf(this);
    if (typeof period !== "string") throw argumentError(`Argument 'period' must be a string, got ${show(period)}`);
    const pages = pagesOf(map);
    const done = inTurn(join(dir, "archive", period), async () => checked(await native.writeSegmentFile(dir, period, pages)));
    return /** @type {string} */ ((await done).path);
  }

  /**
   * @param {string} relativePath
   * @returns {Promise<Map<string, unknown>>}
   */
  async loadArchiveSegment(relativePath) {
    const dir = directoryOf(this);
    const { pages = [] } = checked(await native.readSegmentFile(dir, inside(dir, relativePath)));
    return recordsOf(pages);
  }

  /** @returns {Promise<string[]>} */
  async listArchiveSegments() {
    const names = await namesIn(join(directoryOf(this), "archive"));
    return names.filter((name) => name.startsWith("archive-") && name.endsWith(".json")).map((name) => `archive/${name}`);
  }

  /** @returns {Promise<LockHandle>} */
  async acquireLock() {
    const dir = directoryOf(this);
    return new FsLockHandle(await acquireLock(dir), dir);
  }

  /** @param {LockHandle} handle */
  async releaseLock(handle) {
    const { dir, fh } = /** @type {FsLockHandle} */ (handle);
    await releaseLock(dir, fh);
  }

  /**
   * @param {string} agentId
   * @returns {Promise<string>}
   */
  async createAgentOpsFile(agentId) {
    const dir = directoryOf(this);
    if (typeof agentId !== "string" || agentId === "") {
      throw argumentError(`Argument 'agentId' must be a non-empty string, got ${show(agentId)}`);
    }
    return /** @type {string} */ (checked(await native.createLog(dir, agentId)).path);
  }

  /** @returns {Promise<string[]>} */
  async listOpsFiles() {
    const names = await namesIn(join(directoryOf(this), "ops"));
    return names.filter((name) => name.endsWith(".jsonl")).map((name) => `ops/${name}`);
  }

  /** @returns {Promise<LockHandle>} */
  async acquireCompactionLock() {
    const dir = directoryOf(this);
    try {
      return new FsLockHandle(await acquireLock(dir, true), dir);
    } catch (error) {
      const { code } = /** @type {{ code?: string }} */ (error);
      if (code !== "OPSLOG_LOCKED") throw error;
      throw withCode(new Error("Compaction lock held by another agent", { cause: error }), code);
    }
  }

  /** @param {LockHandle} handle */
  async releaseCompactionLock(handle) {
    const { dir, fh } = /** @type {FsLockHandle} */ (handle);
    await releaseLock(dir, fh);
  }

  /** @returns {Promise<string | null>} */
  async getManifestVersion() {
    try {
      const { mtimeNs, ino, size } = await stat(join(directoryOf(this), "manifest.json"), { bigint: true });
      // Two manifests within one tick of the file system's clock are different files.
      return `${mtimeNs}-${ino}-${size}`;
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  }

  /**
   * @param {string} relativePath
   * @param {Buffer} content
   */
  async writeBlob(relativePath, content) {
    const dir = directoryOf(this);
    const { writeBlob } = await import("./blobs.js");
    await writeBlob(dir, relativePath, content);
  }

  /**
   * @param {string} relativePath
   * @returns {Promise<Buffer>}
   */
  async readBlob(relativePath) {
    const dir = directoryOf(this);
    const { readBlob } = await import("./blobs.js");
    return readBlob(dir, relativePath);
  }

  /**
   * @param {string} relativePath
   * @param {number} offset
   * @param {number} length
   * @returns {Promise<Buffer>}
   */
  async readBlobRange(relativePath, offset, length) {
    const dir = directoryOf(this);
    const { readBlobRange } = await import("./blobs.js");
    return readBlobRange(dir, relativePath, offset, length);
  }

  /**
   * @param {string} prefix
   * @returns {Promise<string[]>}
   */
  async listBlobs(prefix) {
    const dir = directoryOf(this);
    const { listBlobs } = await import("./blobs.js");
    return listBlobs(dir, prefix);
  }

  /** @param {string} relativePath */
  async deleteBlob(relativePath) {
    const dir = directoryOf(this);
    const { deleteBlob } = await import("./blobs.js");
    await deleteBlob(dir, relativePath);
  }

  /** @param {string} prefix */
  async deleteBlobDir(prefix) {
    const dir = directoryOf(this);
    const { deleteBlobDir } = await import("./blobs.js");
    await deleteBlobDir(dir, prefix);
  }
}

/** The methods as they are here, in case somebody replaces one in the prototype. */
const METHODS = Object.getOwnPropertyDescriptors(FsBackend.prototype);

/**
 * True for an `FsBackend` that nobody has changed, in a subclass, on the object or on the prototype: what it does with
 * a store's files the engine can do itself.
 * @param {unknown} backend
 * @returns {backend is FsBackend}
 */
export function isPlain(backend) {
  if (typeof backend !== "object" || backend === null || Object.getPrototypeOf(backend) !== FsBackend.prototype) return false;
  const present = Object.getOwnPropertyDescriptors(FsBackend.prototype);
  return (
    Object.entries(METHODS).every(([name, { value }]) => present[/** @type {keyof typeof present} */ (name)]?.value === value) &&
    Reflect.ownKeys(backend).every((name) => !(name in METHODS))
  );
}

/**
 * The directory of a backend.
 * @param {FsBackend} backend
 */
function directoryOf({ dir }) {
  // Upstream works in the current directory then.
  if (dir === "") throw withCode(new Error("FsBackend is not initialized. Call initialize() first."), "OPSLOG_NOT_OPEN");
  return dir;
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`Invalid manifest: not valid JSON: ${/** @type {Error} */ (error).message}`, { cause: error });
  }
}

/**
 * Names in a folder; none where it does not exist.
 * @param {string} folder
 */
async function namesIn(folder) {
  try {
    return await readdir(folder);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}
