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
import { argumentError, keepError, toError, withCode } from "./errors.js";
import { Agent } from "./custom-agent.js";
import { FsBackend } from "./fs-backend.js";
import { migrateRecords, migrateSegment } from "./migrate.js";
import { byClockAndAgent, common, operationsOf, shown, textOf } from "./operations.js";
import { pagesOf, recordsOf } from "./pages.js";

/** @typedef {import("../index.js").StorageBackend} StorageBackend */
/** @typedef {import("../index.js").Operation} Operation */
/** @typedef {import("../index.js").Manifest} Manifest */
/** @typedef {import("../binding.js").OpenOptions} OpenOptions */
/** @typedef {import("../binding.js").ExternalStep} ExternalStep */
/** @typedef {import("./migrate.js").Migrate} Migrate */

/** The greatest delay that a timer takes. */
const LONGEST = 2 ** 31 - 1;

/** How often a reader begins again because the manifest has changed meanwhile. */
const ATTEMPTS = 100;

/** How often an agent looks what has become of an append that failed, before it tells its caller. */
const LOOKS = 4;

/**
 * What a step of unknown end may have left: operations that were to be appended (pages of JSON text), one that was to
 * be taken off a log (JSON text), or another manifest than this; `tried`: an agent's operations.
 * @typedef {{ appended: string[] } | { tried: Operation[] } | { taken: string, path: string } | { replaced: Manifest }} Doubt
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
  /** Operations in the log; unknown until one was counted. @type {number | undefined} */
  #stored;
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
  /** Where a reader stands: a log, and the texts of its operations as far as they are known. */
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
    await this.#call("initialize", dir, { readOnly });
    try {
      signal?.throwIfAborted();
      if (this.#agent !== undefined) await this.#lockAgent(dir, this.#agent.id);
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
   * @param {string} dir
   * @param {string} id
   */
  async #lockAgent(dir, id) {
    if (!(this.#backend instanceof FsBackend)) return;
    const { lock, failure } = await native.lockAgent(environmentNumber(), resolve(dir), wellFormed(id));
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
      throw withCode(new Error(message, { cause: error }), "OPSLOG_CORRUPT");
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
    for (const path of Object.values(manifest.activeAgentOps)) operations.push(...(await this.#call("readOps", path)));
    operations.sort(byClockAndAgent);
    // An operation may have been copied from log to log.
    return operations.filter((operation, i) => i === 0 || textOf(operation) !== textOf(operations[i - 1]));
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
    const manifest = { version, currentSnapshot, activeOps, archiveSegments: [], stats };
    await this.#call("writeManifest", manifest);
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
    this.#manifest = manifest;
    this.#stored = this.#settings.skipLoad || this.#agent !== undefined ? undefined : operations.length;
    this.#known = { path: manifest.activeOps, texts: operations.map(textOf) };
    if (this.#settings.readOnly) return;
    if (this.#agent !== undefined) {
      await this.#agent.join(handle, generation);
      if (from !== undefined) await this.#fold(from);
      return;
    }
    const several = manifest.activeAgentOps !== undefined;
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
    if (from !== undefined && this.#migrate !== undefined) await this.#migrateArchives(this.#migrate, from);
    native.compact(this.#handle);
    const step = native.externalStep(this.#handle, true);
    if (this.#agent === undefined) await this.#checkpoint(step.count ?? 0, {});
    else await this.#checkpointAmongAgents(this.#agent, step);
    native.externalDone(this.#handle);
  }

  /**
   * Migrates the archived records. The interface tells no version of a segment: all are as old as the snapshot.
   * @param {Migrate} migrate
   * @param {number} from
   */
  async #migrateArchives(migrate, from) {
    /** @type {[string, Map<string, unknown>][]} */
    const segments = [];
    for (const path of this.#manifest.archiveSegments) {
      const period = /(?:^|\/)archive-([^/]+)\.json$/.exec(path)?.[1];
      if (period === undefined) {
        throw withCode(new Error(`Cannot migrate archive segment '${path}': its name has no period`), "OPSLOG_INVALID");
      }
      const records = await this.#call("loadArchiveSegment", path);
      segments.push([period, new Map(migrateSegment([...records], migrate, from))]);
    }
    for (const [period, records] of segments) await this.#call("writeArchiveSegment", period, records);
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
    let gone = false;
    try {
      await this.#certain();
      if (this.#agent !== undefined) await this.#carryOutAmongAgents(this.#agent, step);
      else if (step.kind === "append") await this.#append(step.pages);
      else if (step.kind === "takeLast") await this.#takeLast(step.pages[0]);
      else if (step.kind === "checkpoint") await this.#checkpoint(step.count ?? 0, {});
      else if (step.kind === "archive") await this.#archive(step);
      else if (step.count !== undefined) await this.#checkpoint(step.count, {});
      if (step.kind === "close") {
        if (this.#lock !== undefined) await this.#call("releaseLock", this.#lock.handle);
        this.#lock = undefined;
        this.#unlockAgent();
        // Nothing is written any more, whatever becomes of the rest.
        gone = true;
        await this.#call("shutdown");
      }
    } catch (error) {
      native.externalFailed(this.#handle, keepError(error), gone);
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
      lock = await agent.lock(step.kind === "archive" ? 5_000 : 0);
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
      await this.#checkpoint(count, { segment: path, archived });
    } finally {
      await agent.unlock(lock);
    }
  }

  /** @param {string[]} pages */
  async #append(pages) {
    const operations = operationsOf(pages);
    const { length } = operations;
    this.#doubt = { appended: pages };
    await this.#call("appendOps", this.#log, operations);
    this.#doubt = undefined;
    if (this.#stored !== undefined) this.#stored += length;
  }

  /** @param {string} operation */
  async #takeLast(operation) {
    const path = this.#log;
    this.#doubt = { taken: operation, path };
    const found = await this.#call("truncateLastOp", path);
    this.#doubt = undefined;
    if (/** @type {unknown} */ (found) === false) {
      throw withCode(new Error(`The storage backend found no operation to take off ${path}`), "OPSLOG_FAILED");
    }
    if (this.#stored !== undefined) this.#stored--;
  }

  /** The log that this writer appends to. */
  get #log() {
    return this.#agent?.path ?? this.#manifest.activeOps;
  }

  /**
   * Stores the records of the current step as a snapshot, with a new log.
   * @param {number} count
   * @param {{ segment?: string, archived?: number }} change
   */
  async #checkpoint(count, { segment, archived = 0 }) {
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
    /** @type {Manifest} */
    const manifest = {
      version,
      currentSnapshot,
      activeOps,
      ...(agent === undefined ? {} : { activeAgentOps: { [agent.id]: activeOps } }),
      archiveSegments:
        segment === undefined || archiveSegments.includes(segment) ? [...archiveSegments] : [...archiveSegments, segment],
      stats: {
        activeRecords: count,
        archivedRecords: stats.archivedRecords + archived,
        opsCount: 0,
        created: stats.created,
        lastCheckpoint: new Date().toISOString(),
      },
      // Upstream's clocks begin anew after a checkpoint; ours go on.
      ...(agent === undefined ? {} : { clock: native.externalClock(this.#handle), follows: old.currentSnapshot, folded }),
    };
    const text = JSON.stringify(manifest);
    this.#doubt = { replaced: old };
    try {
      await this.#call("writeManifest", manifest);
    } catch (error) {
      // Agents go on from what is stored: nobody writes an old manifest back that a peer may have changed since.
      if (agent === undefined || (await this.#call("readManifest"))?.activeOps !== activeOps) throw error;
    }
    this.#doubt = undefined;
    const refused = native.externalPublished(this.#handle, text);
    if (refused) throw toError(refused);
    this.#manifest = JSON.parse(text);
    this.#stored = agent === undefined ? 0 : undefined;
    agent?.published(this.#manifest, activeOps);
  }

  /** @param {ExternalStep} step */
  async #archive({ segment, pages, count }) {
    const records = recordsOf(pages);
    const archived = records.size;
    const path = await this.#call("writeArchiveSegment", /** @type {string} */ (segment), records);
    await this.#checkpoint(count ?? 0, { segment: path, archived });
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
      if (found?.activeOps !== replaced.activeOps) await this.#call("writeManifest", replaced);
    } else {
      const path = this.#log;
      const texts = (await this.#call("readOps", path)).map(textOf);
      if ("appended" in doubt) {
        for (let extra = this.#extra(texts, operationsOf(doubt.appended).map(textOf)); extra > 0; extra--) {
          await this.#call("truncateLastOp", path);
        }
      } else if ("taken" in doubt && !this.#stands(texts, doubt.taken)) {
        await this.#call("appendOps", path, [JSON.parse(doubt.taken)]);
      }
    }
    this.#doubt = undefined;
  }

  /**
   * How many operations of a failed append stand in the log.
   * @param {string[]} texts
   * @param {string[]} tried
   */
  #extra(texts, tried) {
    if (this.#stored !== undefined) return Math.min(Math.max(texts.length - this.#stored, 0), tried.length);
    for (let extra = Math.min(tried.length, texts.length); extra > 0; extra--) {
      if (texts.slice(-extra).every((text, i) => text === tried[i])) return extra;
    }
    return 0;
  }

  /**
   * True if an operation that should have been taken off still stands at the end of the log.
   * @param {string[]} texts
   * @param {string} operation
   */
  #stands(texts, operation) {
    return this.#stored === undefined ? texts.at(-1) === textOf(JSON.parse(operation)) : texts.length >= this.#stored;
  }

  /**
   * The records of the current snapshot.
   * @returns {AsyncGenerator<[string, any], void>}
   */
  async *streamSnapshot() {
    const { records } = await this.#loadSnapshot(currentManifest(this.#handle).currentSnapshot);
    yield* records;
  }

  /** The operations since the current snapshot that are stored. */
  async readOperations() {
    return this.#readLogs(currentManifest(this.#handle));
  }

  /**
   * The records of an archive segment.
   * @param {string} name
   * @returns {Promise<Map<string, any>>}
   */
  async loadArchive(name) {
    const { path, failure } = native.findSegment(this.#handle, name);
    if (failure !== undefined || path === undefined) throw toError(/** @type {any} */ (failure));
    const records = await this.#call("loadArchiveSegment", path);
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
    const [look] = await this.#undisturbed(() => this.#look());
    // Closed meanwhile.
    if (native.isClosed(this.#handle)) return [];
    return look();
  }

  /**
   * Reads what a writer has done. What it answers with applies it.
   * @returns {Promise<() => import("../binding.js").RefreshResult[]>}
   */
  async #look() {
    const manifest = await this.#call("readManifest");
    if (!manifest) throw withCode(new Error("Manifest not found during refresh"), "OPSLOG_NOT_FOUND");
    const handle = this.#handle;
    if (manifest.activeAgentOps) return this.#lookAtAgents(manifest);
    const known = this.#known;
    const way = await this.#way(known, manifest);
    const path = manifest.activeOps;
    const operations = await this.#call("readOps", path);
    const texts = operations.map(textOf);
    const carried = way === undefined ? 0 : way.carried;
    const same = common(carried === 0 ? [] : /** @type {string[]} */ (way?.texts), texts);
    const snapshot =
      path === known.path || this.#settings.skipLoad ? undefined : await this.#loadSnapshot(manifest.currentSnapshot);
    return () => {
      /** @type {import("../binding.js").RefreshResult[]} */
      const results = [];
      const follow = (/** @type {number} */ gone, /** @type {Operation[]} */ fresh) => {
        const result = native.externalFollow(handle, gone, JSON.stringify(fresh.map(shown)), 0, path);
        if (result.failure !== undefined) throw toError(result.failure);
        results.push(result);
      };
      const upToThere = snapshot && this.#handOver({ manifest, ...snapshot, operations: operations.slice(0, same) });
      if (path === known.path) {
        follow(carried - same, operations.slice(same));
      } else {
        if (way !== undefined) follow(way.gone, way.fresh);
        if (upToThere !== undefined) results.push(native.externalFollowAnew(handle, upToThere.handle));
        follow(0, operations.slice(same));
      }
      native.externalFollowManifest(handle, JSON.stringify(manifest));
      this.#known = { path, texts };
      return results;
    };
  }

  /**
   * From the log that is known to the current one: what the logs in between held that is new, and with how many of
   * these operations the current log began. Nothing where a log is gone.
   * @param {{ path: string, texts: string[] }} known
   * @param {Manifest} manifest
   */
  async #way(known, manifest) {
    /** @type {{ path: string, carried: number }[]} */
    const superseded = /** @type {any} */ (manifest).previous?.ops ?? [];
    /** @type {Operation[]} */
    const fresh = [];
    let { path, texts } = known;
    let gone = 0;
    while (path !== manifest.activeOps) {
      const operations = await this.#call("readOps", path);
      if (operations.length === 0 && texts.length > 0) return undefined;
      const all = operations.map(textOf);
      const same = common(texts, all);
      // Undone since: only operations of the first log have been told.
      if (path === known.path) gone = texts.length - same;
      else if (same < texts.length) return undefined;
      fresh.push(...operations.slice(same));
      const place = superseded.findIndex((log) => log.path === path);
      const carried = superseded[place]?.carried ?? 0;
      texts = carried === 0 ? [] : all.slice(-carried);
      path = superseded[place + 1]?.path ?? manifest.activeOps;
    }
    return { gone, fresh, texts, carried: texts.length };
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
      const { pages } = native.externalFollowAnew(
        handle,
        this.#handOver({ manifest, records, version, operations }).handle,
      );
      const told = new Set(fresh.map(({ id }) => id));
      const others = operationsOf(pages).filter(({ id }) => !told.has(id));
      native.externalFollowManifest(handle, JSON.stringify(manifest));
      this.#known = { path: manifest.activeOps, texts };
      return [{ pages: [JSON.stringify([...fresh, ...others])], inOrder: false }];
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
