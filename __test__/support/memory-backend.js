/**
 * A `StorageBackend` that keeps stores in memory, by directory name, for this process: stores can be opened again, and
 * read-only ones beside a writer. It answers late, at random, and can be made to fail.
 *
 * Everything crosses its border as a copy (JSON text), so that neither side sees what the other does to an object.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { choices } from "./random.js";

/**
 * @typedef {object} Disk What a directory holds.
 * @property {string | null} manifest its text
 * @property {number} manifestVersion counts its replacements
 * @property {number} last the last number in a name
 * @property {Map<string, { version: number, records: [string, string][] }>} snapshots
 * @property {Map<string, string[]>} logs texts of operations
 * @property {Map<string, Map<string, string>>} segments
 * @property {Map<string, Buffer>} blobs
 * @property {object | null} lock its handle
 * @property {object | null} compactionLock
 */

/** @type {Map<string, Disk>} */
const disks = new Map();

/**
 * What a directory holds.
 *
 * @param {string} dir its name, as it was given to `open`
 * @returns {Disk | undefined} undefined where nothing was ever initialised
 */
export const diskOf = (dir) => disks.get(dir);

/**
 * Forgets a directory.
 *
 * @param {string} dir its name
 */
export function forgetDisk(dir) {
  disks.delete(dir);
}

/**
 * Copies what one directory holds, without its locks, to another.
 *
 * @param {string} from its name
 * @param {string} to the other's
 */
export function copyDisk(from, to) {
  const disk = disks.get(from);
  if (disk !== undefined) disks.set(to, structuredClone({ ...disk, lock: null, compactionLock: null }));
}

/**
 * A directory's files as texts, for comparing.
 *
 * @param {string} dir its name
 * @returns {Record<string, string>} path -> text
 */
export function textsOf(dir) {
  const disk = disks.get(dir);
  if (disk === undefined) return {};
  const texts = {};
  if (disk.manifest !== null) texts["manifest.json"] = disk.manifest;
  for (const [path, { version, records }] of disk.snapshots) texts[path] = JSON.stringify([version, records]);
  for (const [path, operations] of disk.logs) texts[path] = operations.join("\n");
  for (const [path, records] of disk.segments) texts[path] = JSON.stringify([...records]);
  for (const [path, content] of disk.blobs) texts[path] = content.toString("hex");
  return texts;
}

/** A method's error where the interface asks for one that says that nothing is there. */
function missing(path) {
  return Object.assign(new Error(`ENOENT: no such file or directory, '${path}'`), { code: "ENOENT", path });
}

/** @typedef {{ when: "before" | "half" | "after", error: unknown, sync?: boolean }} Fault */

export class MemoryBackend {
  dir = "";
  /**
   * Asked at every call: how it is to fail. `half`: after half of the work, where the method can be interrupted in it.
   * `sync`: by throwing instead of rejecting (nothing is done then).
   *
   * @type {(method: string, args: any[]) => Fault | undefined}
   */
  fault = () => undefined;
  /** The calls, in order. @type {{ method: string, args: any[] }[] | undefined} */
  calls;

  /**
   * @param {object} [how]
   * @param {number} [how.seed] for the delays
   * @param {boolean} [how.delays] whether there are any
   * @param {boolean} [how.records] whether `calls` is kept, with copies of the arguments
   */
  constructor({ seed = 1, delays = true, records = false } = {}) {
    this.below = choices(seed);
    this.delays = delays;
    if (records) this.calls = [];
  }

  get disk() {
    const disk = disks.get(this.dir);
    if (disk === undefined) throw new Error(`MemoryBackend: not initialised: ${this.dir}`);
    return disk;
  }

  async pause() {
    if (!this.delays) return;
    const kind = this.below(6);
    if (kind === 0) await sleep(this.below(4));
    else if (kind < 3) await new Promise((resolve) => setImmediate(resolve));
  }

  name(kind, ending = ".jsonl") {
    const { disk } = this;
    disk.last = Math.max(disk.last + 1, Date.now());
    return `${kind}-${disk.last}${ending}`;
  }
}

/**
 * What each method does, all at once; `half` where a failure can leave a part of it.
 *
 * @type {Record<string, { whole: (this: MemoryBackend, ...args: any[]) => any, half?: (this: MemoryBackend, ...args: any[]) => any }>}
 */
