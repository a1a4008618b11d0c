// A storage backend of one's own: a complete one, which keeps everything in memory. One for a bucket, a database or a
// browser has the same methods.

import assert from "node:assert/strict";
import { Store } from "opslog-native";
import "./support/temporary-directory.js";

/** @typedef {import("opslog-native").StorageBackend} StorageBackend */
/** @typedef {import("opslog-native").Manifest} Manifest */
/** @typedef {import("opslog-native").Operation} Operation */

/**
 * What outlives a store: files by path, and who holds which lock. Stores that share one share their data, as two
 * processes share a directory.
 */
class Shelf {
  /** @type {Map<string, Buffer>} */
  files = new Map();
  /** @type {Map<string, object>} */
  locks = new Map();
  /** Counts the manifests, and whatever needs a name. */
  counter = 0;
}

/**
 * Keeps a store on a {@link Shelf}.
 *
 * Contents are kept as text, never as the store's own objects: those go on changing. Each method does its work without
 * an `await` in between, so that a write is there as a whole or not at all. Where that takes more, as with files or
 * objects behind a network, write under another name first and rename, or write conditionally. And a method that fails
 * must reject: "there is none" is an answer for what is not there, not for what could not be read.
 *
 * @implements {StorageBackend}
 */
class MemoryBackend {
  #shelf;
  #root = "";

  /** @param {Shelf} shelf */
  constructor(shelf) {
    this.#shelf = shelf;
  }

  // --- beginning and end ---

  /**
   * `dir` is what `open` was given; here it separates the stores of a shelf.
   * @param {string} dir
   * @param {{ readOnly: boolean }} _options
   */
  async initialize(dir, _options) {
    this.#root = `${dir}/`;
  }

  async shutdown() {
    // a connection would be closed here
  }

  // --- manifest: says which snapshot and which log are the current ones ---

  async readManifest() {
    const text = this.#read("manifest.json");
    return text === undefined ? null : JSON.parse(text);
  }

  /** @param {Manifest} manifest */
  async writeManifest(manifest) {
    this.#write("manifest.json", JSON.stringify(manifest));
    this.#write("manifest.version", this.#next());
  }

  /** What differs whenever the manifest does: an ETag, a time, a counter. */
  async getManifestVersion() {
    return this.#read("manifest.version") ?? null;
  }

  // --- snapshots ---

  /**
   * @param {Map<string, unknown>} records in insertion order, which must be kept
   * @param {number} version
   */
  async writeSnapshot(records, version) {
    const path = `snapshots/snap-${this.#next()}.json`;
    this.#write(path, JSON.stringify({ version, records: [...records] }));
    return path;
  }

