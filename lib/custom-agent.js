/**
 * One of several writers of a store whose files a caller's backend keeps.
 *
 * Each agent appends to a log of its own that the manifest names; the state is the snapshot and all logs, in the order
 * of (Lamport clock, agent id). Whoever changes the manifest does it under the backend's compaction lock, having read
 * manifest and logs again under it. Appending needs no lock: an agent looks whether the manifest is the one that it
 * knows before it appends, and again afterwards, before its caller is told.
 *
 * A checkpoint writes the manifest twice: first as it is, with a member that makes it another one (`compacting`), then,
 * when the snapshot and what all logs hold by then are stored, with the new generation. So an operation that was
 * appended before the first is taken along; and who appended later finds another manifest afterwards, waits for the
 * lock, and copies to its next log what was not taken along, before its caller is told. The manifest says how many
 * operations of each log were (`folded`). No acknowledged operation ever stands in an old log only, whoever crashes when.
 *
 * What could go wrong if: two agents make checkpoints (the lock); an agent takes operations off its log, for an undo or
 * because a method failed, while a peer's checkpoint takes them along (both need the lock as well); a backend has no
 * lock that excludes (then as with upstream); a peer's operation was seen and stands in an old log only for a while
 * (`#unsettled`); an operation that comes after a checkpoint belongs before some that the checkpoint took along (these
 * come along once more); agents of upstream register without the lock (an entry that was lost is put back) or make
 * checkpoints (what they have taken along is told by the values).
 */
import * as native from "../binding.js";
import { applyDelta } from "./delta.js";
import { toError } from "./errors.js";
import { byClockAndAgent, common, shown, textOf, withOthers } from "./operations.js";

/** @typedef {import("../index.js").Manifest} Manifest */
/** @typedef {import("../index.js").Operation} Operation */
/** @typedef {import("./custom-files.js").CustomFiles} CustomFiles */
/** @typedef {import("./custom-files.js").Generation} Generation */

/** How long a call waits for the compaction lock, and between two tries. Milliseconds. */
const PATIENCE = 5_000;
const PAUSE = 20;