const METHODS = {
  initialize: {
    whole(dir) {
      this.dir = dir;
      if (disks.has(dir)) return;
      const files = { snapshots: new Map(), logs: new Map(), segments: new Map(), blobs: new Map() };
      disks.set(dir, { manifest: null, manifestVersion: 0, last: 0, ...files, lock: null, compactionLock: null });
    },
  },
  shutdown: { whole() {} },
  readManifest: {
    whole() {
      return JSON.parse(this.disk.manifest ?? "null");
    },
  },
  writeManifest: {
    whole(manifest) {
      this.disk.manifest = JSON.stringify(manifest, null, 2);
      this.disk.manifestVersion++;
    },
  },
  writeSnapshot: {
    whole(records, version) {
      const path = `snapshots/${this.name("snap")}`;
      const texts = [...records].map(([id, value]) => /** @type {[string, string]} */ ([id, JSON.stringify(value)]));
      this.disk.snapshots.set(path, { version, records: texts });
      return path;
    },
    half(records, version) {
      METHODS.writeSnapshot.whole.call(this, [...records].slice(0, records.size >> 1), version);
    },
  },
  loadSnapshot: {
    whole(path) {
      const snapshot = this.disk.snapshots.get(path);
      if (snapshot === undefined) throw missing(path);
      const records = new Map(snapshot.records.map(([id, text]) => [id, JSON.parse(text)]));
      return { records, version: snapshot.version };
    },
  },
  appendOps: {
    whole(path, ops) {
      const log = this.disk.logs.get(path) ?? [];
      for (const op of ops) log.push(JSON.stringify(op));
      this.disk.logs.set(path, log);
    },
    half(path, ops) {
      METHODS.appendOps.whole.call(this, path, ops.slice(0, (ops.length + 1) >> 1));
    },
  },
  readOps: {
    whole(path) {
      return (this.disk.logs.get(path) ?? []).map((text) => JSON.parse(text));
    },
  },
  truncateLastOp: {
    whole(path) {
      return this.disk.logs.get(path)?.pop() !== undefined;
    },
  },
  createOpsFile: {
    whole() {
      const path = `ops/${this.name("ops")}`;
      this.disk.logs.set(path, []);
      return path;
    },
  },
  writeArchiveSegment: {
    whole(period, records) {
      const path = `archive/archive-${period}.json`;
      const segment = this.disk.segments.get(path) ?? new Map();
      for (const [id, value] of records) segment.set(id, JSON.stringify(value));
      this.disk.segments.set(path, segment);
      return path;
    },
    half(period, records) {
      METHODS.writeArchiveSegment.whole.call(this, period, [...records].slice(0, records.size >> 1));
    },
  },
  loadArchiveSegment: {
    whole(path) {
      const segment = this.disk.segments.get(path);
      if (segment === undefined) throw missing(path);
      return new Map([...segment].map(([id, text]) => [id, JSON.parse(text)]));
    },
  },
  listArchiveSegments: {
    whole() {
      return [...this.disk.segments.keys()];
    },
  },
  acquireLock: {
    whole() {
      if (this.disk.lock !== null) {
        throw Object.assign(new Error(`Store is locked by process ${process.pid}`), { code: "OPSLOG_LOCKED" });
      }
      this.disk.lock = { held: true };
      return this.disk.lock;
    },
  },
  releaseLock: {
    whole(handle) {
      if (this.disk.lock === handle) this.disk.lock = null;
    },
  },
  createAgentOpsFile: {
    whole(agent) {
      const path = `ops/${this.name(`agent-${agent}`)}`;
      this.disk.logs.set(path, []);
      return path;
    },
  },
  listOpsFiles: {
    whole() {
      return [...this.disk.logs.keys()];
    },
  },
  acquireCompactionLock: {
    whole() {
      if (this.disk.compactionLock !== null) throw new Error("Compaction lock held by another agent");
      this.disk.compactionLock = { held: true };
      return this.disk.compactionLock;
    },
  },
  releaseCompactionLock: {
    whole(handle) {
      if (this.disk.compactionLock === handle) this.disk.compactionLock = null;
    },
  },
  getManifestVersion: {
    whole() {
      return this.disk.manifest === null ? null : String(this.disk.manifestVersion);
    },
  },
  writeBlob: {
    whole(path, content) {
      this.disk.blobs.set(path, Buffer.from(content));
    },
  },
  readBlob: {
    whole(path) {
      const content = this.disk.blobs.get(path);
      if (content === undefined) throw missing(path);
      return Buffer.from(content);
    },
  },
  readBlobRange: {
    whole(path, offset, length) {
      return METHODS.readBlob.whole.call(this, path).subarray(offset, offset + length);
    },
  },
  listBlobs: {
    whole(prefix) {
      const under = [...this.disk.blobs.keys()].filter((path) => path.startsWith(`${prefix}/`));
      return [...new Set(under.map((path) => path.slice(prefix.length + 1).split("/")[0]))];
    },
  },
  deleteBlob: {
    whole(path) {
      this.disk.blobs.delete(path);
    },
  },
  deleteBlobDir: {
    whole(prefix) {
      for (const path of this.disk.blobs.keys()) if (path.startsWith(`${prefix}/`)) this.disk.blobs.delete(path);
    },
  },
};

/** All methods of the interface. */
export const METHOD_NAMES = Object.keys(METHODS);

/** Arguments as they were at the call: a snapshot's map becomes a list of pairs. */
const copied = (args) => args.map((arg) => (arg instanceof Map ? structuredClone([...arg]) : structuredClone(arg)));

for (const [method, { whole, half }] of Object.entries(METHODS)) {
  /** @this {MemoryBackend} */
  MemoryBackend.prototype[method] = function (...args) {
    this.calls?.push({ method, args: copied(args) });
    const fault = this.fault(method, args);
    if (fault?.sync) throw fault.error;
    return (async () => {
      // The work is done at once, somewhere within the delay.
      await this.pause();
      if (fault?.when === "before") throw fault.error;
      if (fault?.when === "half" && half !== undefined) half.apply(this, args);
      else {
        const result = whole.apply(this, args);
        await this.pause();
        if (fault === undefined) return result;
      }
      throw fault.error;
    })();
  };
}
