/**
 * A disk under a page cache: what is durable, and what may or may not be there after a power cut.
 *
 * The model, which is weaker than what ext4, XFS or btrfs promise with their defaults:
 *
 * - A file's bytes and length are durable once `fsync` or `fdatasync` of it has returned (POSIX.1-2017, fsync: "all data
 *   … is to be transferred to the storage device"; fdatasync includes the length, "synchronized I/O data integrity").
 * - Names are durable once `fsync` of their folder has returned (fsync(2), Linux: "does not necessarily ensure that the
 *   entry in the directory containing the file has also reached disk"). A file that was synced may have no name.
 * - Until then each write, truncation, creation, rename, link and unlink may have reached the disk or not, whatever
 *   the others did: later ones may be there and earlier ones missing (Pillai et al., "All File Systems Are Not Created
 *   Equal", OSDI 2014, sections 2 and 3).
 * - A write may be there in part: some of its pages, or its beginning up to any byte, or, over what was durable, its end
 *   from any sector on. Where bytes before it never
 *   arrived there are zeros, and a file may have the length of a write whose bytes are missing (delayed allocation).
 * - A rename is one step: the file has its old name or its new one, and the new name has the old file or the new one
 *   (rename(2); journals and copy-on-write keep this even without any sync).
 * - Nothing that is durable is damaged by a power cut.
 */

/** @typedef {import("./trace.js").Event} Event */

/** @typedef {{ kind: "write", at: number, bytes: Buffer } | { kind: "length", length: number }} Change of a file */

/**
 * @typedef {object} File
 * @property {number} id
 * @property {Buffer} durable
 * @property {Change[]} pending
 */

/**
 * @typedef {object} Renaming a change of names: of each, what it stands for from then on; null where it is gone
 * @property {[string, File | null][]} names
 * @property {string} folder
 * @property {string[]} folders all that it concerns
 */

/** @param {string} path */
const folderOf = (path) => (path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "");

export class Disk {
  /** @type {Map<string, File>} what processes see */
  names = new Map();
  /** @type {Map<string, File>} what is durable */
  durable = new Map();
  /** @type {Renaming[]} */
  pending = [];
  /** Folders exist from the beginning or durably as soon as they are made: a store makes them once. @type {Set<string>} */
  folders = new Set();
  /** @type {Map<number, File | string>} files, and paths of folders */
  #open = new Map();
  #made = 0;

  /** @param {string} path @param {Buffer} bytes */
  put(path, bytes) {
    const file = { id: ++this.#made, durable: bytes, pending: [] };
    this.names.set(path, file);
    this.durable.set(path, file);
  }

  /** @param {[string, File | null][]} names */
  #rename(names) {
    for (const [name, file] of names) {
      if (file === null) this.names.delete(name);
      else this.names.set(name, file);
    }
    const folders = [...new Set(names.map(([name]) => folderOf(name)))];
    this.pending.push({ names, folder: folders[0], folders });
  }

  /** @param {string} path */
  #sync(path) {
    const rest = [];
    for (const renaming of this.pending) {
      if (!renaming.folders.includes(path)) rest.push(renaming);
      else for (const [name, file] of renaming.names) {
        if (file === null) this.durable.delete(name);
        else this.durable.set(name, file);
      }
    }
    this.pending = rest;
  }

  /** @param {Event} event @returns {boolean} true where a crash after it may leave something else than one before */
  apply(event) {
    switch (event.name) {
      case "open": {
        if (event.creates) this.#rename([[event.path, { id: ++this.#made, durable: Buffer.alloc(0), pending: [] }]]);
        const file = this.names.get(event.path);
        if (event.cuts) file?.pending.push({ kind: "length", length: 0 });
        this.#open.set(event.fd, file ?? event.path);
        return event.creates || event.cuts;
      }
      case "close":
        this.#open.delete(event.fd);
        return false;
      case "write":
        this.#file(event.fd).pending.push({ kind: "write", at: event.at, bytes: event.bytes });
        return true;
      case "ftruncate":
        this.#file(event.fd).pending.push({ kind: "length", length: event.length });
        return true;
      case "truncate":
        this.names.get(event.path)?.pending.push({ kind: "length", length: event.length });
        return true;
      case "sync": {
        const target = this.#open.get(event.fd);
        if (typeof target === "string") this.#sync(target);
        else if (target !== undefined) {
          target.durable = target.pending.reduce(applied, target.durable);
          target.pending = [];
        }
        return true;
      }
      case "rename": {
        const file = this.names.get(event.from);
        if (file !== undefined) this.#rename([[event.to, file], [event.from, null]]);
        return true;
      }
      case "link": {
        const file = this.names.get(event.from);
        if (file !== undefined) this.#rename([[event.to, file]]);
        return true;
      }
      case "unlink":
        this.#rename([[event.path, null]]);
        return true;
      case "mkdir":
        this.folders.add(event.path);
        return true;
      case "rmdir":
        this.folders.delete(event.path);
        return true;
      default:
        return false;
    }
  }

  /** @param {number} fd @returns {File} */
  #file(fd) {
    const file = this.#open.get(fd);
    if (file === undefined || typeof file === "string") throw new Error(`write to descriptor ${fd}, which is no file`);
    return file;
  }
}

/**
 * @param {Buffer} bytes
 * @param {Change} change
 * @returns {Buffer}
 */
export function applied(bytes, change) {
  if (change.kind === "length") {
    return change.length <= bytes.length ? bytes.subarray(0, change.length) : Buffer.concat([bytes], change.length);
  }
  const result = Buffer.concat([bytes], Math.max(bytes.length, change.at + change.bytes.length));
  change.bytes.copy(result, change.at);
  return result;
}
