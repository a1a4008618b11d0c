/**
 * The store that callers see: checks arguments, keeps decoded objects, hands JSON texts to the engine.
 *
 * `set` and `delete` change the engine's state at the call and queue what is to be written; the queue is handed to the
 * writer once per turn of the event loop (`kick`), so that the writes of one turn share one append and one sync. Sets that
 * are told nothing before their batch or turn ends are held, and reach the engine together, before anything else does.
 * Buffered ones are written to memory that the engine shares (`Intake`), and taken from there before anything else is done.
 *
 * What could go wrong if: `toJSON` or a getter of the caller's closes or changes the store (the state is checked after
 * the value was read); a batch function calls `undo` or `batch` (they take their turn right after the batch); a promise
 * of a call is all that the caller keeps (the environment holds the store until it is settled).
 */
import { resolve as resolvePath } from "node:path";
import { isMainThread } from "node:worker_threads";
import * as native from "../binding.js";
import { Calls } from "./calls.js";
import { CustomStore } from "./custom-store.js";
import { HAND_OVER, WAKE, enter, environmentNumber, leave, setBusy } from "./environment.js";
import { argumentError, keepError, show, stateError, toError, withCode } from "./errors.js";
import { FsBackend, isPlain } from "./fs-backend.js";
import { HeldSets } from "./held-sets.js";
import { Intake } from "./intake.js";
import { migrateLoaded, migrateSegment } from "./migrate.js";
import { Observer, checkpointProgress, withProgress } from "./observe.js";
import { operationsOf } from "./operations.js";
import { progressOf, readOptions, signalOf } from "./options.js";
import { tellRecovery } from "./recovery-report.js";
import { itemsNow, opened, operations, pairs, records, unlessAborted } from "./streams.js";
import { checkId, idText, isThenable, valueText } from "./values.js";
import { View } from "./view.js";
import { Watch } from "./watch.js";

/** @typedef {import("./calls.js").Waiting} Waiting */
/** @typedef {import("./migrate.js").Migrate} Migrate */
/** @typedef {import("../index.js").StoreOptions} StoreOptions */
/** @typedef {import("../index.js").StoreStats} StoreStats */
/** @typedef {import("../index.js").RecoveredLog} RecoveredLog */
/** @typedef {import("../index.js").ManifestInfo} ManifestInfo */
/**
 * @template T
 * @typedef {import("../index.js").Operation<T>} Operation
 */

/** @typedef {{ path: string, carried: number, covered?: number, archived?: boolean }} Superseded a log */
/** @typedef {import("../index.js").Manifest & { previous?: { ops: Superseded[] } }} StoredManifest */

/** What a write that is buffered or already written resolves with. @type {Promise<void>} */
const DONE = Promise.resolve();

/**
 * @template [T=Record<string, unknown>]
 */
export class Store {
  /** @type {"new" | "opening" | "open" | "closing" | "closed"} */
  #phase = "new";
  /** Of the engine's store. Whoever asks it anything but `set` uses `#engine`. */
  #handle = -1;
  /** For a store whose files a caller's backend keeps. @type {CustomStore | undefined} */
  #custom;
  /** One of several writers. */
  #several = false;
  /** Native files: their directory. */
  #path = "";
  /** Native files: the caller's FsBackend, or the directory. @type {import("../index.js").StorageBackend | string | undefined} */
  #backend;
  #readOnly = false;
  #skipLoad = false;
  #skipsDamage = false;
  #buffered = false;
  #version = 1;
  /** @type {Migrate | undefined} */
  #migrate;
  /** The records were older than the version asked for. Of native files. */
  #isOlder = false;
  /** @type {View<T>} */
  #view = new View(-1);
  #calls = new Calls();
  #held = new HeldSets();
  /** Sets are held now. */
  #holding = false;
  /** Sets may be held that others of their turn came before. */
  #holdsTurns = false;
  /** Of a store whose sets are buffered. @type {Intake | undefined} */
  #intake;
  /** There are sets that the engine has not been called for. */
  #unsent = false;
  #batching = false;
  /** Why the batch whose function is running cannot be. @type {Error | undefined} */
  #batchFailure;
  /** Calls made inside a batch function that take their turn after it. @type {(() => void)[]} */
  #afterBatch = [];
  #kicked = false;
  #busy = false;
  /** @type {Promise<void> | undefined} */
  #closing;
  /** @type {Watch<T> | undefined} */
  #watch;
  /** The last turn of `tail` or `refresh`. @type {Promise<unknown>} */
  #tailing = Promise.resolve();
  /** Calls of `tail` that have not ended. */
  #tails = 0;
  /** Operations that were read and have been told to nobody. @type {Operation<T>[]} */
  #undelivered = [];
  /** The log that came after the snapshot that was streamed last, until its operations are told. @type {string | undefined} */
  #streamed;
  /** Somebody has asked for operations. */
  #isAsked = false;
  /** Calls that are reading files. @type {Set<Promise<unknown>>} */
  #reads = new Set();
  #observer = new Observer(-1, "");
  /** What recovery found at open. @type {RecoveredLog[]} */
  #recovered = [];

