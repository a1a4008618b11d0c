/**
 * A store whose files a caller's `StorageBackend` keeps.
 *
 * The engine holds the state and hands out what is to be stored as steps, in the order of the calls; this carries them
 * out, one at a time, by the backend's methods in the order and with the arguments of upstream. So the event loop waits
 * for the backend and no thread does, and a method that never settles stops this store only.
 *
 * What could go wrong if: a method fails after it has done its work (`#certain` looks, and takes it back, before
 * anything else is stored); a method throws instead of rejecting, or throws what is no error (`#call`); one backend
 * serves several stores (`directories.js`); the caller changes an object that a method was given (all are made for the
 * call); the backend keeps one that it was given (likewise).
 */
import { resolve } from "node:path";
import * as native from "../binding.js";
import { withDirectories } from "./directories.js";
import { environmentNumber } from "./environment.js";
import { argumentError, keepError, stateError, toError, withCode } from "./errors.js";
import { Agent } from "./custom-agent.js";
import { FsBackend } from "./fs-backend.js";
import { migrateRecords, migrateSegment } from "./migrate.js";
import { byClockAndAgent, isCopy, operationsOf, shown, textOf, withOthers } from "./operations.js";
import { pagesOf, recordsOf } from "./pages.js";
import { LONGEST } from "./timers.js";
import { validateManifest } from "./validate.js";
import { valueText } from "./values.js";

/** @typedef {import("../index.js").StorageBackend} StorageBackend */
/** @typedef {import("../index.js").Operation} Operation */
/** @typedef {import("../index.js").Manifest} Manifest */
/** @typedef {import("../binding.js").OpenOptions} OpenOptions */
/** @typedef {import("../binding.js").ExternalStep} ExternalStep */
/** @typedef {import("./migrate.js").Migrate} Migrate */

/** How often a reader begins again because the manifest has changed meanwhile. */
const ATTEMPTS = 100;

/** How long until what is in doubt is looked at again, in milliseconds. */
const RETRY = 100;

/** How many superseded logs a manifest names, for readers: as many as in `src/store/checkpoint.rs`, which says why. */
const KEEP_LOGS = 256;

/** How often an agent looks what has become of an append that failed, before it tells its caller. */
const LOOKS = 4;

/**
 * What a step of unknown end may have left: so many operations more, one less (JSON text) in a log, or another manifest
 * than this; `tried`: an agent's operations.
 * @typedef {{ appended: number } | { tried: Operation[] } | { taken: string, path: string } | { replaced: Manifest }} Doubt
 */

/**
 * What is stored: the records of a snapshot, and the operations since.
 * @typedef {object} Generation
 * @property {Manifest} manifest
 * @property {Map<string, unknown>} records
 * @property {number} version Schema version of the records.
 * @property {Operation[]} operations
 */

/**
 * What an agent does with the files.
 * @typedef {object} Files
 * @property {number} version Schema version of the records.
 * @property {<M extends keyof StorageBackend>(method: M, ...args: Parameters<StorageBackend[M]>) => Promise<Awaited<ReturnType<StorageBackend[M]>>>} call
 * @property {() => Promise<Generation | undefined>} load
 * @property {(path: string) => Promise<{ records: Map<string, unknown>, version: number }>} loadSnapshot
 * @property {(manifest: Manifest) => Promise<Operation[]>} readLogs
 * @property {(generation: Generation) => { handle: number }} handOver
 * @property {<R>(read: () => Promise<R>) => Promise<[R, string | null]>} undisturbed
 */

/**
 * A log that another superseded: when (ms), how many of its operations that one began with, and whether it was an
 * archive call's.
 * @typedef {{ path: string, since: number, carried: number, archived?: boolean }} Superseded
 */

/** An archive segment, its records as pages. @typedef {{ period: string, pages: string[] }} Segment */

export class CustomStore {
  #backend;
  #settings;
  #migrate;
  /** @type {() => void} */
  #told = () => {};
  /** @type {import("./directories.js").Directories} */
  #directories = new Map();
  #handle = -1;
  /** @type {{ handle: import("../index.js").LockHandle } | undefined} */
  #lock;
  /** @type {Manifest} */
  #manifest = /** @type {any} */ (undefined);
  /** Version of the records when they were read, if it was an older one. @type {number | undefined} */
  #from;
  /** Operations in the log; unknown until they are counted. @type {number | undefined} */
  #stored;
  /** True if an `archive` failed: a segment may hold records that no manifest counts. */
  #uncounted = false;
  /** @type {Doubt | undefined} */
  #doubt;
  #working = false;
  #due = false;
  /** @type {NodeJS.Timeout | undefined} */
  #timer;
  /** In a store of several writers. @type {Agent | undefined} */
  #agent;
  /** The agent's place in a directory. @type {number | undefined} */
  #agentLock;
  /** Calls that wait for the others' operations. @type {{ resolve: (ops: Operation[]) => void, reject: (error: unknown) => void }[]} */
  #asked = [];
  /** Calls that are reading. @type {Set<Promise<unknown>>} */
  #reads = new Set();
  /** Nothing is called any more. */
  #ended = false;
  /** Where a reader stands: a log, and the texts of its operations. No path: it has read the logs of several agents. */
  #known = { path: "", texts: /** @type {string[]} */ ([]) };