  /** @param {string} path */
  async loadSnapshot(path) {
    const { version, records } = JSON.parse(this.#mustRead(path));
    return { version, records: new Map(records) };
  }

  // --- logs: one operation per line ---

  async createOpsFile() {
    const path = `ops/ops-${this.#next()}.jsonl`;
    this.#write(path, "");
    return path;
  }

  /** Each of several writers has a log of its own. @param {string} agentId */
  async createAgentOpsFile(agentId) {
    const path = `ops/agent-${encodeURIComponent(agentId)}-${this.#next()}.jsonl`;
    this.#write(path, "");
    return path;
  }

  /** All of them or none: a batch comes as one call. @param {string} path @param {Operation[]} ops */
  async appendOps(path, ops) {
    const lines = ops.map((op) => `${JSON.stringify(op)}\n`).join("");
    this.#write(path, (this.#read(path) ?? "") + lines);
  }

  /** A log that is not there has no operations. @param {string} path @returns {Promise<Operation[]>} */
  async readOps(path) {
    return this.#linesOf(path).map((line) => JSON.parse(line));
  }

  /** @param {string} path */
  async truncateLastOp(path) {
    const lines = this.#linesOf(path);
    if (lines.length === 0) return false;
    this.#write(path, lines.slice(0, -1).map((line) => `${line}\n`).join(""));
    return true;
  }

  async listOpsFiles() {
    return this.#list("ops/").map((name) => `ops/${name}`);
  }

  // --- archive ---

  /** Adds to a segment that exists: of two records with one id the new one stays. @param {string} period @param {Map<string, unknown>} records */
  async writeArchiveSegment(period, records) {
    const path = `archive/archive-${period}.json`;
    const before = this.#read(path);
    const merged = new Map([...(before === undefined ? [] : JSON.parse(before)), ...records]);
    this.#write(path, JSON.stringify([...merged]));
    return path;
  }

  /** @param {string} path @returns {Promise<Map<string, unknown>>} */
  async loadArchiveSegment(path) {
    return new Map(JSON.parse(this.#mustRead(path)));
  }

  async listArchiveSegments() {
    return this.#list("archive/").map((name) => `archive/${name}`);
  }

  // --- locks: taken at once or refused, never waited for ---

  async acquireLock() {
    return this.#lock(".lock", "Store is locked by another writer");
  }

  /** @param {object} handle */
  async releaseLock(handle) {
    this.#unlock(".lock", handle);
  }

  async acquireCompactionLock() {
    return this.#lock(".compact-lock", "Compaction lock held by another agent");
  }

  /** @param {object} handle */
  async releaseCompactionLock(handle) {
    this.#unlock(".compact-lock", handle);
  }

  // --- blobs: whatever the program wants to keep beside its records ---

  /** @param {string} path @param {Buffer} content */
  async writeBlob(path, content) {
    this.#write(path, Buffer.from(content));
  }

  /** @param {string} path */
  async readBlob(path) {
    return Buffer.from(this.#mustFind(path));
  }

  /** @param {string} path @param {number} offset @param {number} length */
  async readBlobRange(path, offset, length) {
    if (offset < 0 || length < 0) throw new Error("readBlobRange: offset and length must be non-negative");
    return Buffer.from(this.#mustFind(path).subarray(offset, offset + length));
  }

  /** @param {string} prefix */
  async listBlobs(prefix) {
    return [...new Set(this.#list(`${prefix}/`).map((path) => path.split("/")[0] ?? path))];
  }

  /** @param {string} path */
  async deleteBlob(path) {
    this.#shelf.files.delete(this.#root + path);
  }

  /** @param {string} prefix */
  async deleteBlobDir(prefix) {
    for (const path of this.#list(`${prefix}/`)) this.#shelf.files.delete(`${this.#root}${prefix}/${path}`);
  }

  // --- files on the shelf ---

  /** @param {string} path */
  #read(path) {
    return this.#shelf.files.get(this.#root + path)?.toString();
  }

  /** @param {string} path */
  #mustFind(path) {
    const content = this.#shelf.files.get(this.#root + path);
    // the code is how a store tells what is missing from what cannot be read
    if (content === undefined) throw Object.assign(new Error(`ENOENT: there is no ${path}`), { code: "ENOENT", path });
    return content;
  }

  /** @param {string} path */
  #mustRead(path) {
    return this.#mustFind(path).toString();
  }

  /** @param {string} path @param {string | Buffer} content */
  #write(path, content) {
    this.#shelf.files.set(this.#root + path, Buffer.from(content));
  }

  /** Paths below a folder, relative to it. @param {string} folder */
  #list(folder) {
    const start = this.#root + folder;
    return [...this.#shelf.files.keys()].filter((key) => key.startsWith(start)).map((key) => key.slice(start.length)).sort();
  }

  /** @param {string} path */
  #linesOf(path) {
    return (this.#read(path) ?? "").split("\n").filter(Boolean);
  }

  /** A new name each time: one that was used may still be read. */
  #next() {
    this.#shelf.counter += 1;
    return String(this.#shelf.counter).padStart(13, "0");
  }

  /** @param {string} name @param {string} refusal */
  #lock(name, refusal) {
    const { locks } = this.#shelf;
    if (locks.has(this.#root + name)) throw new Error(refusal);
    const handle = {};
    locks.set(this.#root + name, handle);
    return handle;
  }

  /** Gives back its own lock only. @param {string} name @param {object} handle */
  #unlock(name, handle) {
    const { locks } = this.#shelf;
    if (locks.get(this.#root + name) === handle) locks.delete(this.#root + name);
  }
}

const shelf = new Shelf();

const store = new Store();
await store.open("tasks", { backend: new MemoryBackend(shelf) });
await store.set("task-1", { title: "Build API" });
await store.batch(() => {
  store.set("task-2", { title: "Write tests" });
  store.set("task-3", { title: "Ship" });
});
await store.undo();
console.log(store.count()); // 2

// one writer, and any number of readers
await assert.rejects(new Store().open("tasks", { backend: new MemoryBackend(shelf) }), /locked/);
const reader = new Store();
await reader.open("tasks", { backend: new MemoryBackend(shelf), readOnly: true });
await store.delete("task-1");
console.log((await reader.tail()).map(({ op, id }) => `${op} ${id}`)); // [ 'delete task-1' ]
await reader.close();

await store.archive((_task, id) => id === "task-2", "old");
await store.set("task-4", { title: "Rest" });
await store.close();

// everything is on the shelf
await store.open("tasks", { backend: new MemoryBackend(shelf) });
console.log(store.entries()); // [ [ 'task-4', { title: 'Rest' } ] ]
console.log([...(await store.loadArchive("old")).keys()]); // [ 'task-2' ]
await store.close();
console.log(shelf.locks.size); // 0

// a backend is of use without a store, too
const backend = new MemoryBackend(shelf);
await backend.initialize("tasks", { readOnly: false });
await backend.writeBlob("covers/task-4.txt", Buffer.from("0123456789"));
console.log((await backend.readBlobRange("covers/task-4.txt", 3, 4)).toString()); // 3456
console.log(await backend.listBlobs("covers")); // [ 'task-4.txt' ]
await backend.deleteBlobDir("covers");
await assert.rejects(backend.readBlob("covers/task-4.txt"), { code: "ENOENT" });
