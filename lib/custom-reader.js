/**
 * A reader of a store whose files a caller's `StorageBackend` keeps: what a writer has done since the last look, or what
 * several have.
 *
 * What could go wrong if: the writer makes a checkpoint while this reads (`undisturbed`: it is read again); a checkpoint
 * has removed the log that is known (`#lookAnew`); operations were taken back (`#way`).
 */
import * as native from "../binding.js";
import { toError, withCode } from "./errors.js";
import { currentManifest } from "./custom-files.js";
import { shown, textOf, withOthers } from "./operations.js";

/** @typedef {import("../index.js").Operation} Operation */
/** @typedef {import("../index.js").Manifest} Manifest */
/** @typedef {import("./custom-files.js").CustomFiles} CustomFiles */
/** @typedef {import("./custom-files.js").Generation} Generation */
/** @typedef {import("./custom-writer.js").Superseded} Superseded */

export class CustomReader {
  #files;
  #handle;
  /** Where it stands: a log, and the texts of its operations. No path: it has read the logs of several agents. */
  #known;

  /**
   * @param {CustomFiles} files
   * @param {number} handle the engine's number for the store
   * @param {Generation} generation what was loaded
   */
  constructor(files, handle, { manifest, operations }) {
    this.#files = files;
    this.#handle = handle;
    const several = manifest.activeAgentOps !== undefined;
    this.#known = { path: several ? "" : manifest.activeOps, texts: operations.map(textOf) };
  }

  /**
   * Reads what has been done since. The state changes at once, when everything has been read.
   * @returns {Promise<import("../binding.js").RefreshResult[]>}
   */
  async catchUp() {
    const [look] = await this.#files.undisturbed(() => this.#look());
    return look();
  }

  /**
   * Reads what a writer has done. What it answers with applies it.
   * @returns {Promise<() => import("../binding.js").RefreshResult[]>}
   */
  async #look() {
    const manifest = await this.#files.call("readManifest");
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
    const without = archived && !this.#files.settings.skipLoad ? await this.#files.loadSnapshot(manifest.currentSnapshot) : undefined;
    return () => {
      const loaded = without && this.#files.handOver({ manifest, ...without, operations: way.operations });
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
    const snapshot = this.#files.settings.skipLoad ? undefined : await this.#files.loadSnapshot(manifest.currentSnapshot);
    const operations = await this.#files.call("readOps", path);
    return () => {
      const result =
        snapshot === undefined
          ? native.externalFollow(handle, 0, JSON.stringify(operations.map(shown)), this.#known.texts.length, path)
          : native.externalFollowAnew(handle, this.#files.handOver({ manifest, ...snapshot, operations }).handle);
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
      const operations = await this.#files.call("readOps", path);
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
      if (place < 0) return undefined;
      const log = superseded[place];
      const own = log.covered ?? texts.length - log.carried;
      if (own < 0 || own > texts.length) return undefined;
      covered = history.length - (texts.length - own);
      archived ||= log.archived === true;
      path = superseded[place + 1]?.path ?? manifest.activeOps;
    }
  }

  /**
   * True unless a log without operations does not exist at all.
   * @param {string} path
   */
  async #isThere(path) {
    return (await this.#files.call("listOpsFiles")).includes(path);
  }

  /**
   * Agents' operations come in between others: everything is read again, and what was not known is told.
   * @param {Manifest} manifest
   * @returns {Promise<() => import("../binding.js").RefreshResult[]>}
   */
  async #lookAtAgents(manifest) {
    const handle = this.#handle;
    const empty = { records: new Map(), version: this.#files.settings.version };
    const { records, version } = this.#files.settings.skipLoad ? empty : await this.#files.loadSnapshot(manifest.currentSnapshot);
    const operations = await this.#files.readLogs(manifest);
    const texts = operations.map(textOf);
    return () => {
      const known = new Set(this.#known.texts);
      const fresh = operations.filter((_, i) => !known.has(texts[i])).map(shown);
      const loaded = this.#files.handOver({ manifest, records, version, operations });
      const { pages, failure } = native.externalFollowAnew(handle, loaded.handle);
      if (failure !== undefined) throw toError(failure);
      native.externalFollowManifest(handle, JSON.stringify(manifest));
      this.#known = { path: "", texts };
      return [{ pages: [JSON.stringify(withOthers(fresh, pages))], inOrder: false }];
    };
  }
}
