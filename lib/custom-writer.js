/**
 * The writing of a store whose files a caller's `StorageBackend` keeps: one step at a time, by the backend's methods in
 * the order and with the arguments of upstream.
 *
 * What could go wrong if: a method fails after it has done its work, or half of it (`certain` looks, and takes it back,
 * before anything else is stored).
 */
import * as native from "../binding.js";
import { copyOf } from "./custom-files.js";
import { toError, withCode } from "./errors.js";
import { operationsOf, shown } from "./operations.js";
import { recordsOf } from "./pages.js";
import { validateManifest } from "./validate.js";

/** @typedef {import("../index.js").Operation} Operation */
/** @typedef {import("../index.js").Manifest} Manifest */
/** @typedef {import("../binding.js").ExternalStep} ExternalStep */
/** @typedef {import("./custom-agent.js").Agent} Agent */
/** @typedef {import("./custom-files.js").CustomFiles} CustomFiles */
/** @typedef {import("./custom-files.js").Generation} Generation */

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
 * A log that another superseded: when (ms), how many of its operations that one began with, and whether it was an
 * archive call's.
 * @typedef {{ path: string, since: number, carried: number, covered?: number, archived?: boolean }} Superseded
 */

export class CustomWriter {
  #files;
  #handle;
  #agent;
  /** @type {Manifest} */
  #manifest;
  /** Operations in the log; unknown until they are counted. @type {number | undefined} */
  #stored;
  /** True if an `archive` failed: a segment may hold records that no manifest counts. */
  #uncounted = false;
  /** @type {Doubt | undefined} */
  #doubt;

  /**
   * @param {CustomFiles} files
   * @param {number} handle the engine's number for the store
   * @param {Generation} generation what was loaded
   * @param {Agent | undefined} agent in a store of several writers
   */
  constructor(files, handle, { manifest, operations }, agent) {
    this.#files = files;
    this.#handle = handle;
    this.#agent = agent;
    this.#manifest = copyOf(manifest);
    this.#stored = files.settings.skipLoad || agent !== undefined ? undefined : operations.length;
  }

  /** True if it is not known what a step that failed has done. */
  get isInDoubt() {
    return this.#doubt !== undefined;
  }

  /** Paths of the archive segments. */
  get archiveSegments() {
    return this.#manifest.archiveSegments;
  }

  /**
   * Carries a step out; of `close` the checkpoint, if there is to be one.
   * @param {ExternalStep} step
   */
  async carryOut(step) {
    await this.certain();
    if (this.#agent !== undefined) await this.#carryOutAmongAgents(this.#agent, step);
    else if (step.kind === "append") await this.#append(step.pages);
    else if (step.kind === "takeLast") await this.#takeLast(step.pages[0]);
    else if (step.kind === "archive") await this.#archive(step);
    else if (step.kind === "checkpoint" || step.count !== undefined) await this.#checkpoint(step.count ?? 0, {});
  }

  /** @param {string[]} pages */
  async #append(pages) {
    const operations = operationsOf(pages);
    const { length } = operations;
    const stored = await this.#count();
    this.#doubt = { appended: length };
    await this.#files.call("appendOps", this.#log, operations);
    this.#doubt = undefined;
    this.#stored = stored + length;
  }

