/**
 * One of several writers of a store whose files a caller's backend keeps.
 *
 * Each agent appends to a log of its own that the manifest names; the state is the snapshot and all logs, in the order
 * of (Lamport clock, agent id). Whoever changes the manifest does it under the backend's compaction lock, having read
 * manifest and logs again under it. Appending needs no lock: an agent looks whether the manifest is the one that it
 * knows before it appends, and again afterwards, before its caller is told.
 *
 * A checkpoint says in the manifest how many operations of each log it has taken along (`folded`). What was appended
 * to a log after that is copied as it is to a current log: by the agent that made the checkpoint, once that is
 * published, and by the log's owner when it finds its log gone from the manifest. Both may do so: two copies of an
 * operation (same agent, same clock) count once.
 *
 * What could go wrong if: two agents make checkpoints (the lock); an agent takes its last operation off while a peer's
 * checkpoint takes it along (undo needs the lock as well); a backend has no lock that excludes (then as with upstream);
 * agents of upstream register without the lock (an entry that was lost is put back) or make checkpoints (what they
 * have taken along is told by the values).
 */
import * as native from "../binding.js";
import { applyDelta } from "./delta.js";
import { toError } from "./errors.js";
import { common, operationsOf, shown, textOf } from "./operations.js";

/** @typedef {import("../index.js").Manifest} Manifest */
/** @typedef {import("../index.js").Operation} Operation */
/** @typedef {import("./custom-store.js").Generation} Generation */
/** @typedef {import("./custom-store.js").Files} Files */

/** How long a call waits for the compaction lock, and between two tries. Milliseconds. */
const PATIENCE = 5_000;
const PAUSE = 20;

/** Logs of earlier checkpoints that the manifest remembers. */
const MOST_FOLDED = 200;

export class Agent {
  #id;
  #files;
  #skipLoad;
  #handle = -1;
  /** @type {string | null | undefined} */
  #manifestVersion;
  /** @type {Manifest} */
  #manifest = /** @type {any} */ (undefined);
  /** Stored operations of all agents that are known, in order. @type {string[]} */
  #texts = [];
  /** Stored operations that were told or are this agent's own. @type {Set<string>} */
  #seen = new Set();
  /** Operations of others that were applied and not told yet. @type {Operation[]} */
  #untold = [];
  /** This agent's log. */
  path = "";
  /** True if the log is a new one since the last refresh. */
  #isNewLog = false;

  /**
   * @param {string} id
   * @param {Files} files
   * @param {boolean} skipLoad
   */
  constructor(id, files, skipLoad) {
    this.#id = id;
    this.#files = files;
    this.#skipLoad = skipLoad;
  }

  get id() {
    return this.#id;
  }

  get manifest() {
    return this.#manifest;
  }