  /**
   * @param {string} dir
   * @param {StoreOptions} [options]
   * @returns {Promise<void>}
   */
  async open(dir, options) {
    if (this.#phase !== "new" && this.#phase !== "closed") {
      throw withCode(new Error("Store is already open. Call close() first."), "OPSLOG_INVALID");
    }
    if (typeof dir !== "string" || dir === "") {
      throw argumentError(`Argument 'dir' must be a non-empty string, got ${show(dir)}`);
    }
    const { native: settings, backend, migrate, agentId, signal, onError, onProgress } = readOptions(options);
    signal?.throwIfAborted();
    const before = this.#phase;
    this.#phase = "opening";
    try {
      const agent = settings.readOnly ? undefined : agentId;
      const isNative = backend === undefined || isPlain(backend);
      // Resolved now: a later chdir() does not move the store.
      const path = isNative ? resolvePath(dir) : dir;
      const isLeft = isNative && isLeftToFiles(agent, settings);
      if (isLeft) await checkFiles(path, settings);
      if (isNative && !isLeft) {
        // The engine does itself what an unmodified FsBackend does; direct calls on it mean this directory from now on.
        if (backend !== undefined) backend.dir = path;
        const { handle, recovered, isOlder } = await load(path, { ...settings, agent }, migrate, signal, onProgress);
        this.#enter(handle, undefined, settings, migrate);
        this.#isOlder = isOlder;
        this.#path = path;
        this.#several = agent !== undefined;
        this.#backend = backend ?? path;
        this.#recovered = recovered;
        this.#observer = new Observer(handle, path, onError);
      } else {
        const files = backend ?? new FsBackend();
        const custom = new CustomStore(files, settings, migrate, agentId);
        const handle = await withProgress(onProgress, () => undefined, custom.open(path, signal));
        this.#enter(handle, custom, settings, migrate);
        this.#isOlder = false;
        this.#several = custom.isAgent;
        this.#backend = files;
        this.#recovered = [];
        this.#observer = new Observer(handle, path, onError);
      }
    } catch (error) {
      this.#phase = before;
      throw error;
    }
  }