/** So many checkpoints ago an operation that is stored once more may have been seen. */
const GENERATIONS = 16;

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
  /** The same before the last checkpoints, by `nameOf`: some may be stored once more. @type {Set<string>[]} */
  #seenBefore = [];
  /** Logs that a checkpoint has replaced and whose agents have not come back since. @type {Map<string, string>} */
  #unsettled = new Map();
  /** Operations of others that were applied and not told yet. @type {Operation[]} */
  #untold = [];
  /** This agent's log. */
  path = "";
  /** The snapshot that its operations come after. */
  #base = "";
  /** True if the log is a new one since the last refresh. */
  #isNewLog = false;

  /**
   * @param {string} id
   * @param {CustomFiles} files
   */
  constructor(id, files) {
    this.#id = id;
    this.#files = files;
    this.#skipLoad = files.settings.skipLoad;
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
    const files = this.#files;
    const [loaded, version] = await files.undisturbed(() => files.load());
    this.#manifestVersion = version;
    if (loaded !== undefined) return loaded;
    this.#manifestVersion = undefined;
    return this.locked(async () => {
      // Another agent may have been first.
      const found = await files.load();
      if (found !== undefined) return found;
      const version = files.settings.version;
      const currentSnapshot = await files.call("writeSnapshot", new Map(), version);
      const activeOps = await files.call("createAgentOpsFile", this.#id);
      const now = new Date().toISOString();
      const stats = { activeRecords: 0, archivedRecords: 0, opsCount: 0, created: now, lastCheckpoint: now };
      const activeAgentOps = { [this.#id]: activeOps };
      const manifest = { version, currentSnapshot, activeOps, activeAgentOps, archiveSegments: [], stats };
      await files.call("writeManifest", manifest);
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
    if (own === undefined || isUnderLock(manifest, this.#id)) {
      await this.#register();
    } else {
      this.path = own;
      this.#base = manifest.currentSnapshot;
      if ("compacting" in manifest) this.#manifestVersion = undefined;
      native.externalUndoAbove(handle, this.#floor(manifest, operations, await this.#files.call("readOps", own)));
    }
  }

  /**
   * The clock up to which undo does not reach: what a checkpoint took along, and what stands elsewhere than at the end
   * of this agent's log.
   * @param {Manifest & { clock?: number }} manifest
   * @param {Operation[]} operations
   * @param {Operation[]} log
   */
  #floor({ clock = 0 }, operations, log) {
    const end = log.slice(log.findLastIndex(({ agent }) => agent !== this.#id) + 1);
    const reached = new Set(end.map(textOf));
    const beyond = operations.filter((operation) => operation.agent === this.#id && !reached.has(textOf(operation)));
    return beyond.reduce((most, operation) => Math.max(most, operation.clock ?? 0), clock);
  }

  /**
   * Runs `work` under the compaction lock. Waits for whoever has it, but not for ever.
   * @template R
   * @param {() => Promise<R>} work
   * @returns {Promise<R>}
   */
  async locked(work) {
    const lock = await this.lock();
    try {
      return await work();
    } finally {
      await this.unlock(lock);
    }
  }

  /**
   * What was done under the lock is done, whether or not the lock can be given back.
   * @param {import("../index.js").LockHandle} lock
   */
  async unlock(lock) {
    try {
      await this.#files.call("releaseCompactionLock", lock);
    } catch (error) {
      console.error(`opslog: the compaction lock was not released: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** @param {number} [patience] Milliseconds. */
  async lock(patience = PATIENCE) {
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
    const files = this.#files;
    const { compacting, ...manifest } = /** @type {Manifest & { compacting?: string, agentsUnderLock?: unknown }} */ (await this.#readManifest());
    const named = ownLog(manifest, this.#id);
    // Its last holder appended under a lock that this one does not know: others must not rely on it.
    const underLock = isUnderLock(manifest, this.#id);
    if (underLock) manifest.agentsUnderLock = underLockOf(manifest).filter((id) => id !== this.#id);
    // Whoever began a checkpoint is gone: its lock is free.
    if (compacting !== undefined || underLock) await files.call("writeManifest", manifest);
    if (named === undefined) {
      const single = manifest.activeAgentOps === undefined;
      // Overwritten by a peer that knew nothing of the lock: the log is as good as ever.
      const overwritten = this.path !== "" && manifest.currentSnapshot === this.#base && !single;
      const path = overwritten ? this.path : await files.call("createAgentOpsFile", this.#id);
      if (single) await this.#keepSingleWritersLog(manifest, path);
      else if (!overwritten && this.path !== "") await this.#keepOwnLog(manifest, path);
      const others = single ? {} : manifest.activeAgentOps;
      await files.call("writeManifest", { ...manifest, activeAgentOps: { ...others, [this.#id]: path } });
      this.#isNewLog ||= path !== this.path;
      this.path = path;
    } else if (named !== this.path) {
      // Entered by a call that failed afterwards, or a peer that knew nothing of the lock has put an old entry back.
      if (this.path !== "") await this.#keepOwnLog(manifest, named);
      this.#isNewLog = true;
      this.path = named;
    }
    this.#base = manifest.currentSnapshot;
    this.#manifestVersion = undefined;
  }

  /**
   * Copies operations of this agent's old log that no checkpoint has taken along.
   * @param {Manifest & { folded?: Record<string, number> }} manifest
   * @param {string} path
   */
  async #keepOwnLog(manifest, path) {
    const files = this.#files;
    const own = await files.call("readOps", this.path);
    const { folded } = manifest;
    const counted = folded !== undefined && Object.hasOwn(folded, this.path);
    // COMPAT: a checkpoint of upstream's does not say how far it has come.
    const rest = counted ? own.slice(folded[this.path]) : missing(/** @type {Generation} */ (await files.load()), own);
    if (rest.length === 0) return;
    /** @type {Operation[]} */
    const taken = [];
    for (const [log, count] of Object.entries(folded ?? {})) taken.push(...(await files.call("readOps", log)).slice(0, count));
    const there = new Set((await files.call("readOps", path)).map(textOf));
    const kept = withLater(rest, taken).filter((operation) => !there.has(textOf(operation)));
    if (kept.length > 0) await files.call("appendOps", path, kept.map(shown));
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
    const files = this.#files;
    if (ownLog(await this.#readManifest(), this.#id) !== this.path) {
      await (locked ? this.#registerNow() : this.#register());
    }
    const [read, version] = await files.undisturbed(async () => {
      const manifest = await this.#readManifest();
      const same = manifest.currentSnapshot === this.#manifest.currentSnapshot;
      const snapshot = same || this.#skipLoad ? undefined : await files.loadSnapshot(manifest.currentSnapshot);
      return { manifest, same, snapshot, operations: await this.#withUnsettled(manifest, await files.readLogs(manifest)) };
    });
    const { manifest, operations, snapshot } = read;
    const handle = this.#handle;
    const texts = operations.map(textOf);
    // Its own it knows, also those of an earlier session that are stored once more.
    const fresh = operations.filter(
      (operation, i) => operation.agent !== this.#id && !this.#seen.has(texts[i]) && !this.#wasSeen(operation),
    );
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
      const { pages, failure } = native.externalRebaseAnew(handle, files.handOver({ manifest, ...snapshot, operations }).handle);
      if (failure !== undefined) throw toError(failure);
      this.#untold.push(...withOthers(fresh, pages));
    }
    if (!read.same) this.#beginGeneration();
    this.#texts = texts;
    this.#seen = new Set(texts);
    this.#follow(manifest, version);
  }

  /**
   * What has been seen in a log stays, when a checkpoint has replaced the log without taking it along, until its agent
   * has copied it.
   * @param {Manifest & { folded?: Record<string, number> }} manifest
   * @param {Operation[]} operations
   */
  async #withUnsettled(manifest, operations) {
    const { folded = {} } = manifest;
    const rests = [];
    for (const [log] of this.#unsettledIn(manifest)) {
      if (Object.hasOwn(folded, log)) rests.push(...(await this.#files.call("readOps", log)).slice(folded[log]));
    }
    if (rests.length === 0) return operations;
    const there = new Set(operations.map(textOf));
    return [...operations, ...rests.filter((operation) => !there.has(textOf(operation)))].sort(byClockAndAgent);
  }

  /**
   * Replaced logs whose agents are not in a manifest: path and agent. Of the last checkpoint only: one that came in
   * between has dealt with what came before it.
   * @param {Manifest & { follows?: string }} manifest
   */
  #unsettledIn(manifest) {
    const { currentSnapshot, activeAgentOps = {} } = this.#manifest;
    /** @type {Iterable<[string, string]>} */
    let logs = [];
    if (manifest.currentSnapshot === currentSnapshot) logs = this.#unsettled;
    else if (manifest.follows === currentSnapshot) logs = Object.entries(activeAgentOps).map(([id, path]) => [path, id]);
    return [...logs].filter(([, id]) => ownLog(manifest, id) === undefined);
  }

  /**
   * @param {Manifest} manifest
   * @param {string | null} version
   */
  #follow(manifest, version) {
    this.#unsettled = new Map(this.#unsettledIn(manifest));
    this.#manifest = manifest;
    const refused = native.externalFollowManifest(this.#handle, JSON.stringify(manifest));
    if (refused) throw toError(refused);
    // Taken out again since: the next call registers anew. While a checkpoint is being made no append is sure without
    // the lock.
    const sure = ownLog(manifest, this.#id) === this.path && !("compacting" in manifest);
    this.#manifestVersion = sure ? version : undefined;
  }

  /** @param {Operation[]} operations */
  #seeClocks(operations) {
    const clock = operations.reduce((most, operation) => Math.max(most, operation.clock ?? 0), 0);
    native.externalSeeClock(this.#handle, clock);
  }

  #beginGeneration() {
    this.#seenBefore.push(new Set([...this.#seen].map((text) => nameOf(JSON.parse(text)))));
    if (this.#seenBefore.length > GENERATIONS) this.#seenBefore.shift();
    this.#seen = new Set();
  }

  /** @param {Operation} operation */
  #wasSeen(operation) {
    const name = nameOf(operation);
    return this.#seenBefore.some((names) => names.has(name));
  }

  /** What others have done since the last time. */
  takeUntold() {
    return this.#untold.splice(0);
  }

  /**
   * Appends operations of this agent's. They are stored when this resolves, whatever peers have done meanwhile.
   * @param {Operation[]} operations
   */
  async append(operations) {
    const files = this.#files;
    await files.call("appendOps", this.path, operations.map(shown));
    // Under the lock there is no checkpoint that may or may not have taken them along.
    if ((await files.call("getManifestVersion")) !== this.#manifestVersion) await this.#register();
  }

  /**
   * This agent's operations have been stored.
   * @param {Operation[]} operations
   */
  appended(operations) {
    const texts = operations.map(textOf);
    this.#texts.push(...texts);
    texts.forEach((text) => this.#seen.add(text));
  }

  /**
   * Operations that may have been appended, all or some, are taken off the log again; true if that is too late, because
   * a peer's checkpoint has taken them along: then all of them are stored.
   * @param {Operation[]} operations
   * @returns {Promise<boolean>}
   */
  async takeBack(operations) {
    const files = this.#files;
    return this.locked(async () => {
      const manifest = /** @type {Manifest & { folded?: Record<string, number> }} */ (await this.#readManifest());
      const log = (await files.call("readOps", this.path)).map(textOf);
      const tried = operations.map(textOf);
      let found = Math.min(log.length, tried.length);
      while (found > 0 && !tried.slice(0, found).every((text, i) => text === log[log.length - found + i])) found--;
      const { folded = {} } = manifest;
      const taken = Object.hasOwn(folded, this.path) && folded[this.path] > log.length - found;
      const named = ownLog(manifest, this.#id);
      // Copied by a call that failed afterwards.
      const copied = named !== undefined && named !== this.path && (await files.call("readOps", named)).some((other) => textOf(other) === tried[0]);
      if (found > 0 && (taken || copied)) {
        if (found < tried.length) await files.call("appendOps", this.path, operations.slice(found).map(shown));
        await this.#registerNow();
        return true;
      }
      for (; found > 0; found--) await files.call("truncateLastOp", this.path);
      return false;
    });
  }

  /**
   * An operation that may have been taken off its log, and was not to be, is put back.
   * @param {Operation} operation
   * @param {string} path The log.
   */
  async putBack(operation, path) {
    const files = this.#files;
    const text = textOf(operation);
    if ((await files.call("readOps", path)).some((other) => textOf(other) === text)) return;
    await this.#registerNow();
    if (this.path !== path && (await files.call("readOps", this.path)).some((other) => textOf(other) === text)) return;
    await files.call("appendOps", this.path, [shown(operation)]);
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
   * What others have appended since the last refresh, and how many operations each log holds with it. From here on
   * whoever appends to a log finds another manifest afterwards.
   * @param {string} path The new log.
   * @returns {Promise<{ late: Operation[], folded: Record<string, number> }>}
   */
  async late(path) {
    const files = this.#files;
    const current = await this.#readManifest();
    await files.call("writeManifest", /** @type {Manifest} */ ({ ...current, compacting: path }));
    this.#manifestVersion = undefined;
    /** @type {Record<string, number>} */
    const folded = {};
    /** @type {Operation[]} */
    const all = [];
    const earlier = /** @type {{ folded?: Record<string, number> }} */ (this.#manifest).folded ?? {};
    const unsettled = [...this.#unsettled.keys()].filter((log) => Object.hasOwn(earlier, log));
    for (const log of new Set([...logsOf(this.#manifest), ...logsOf(current), ...unsettled])) {
      const operations = await files.call("readOps", log);
      folded[log] = operations.length;
      all.push(...(Object.hasOwn(earlier, log) ? operations.slice(earlier[log]) : operations));
    }
    const before = Object.entries(earlier);
    // Somebody may have slept through several checkpoints, but not through any number of them.
    const kept = before.filter(([log]) => !Object.hasOwn(folded, log)).slice(-MOST_FOLDED);
    const late = all.filter((operation) => !this.#seen.has(textOf(operation)));
    return { late: withLater(late, all), folded: { ...Object.fromEntries(kept), ...folded } };
  }

  /**
   * A checkpoint of this agent's is the current one.
   * @param {Manifest} manifest
   * @param {string} path The new log.
   */
  published(manifest, path) {
    this.#manifest = manifest;
    this.#unsettled.clear();
    this.path = path;
    this.#base = manifest.currentSnapshot;
    this.#isNewLog = true;
    this.#texts = [];
    this.#beginGeneration();
    this.#manifestVersion = undefined;
  }
}

/**
 * Operations that are to be stored after a snapshot, and with them those that belong after them and that the snapshot
 * holds already: without these, older values would come back.
 * @param {Operation[]} operations
 * @param {Operation[]} taken What the snapshot holds of the logs.
 */
function withLater(operations, taken) {
  /** @type {Map<string, Operation>} */
  const first = new Map();
  for (const operation of [...operations].sort(byClockAndAgent).reverse()) first.set(operation.id, operation);
  const here = new Set(operations.map(textOf));
  const later = taken.filter((operation) => {
    const earlier = first.get(operation.id);
    return earlier !== undefined && byClockAndAgent(operation, earlier) > 0 && !here.has(textOf(operation));
  });
  return [...operations, ...later].sort(byClockAndAgent);
}

/**
 * What tells an operation from all others, without its values.
 * @param {Operation} operation
 */
function nameOf({ ts, op, id, agent, clock }) {
  return JSON.stringify([clock, agent, ts, op, id]);
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
 * Agents that append under the lock of the engine (`src/append_lock.rs`).
 * @param {Manifest & { agentsUnderLock?: unknown }} manifest
 * @returns {unknown[]}
 */
function underLockOf({ agentsUnderLock }) {
  return Array.isArray(agentsUnderLock) ? agentsUnderLock : [];
}

/**
 * @param {Manifest} manifest
 * @param {string} id
 */
function isUnderLock(manifest, id) {
  return underLockOf(manifest).includes(id);
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