  /**
   * @param {StorageBackend} backend
   * @param {OpenOptions} settings
   * @param {Migrate | undefined} migrate
   * @param {string | undefined} agentId
   */
  constructor(backend, settings, migrate, agentId) {
    this.#backend = backend;
    this.#migrate = migrate;
    this.#settings = settings;
    // A reader sees every agent's records and is none.
    if (agentId === undefined || settings.readOnly) return;
    this.#agent = new Agent(
      agentId,
      {
        version: settings.version,
        call: (method, ...args) => this.#call(method, ...args),
        load: () => this.#load(),
        loadSnapshot: (path) => this.#loadSnapshot(path),
        readLogs: (manifest) => this.#readLogs(manifest),
        handOver: (generation) => this.#handOver(generation),
        undisturbed: (read) => this.#undisturbed(read),
      },
      settings.skipLoad,
    );
  }

  /**
   * Calls a method of the backend. What it throws is a rejection.
   * @template {keyof StorageBackend} M
   * @param {M} method
   * @param {Parameters<StorageBackend[M]>} args
   * @returns {Promise<Awaited<ReturnType<StorageBackend[M]>>>}
   */
  async #call(method, ...args) {
    const backend = /** @type {Record<string, any>} */ (/** @type {unknown} */ (this.#backend));
    if (typeof backend[method] !== "function") {
      throw argumentError(`Option 'backend' must be a StorageBackend: it has no method '${method}'`);
    }
    return withDirectories(this.#directories, () => backend[method](...args));
  }

  /**
   * Opens the store and answers with the engine's number for it.
   * @param {string} dir
   * @param {AbortSignal | undefined} signal
   * @returns {Promise<number>}
   */
  async open(dir, signal) {
    const { readOnly } = this.#settings;
    // Now: the program may change its directory while this waits.
    const path = resolve(dir);
    await this.#call("initialize", dir, { readOnly });
    try {
      signal?.throwIfAborted();
      if (this.#agent !== undefined) await this.#lockAgent(path, this.#agent.id);
      else if (!readOnly) this.#lock = { handle: await this.#call("acquireLock") };
      const loaded = readOnly ? await this.#loadBesideWriter() : await this.#loadToWrite();
      signal?.throwIfAborted();
      await this.#start(loaded);
      if (!readOnly) await this.#call("getManifestVersion");
      return this.#handle;
    } catch (error) {
      if (this.#handle >= 0) native.release(this.#handle);
      await this.#giveUp();
      throw error;
    }
  }

  /**
   * In a directory an agent has a place of its own. The interface of backends knows no such lock.
   * @param {string} path
   * @param {string} id
   */
  async #lockAgent(path, id) {
    if (!(this.#backend instanceof FsBackend)) return;
    const { lock, failure } = await native.lockAgent(environmentNumber(), path, wellFormed(id));
    if (failure !== undefined) throw toError(failure);
    this.#agentLock = lock;
  }

  #unlockAgent() {
    if (this.#agentLock !== undefined) native.unlock(this.#agentLock);
    this.#agentLock = undefined;
  }

  /** Gives back what a failed `open` took; its error counts, not what fails here. */
  async #giveUp() {
    if (this.#lock !== undefined) await this.#call("releaseLock", this.#lock.handle).catch(() => {});
    this.#unlockAgent();
    await this.#call("shutdown").catch(() => {});
  }

  /**
   * Reads what is stored; nothing where there is no store.
   * @returns {Promise<Generation | undefined>}
   */
  async #load() {
    const manifest = await this.#call("readManifest");
    if (!manifest) return undefined;
    if (this.#settings.skipLoad) return { manifest, records: new Map(), version: this.#settings.version, operations: [] };
    const { records, version } = await this.#loadSnapshot(manifest.currentSnapshot);
    return { manifest, records, version, operations: await this.#readLogs(manifest) };
  }

  /** @returns {Promise<Generation>} */
  async #loadToWrite() {
    if (this.#agent !== undefined) return this.#agent.load();
    return (await this.#load()) ?? (await this.#create());
  }

  /**
   * Reads what is stored until no writer has changed it meanwhile.
   * @returns {Promise<Generation>}
   */
  async #loadBesideWriter() {
    const [loaded] = await this.#undisturbed(() => this.#load());
    if (loaded !== undefined) return loaded;
    throw withCode(new Error("Cannot open in readOnly mode: no existing store found"), "OPSLOG_NOT_FOUND");
  }

  /**
   * Calls `read` until the manifest is the same before and after. Answers with its version as well.
   * @template R
   * @param {() => Promise<R>} read
   * @returns {Promise<[R, string | null]>}
   */
  async #undisturbed(read) {
    let before = await this.#call("getManifestVersion");
    for (let attempt = 1; ; attempt++) {
      /** @type {{ result: R } | { error: unknown }} */
      const outcome = await read().then((result) => ({ result }), (error) => ({ error }));
      const after = await this.#call("getManifestVersion");
      if (after === before || attempt === ATTEMPTS) {
        if ("error" in outcome) throw outcome.error;
        return [outcome.result, after];
      }
      before = after;
    }
  }

  /** @param {string} path */
  async #loadSnapshot(path) {
    try {
      return await this.#call("loadSnapshot", path);
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
  async #readLogs(manifest) {
    if (!manifest.activeAgentOps) return this.#call("readOps", manifest.activeOps);
    /** @type {Operation[]} */
    const operations = [];
    for (const path of Object.values(manifest.activeAgentOps)) {
      for (const operation of await this.#call("readOps", path)) operations.push(operation);
    }
    operations.sort(byClockAndAgent);
    // An operation may have been copied from log to log.
    return operations.filter((operation, i) => i === 0 || !isCopy(operation, operations[i - 1]));
  }

  /**
   * Makes a new store.
   * @returns {Promise<Generation>}
   */
  async #create() {
    const { version } = this.#settings;
    const currentSnapshot = await this.#call("writeSnapshot", new Map(), version);
    const activeOps = await this.#call("createOpsFile");
    const now = new Date().toISOString();
    const stats = { activeRecords: 0, archivedRecords: 0, opsCount: 0, created: now, lastCheckpoint: now };
    const manifest = validateManifest({ version, currentSnapshot, activeOps, archiveSegments: [], stats });
    await this.#call("writeManifest", copyOf(manifest));
    return { manifest, records: new Map(), version, operations: [] };
  }

  /**
   * Hands what is stored to the engine; returns its number for it, before it is started.
   * @param {Generation} generation
   * @returns {{ handle: number, from: number | undefined }} `from`: the records are of this older version.
   */
  #handOver({ manifest, records, version, operations }) {
    const text = JSON.stringify(manifest);
    const environment = environmentNumber();
    const agent = this.#agent && JSON.stringify(this.#agent.id);
    const { handle, migrateFrom, failure } = native.externalLoad(environment, this.#settings, text, version, agent);
    if (failure !== undefined || handle === undefined) throw toError(/** @type {any} */ (failure));
    try {
      for (const page of pagesOf(records)) native.externalRecords(handle, page);
      const refused = native.externalOperations(handle, JSON.stringify(operations.map(shown)), manifest.activeOps);
      if (refused) throw toError(refused);
      if (migrateFrom !== undefined && this.#migrate !== undefined) migrateRecords(handle, this.#migrate, migrateFrom);
    } catch (error) {
      native.release(handle);
      throw error;
    }
    return { handle, from: migrateFrom };
  }

  /** @param {Generation} generation */
  async #start(generation) {
    const { manifest, operations } = generation;
    const { handle, from } = this.#handOver(generation);
    this.#handle = handle;
    this.#from = from;
    const refused = native.externalStart(handle);
    if (refused) throw toError(refused);
    this.#manifest = copyOf(manifest);
    this.#stored = this.#settings.skipLoad || this.#agent !== undefined ? undefined : operations.length;
    const several = manifest.activeAgentOps !== undefined;
    this.#known = { path: several ? "" : manifest.activeOps, texts: operations.map(textOf) };
    if (this.#settings.readOnly) return;
    if (this.#agent !== undefined) {
      await this.#agent.join(handle, generation);
      if (from !== undefined) await this.#fold(from);
      return;
    }
    if (this.#settings.skipLoad && several) {
      throw withCode(new Error("Cannot write a store of several agents in skipLoad mode"), "OPSLOG_INVALID");
    }
    if (from !== undefined || several) await this.#fold(from);
  }

  /**
   * Stores what a migration changed, or what several logs held, as a new generation with one log.
   * @param {number | undefined} from Version of the stored records, if they were migrated.
   */
  async #fold(from) {
    /** @type {Segment[]} Those that have been changed, as they were. */
    const changed = [];
    try {
      if (from !== undefined && this.#migrate !== undefined) await this.#migrateArchives(this.#migrate, from, changed);
      native.compact(this.#handle);
      const step = native.externalStep(this.#handle, true);
      if (this.#agent === undefined) await this.#checkpoint(step.count ?? 0, {});
      else await this.#checkpointAmongAgents(this.#agent, step);
    } catch (error) {
      // ORDER: the manifest first. It says of which version the segments are: migrated under the old one they would be
      // migrated again.
      await this.#certain().then(() => this.#writeSegments(changed)).catch(() => {});
      throw error;
    }
    native.externalDone(this.#handle);
  }

  /**
   * Migrates the archived records. The interface tells no version of a segment: all are as old as the snapshot.
   * @param {Migrate} migrate
   * @param {number} from
   * @param {Segment[]} changed Gets the segments as they were, before anything is written.
   */
  async #migrateArchives(migrate, from, changed) {
    /** @type {Segment[]} */
    const segments = [];
    /** @type {Segment[]} */
    const before = [];
    for (const path of this.#manifest.archiveSegments) {
      const period = /(?:^|\/)archive-([^/]+)\.json$/.exec(path)?.[1];
      if (period === undefined) {
        throw withCode(new Error(`Cannot migrate archive segment '${path}': its name has no period`), "OPSLOG_INVALID");
      }
      const records = await this.#call("loadArchiveSegment", path);
      // As texts: the caller's function may change the records that it is given.
      before.push({ period, pages: pagesOf(records) });
      const migrated = migrateSegment([...records], migrate, from);
      segments.push({ period, pages: pagesOf(migrated.map(([id, record]) => [id, JSON.parse(valueText(record))])) });
    }
    changed.push(...before);
    await this.#writeSegments(segments);
  }

  /** @param {Segment[]} segments */
  async #writeSegments(segments) {
    for (const { period, pages } of segments) await this.#call("writeArchiveSegment", period, recordsOf(pages));
  }

  /** True for one of several writers. */
  get isAgent() {
    return this.#agent !== undefined;
  }

  /**
   * Says who is to be called when calls have ended.
   * @param {() => void} told
   */
  onTold(told) {
    this.#told = told;
  }

  /** Carries out what is due. */
  run() {
    if (this.#working) return;
    this.#working = true;
    void this.#work();
  }

  async #work() {
    // `flush` and others that store nothing find certain what can be made so.
    await this.#certain().catch(() => {});
    for (;;) {
      const asked = this.#asked.shift();
      if (asked !== undefined) {
        await this.#catchUpAmongAgents().then(asked.resolve, asked.reject);
        this.#told();
        continue;
      }
      const step = native.externalStep(this.#handle, this.#due);
      if (step.kind === "idle") {
        this.#working = false;
        this.#wait(step);
        // What is in doubt must not wait for the next call. (It does not keep the process alive.)
        if (this.#doubt !== undefined) setTimeout(() => this.run(), RETRY).unref();
        this.#told();
        return;
      }
      if (step.kind === "append") {
        this.#due = false;
        clearTimeout(this.#timer);
        this.#timer = undefined;
      }
      await this.#carryOut(step);
      this.#told();
    }
  }

  async #catchUpAmongAgents() {
    const agent = this.#agent;
    // Closed meanwhile: an agent that is gone registers no more.
    if (agent === undefined || native.isClosed(this.#handle)) return [];
    await this.#certain();
    await agent.refresh({ asked: true });
    return agent.takeUntold();
  }

  /**
   * Buffered writes are stored when their time has come, failed ones are tried again.
   * @param {ExternalStep} step
   */
  #wait({ buffered, retry }) {
    if (!buffered || this.#timer !== undefined) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#due = true;
        this.run();
      },
      Math.min(retry ?? this.#settings.groupCommitMs, LONGEST),
    );
  }

  /** @param {ExternalStep} step */
  async #carryOut(step) {
    /** @type {"nothing" | "lock" | "store"} */
    let left = "nothing";
    try {
      await this.#certain();
      if (this.#agent !== undefined) await this.#carryOutAmongAgents(this.#agent, step);
      else if (step.kind === "append") await this.#append(step.pages);
      else if (step.kind === "takeLast") await this.#takeLast(step.pages[0]);
      else if (step.kind === "checkpoint") await this.#checkpoint(step.count ?? 0, {});
      else if (step.kind === "archive") await this.#archive(step);
      else if (step.count !== undefined) await this.#checkpoint(step.count, {});
      if (step.kind === "close") {
        while (this.#reads.size > 0) await Promise.allSettled(this.#reads);
        if (this.#lock !== undefined) {
          // ORDER: nothing is written after this, even if it fails: the lock may be somebody else's by then.
          left = "lock";
          await this.#call("releaseLock", this.#lock.handle);
        }
        this.#lock = undefined;
        this.#unlockAgent();
        left = "store";
        this.#ended = true;
        await this.#call("shutdown");
      }
    } catch (error) {
      native.externalFailed(this.#handle, keepError(error), left);
      // The caller is told by itself; what is in doubt is looked at now, and again before anything else is stored.
      await this.#certain().catch(() => {});
      return;
    }
    native.externalDone(this.#handle);
  }

  /**
   * A step of one of several writers. Peers may have changed what is stored: then it begins again on top of that.
   * @param {Agent} agent
   * @param {ExternalStep} step
   */
  async #carryOutAmongAgents(agent, step) {
    if (step.kind === "checkpoint" || step.kind === "archive" || step.kind === "close") {
      if (step.kind !== "close" || step.count !== undefined) await this.#checkpointAmongAgents(agent, step);
      return;
    }
    if (step.kind === "append") {
      const { kind, pages } = (await agent.upToDate()) ? native.externalBeginAgain(this.#handle) : step;
      if (kind === "idle") return;
      await this.#appendAmongAgents(agent, operationsOf(pages));
    } else {
      await agent.locked(async () => {
        const { kind, pages } = (await agent.upToDate(true)) ? native.externalBeginAgain(this.#handle) : step;
        if (kind === "idle") return;
        try {
          await this.#takeLast(pages[0]);
        } catch (error) {
          // Before a peer's checkpoint can tell the one from the other.
          await agent.putBack(JSON.parse(pages[0]), agent.path).then(() => (this.#doubt = undefined), () => {});
          throw error;
        }
        agent.takenOff(JSON.parse(pages[0]));
      });
    }
  }

  /**
   * @param {Agent} agent
   * @param {Operation[]} operations
   */
  async #appendAmongAgents(agent, operations) {
    try {
      await agent.append(operations);
    } catch (error) {
      this.#doubt = { tried: operations };
      // Told before it is known, a call would be rejected that a peer's checkpoint takes along.
      let stored;
      for (let attempt = 1; stored === undefined && attempt <= LOOKS; attempt++) {
        stored = await agent.takeBack(operations).catch(() => undefined);
      }
      if (stored !== undefined) this.#doubt = undefined;
      if (!stored) throw error;
    }
    agent.appended(operations);
  }

  /**
   * A checkpoint of all agents' records.
   * @param {Agent} agent
   * @param {ExternalStep} step
   */
  async #checkpointAmongAgents(agent, step) {
    let lock;
    try {
      // COMPAT: as upstream's, a checkpoint is left out where a peer is making one. An archive call is not.
      lock = await agent.lock(step.kind === "archive" ? undefined : 0);
    } catch (error) {
      if (step.kind === "archive") throw error;
      return;
    }
    try {
      await agent.refresh({ locked: true });
      const { kind, segment, pages, count } = native.externalBeginAgain(this.#handle);
      if (kind === "idle" || count === undefined) return;
      const records = recordsOf(pages);
      const archived = records.size;
      const path = kind === "archive" ? await this.#call("writeArchiveSegment", /** @type {string} */ (segment), records) : undefined;
      const archivedRecords = agent.manifest.stats.archivedRecords + archived;
      await this.#checkpoint(count, { segment: path, archivedRecords });
    } finally {
      await agent.unlock(lock);
    }
  }

  /** @param {string[]} pages */
  async #append(pages) {
    const operations = operationsOf(pages);
    const { length } = operations;
    const stored = await this.#count();
    this.#doubt = { appended: length };
    await this.#call("appendOps", this.#log, operations);
    this.#doubt = undefined;
    this.#stored = stored + length;
  }

  /** @param {string} operation */
  async #takeLast(operation) {
    const path = this.#log;
    // An agent looks for the operation itself.
    const stored = this.#agent === undefined ? await this.#count() : undefined;
    this.#doubt = { taken: operation, path };
    const found = await this.#call("truncateLastOp", path);
    if (/** @type {unknown} */ (found) === false) {
      throw withCode(new Error(`The storage backend found no operation to take off ${path}`), "OPSLOG_FAILED");
    }
    this.#doubt = undefined;
    if (stored !== undefined) this.#stored = stored - 1;
  }

  /** How many operations are in the log: what a failed call has done can only be told from their number. */
  async #count() {
    this.#stored ??= (await this.#call("readOps", this.#log)).length;
    return this.#stored;
  }

  /** The log that this writer appends to. */
  get #log() {
    return this.#agent?.path ?? this.#manifest.activeOps;
  }

  /**
   * Stores the records of the current step as a snapshot, with a new log.
   * @param {number} count
   * @param {{ segment?: string, archivedRecords?: number }} change
   */
  async #checkpoint(count, { segment, archivedRecords }) {
    const { version } = this.#settings;
    const agent = this.#agent;
    const old = agent?.manifest ?? this.#manifest;
    const records = recordsOf(momentPages(this.#handle));
    const currentSnapshot = await this.#call("writeSnapshot", records, version);
    const activeOps = await (agent === undefined
      ? this.#call("createOpsFile")
      : this.#call("createAgentOpsFile", agent.id));
    // What others appended while the snapshot was written goes along.
    const { late, folded } = agent === undefined ? { late: [], folded: {} } : await agent.late(activeOps);
    if (late.length > 0) await this.#call("appendOps", activeOps, late.map(shown));
    const { archiveSegments, stats } = old;
    // What would not be a manifest must not replace one.
    const manifest = validateManifest({
      version,
      currentSnapshot,
      activeOps,
      ...(agent === undefined ? {} : { activeAgentOps: { [agent.id]: activeOps } }),
      archiveSegments:
        segment === undefined || archiveSegments.includes(segment) ? [...archiveSegments] : [...archiveSegments, segment],
      stats: {
        activeRecords: count,
        archivedRecords: archivedRecords ?? stats.archivedRecords,
        opsCount: 0,
        created: stats.created,
        lastCheckpoint: new Date().toISOString(),
      },
      // Upstream's clocks begin anew after a checkpoint; ours go on.
      ...(agent === undefined
        ? { previous: previousOf(old, { currentSnapshot, activeOps }, segment !== undefined) }
        : { clock: native.externalClock(this.#handle), follows: old.currentSnapshot, folded }),
    });
    const text = JSON.stringify(manifest);
    this.#doubt = { replaced: old };
    try {
      await this.#call("writeManifest", manifest);
    } catch (error) {
      // Agents go on from what is stored: nobody writes an old manifest back that a peer may have changed since.
      if (agent === undefined || (await this.#call("readManifest"))?.activeOps !== activeOps) throw error;
    }
    const refused = native.externalPublished(this.#handle, text);
    if (refused) throw toError(refused);
    this.#doubt = undefined;
    this.#manifest = JSON.parse(text);
    this.#stored = agent === undefined ? 0 : undefined;
    agent?.published(this.#manifest, activeOps);
  }

  /** @param {ExternalStep} step */
  async #archive({ segment, pages, count }) {
    const { archiveSegments, stats } = this.#manifest;
    const period = /** @type {string} */ (segment);
    const records = recordsOf(pages);
    const ids = [...records.keys()];
    // Records that are in the segment already take the place of others there.
    const known = archiveSegments.find((path) => path === period || path.endsWith(`archive-${period}.json`));
    const before = known === undefined ? undefined : await this.#call("loadArchiveSegment", known);
    const replaces = this.#uncounted || ids.some((id) => before?.has(id));
    this.#uncounted = true;
    const path = await this.#call("writeArchiveSegment", period, records);
    let archivedRecords = stats.archivedRecords + ids.length;
    if (replaces) {
      archivedRecords = 0;
      for (const each of new Set([...archiveSegments, path])) {
        archivedRecords += (await this.#call("loadArchiveSegment", each)).size;
      }
    }
    await this.#checkpoint(count ?? 0, { segment: path, archivedRecords });
    this.#uncounted = false;
  }

  /**
   * A method that failed may have done its work all the same, or a part of it: looks, and takes it back.
   */
  async #certain() {
    const doubt = this.#doubt;
    if (doubt === undefined) return;
    const agent = this.#agent;
    if ("tried" in doubt) {
      await agent?.takeBack(doubt.tried);
    } else if (agent !== undefined) {
      if ("taken" in doubt) await agent.locked(() => agent.putBack(JSON.parse(doubt.taken), doubt.path));
    } else if ("replaced" in doubt) {
      const { replaced } = doubt;
      const found = await this.#call("readManifest");
      if (found?.activeOps !== replaced.activeOps) await this.#call("writeManifest", copyOf(replaced));
    } else {
      const path = this.#log;
      const stored = await this.#count();
      const { length } = await this.#call("readOps", path);
      if ("appended" in doubt) {
        for (let extra = Math.min(length - stored, doubt.appended); extra > 0; extra--) {
          await this.#call("truncateLastOp", path);
        }
      } else if ("taken" in doubt && length < stored) {
        await this.#call("appendOps", path, [JSON.parse(doubt.taken)]);
      }
    }
    this.#doubt = undefined;
  }

  /**
   * Runs a call that reads: `close` waits for it.
   * @template R
   * @param {() => Promise<R>} read
   * @returns {Promise<R>}
   */
  async #reading(read) {
    if (this.#ended) throw stateError("OPSLOG_NOT_OPEN");
    const call = read();
    this.#reads.add(call);
    try {
      return await call;
    } finally {
      this.#reads.delete(call);
    }
  }

  /**
   * The records of the current snapshot.
   * @returns {AsyncGenerator<[string, any], void>}
   */
  async *streamSnapshot() {
    const { records } = await this.#reading(() => this.#loadSnapshot(currentManifest(this.#handle).currentSnapshot));
    yield* records;
  }

  /** The operations since the current snapshot that are stored. */
  async readOperations() {
    return this.#reading(() => this.#readLogs(currentManifest(this.#handle)));
  }

  /**
   * The records of an archive segment.
   * @param {string} name
   * @returns {Promise<Map<string, any>>}
   */
  async loadArchive(name) {
    const { path, failure } = native.findSegment(this.#handle, name);
    if (failure !== undefined || path === undefined) throw toError(/** @type {any} */ (failure));
    const records = await this.#reading(() => this.#call("loadArchiveSegment", path));
    // A reader cannot store migrated segments: they are migrated as they are read.
    if (!this.#settings.readOnly || this.#from === undefined || this.#migrate === undefined) return records;
    return new Map(migrateSegment([...records], this.#migrate, this.#from));
  }

  /**
   * Lets a reader catch up with the writer, or an agent with the others. The state changes at once, when everything has
   * been read.
   * @returns {Promise<import("../binding.js").RefreshResult[]>}
   */
  async catchUp() {
    if (this.#agent !== undefined) {
      const untold = await new Promise((/** @type {(ops: Operation[]) => void} */ resolve, reject) => {
        this.#asked.push({ resolve, reject });
        this.run();
      });
      return [{ pages: [JSON.stringify(untold)], inOrder: false }];
    }
    // What was read is applied before `close`, which waits for it, goes on.
    return this.#reading(async () => {
      const [look] = await this.#undisturbed(() => this.#look());
      return look();
    });
  }

  /**
   * Reads what a writer has done. What it answers with applies it.
   * @returns {Promise<() => import("../binding.js").RefreshResult[]>}
   */
  async #look() {
    const manifest = await this.#call("readManifest");
    if (!manifest) throw withCode(new Error("Manifest not found during refresh"), "OPSLOG_NOT_FOUND");
    if (manifest.activeAgentOps) return this.#lookAtAgents(manifest);
    const way = await this.#way(manifest);
    if (way === undefined) return this.#lookAnew(manifest);
    const handle = this.#handle;
    const path = manifest.activeOps;
    const { archiveSegments, stats } = currentManifest(handle);
    const archived =
      way.archived ||
      stats.archivedRecords !== manifest.stats.archivedRecords ||
      archiveSegments.length !== manifest.archiveSegments.length;
    // Archiving takes records away without an operation.
    const without = archived && !this.#settings.skipLoad ? await this.#loadSnapshot(manifest.currentSnapshot) : undefined;
    return () => {
      const loaded = without && this.#handOver({ manifest, ...without, operations: way.operations });
      const text = JSON.stringify(way.fresh.map(shown));
      const followed = native.externalFollow(handle, way.gone, text, way.covered, path);
      if (followed.failure !== undefined) {
        if (loaded !== undefined) native.release(loaded.handle);
        throw toError(followed.failure);
      }
      this.#known = { path, texts: way.texts };
      native.externalFollowManifest(handle, JSON.stringify(manifest));
      if (loaded === undefined) return [followed];
      // Its operations have been told.
      const { failure } = native.externalFollowAnew(handle, loaded.handle);
      return [{ ...followed, failure, inOrder: false }];
    };
  }

  /**
   * Reads everything again: the way from the log that is known to the current one is gone.
   * @param {Manifest} manifest
   * @returns {Promise<() => import("../binding.js").RefreshResult[]>}
   */
  async #lookAnew(manifest) {
    const handle = this.#handle;
    const path = manifest.activeOps;
    const snapshot = this.#settings.skipLoad ? undefined : await this.#loadSnapshot(manifest.currentSnapshot);
    const operations = await this.#call("readOps", path);
    return () => {
      const result =
        snapshot === undefined
          ? native.externalFollow(handle, 0, JSON.stringify(operations.map(shown)), this.#known.texts.length, path)
          : native.externalFollowAnew(handle, this.#handOver({ manifest, ...snapshot, operations }).handle);
      if (result.failure !== undefined) throw toError(result.failure);
      this.#known = { path, texts: operations.map(textOf) };
      native.externalFollowManifest(handle, JSON.stringify(manifest));
      return [result];
    };
  }

  /**
   * From the log that is known, through those that superseded it, to the current one: how many operations at its end
   * are gone, which came since, how many at its beginning a snapshot covers now, and what the current log holds.
   * Nothing where the way is gone.
   * @param {Manifest} manifest
   */
  async #way(manifest) {
    /** @type {Superseded[]} */
    const superseded = /** @type {any} */ (manifest).previous?.ops ?? [];
    /** @type {{ text: string, fresh?: Operation }[]} What is in the history then, and (`covered` of them) no more. */
    const history = this.#known.texts.map((text) => ({ text }));
    const before = history.length;
    let covered = 0;
    let archived = false;
    if (this.#known.path === "") return undefined;
    for (let { path } = this.#known; ; ) {
      const operations = await this.#call("readOps", path);
      if (operations.length === 0 && path !== manifest.activeOps && !(await this.#isThere(path))) return undefined;
      const texts = operations.map(textOf);
      let same = 0;
      while (same < texts.length && history[covered + same]?.text === texts[same]) same++;
      history.length = covered + same;
      for (let i = same; i < texts.length; i++) history.push({ text: texts[i], fresh: operations[i] });
      if (path === manifest.activeOps) {
        const fresh = history.flatMap((entry) => entry.fresh ?? []);
        return { gone: before - (history.length - fresh.length), fresh, covered, texts, operations, archived };
      }
      const place = superseded.findIndex((log) => log.path === path);
      if (place < 0 || superseded[place].carried > texts.length) return undefined;
      covered = history.length - superseded[place].carried;
      archived ||= superseded[place].archived === true;
      path = superseded[place + 1]?.path ?? manifest.activeOps;
    }
  }

  /**
   * True unless a log without operations does not exist at all.
   * @param {string} path
   */
  async #isThere(path) {
    return (await this.#call("listOpsFiles")).includes(path);
  }

  /**
   * Agents' operations come in between others: everything is read again, and what was not known is told.
   * @param {Manifest} manifest
   * @returns {Promise<() => import("../binding.js").RefreshResult[]>}
   */
  async #lookAtAgents(manifest) {
    const handle = this.#handle;
    const empty = { records: new Map(), version: this.#settings.version };
    const { records, version } = this.#settings.skipLoad ? empty : await this.#loadSnapshot(manifest.currentSnapshot);
    const operations = await this.#readLogs(manifest);
    const texts = operations.map(textOf);
    return () => {
      const known = new Set(this.#known.texts);
      const fresh = operations.filter((_, i) => !known.has(texts[i])).map(shown);
      const loaded = this.#handOver({ manifest, records, version, operations });
      const { pages, failure } = native.externalFollowAnew(handle, loaded.handle);
      if (failure !== undefined) throw toError(failure);
      native.externalFollowManifest(handle, JSON.stringify(manifest));
      this.#known = { path: "", texts };
      return [{ pages: [JSON.stringify(withOthers(fresh, pages))], inOrder: false }];
    };
  }
}

/**
 * What stands for an agent id in a file's name: a lone surrogate cannot be told to the engine otherwise.
 * @param {string} id
 */
function wellFormed(id) {
  return /\p{Surrogate}/u.test(id) ? JSON.stringify(id) : id;
}

/** @param {number} handle @returns {Manifest} */
function currentManifest(handle) {
  return JSON.parse(/** @type {string} */ (native.manifest(handle)));
}

/** The records of the checkpoint that is being made. @param {number} handle */
function* momentPages(handle) {
  for (let page = native.externalPage(handle); page !== null; page = native.externalPage(handle)) yield page;
}

/**
 * What the manifest after this one says of earlier files: readers find their way by it. A backend may give a new file the
 * name of the old one, which is not superseded then.
 * @param {Manifest} manifest
 * @param {Pick<Manifest, "currentSnapshot" | "activeOps">} next
 * @param {boolean} archived True if records leave the store without an operation.
 */
function previousOf(manifest, next, archived) {
  const { currentSnapshot, activeOps, activeAgentOps } = manifest;
  const since = Date.now();
  const logs = activeAgentOps === undefined ? [activeOps] : Object.values(activeAgentOps);
  /** @type {Superseded[]} */
  const before = /** @type {any} */ (manifest).previous?.ops ?? [];
  const ops = [...before, ...logs.map((path) => ({ path, since, carried: 0, ...(archived && { archived }) }))];
  const superseded = ops.filter(({ path }) => path !== next.activeOps).slice(-KEEP_LOGS);
  return { ...(currentSnapshot !== next.currentSnapshot && { snapshot: currentSnapshot }), ops: superseded };
}

/**
 * A copy that the backend may keep, or that it cannot reach.
 * @param {Manifest} manifest
 * @returns {Manifest}
 */
function copyOf(manifest) {
  return JSON.parse(JSON.stringify(manifest));
}
