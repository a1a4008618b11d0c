/**
 * A store whose files a caller's `StorageBackend` keeps.
 *
 * The engine holds the state and hands out what is to be stored as steps, in the order of the calls; this has them carried
 * out, one at a time (`custom-writer.js`, and `custom-agent.js` of several writers), and reads (`custom-reader.js`). So the
 * event loop waits for the backend and no thread does, and a method that never settles stops this store only.
 */
import { resolve } from "node:path";
import * as native from "../binding.js";
import { Agent } from "./custom-agent.js";
import { CustomFiles, currentManifest } from "./custom-files.js";
import { CustomReader } from "./custom-reader.js";
import { CustomWriter } from "./custom-writer.js";
import { environmentNumber } from "./environment.js";
import { keepError, stateError, toError, withCode } from "./errors.js";
import { FsBackend } from "./fs-backend.js";
import { migrateSegment } from "./migrate.js";
import { LONGEST } from "./timers.js";

/** @typedef {import("../index.js").StorageBackend} StorageBackend */
/** @typedef {import("../index.js").Operation} Operation */
/** @typedef {import("../binding.js").OpenOptions} OpenOptions */
/** @typedef {import("../binding.js").ExternalStep} ExternalStep */
/** @typedef {import("./custom-files.js").Generation} Generation */
/** @typedef {import("./custom-files.js").Segment} Segment */
/** @typedef {import("./migrate.js").Migrate} Migrate */

/** How long until what is in doubt is looked at again, in milliseconds. */
const RETRY = 100;

export class CustomStore {
  #files;
  /** @type {() => void} */
  #told = () => {};
  #handle = -1;
  /** From the start on. @type {CustomWriter} */
  #writer = /** @type {any} */ (undefined);
  /** From the start on. @type {CustomReader} */
  #reader = /** @type {any} */ (undefined);
  /** @type {{ handle: import("../index.js").LockHandle } | undefined} */
  #lock;
  /** Version of the records when they were read, if it was an older one. @type {number | undefined} */
  #from;
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

  /**
   * @param {StorageBackend} backend
   * @param {OpenOptions} settings
   * @param {Migrate | undefined} migrate
   * @param {string | undefined} agentId
   */
  constructor(backend, settings, migrate, agentId) {
    this.#files = new CustomFiles(backend, settings, migrate, agentId);
    const { agentId: agent } = this.#files;
    if (agent !== undefined) this.#agent = new Agent(agent, this.#files);
  }