  /**
   * Reads the store; makes it where there is none.
   * @returns {Promise<Generation>}
   */
  async load() {
    const { call, load, undisturbed } = this.#files;
    const [loaded, version] = await undisturbed(load);
    this.#manifestVersion = version;
    if (loaded !== undefined) return loaded;
    this.#manifestVersion = undefined;
    return this.locked(async () => {
      // Another agent may have been first.
      const found = await load();
      if (found !== undefined) return found;
      const version = this.#files.version;
      const currentSnapshot = await call("writeSnapshot", new Map(), version);
      const activeOps = await call("createAgentOpsFile", this.#id);
      const now = new Date().toISOString();
      const stats = { activeRecords: 0, archivedRecords: 0, opsCount: 0, created: now, lastCheckpoint: now };
      const activeAgentOps = { [this.#id]: activeOps };
      const manifest = { version, currentSnapshot, activeOps, activeAgentOps, archiveSegments: [], stats };
      await call("writeManifest", manifest);
      return { manifest, records: new Map(), version, operations: [] };
    });
  }

  /**
   * The engine has what was loaded: this agent takes its place among the others.
   * @param {number} handle
   * @param {Generation} generation
   */
  async join(handle, { manifest, operations }) {
    this.#handle = handle;
    this.#manifest = manifest;
    this.#texts = operations.map(textOf);
    this.#seen = new Set(this.#texts);
    if (this.#skipLoad) this.#seeClocks(await this.#files.readLogs(manifest));
    const own = ownLog(manifest, this.#id);
    if (own === undefined) await this.#register();
    else this.path = own;
  }

  /**
   * Runs `work` under the compaction lock. Waits for whoever has it, but not for ever.
   * @template R
   * @param {() => Promise<R>} work
   * @returns {Promise<R>}
   */
  async locked(work) {
    const lock = await this.lock(PATIENCE);
    try {
      return await work();
    } finally {
      await this.#files.call("releaseCompactionLock", lock);
    }
  }

  /** @param {number} patience Milliseconds. */
  async lock(patience) {
    const start = performance.now();
    for (;;) {
      try {
        return await this.#files.call("acquireCompactionLock");
      } catch (error) {
        if (performance.now() - start >= patience) throw error;
        await new Promise((resolve) => setTimeout(resolve, PAUSE + Math.random() * PAUSE));
      }
    }
  }

  /** Enters this agent into the manifest, under the compaction lock. */
  async #register() {
    await this.locked(() => this.#registerNow());
  }

  /** Enters this agent into the manifest, with the operations of its log that no checkpoint has taken along. */
  async #registerNow() {
    const { call } = this.#files;
    const manifest = await this.#readManifest();
    const named = ownLog(manifest, this.#id);
    if (named === undefined) {
      const single = manifest.activeAgentOps === undefined;
      // Overwritten by a peer that knew nothing of the lock: the log is as good as ever.
      const overwritten = this.path !== "" && manifest.currentSnapshot === this.#manifest.currentSnapshot && !single;
      const path = overwritten ? this.path : await call("createAgentOpsFile", this.#id);
      if (single) await this.#keepSingleWritersLog(manifest, path);
      else if (!overwritten && this.path !== "") await this.#keepOwnLog(manifest, path);
      const others = single ? {} : manifest.activeAgentOps;
      await call("writeManifest", { ...manifest, activeAgentOps: { ...others, [this.#id]: path } });
      this.#isNewLog ||= path !== this.path;
      this.path = path;
    } else {
      this.#isNewLog ||= named !== this.path;
      this.path = named;
    }
    this.#manifestVersion = undefined;
  }

  /**
   * Copies operations of this agent's old log that no checkpoint has taken along.
   * @param {Manifest & { folded?: Record<string, number> }} manifest
   * @param {string} path
   */
  async #keepOwnLog(manifest, path) {
    const { call, load } = this.#files;
    const own = await call("readOps", this.path);
    const { folded } = manifest;
    const counted = folded !== undefined && Object.hasOwn(folded, this.path);
    // COMPAT: a checkpoint of upstream's does not say how far it has come.
    const rest = counted ? own.slice(folded[this.path]) : missing(/** @type {Generation} */ (await load()), own);
    if (rest.length > 0) await call("appendOps", path, rest.map(shown));
  }

  /**
   * Readers take a manifest with agents to mean their logs only: a single writer's operations go along.
   * @param {Manifest} manifest
   * @param {string} path
   */
  async #keepSingleWritersLog(manifest, path) {
    const operations = await this.#files.call("readOps", manifest.activeOps);
    if (operations.length > 0) await this.#files.call("appendOps", path, operations.map(shown));
  }

  /** @returns {Promise<Manifest>} */
  async #readManifest() {
    const manifest = await this.#files.call("readManifest");
    if (!manifest) throw new Error("Manifest not found during refresh");
    return manifest;
  }

  /** Refreshes if the manifest has changed. True if it had: the current step is to begin again. */
  async upToDate(locked = false) {
    const version = await this.#files.call("getManifestVersion");
    if (version === this.#manifestVersion) return false;
    await this.refresh({ locked });
    return true;
  }

  /**
   * Reads what the others have stored, and puts it in its place beneath what is queued here.
   * @param {{ locked?: boolean, asked?: boolean }} [options] `locked`: this agent has the compaction lock. `asked`: its
   *   caller wants to see the others' operations, also where the records were not loaded.
   */
  async refresh({ locked = false, asked = false } = {}) {
    const { readLogs, loadSnapshot, handOver, undisturbed } = this.#files;
    if (ownLog(await this.#readManifest(), this.#id) !== this.path) {
      await (locked ? this.#registerNow() : this.#register());
    }
    const [read, version] = await undisturbed(async () => {
      const manifest = await this.#readManifest();
      const same = manifest.currentSnapshot === this.#manifest.currentSnapshot;
      const snapshot = same || this.#skipLoad ? undefined : await loadSnapshot(manifest.currentSnapshot);
      return { manifest, same, snapshot, operations: await readLogs(manifest) };
    });
    const { manifest, operations, snapshot } = read;
    const handle = this.#handle;
    const texts = operations.map(textOf);
    const fresh = operations.filter((_, i) => !this.#seen.has(texts[i]));
    if (this.#isNewLog) native.externalBeginLog(handle);
    this.#isNewLog = false;
    if (this.#skipLoad && !asked) {
      this.#seeClocks(operations);
      this.#follow(manifest, version);
      return;
    }
    if (snapshot === undefined) {
      // Nothing of a snapshot is in memory where none was loaded.
      const same = read.same ? common(this.#texts, texts) : 0;
      const text = JSON.stringify(operations.slice(same).map(shown));
      const refused = native.externalRebase(handle, this.#texts.length - same, text, manifest.activeOps);
      if (refused) throw toError(refused);
      this.#untold.push(...fresh);
    } else {
      const { pages, failure } = native.externalRebaseAnew(handle, handOver({ manifest, ...snapshot, operations }).handle);
      if (failure !== undefined) throw toError(failure);
      const ids = new Set(fresh.map(({ id }) => id));
      this.#untold.push(...fresh, ...operationsOf(pages).filter(({ id }) => !ids.has(id)));
    }
    this.#texts = texts;
    this.#seen = new Set(texts);
    this.#follow(manifest, version);
  }

  /**
   * @param {Manifest} manifest
   * @param {string | null} version
   */
  #follow(manifest, version) {
    this.#manifest = manifest;
    const refused = native.externalFollowManifest(this.#handle, JSON.stringify(manifest));
    if (refused) throw toError(refused);
    // Taken out again since: the next call registers anew.
    this.#manifestVersion = ownLog(manifest, this.#id) === this.path ? version : undefined;
  }

  /** @param {Operation[]} operations */
  #seeClocks(operations) {
    const clock = operations.reduce((most, operation) => Math.max(most, operation.clock ?? 0), 0);
    native.externalSeeClock(this.#handle, clock);
  }

  /** What others have done since the last time. */
  takeUntold() {
    return this.#untold.splice(0);
  }

  /**
   * Operations of this agent's have been appended. If a peer's checkpoint came in between, they are taken along now.
   * @param {Operation[]} operations
   */
  async appended(operations) {
    const texts = operations.map(textOf);
    this.#texts.push(...texts);
    texts.forEach((text) => this.#seen.add(text));
    if ((await this.#files.call("getManifestVersion")) === this.#manifestVersion) return;
    if (ownLog(await this.#readManifest(), this.#id) !== this.path) await this.#register();
    this.#manifestVersion = undefined;
  }

  /**
   * This agent's last operation has been taken off its log.
   * @param {Operation} operation
   */
  takenOff(operation) {
    const text = textOf(operation);
    this.#texts.splice(this.#texts.lastIndexOf(text), 1);
    this.#seen.delete(text);
  }

  /**
   * What others have appended since the last refresh, and how many operations each log holds with it.
   * @returns {Promise<{ late: Operation[], folded: Record<string, number> }>}
   */
  async late() {
    /** @type {Record<string, number>} */
    const folded = {};
    /** @type {Operation[]} */
    const late = [];
    for (const path of logsOf(this.#manifest)) {
      const operations = await this.#files.call("readOps", path);
      folded[path] = operations.length;
      late.push(...operations.filter((operation) => !this.#seen.has(textOf(operation))));
    }
    const before = Object.entries(/** @type {{ folded?: Record<string, number> }} */ (this.#manifest).folded ?? {});
    // Somebody may have slept through several checkpoints, but not through any number of them.
    const kept = before.filter(([path]) => !Object.hasOwn(folded, path)).slice(-MOST_FOLDED);
    return { late, folded: { ...Object.fromEntries(kept), ...folded } };
  }

  /**
   * A checkpoint of this agent's is the current one.
   * @param {Manifest} manifest
   * @param {string} path The new log.
   * @param {Record<string, number>} folded Operations that it has taken along of each log.
   */
  async published(manifest, path, folded) {
    const { call } = this.#files;
    const before = logsOf(this.#manifest);
    this.#manifest = manifest;
    this.path = path;
    this.#isNewLog = true;
    this.#texts = [];
    // Appended in the last moment, by agents who could not know: copied as it is.
    for (const old of before) {
      const rest = (await call("readOps", old)).slice(folded[old]);
      if (rest.length > 0) await call("appendOps", path, rest.map(shown));
    }
    this.#manifestVersion = undefined;
  }
}

/**
 * Paths of all logs that belong to the current state.
 * @param {Manifest} manifest
 */
function logsOf({ activeOps, activeAgentOps }) {
  return activeAgentOps === undefined ? [activeOps] : Object.values(activeAgentOps);
}

/**
 * @param {Manifest} manifest
 * @param {string} id
 * @returns {string | undefined}
 */
function ownLog({ activeAgentOps }, id) {
  return activeAgentOps !== undefined && Object.hasOwn(activeAgentOps, id) ? activeAgentOps[id] : undefined;
}

/**
 * Operations of a log whose effect is not part of what is stored, by the values: where a record is as one of them left
 * it, those after it are missing; where it is as it was before the first, all are; otherwise somebody has written it
 * since.
 * @param {Generation} generation
 * @param {Operation[]} log
 */
function missing({ records, operations }, log) {
  for (const { op, id, data } of operations) {
    if (op === "set") records.set(id, data);
    else records.delete(id);
  }
  /** @type {Map<string, Operation[]>} */
  const byId = new Map();
  for (const operation of log) byId.set(operation.id, [...(byId.get(operation.id) ?? []), operation]);
  /** @type {Set<Operation>} */
  const found = new Set();
  for (const [id, own] of byId) {
    const now = JSON.stringify(records.get(id));
    const place = own.findLastIndex(({ op, data }) => now === (op === "set" ? JSON.stringify(data) : undefined));
    if (place >= 0 || now === before(own[0])) own.slice(place + 1).forEach((operation) => found.add(operation));
  }
  return log.filter((operation) => found.has(operation));
}

/**
 * The text of a record before an operation; undefined where there was none.
 * @param {Operation} operation
 */
function before({ prev, encoding, data }) {
  if (prev === null) return undefined;
  const patch = /** @type {import("../index.js").DeltaPatch} */ (/** @type {unknown} */ (prev));
  return JSON.stringify(encoding === "delta" ? applyDelta(/** @type {any} */ (data), patch) : prev);
}
