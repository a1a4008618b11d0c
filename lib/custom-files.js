/**
 * What a caller's `StorageBackend` keeps: calls of its methods, and what is read and made with several of them.
 *
 * What could go wrong if: a method throws instead of rejecting (`call`); one backend serves several stores
 * (`directories.js`); the caller changes an object that a method was given (all are made for the call); the backend keeps
 * one that it was given (likewise).
 */
import * as native from "../binding.js";
import { withDirectories } from "./directories.js";
import { environmentNumber } from "./environment.js";
import { argumentError, toError, withCode } from "./errors.js";
import { migrateRecords, migrateSegment } from "./migrate.js";
import { byClockAndAgent, isCopy, shown } from "./operations.js";
import { pagesOf, recordsOf } from "./pages.js";
import { validateManifest } from "./validate.js";
import { valueText } from "./values.js";

/** @typedef {import("../index.js").StorageBackend} StorageBackend */
/** @typedef {import("../index.js").Operation} Operation */
/** @typedef {import("../index.js").Manifest} Manifest */
/** @typedef {import("../binding.js").OpenOptions} OpenOptions */
/** @typedef {import("./migrate.js").Migrate} Migrate */

/** How often a reader begins again because the manifest has changed meanwhile. */
const ATTEMPTS = 100;

/**
 * What is stored: the records of a snapshot, and the operations since.
 * @typedef {object} Generation
 * @property {Manifest} manifest
 * @property {Map<string, unknown>} records
 * @property {number} version Schema version of the records.
 * @property {Operation[]} operations
 */

/** An archive segment, its records as pages. @typedef {{ period: string, pages: string[] }} Segment */

export class CustomFiles {
  /** @type {import("./directories.js").Directories} */
  #directories = new Map();

  /**
   * @param {StorageBackend} backend
   * @param {OpenOptions} settings
   * @param {Migrate | undefined} migrate
   * @param {string | undefined} agentId
   */
  constructor(backend, settings, migrate, agentId) {
    this.backend = backend;
    this.settings = settings;
    this.migrate = migrate;
    // A reader sees every agent's records and is none.
    this.agentId = settings.readOnly ? undefined : agentId;
  }