  /** @param {string} operation */
  async #takeLast(operation) {
    const path = this.#log;
    // An agent looks for the operation itself.
    const stored = this.#agent === undefined ? await this.#count() : undefined;
    this.#doubt = { taken: operation, path };
    const found = await this.#files.call("truncateLastOp", path);
    if (/** @type {unknown} */ (found) === false) {
      throw withCode(new Error(`The storage backend found no operation to take off ${path}`), "OPSLOG_FAILED");
    }
    this.#doubt = undefined;
    if (stored !== undefined) this.#stored = stored - 1;
  }

  /** How many operations are in the log: what a failed call has done can only be told from their number. */
  async #count() {
    this.#stored ??= (await this.#files.call("readOps", this.#log)).length;
    return this.#stored;
  }

  /** The log that this writer appends to. */
  get #log() {
    return this.#agent?.path ?? this.#manifest.activeOps;
  }

  /** @param {ExternalStep} step */
  async #archive({ segment, pages, count }) {
    const { archiveSegments, stats } = this.#manifest;
    const period = /** @type {string} */ (segment);
    const records = recordsOf(pages);
    const ids = [...records.keys()];
    // Records that are in the segment already take the place of others there.
    const known = archiveSegments.find((path) => path === period || path.endsWith(`archive-${period}.json`));
    const before = known === undefined ? undefined : await this.#files.call("loadArchiveSegment", known);
    const replaces = this.#uncounted || ids.some((id) => before?.has(id));
    this.#uncounted = true;
    const path = await this.#files.call("writeArchiveSegment", period, records);
    let archivedRecords = stats.archivedRecords + ids.length;
    if (replaces) {
      archivedRecords = 0;
      for (const each of new Set([...archiveSegments, path])) {
        archivedRecords += (await this.#files.call("loadArchiveSegment", each)).size;
      }
    }
    await this.#checkpoint(count ?? 0, { segment: path, archivedRecords });
    this.#uncounted = false;
  }

  /**
   * Stores the records of the current step as a snapshot, with a new log.
   * @param {number} count
   * @param {{ segment?: string, archivedRecords?: number }} change
   */
  async #checkpoint(count, { segment, archivedRecords }) {
    const { version } = this.#files.settings;
    const agent = this.#agent;
    const old = agent?.manifest ?? this.#manifest;
    const records = recordsOf(momentPages(this.#handle));
    const currentSnapshot = await this.#files.call("writeSnapshot", records, version);
    const activeOps = await (agent === undefined
      ? this.#files.call("createOpsFile")
      : this.#files.call("createAgentOpsFile", agent.id));
    // What others appended while the snapshot was written goes along.
    const { late, folded } = agent === undefined ? { late: [], folded: {} } : await agent.late(activeOps);
    if (late.length > 0) await this.#files.call("appendOps", activeOps, late.map(shown));
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
      await this.#files.call("writeManifest", manifest);
    } catch (error) {
      // Agents go on from what is stored: nobody writes an old manifest back that a peer may have changed since.
      if (agent === undefined || (await this.#files.call("readManifest"))?.activeOps !== activeOps) throw error;
    }
    const refused = native.externalPublished(this.#handle, text);
    if (refused) throw toError(refused);
    this.#doubt = undefined;
    this.#manifest = JSON.parse(text);
    this.#stored = agent === undefined ? 0 : undefined;
    agent?.published(this.#manifest, activeOps);
  }

  /**
   * A method that failed may have done its work all the same, or a part of it: looks, and takes it back.
   */
  async certain() {
    const doubt = this.#doubt;
    if (doubt === undefined) return;
    const agent = this.#agent;
    if ("tried" in doubt) {
      await agent?.takeBack(doubt.tried);
    } else if (agent !== undefined) {
      if ("taken" in doubt) await agent.locked(() => agent.putBack(JSON.parse(doubt.taken), doubt.path));
    } else if ("replaced" in doubt) {
      const { replaced } = doubt;
      const found = await this.#files.call("readManifest");
      if (found?.activeOps !== replaced.activeOps) await this.#files.call("writeManifest", copyOf(replaced));
    } else {
      const path = this.#log;
      const stored = await this.#count();
      const { length } = await this.#files.call("readOps", path);
      if ("appended" in doubt) {
        for (let extra = Math.min(length - stored, doubt.appended); extra > 0; extra--) {
          await this.#files.call("truncateLastOp", path);
        }
      } else if ("taken" in doubt && length < stored) {
        await this.#files.call("appendOps", path, [JSON.parse(doubt.taken)]);
      }
    }
    this.#doubt = undefined;
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
      const path = kind === "archive" ? await this.#files.call("writeArchiveSegment", /** @type {string} */ (segment), records) : undefined;
      const archivedRecords = agent.manifest.stats.archivedRecords + archived;
      await this.#checkpoint(count, { segment: path, archivedRecords });
    } finally {
      await agent.unlock(lock);
    }
  }
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