  /**
   * Opens the store and answers with the engine's number for it.
   * @param {string} dir
   * @param {AbortSignal | undefined} signal
   * @returns {Promise<number>}
   */
  async open(dir, signal) {
    const { readOnly } = this.#files.settings;
    // Now: the program may change its directory while this waits.
    const path = resolve(dir);
    await this.#files.call("initialize", dir, { readOnly });
    try {
      signal?.throwIfAborted();
      if (this.#agent !== undefined) await this.#lockAgent(path, this.#agent.id);
      else if (!readOnly) this.#lock = { handle: await this.#files.call("acquireLock") };
      const loaded = readOnly ? await this.#loadBesideWriter() : await this.#loadToWrite();
      signal?.throwIfAborted();
      await this.#start(loaded);
      if (!readOnly) await this.#files.call("getManifestVersion");
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
    if (!(this.#files.backend instanceof FsBackend)) return;
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
    if (this.#lock !== undefined) await this.#files.call("releaseLock", this.#lock.handle).catch(() => {});
    this.#unlockAgent();
    await this.#files.call("shutdown").catch(() => {});
  }

  /** @returns {Promise<Generation>} */
  async #loadToWrite() {
    if (this.#agent !== undefined) return this.#agent.load();
    return (await this.#files.load()) ?? (await this.#files.create());
  }

  /**
   * Reads what is stored until no writer has changed it meanwhile.
   * @returns {Promise<Generation>}
   */
  async #loadBesideWriter() {
    const [loaded] = await this.#files.undisturbed(() => this.#files.load());
    if (loaded !== undefined) return loaded;
    throw withCode(new Error("Cannot open in readOnly mode: no existing store found"), "OPSLOG_NOT_FOUND");
  }

  /** @param {Generation} generation */
  async #start(generation) {
    const { handle, from } = this.#files.handOver(generation);
    this.#handle = handle;
    this.#from = from;
    const refused = native.externalStart(handle);
    if (refused) throw toError(refused);
    this.#writer = new CustomWriter(this.#files, handle, generation, this.#agent);
    this.#reader = new CustomReader(this.#files, handle, generation);
    const { readOnly, skipLoad } = this.#files.settings;
    if (readOnly) return;
    if (this.#agent !== undefined) {
      await this.#agent.join(handle, generation);
      if (from !== undefined) await this.#fold(from);
      return;
    }
    const several = generation.manifest.activeAgentOps !== undefined;
    if (skipLoad && several) {
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
      if (from !== undefined) await this.#files.migrateArchives(this.#writer.archiveSegments, from, changed);
      native.compact(this.#handle);
      await this.#writer.carryOut(native.externalStep(this.#handle, true));
    } catch (error) {
      // ORDER: the manifest first. It says of which version the segments are: migrated under the old one they would be
      // migrated again.
      await this.#writer.certain().then(() => this.#files.writeSegments(changed)).catch(() => {});
      throw error;
    }
    native.externalDone(this.#handle);
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
    await this.#writer.certain().catch(() => {});
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
        if (this.#writer.isInDoubt) setTimeout(() => this.run(), RETRY).unref();
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
    await this.#writer.certain();
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
      Math.min(retry ?? this.#files.settings.groupCommitMs, LONGEST),
    );
  }

  /** @param {ExternalStep} step */
  async #carryOut(step) {
    /** @type {"nothing" | "lock" | "store"} */
    let left = "nothing";
    try {
      await this.#writer.carryOut(step);
      if (step.kind === "close") {
        while (this.#reads.size > 0) await Promise.allSettled(this.#reads);
        if (this.#lock !== undefined) {
          // ORDER: nothing is written after this, even if it fails: the lock may be somebody else's by then.
          left = "lock";
          await this.#files.call("releaseLock", this.#lock.handle);
        }
        this.#lock = undefined;
        this.#unlockAgent();
        left = "store";
        this.#ended = true;
        await this.#files.call("shutdown");
      }
    } catch (error) {
      native.externalFailed(this.#handle, keepError(error), left);
      // The caller is told by itself; what is in doubt is looked at now, and again before anything else is stored.
      await this.#writer.certain().catch(() => {});
      return;
    }
    native.externalDone(this.#handle);
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
   * @returns {Promise<Iterable<[string, any]>>}
   */
  async snapshotRecords() {
    return (await this.#reading(() => this.#files.loadSnapshot(currentManifest(this.#handle).currentSnapshot))).records;
  }

  /** The operations since the current snapshot that are stored. */
  async readOperations() {
    return this.#reading(() => this.#files.readLogs(currentManifest(this.#handle)));
  }

  /**
   * The records of an archive segment.
   * @param {string} name
   * @returns {Promise<Map<string, any>>}
   */
  async loadArchive(name) {
    const { path, failure } = native.findSegment(this.#handle, name);
    if (failure !== undefined || path === undefined) throw toError(/** @type {any} */ (failure));
    const records = await this.#reading(() => this.#files.call("loadArchiveSegment", path));
    // A reader cannot store migrated segments: they are migrated as they are read.
    if (!this.#files.settings.readOnly || this.#from === undefined || this.#files.migrate === undefined) return records;
    return new Map(migrateSegment([...records], this.#files.migrate, this.#from));
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
    return this.#reading(() => this.#reader.catchUp());
  }
}

/**
 * What stands for an agent id in a file's name: a lone surrogate cannot be told to the engine otherwise.
 * @param {string} id
 */
function wellFormed(id) {
  return /\p{Surrogate}/u.test(id) ? JSON.stringify(id) : id;
}