  /**
   * Calls a method of the backend. What it throws is a rejection.
   * @template {keyof StorageBackend} M
   * @param {M} method
   * @param {Parameters<StorageBackend[M]>} args
   * @returns {Promise<Awaited<ReturnType<StorageBackend[M]>>>}
   */
  async call(method, ...args) {
    const backend = /** @type {Record<string, any>} */ (/** @type {unknown} */ (this.backend));
    if (typeof backend[method] !== "function") {
      throw argumentError(`Option 'backend' must be a StorageBackend: it has no method '${method}'`);
    }
    return withDirectories(this.#directories, () => backend[method](...args));
  }

  /**
   * Reads what is stored; nothing where there is no store.
   * @returns {Promise<Generation | undefined>}
   */
  async load() {
    const manifest = await this.call("readManifest");
    if (!manifest) return undefined;
    if (this.settings.skipLoad) return { manifest, records: new Map(), version: this.settings.version, operations: [] };
    const { records, version } = await this.loadSnapshot(manifest.currentSnapshot);
    return { manifest, records, version, operations: await this.readLogs(manifest) };
  }

  /**
   * Calls `read` until the manifest is the same before and after. Answers with its version as well.
   * @template R
   * @param {() => Promise<R>} read
   * @returns {Promise<[R, string | null]>}
   */
  async undisturbed(read) {
    let before = await this.call("getManifestVersion");
    for (let attempt = 1; ; attempt++) {
      /** @type {{ result: R } | { error: unknown }} */
      const outcome = await read().then((result) => ({ result }), (error) => ({ error }));
      const after = await this.call("getManifestVersion");
      if (after === before || attempt === ATTEMPTS) {
        if ("error" in outcome) throw outcome.error;
        return [outcome.result, after];
      }
      before = after;
    }
  }

  /** @param {string} path */
  async loadSnapshot(path) {
    try {
      return await this.call("loadSnapshot", path);
    } catch (error) {
      if (/** @type {{ code?: unknown } | undefined} */ (error)?.code !== "ENOENT") throw error;
      const message = `Snapshot file not found: ${path}. The data directory may be corrupted.`;
      const found = /** @type {{ path?: unknown }} */ (error).path ?? path;
      throw Object.assign(withCode(new Error(message, { cause: error }), "OPSLOG_CORRUPT"), { path: found });
    }
  }

  /**
   * The operations that belong to the current state, in the order in which they count.
   * @param {Manifest} manifest
   */
  async readLogs(manifest) {
    if (!manifest.activeAgentOps) return this.call("readOps", manifest.activeOps);
    /** @type {Operation[]} */
    const operations = [];
    for (const path of Object.values(manifest.activeAgentOps)) {
      for (const operation of await this.call("readOps", path)) operations.push(operation);
    }
    operations.sort(byClockAndAgent);
    // An operation may have been copied from log to log.
    return operations.filter((operation, i) => i === 0 || !isCopy(operation, operations[i - 1]));
  }

  /**
   * Makes a new store.
   * @returns {Promise<Generation>}
   */
  async create() {
    const { version } = this.settings;
    const currentSnapshot = await this.call("writeSnapshot", new Map(), version);
    const activeOps = await this.call("createOpsFile");
    const now = new Date().toISOString();
    const stats = { activeRecords: 0, archivedRecords: 0, opsCount: 0, created: now, lastCheckpoint: now };
    const manifest = validateManifest({ version, currentSnapshot, activeOps, archiveSegments: [], stats });
    await this.call("writeManifest", copyOf(manifest));
    return { manifest, records: new Map(), version, operations: [] };
  }

  /**
   * Hands what is stored to the engine; returns its number for it, before it is started.
   * @param {Generation} generation
   * @returns {{ handle: number, from: number | undefined }} `from`: the records are of this older version.
   */
  handOver({ manifest, records, version, operations }) {
    const text = JSON.stringify(manifest);
    const environment = environmentNumber();
    const agent = this.agentId === undefined ? undefined : JSON.stringify(this.agentId);
    const { handle, migrateFrom, failure } = native.externalLoad(environment, this.settings, text, version, agent);
    if (failure !== undefined || handle === undefined) throw toError(/** @type {any} */ (failure));
    try {
      for (const page of pagesOf(records)) native.externalRecords(handle, page);
      const refused = native.externalOperations(handle, JSON.stringify(operations.map(shown)), manifest.activeOps);
      if (refused) throw toError(refused);
      if (migrateFrom !== undefined && this.migrate !== undefined) migrateRecords(handle, this.migrate, migrateFrom);
    } catch (error) {
      native.release(handle);
      throw error;
    }
    return { handle, from: migrateFrom };
  }

  /**
   * Migrates the archived records. The interface tells no version of a segment: all are as old as the snapshot.
   * @param {string[]} paths
   * @param {number} from
   * @param {Segment[]} changed Gets the segments as they were, before anything is written.
   */
  async migrateArchives(paths, from, changed) {
    const { migrate } = this;
    if (migrate === undefined) return;
    /** @type {Segment[]} */
    const segments = [];
    /** @type {Segment[]} */
    const before = [];
    for (const path of paths) {
      const period = /(?:^|\/)archive-([^/]+)\.json$/.exec(path)?.[1];
      if (period === undefined) {
        throw withCode(new Error(`Cannot migrate archive segment '${path}': its name has no period`), "OPSLOG_INVALID");
      }
      const records = await this.call("loadArchiveSegment", path);
      // As texts: the caller's function may change the records that it is given.
      before.push({ period, pages: pagesOf(records) });
      const migrated = migrateSegment([...records], migrate, from);
      segments.push({ period, pages: pagesOf(migrated.map(([id, record]) => [id, JSON.parse(valueText(record))])) });
    }
    changed.push(...before);
    await this.writeSegments(segments);
  }

  /** @param {Segment[]} segments */
  async writeSegments(segments) {
    for (const { period, pages } of segments) await this.call("writeArchiveSegment", period, recordsOf(pages));
  }
}

/**
 * A copy that the backend may keep, or that it cannot reach.
 * @param {Manifest} manifest
 * @returns {Manifest}
 */
export function copyOf(manifest) {
  return JSON.parse(JSON.stringify(manifest));
}

/** @param {number} handle @returns {Manifest} */
export function currentManifest(handle) {
  return JSON.parse(/** @type {string} */ (native.manifest(handle)));
}