  /**
   * The store is open from now on.
   * @param {number} handle
   * @param {CustomStore | undefined} custom
   * @param {import("../binding.js").OpenOptions} settings
   * @param {Migrate | undefined} migrate
   */
  #enter(handle, custom, settings, migrate) {
    this.#handle = handle;
    this.#custom = custom;
    if (custom !== undefined) {
      // The environment keeps a store that has something pending; one that nobody can reach any more may go.
      const self = new WeakRef(this);
      custom.onTold(() => self.deref()?.[WAKE]());
    }
    this.#readOnly = settings.readOnly;
    this.#skipLoad = settings.skipLoad;
    this.#buffered = settings.writeMode !== "immediate";
    this.#version = settings.version;
    this.#migrate = migrate;
    this.#view = new View(handle);
    this.#calls = new Calls();
    this.#held = new HeldSets();
    this.#holding = false;
    this.#unsent = false;
    const memory = this.#buffered && custom === undefined ? native.intake(handle) : null;
    this.#intake = memory === null ? undefined : new Intake(memory);
    // Buffered ones are told at once that they are: they are out of our hands at once (see `#intake`). Where records are read from files, each may fail.
    // A worker may be terminated in the middle of a turn.
    this.#holdsTurns = isMainThread && custom === undefined && !this.#buffered && !settings.skipLoad;
    this.#undelivered = [];
    this.#streamed = undefined;
    this.#isAsked = false;
    this.#skipsDamage = settings.recovery === "skip";
    this.#kicked = false;
    this.#busy = false;
    enter(handle, this);
    this.#phase = "open";
  }

  /** @returns {Promise<void>} */
  close() {
    if (this.#closing !== undefined) return this.#closing;
    if (this.#phase !== "open") return Promise.reject(stateError("OPSLOG_NOT_OPEN"));
    if (this.#batching) return this.#defer(() => this.close());
    const ticket = native.close(this.#engine);
    if (Number.isNaN(ticket)) return Promise.reject(toError(native.lastFailure()));
    this.unwatch();
    this.#phase = "closing";
    this.#closing = this.#finishClose(this.#wait(ticket));
    return this.#closing;
  }

  /** @param {Promise<unknown>} ended */
  async #finishClose(ended) {
    try {
      await ended;
    } finally {
      await Promise.allSettled(this.#reads);
      this.#closing = undefined;
      // After a failure the store is open again, unless it could not go on anyway.
      if (native.isClosed(this.#handle)) {
        this.#phase = "closed";
        leave(this.#handle, this);
        this.#busy = false;
        this.#handle = -1;
        this.#intake = undefined;
        this.#view = new View(-1);
      } else {
        this.#phase = "open";
      }
    }
  }

  /** The engine's store, which knows of every set that was called. */
  get #engine() {
    if (this.#unsent) this.#handOver();
    return this.#handle;
  }

  #ensureReadable() {
    if (this.#unsent) this.#handOver();
    if (this.#phase !== "open" && this.#phase !== "closing") throw stateError("OPSLOG_NOT_OPEN");
  }

  #ensureWritable() {
    if (this.#unsent) this.#handOver();
    this.#ensureSettable();
  }

  #ensureSettable() {
    if (this.#phase !== "open") throw stateError("OPSLOG_NOT_OPEN");
    if (this.#readOnly) throw stateError("OPSLOG_READ_ONLY");
  }

  /** @type {import("../index.js").StorageBackend | undefined} */
  get backend() {
    if (typeof this.#backend === "string") this.#backend = pathBackend(this.#backend);
    return this.#backend;
  }

  /**
   * @param {string} id
   * @returns {T | undefined}
   */
  get(id) {
    this.#ensureReadable();
    return this.#view.get(id);
  }

  /** @param {string} id */
  has(id) {
    this.#ensureReadable();
    return this.#view.has(id);
  }

  /** @returns {T[]} */
  all() {
    this.#ensureReadable();
    return this.#view.all();
  }

  /** @returns {[string, T][]} */
  entries() {
    this.#ensureReadable();
    return this.#view.entries();
  }

  /**
   * @param {(value: T, id: string) => boolean} predicate
   * @returns {T[]}
   */
  filter(predicate) {
    this.#ensureReadable();
    ensureFunction("predicate", predicate);
    const { ids, values } = this.#view.lists();
    // Not values.filter(): a call between would cost as much as a short predicate.
    /** @type {T[]} */
    const found = [];
    for (let i = 0; i < ids.length; i++) {
      const value = /** @type {T} */ (values[i]);
      if (predicate(value, /** @type {string} */ (ids[i]))) found.push(value);
    }
    return found;
  }

  /**
   * @param {(value: T, id: string) => boolean} [predicate]
   * @returns {number}
   */
  count(predicate) {
    this.#ensureReadable();
    if (predicate === undefined || predicate === null) return this.#view.size;
    ensureFunction("predicate", predicate);
    const { ids, values } = this.#view.lists();
    let n = 0;
    for (let i = 0; i < ids.length; i++) if (predicate(/** @type {T} */ (values[i]), /** @type {string} */ (ids[i]))) n++;
    return n;
  }

  /**
   * @param {string} id
   * @param {T} value
   * @returns {Promise<void> | void}
   */
  set(id, value) {
    this.#ensureSettable();
    if (this.#intake !== undefined && !this.#batching) return this.#setBuffered(this.#intake, id, value);
    let key, text;
    try {
      key = idText(id);
      text = valueText(value);
    } catch (error) {
      return this.#refuse(error);
    }
    // Reading the value may have run code of the caller's.
    this.#ensureSettable();
    const size = key.length + text.length;
    if (this.#holding && HeldSets.isShort(size)) return this.#hold(id, key, text, size);
    return this.#setNow(this.#engine, id, key, text);
  }

  /**
   * A set that calls the engine.
   * @param {number} engine
   * @param {string} id
   * @param {string} key
   * @param {string} text
   * @returns {Promise<void> | void}
   */
  #setNow(engine, id, key, text) {
    const code = native.set(engine, key, text);
    if (Number.isNaN(code)) return this.#refuse(toError(native.lastFailure()));
    this.#view.changed(id);
    return this.#accepted(code);
  }

  /**
   * A set that mostly needs no call of the engine.
   * @param {Intake} intake
   * @param {string} id
   * @param {T} value
   * @returns {Promise<void> | void}
   */
  #setBuffered(intake, id, value) {
    let text;
    try {
      checkId(id);
      text = valueText(value);
    } catch (error) {
      return Promise.reject(/** @type {Error} */ (error));
    }
    // As above.
    this.#ensureSettable();
    if (!intake.put(id, text)) {
      // The engine takes in first what stands there.
      const promise = this.#setNow(this.#handle, id, idText(id), text);
      this.#unsent = false;
      return promise;
    }
    this.#unsent = true;
    this.#view.changed(id);
    // ORDER: after it was put there. Whoever looked by himself may have stopped just before.
    if (intake.isUnwatched) this.#handOver();
    this.#kick();
    return DONE;
  }

  /**
   * A set that goes over to the engine with others.
   * @param {string} id
   * @param {string} key
   * @param {string} text
   * @param {number} size
   * @returns {Promise<void> | void}
   */
  #hold(id, key, text, size) {
    if (!this.#held.takes(size)) {
      this.#handOver();
      if (this.#batchFailure !== undefined) throw this.#batchFailure;
      this.#held.takes(size);
    }
    /** @type {Promise<void> | undefined} */
    let promise;
    if (!this.#batching) {
      /** @type {Waiting | undefined} */
      let caller;
      promise = new Promise((resolve, reject) => {
        caller = { ticket: 0, resolve: /** @type {Waiting["resolve"]} */ (resolve), reject };
      });
      // The stack had no room for that function.
      if (caller === undefined) return promise;
      this.#held.waiting[this.#held.waiting.length] = caller;
    }
    const { lines } = this.#held;
    lines[lines.length] = key;
    lines[lines.length] = text;
    this.#unsent = true;
    this.#view.changed(id);
    return promise;
  }

  /** The engine takes the sets that it has not been called for. */
  #handOver() {
    if (!this.#held.isEmpty) this.#handOverHeld();
    if (this.#intake !== undefined) native.takeIn(this.#handle);
    this.#unsent = false;
  }

  #handOverHeld() {
    const held = this.#held;
    const { lines, waiting } = held;
    const next = new HeldSets();
    const { writes } = this.#calls;
    // JSON.stringify writes a newline in a text as `\n`.
    const code = native.setMany(this.#handle, lines.join("\n"), held.age);
    // ORDER: the engine has them. Nothing is called until they are not held any more and have tickets.
    this.#held = next;
    if (typeof code === "number" && code >= 0) {
      for (let i = 0; i < waiting.length; i++) {
        const caller = /** @type {Waiting} */ (waiting[i]);
        caller.ticket = code + i;
        writes[writes.length] = caller;
      }
    } else if (typeof code === "number") {
      // None of them. Whichever it was for: each by itself.
      for (let i = 0; i < lines.length; i += 2) {
        this.#handOverAlone(/** @type {string} */ (lines[i]), /** @type {string} */ (lines[i + 1]), waiting[i / 2]);
      }
    } else {
      for (let i = 0; i < waiting.length; i++) this.#calls.begin(/** @type {Waiting} */ (waiting[i]), /** @type {number} */ (code[i]));
    }
  }

  /**
   * @param {string} key
   * @param {string} text
   * @param {Waiting} [caller] Nobody in a batch.
   */
  #handOverAlone(key, text, caller) {
    const code = native.set(this.#handle, key, text);
    if (!Number.isNaN(code)) {
      if (caller !== undefined) this.#calls.begin(caller, code);
      return;
    }
    const error = toError(native.lastFailure());
    this.#view.reordered([JSON.parse(key)]);
    if (caller === undefined) this.#batchFailure ??= error;
    else caller.reject(error);
  }

  /** Called by the environment at its end. */
  [HAND_OVER]() {
    if (this.#unsent) this.#handOver();
  }

  /**
   * @param {string} id
   * @returns {Promise<void> | void}
   */
  delete(id) {
    this.#ensureWritable();
    let key;
    try {
      key = idText(id);
    } catch (error) {
      return this.#refuse(error);
    }
    const code = native.remove(this.#handle, key);
    if (Number.isNaN(code)) return this.#refuse(toError(native.lastFailure()));
    this.#view.deleted(id);
    return this.#accepted(code);
  }

  /**
   * An argument or state that makes a write impossible: rejects, or throws inside a batch.
   * @param {unknown} error
   * @returns {Promise<never>}
   */
  #refuse(error) {
    if (this.#batching) throw error;
    return Promise.reject(/** @type {Error} */ (error));
  }

  /**
   * What a write answers with; see `src/binding/mod.rs` for the codes.
   * @param {number} code
   * @returns {Promise<void> | void}
   */
  #accepted(code) {
    if (this.#batching) return undefined;
    this.#kick();
    if (code === 0) return DONE;
    return code > 0 ? this.#calls.write(code) : /** @type {Promise<void>} */ (this.#calls.other(-code));
  }

  /** Hands the queue to the writer at the end of this turn. */
  #kick() {
    if (!this.#kicked) {
      this.#kicked = true;
      if (!this.#batching) this.#holding = this.#holdsTurns;
      process.nextTick(Store.#endTurn, this);
    }
  }

  /** @param {Store<any>} store */
  static #endTurn(store) {
    store.#kicked = false;
    store.#holding = false;
    if (store.#handle < 0) return;
    if (!store.#held.isEmpty) store.#handOver();
    store.#observer.begin();
    if (store.#custom !== undefined) {
      store.#custom.run();
      // From now on something is pending: the store must not be collected.
      store[WAKE]();
      return;
    }
    // Which takes in what stands in the intake.
    const through = native.kick(store.#handle);
    store.#unsent = false;
    store.#look(through);
  }

  /** Called by the environment when the engine has results. */
  [WAKE]() {
    if (this.#handle >= 0) this.#look(native.settled(this.#handle));
  }

  /**
   * Settles what has ended.
   * @param {number} through -1: there is more to tell.
   */
  #look(through) {
    if (through >= 0) {
      this.#calls.settle(through);
    } else {
      const news = native.news(this.#handle);
      if (news.changed !== undefined) this.#view.reordered(JSON.parse(news.changed));
      for (const { message, failure, quiet } of news.notices) {
        this.#observer.fail(message, failure === undefined ? undefined : toError(failure), quiet);
      }
      this.#calls.tell(news);
    }
    this.#observer.look();
    const busy = !this.#calls.isEmpty || (this.#buffered && native.isWriting(this.#handle));
    if (busy !== this.#busy) {
      this.#busy = busy;
      setBusy(this, busy, this.#custom === undefined);
    }
  }

  /**
   * The promise of a call that can be given up until it has begun.
   * @param {number} ticket NaN: the call was refused.
   * @param {AbortSignal | undefined} signal
   * @returns {Promise<unknown>}
   */
  #waitUnlessAborted(ticket, signal) {
    const ended = this.#wait(ticket);
    if (signal === undefined) return ended;
    const handle = this.#handle;
    const abort = () => {
      if (native.cancel(handle, ticket, keepError(signal.reason))) this[WAKE]();
    };
    signal.addEventListener("abort", abort, { once: true });
    return ended.finally(() => signal.removeEventListener("abort", abort));
  }

  /**
   * The promise of a call that has a ticket.
   * @param {number} ticket NaN: the call was refused.
   * @returns {Promise<unknown>}
   */
  #wait(ticket) {
    if (Number.isNaN(ticket)) return Promise.reject(toError(native.lastFailure()));
    this.#kick();
    return this.#calls.other(ticket);
  }

  /**
   * A call that reads files: `close` waits for it.
   * @template R
   * @param {Promise<R>} call
   * @returns {Promise<R>}
   */
  #reading(call) {
    this.#reads.add(call);
    const done = () => void this.#reads.delete(call);
    call.then(done, done);
    return call;
  }

  /** Records changed in the engine other than by `set` and `delete`. */
  #takeChanged() {
    const changed = native.changed(this.#handle);
    if (changed !== null) this.#view.reordered(JSON.parse(changed));
  }

  /**
   * Puts a call off until the batch function that made it has returned.
   * @template R
   * @param {() => Promise<R>} call
   * @returns {Promise<R>}
   */
  #defer(call) {
    return new Promise((resolve, reject) => {
      this.#afterBatch.push(() => {
        try {
          call().then(resolve, reject);
        } catch (error) {
          reject(/** @type {Error} */ (error));
        }
      });
    });
  }

  /**
   * @param {() => void} fn
   * @returns {Promise<void>}
   */
  async batch(fn) {
    this.#ensureWritable();
    ensureFunction("fn", fn);
    if (this.#batching) return this.#defer(() => this.batch(fn));
    if (Number.isNaN(native.beginBatch(this.#engine))) throw toError(native.lastFailure());
    this.#batching = true;
    this.#holding = !this.#skipLoad;
    // Made now: there may be no room on the stack later.
    const nothing = new HeldSets();
    let code;
    try {
      const result = /** @type {unknown} */ (fn());
      if (isThenable(result)) {
        // Its end is nobody's business any more, its rejection included.
        result.then(undefined, () => {});
        throw argumentError("Argument 'fn' must not be async: a batch ends when the function returns");
      }
      const engine = this.#engine;
      if (this.#batchFailure !== undefined) throw this.#batchFailure;
      code = native.endBatch(engine, true);
      if (Number.isNaN(code)) throw toError(native.lastFailure());
    } catch (error) {
      const { lines } = this.#held;
      this.#held = nothing;
      native.endBatch(this.#handle, false);
      this.#takeChanged();
      this.#view.reordered(lines.filter((_, i) => i % 2 === 0).map((key) => /** @type {string} */ (JSON.parse(key))));
      throw error;
    } finally {
      this.#batching = false;
      this.#batchFailure = undefined;
      this.#holding = this.#kicked && this.#holdsTurns;
      for (const call of this.#afterBatch.splice(0)) call();
    }
    return this.#accepted(code);
  }

  /** @returns {Promise<boolean>} */
  async undo() {
    this.#ensureWritable();
    if (this.#batching) return this.#defer(() => this.undo());
    const ticket = native.undo(this.#engine);
    this.#takeChanged();
    return /** @type {Promise<boolean>} */ (this.#wait(ticket));
  }

  /**
   * @param {import("../index.js").LongCallOptions} [options]
   * @returns {Promise<void>}
   */
  async compact(options) {
    this.#ensureWritable();
    const signal = signalOf(options);
    const onProgress = progressOf(options);
    if (this.#batching) return this.#defer(() => this.compact(options));
    const look = onProgress && checkpointProgress(this.#handle);
    await withProgress(onProgress, look, this.#waitUnlessAborted(native.compact(this.#engine), signal));
  }

  /**
   * @param {(value: T, id: string) => boolean} predicate
   * @param {string} [segment]
   * @param {import("../index.js").LongCallOptions} [options]
   * @returns {Promise<number>}
   */
  async archive(predicate, segment, options) {
    this.#ensureWritable();
    ensureFunction("predicate", predicate);
    if (segment !== undefined && (typeof segment !== "string" || segment === "")) {
      throw argumentError(`Argument 'segment' must be a non-empty string, got ${show(segment)}`);
    }
    const signal = signalOf(options);
    const onProgress = progressOf(options);
    if (this.#batching) return this.#defer(() => this.archive(predicate, segment, options));
    const { ids: all, values } = this.#view.lists();
    const ids = all.filter((id, i) => predicate(/** @type {T} */ (values[i]), id));
    this.#ensureWritable();
    if (ids.length === 0) return 0;
    const look = onProgress && checkpointProgress(this.#handle);
    const ticket = native.archive(this.#engine, JSON.stringify(ids), segment ?? currentQuarter());
    this.#takeChanged();
    return /** @type {Promise<number>} */ (withProgress(onProgress, look, this.#waitUnlessAborted(ticket, signal)));
  }

  /**
   * @param {string} segment
   * @returns {Promise<Map<string, T>>}
   */
  async loadArchive(segment) {
    this.#ensureReadable();
    if (typeof segment !== "string") {
      throw argumentError(`Argument 'segment' must be a string, got ${show(segment)}`);
    }
    if (this.#custom !== undefined) {
      return /** @type {Map<string, T>} */ (await this.#reading(this.#custom.loadArchive(segment)));
    }
    const { segments, failure } = await this.#reading(native.loadArchive(this.#handle, segment));
    if (failure !== undefined) throw toError(failure);
    const [{ stream, version }] = segments;
    const found = pairs(itemsNow(stream));
    // A read-only store cannot store migrated segments: they are migrated as they are read.
    if (this.#readOnly && this.#isOlder && this.#migrate !== undefined && version < this.#version) {
      return new Map(migrateSegment(found, this.#migrate, version));
    }
    return new Map(found);
  }

  /** @returns {string[]} */
  listArchiveSegments() {
    this.#ensureReadable();
    return this.#manifest().archiveSegments;
  }

  #manifest() {
    return /** @type {StoredManifest} */ (JSON.parse(native.manifest(this.#handle) ?? "null"));
  }

  /** @returns {ManifestInfo | null} */
  getManifest() {
    if (this.#handle < 0) return null;
    const { currentSnapshot, activeOps, archiveSegments, stats } = this.#manifest();
    return { currentSnapshot, activeOps, archiveSegments, stats };
  }

  async [Symbol.asyncDispose]() {
    if (this.#phase === "open" || this.#phase === "closing") await this.close();
  }

  /** @returns {StoreStats} */
  stats() {
    this.#ensureReadable();
    const { checkpointFailure, ...counts } = native.counts(this.#engine);
    const stats = checkpointFailure === undefined ? counts : { ...counts, checkpointError: toError(checkpointFailure) };
    // COMPAT: whoever compares, copies or serialises what upstream answers here sees the same members.
    const more = { ...native.sizes(this.#handle), recovered: this.#recovered };
    for (const [name, value] of Object.entries(more)) Object.defineProperty(stats, name, { value });
    return stats;
  }

  /**
   * @param {string} id
   * @returns {Operation<T>[]}
   */
  getHistory(id) {
    this.#ensureReadable();
    return typeof id === "string" ? this.#operations(JSON.stringify(id)) : [];
  }

  /**
   * @param {string} [since]
   * @returns {Operation<T>[]}
   */
  getOps(since) {
    this.#ensureReadable();
    const all = this.#operations(undefined);
    return since ? all.filter((operation) => operation.ts > since) : all;
  }

  /**
   * @param {string | undefined} id
   * @returns {Operation<T>[]}
   */
  #operations(id) {
    return itemsNow(native.openOperations(this.#engine, id).stream);
  }

  /**
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {AsyncGenerator<[string, T], void>}
   */
  async *streamSnapshot(options) {
    this.#ensureReadable();
    const signal = signalOf(options);
    const custom = this.#custom;
    this.#streamed = this.#logToGoOnFrom();
    /** @type {() => Promise<AsyncIterable<[string, T]> | Iterable<[string, T]>>} */
    const open = async () => custom?.snapshotRecords() ?? records(opened(await native.openSnapshot(this.#engine)));
    yield* unlessAborted(await this.#readCurrent(open), signal);
  }

  /**
   * What `read` reads of the files that are known; where others have put others in their place since, of those.
   * @template R
   * @param {() => Promise<R>} read
   * @returns {Promise<R>}
   */
  async #readCurrent(read) {
    for (;;) {
      this.#ensureReadable();
      const known = this.#manifest().currentSnapshot;
      try {
        return await this.#reading(read());
      } catch (error) {
        const found = await this.#catchUpInTurn();
        if (this.#isAsked) this.#deliverLater(found);
        if (this.#manifest().currentSnapshot === known) throw error;
      }
    }
  }

  /**
   * @param {string} [sinceTimestamp]
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {AsyncGenerator<Operation<T>, void>}
   */
  async *getWalOps(sinceTimestamp, options) {
    this.#ensureReadable();
    const signal = signalOf(options);
    if (this.#custom === undefined) {
      yield* unlessAborted(this.#loggedOperations(sinceTimestamp), signal);
      return;
    }
    // What is buffered belongs to the state as well.
    if (!this.#readOnly && this.#phase === "open") await this.#flush(false);
    for (const operation of await this.#reading(this.#custom.readOperations())) {
      signal?.throwIfAborted();
      if (!sinceTimestamp || operation.ts > sinceTimestamp) yield /** @type {Operation<T>} */ (operation);
    }
  }

  /**
   * The operations since the last checkpoint; the first time after a snapshot was streamed, since that one.
   * @param {string} [since]
   * @returns {AsyncGenerator<Operation<T>, void>}
   */
  async *#loggedOperations(since) {
    let log = this.#streamed;
    for (;;) {
      this.#ensureReadable();
      // Operations that were not loaded stand in the file only.
      const stream = this.#skipLoad
        ? await this.#readCurrent(async () => opened(await native.openLog(this.#engine)))
        : opened(native.openOperations(this.#engine));
      const manifest = log === undefined ? null : this.#manifest();
      const superseded = manifest === null ? undefined : supersededFrom(manifest, log);
      if (manifest === null || superseded === undefined) {
        this.#streamed = undefined;
        yield* operations(stream, since);
        return;
      }
      native.closeStream(stream);
      const [{ path, carried, covered }, next] = superseded;
      const { pages, failure } = await this.#reading(native.readOperations(this.#path, path));
      if (failure !== undefined) throw toError(failure);
      const found = /** @type {Operation<T>[]} */ (operationsOf(pages ?? []));
      const isArchived = superseded.some(({ archived }) => archived === true);
      for (const operation of found.slice(0, covered ?? found.length - carried)) {
        // Archiving takes a record away without an operation.
        this[HAND_OVER]();
        if (isArchived && !this.#skipLoad && operation.op === "set" && !this.#view.has(operation.id)) continue;
        if (!since || operation.ts > since) yield operation;
      }
      log = next?.path ?? manifest.activeOps;
    }
  }

  /** The current log, where its operations can be found when checkpoints have come: in files of the engine's, of one writer. */
  #logToGoOnFrom() {
    if (this.#custom !== undefined || this.#skipsDamage) return undefined;
    const { activeOps, activeAgentOps } = this.#manifest();
    return activeAgentOps === undefined ? activeOps : undefined;
  }

  /** @returns {Promise<void>} */
  async refresh() {
    const found = await this.#catchUpInTurn();
    // Whoever watches, or waits for operations at this moment, is told of these.
    if (this.#watch !== undefined || this.#tails > 0) this.#deliverLater(found);
  }

  /** @returns {Promise<Operation<T>[]>} */
  async tail() {
    this.#isAsked = true;
    this.#tails++;
    try {
      const found = await this.#catchUpInTurn();
      return [...this.#undelivered.splice(0), ...found];
    } finally {
      this.#tails--;
    }
  }

  /** @param {Operation<T>[]} found Goes to the next call that is told operations. */
  #deliverLater(found) {
    this.#undelivered = [...this.#undelivered, ...found];
  }

  /**
   * Reads what others have done, one call after the other: each operation goes to one of them, in order.
   * @returns {Promise<Operation<T>[]>}
   */
  async #catchUpInTurn() {
    this.#ensureReadable();
    // A single writer knows everything that it wrote.
    if (!this.#readOnly && !this.#several) return [];
    const turn = this.#tailing.then(() => this.#catchUp());
    this.#tailing = turn.catch(() => {});
    return await turn;
  }

  /** @returns {Promise<Operation<T>[]>} */
  async #catchUp() {
    this.#ensureReadable();
    const handle = this.#handle;
    const { readings } = this.#view;
    const results = this.#custom === undefined ? [await this.#reading(native.refresh(handle))] : await this.#reading(this.#custom.catchUp());
    return results.flatMap((result) => this.#caughtUp(handle, result, readings));
  }

  /**
   * @param {number} handle
   * @param {import("../binding.js").RefreshResult} result
   * @param {number} readings Of the view, before.
   * @returns {Operation<T>[]}
   */
  #caughtUp(handle, { pages, inOrder, failure }, readings) {
    if (failure !== undefined) throw toError(failure);
    const found = /** @type {Operation<T>[]} */ (operationsOf(pages));
    if (this.#handle !== handle) return found;
    if (this.#view.readings !== readings) {
      // Everything was read meanwhile, some of it after these operations: applied once more they would change the order.
      this.#takeChanged();
      this.#view.reordered(found.map(({ id }) => id));
    } else if (inOrder) {
      for (const { op, id } of found) {
        if (op === "set") this.#view.changed(id);
        else this.#view.deleted(id);
      }
    } else {
      this.#takeChanged();
    }
    return found;
  }

  /**
   * @param {(ops: Operation<T>[]) => void} callback
   * @param {number} [intervalMs]
   */
  watch(callback, intervalMs = 1000) {
    this.#ensureReadable();
    ensureFunction("callback", callback);
    if (typeof intervalMs !== "number" || !(intervalMs >= 0)) {
      throw argumentError(`Argument 'intervalMs' must be a number of milliseconds, got ${show(intervalMs)}`);
    }
    this.unwatch();
    this.#isAsked = true;
    const giveBack = (/** @type {Operation<T>[]} */ found) => this.#deliverLater(found);
    const fail = (/** @type {unknown} */ error) => this.#observer.fail("watch could not read", error);
    this.#watch = new Watch(() => this.tail(), callback, giveBack, fail, intervalMs);
  }

  unwatch() {
    this.#watch?.stop();
    this.#watch = undefined;
  }

  /** @returns {Promise<void>} */
  async flush() {
    await this.#flush(false);
  }

  /** @returns {Promise<void>} */
  async sync() {
    await this.#flush(true);
  }

  /** @param {boolean} sync @returns {Promise<unknown>} */
  #flush(sync) {
    if (this.#phase !== "open") throw stateError("OPSLOG_NOT_OPEN");
    if (this.#batching) return this.#defer(() => this.#flush(sync));
    return this.#wait(native.flush(this.#engine, sync));
  }
}

/**
 * Opens a store of native files and answers with the engine's number for it.
 * @param {string} path
 * @param {import("../binding.js").OpenOptions} settings
 * @param {Migrate | undefined} migrate
 * @param {AbortSignal | undefined} signal
 * @param {import("./observe.js").OnProgress | undefined} onProgress
 * @returns {Promise<{ handle: number, recovered: RecoveredLog[], isOlder: boolean }>} `isOlder`: the records have an older
 *   version than the one asked for.
 */
async function load(path, settings, migrate, signal, onProgress) {
  const loaded = await read(path, settings, onProgress);
  const handle = /** @type {number} */ (loaded.handle);
  try {
    signal?.throwIfAborted();
    if (loaded.migrateFrom !== undefined && migrate !== undefined) {
      migrateLoaded(handle, migrate, loaded.migrateFrom, settings.version);
    }
    const started = await native.start(handle);
    if (started.failure !== undefined) throw toError(started.failure);
    started.logs.forEach(tellRecovery);
    const recovered = started.logs.map(({ path, skipped, cut, saved }) => ({ path, skipped, cut, saved }));
    return { handle, recovered, isOlder: /** @type {number} */ (loaded.version) < settings.version };
  } catch (error) {
    native.release(handle);
    throw error;
  }
}

/**
 * Takes the lock and reads the files.
 * @param {string} path
 * @param {import("../binding.js").OpenOptions} settings
 * @param {import("./observe.js").OnProgress | undefined} onProgress
 */
async function read(path, settings, onProgress) {
  const watch = onProgress && native.beginWatch();
  try {
    const reading = native.load(environmentNumber(), path, settings, watch).then((loaded) => {
      if (loaded.failure !== undefined) throw toError(loaded.failure);
      return loaded;
    });
    return await withProgress(onProgress, () => (watch === undefined ? undefined : native.loadProgress(watch)), reading);
  } finally {
    if (watch !== undefined) native.endWatch(watch);
  }
}

/**
 * A log that another one has taken the place of, and those after it; undefined where it is not known any more.
 * @param {StoredManifest} manifest
 * @param {string | undefined} log
 */
function supersededFrom({ activeAgentOps, previous }, log) {
  const logs = (activeAgentOps === undefined && previous?.ops) || [];
  const place = logs.findIndex(({ path }) => path === log);
  return place < 0 ? undefined : /** @type {[Superseded, ...Superseded[]]} */ (logs.slice(place));
}

/**
 * True for agents that share a directory by the methods of a backend, as those with a caller's backend do: the engine
 * knows no agents that have not loaded the records, and no ids that are no Unicode text.
 * @param {string | undefined} agent
 * @param {import("../binding.js").OpenOptions} settings
 */
function isLeftToFiles(agent, { skipLoad }) {
  return agent !== undefined && (skipLoad || /\p{Surrogate}/u.test(agent));
}

/**
 * Checks a directory that is left to the methods of a backend as strictly as one that the engine opens: they take what is
 * missing for what never was.
 * @param {string} path
 * @param {import("../binding.js").OpenOptions} settings
 */
async function checkFiles(path, settings) {
  let loaded;
  try {
    loaded = await read(path, { ...settings, readOnly: true }, undefined);
  } catch (error) {
    if (/** @type {{ code?: unknown }} */ (error).code === "OPSLOG_NOT_FOUND") return;
    throw error;
  }
  native.release(/** @type {number} */ (loaded.handle));
  const version = /** @type {number} */ (loaded.version);
  if (!settings.skipLoad || version >= settings.version) return;
  const why = `its records have version ${version} and have to be migrated to ${settings.version} first`;
  const remedy = "Open the store once without `skipLoad` and close it.";
  throw withCode(new Error(`Cannot open with \`skipLoad\` for writing: ${why} (${path}). ${remedy}`), "OPSLOG_INVALID");
}

/**
 * What stands for the native files of a store in a directory.
 * @param {string} path
 */
function pathBackend(path) {
  const backend = new FsBackend();
  backend.dir = path;
  return backend;
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function ensureFunction(name, value) {
  if (typeof value !== "function") throw argumentError(`Argument '${name}' must be a function, got ${show(value)}`);
}

/** The default archive segment: year and quarter, local time. */
function currentQuarter() {
  const now = new Date();
  return `${now.getFullYear()}-Q${Math.floor(now.getMonth() / 3) + 1}`;
}
