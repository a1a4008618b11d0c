/**
 * A consistent copy of a store, also of one that is being written.
 *
 * Nothing is locked and nothing is written to the original. What is copied is what its manifest names: snapshots never
 * change; archive segments are replaced as a whole; a log changes at its end only. A log's copy is compared with the
 * original afterwards: what was the same both times stood there all the time, and so is the log of one moment. Of
 * several logs (agents) the lengths are those of a moment at which none was changing: an operation never comes without
 * what its agent had seen of the others. Then the manifest must be the same still, or all is tried again. What a write
 * in progress has left at the end of a log is taken off the copy. The manifest comes last: a copy that was interrupted
 * does not open.
 *
 * What could go wrong if: checkpoints come faster than a copy is made (after some attempts the copy of the last manifest
 * counts, which is complete: only the segments must be the same as before); the copy's disk is full (what was made is
 * removed).
 */
import { mkdir, open, readdir, realpath, rm, stat, truncate } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { makeFolder, ownTemporary, replaceFile, syncFolder } from "../lib/durable.js";
import { CliError, EXIT, naming } from "./failures.js";
import { openReader, readManifest } from "./reader.js";
import { namedFiles } from "./sizes.js";
import { verify } from "./verification.js";

/** So often a copy is begun anew because the manifest has changed. */
const ATTEMPTS = 5;
/** So often the files of one manifest are tried: a log that is undone meanwhile, a file that a checkpoint has removed. */
const TRIES = 200;
const PIECE = 1 << 20;
/** Room at the end of a log is a page at most, its newline included; and the byte before it. */
const MOST_ROOM = 4096 + 2;

/** @typedef {import("./terminal.js").Terminal} Terminal */
/** @typedef {import("./reader.js").Manifest} Manifest */
/** @typedef {{ records: number, files: number, bytes: number, damage: number, attempts: number }} Copied */

/** The files have changed under the copy: try again. */
class Changed extends Error {}

/**
 * @param {string} from
 * @param {string} to Must not exist, or be empty.
 * @param {Terminal} terminal
 * @param {string} label
 * @returns {Promise<Copied>}
 */
export async function copyStore(from, to, terminal, label) {
  await refuseInside(from, to);
  const made = await claim(to);
  try {
    const copy = new Copy(from, to, terminal, label);
    return await copy.run();
  } catch (error) {
    for (const name of await readdir(to)) await rm(join(to, name), { recursive: true, force: true });
    if (made !== undefined) await rm(made, { recursive: true, force: true });
    throw error;
  }
}

/**
 * @param {string} from
 * @param {string} to
 */
async function refuseInside(from, to) {
  if (`${await realPath(to)}/`.startsWith(`${await realPath(from)}/`)) {
    throw new CliError(EXIT.usage, `${to} lies within ${from}`, { remedy: "copy to a directory outside of the store" });
  }
}

/**
 * An absolute path without links, also of what does not exist yet.
 * @param {string} path
 * @returns {Promise<string>}
 */
async function realPath(path) {
  const absolute = resolve(path);
  const above = dirname(absolute);
  return realpath(absolute).catch(async () => (above === absolute ? absolute : join(await realPath(above), basename(absolute))));
}

/**
 * Makes the directory of the copy; refuses one with anything in it. Gives the first folder that had to be made.
 * @param {string} to
 */
async function claim(to) {
  const made = await mkdir(to, { recursive: true });
  const there = await readdir(to);
  if (there.length === 0) return made;
  throw new CliError(EXIT.failed, `${to} is not empty: it holds ${there[0]}${there.length > 1 ? ` and ${there.length - 1} more` : ""}`, {
    code: "ENOTEMPTY",
    remedy: "nothing is overwritten: name a directory that does not exist",
  });
}

class Copy {
  /** @type {string} */
  #from;
  /** @type {string} */
  #to;
  /** @type {Terminal} */
  #terminal;
  /** @type {string} */
  #label;
  /** Files that are there and cannot change. @type {Set<string>} */
  #kept = new Set();
  #bytes = 0;

  /**
   * @param {string} from
   * @param {string} to
   * @param {Terminal} terminal
   * @param {string} label
   */
  constructor(from, to, terminal, label) {
    this.#from = from;
    this.#to = to;
    this.#terminal = terminal;
    this.#label = label;
  }

  /** @returns {Promise<Copied>} */
  async run() {
    for (const folder of ["snapshots", "ops", "archive"]) await makeFolder(join(this.#to, folder));
    for (let attempts = 1; ; attempts++) {
      const { text, manifest } = await this.#manifest();
      const segments = await this.#identities(manifest.archiveSegments);
      const whole = await this.#files(manifest);
      const same = (await readManifest(this.#from))?.text === text;
      // Superseded by now, and complete: a checkpoint leaves the files of the one before it.
      const complete = attempts >= ATTEMPTS && segments === (await this.#identities(manifest.archiveSegments));
      if (!whole || (!same && !complete)) {
        if (attempts >= TRIES) throw new Changed(`Checkpoints of ${this.#from} come faster than its files can be copied`);
        continue;
      }
      await this.#publish(manifest);
      const damage = await this.#settle();
      const store = damage === 0 ? await openReader(this.#to) : undefined;
      const records = store?.count() ?? manifest.stats.activeRecords;
      await store?.close();
      return { records, files: namedFiles(manifest).length + 1, bytes: this.#bytes, damage, attempts };
    }
  }

  async #manifest() {
    const found = await readManifest(this.#from);
    // The engine has the words for what is wrong with it.
    if (found === undefined) await (await openReader(this.#from)).close();
    const { text, manifest } = /** @type {NonNullable<typeof found>} */ (found);
    const odd = namedFiles(manifest).find((file) => !/^(snapshots|ops|archive)\/[^/\\]+$/.test(file) || /\/\.\.?$/.test(file));
    if (odd !== undefined) throw new CliError(EXIT.found, `Invalid manifest: path leaves the store: ${odd}`, { code: "OPSLOG_CORRUPT" });
    return { text, manifest };
  }

  /**
   * Copies what a manifest names; false where checkpoints have removed a part of it meanwhile.
   * @param {Manifest} manifest
   */
  async #files(manifest) {
    const { currentSnapshot, archiveSegments } = manifest;
    const logs = namedFiles(manifest).filter((file) => file !== currentSnapshot && !archiveSegments.includes(file));
    /** @type {import("./terminal.js").Progress | undefined} */
    let progress;
    try {
      const sizes = await Promise.all(namedFiles(manifest).map((file) => this.#sizeOf(file)));
      progress = this.#terminal.progress(this.#label, sizes.reduce((sum, size) => sum + size, 0), "bytes");
      if (!this.#kept.has(currentSnapshot)) await this.#copy(currentSnapshot, Infinity, progress);
      this.#kept.add(currentSnapshot);
      for (const file of archiveSegments) await this.#copy(file, Infinity, progress);
      await this.#logs(logs, progress);
      return true;
    } catch (error) {
      // A checkpoint has removed it: the next manifest names another.
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== "ENOENT") throw error;
      const names = (await readManifest(this.#from))?.manifest;
      if (names !== undefined && namedFiles(names).join() === namedFiles(manifest).join()) throw error;
      return false;
    } finally {
      progress?.end();
    }
  }

  /**
   * Copies logs as they are at one moment.
   * @param {string[]} logs
   * @param {import("./terminal.js").Progress} progress
   */
  async #logs(logs, progress) {
    for (let tries = 1; ; tries++) {
      try {
        const ends = await this.#ends(logs);
        for (const [log, { end, hasRoom }] of ends) {
          await this.#copy(log, end, progress);
          await this.#compare(log, end);
          if (hasRoom) await this.#endLine(log);
        }
        return;
      } catch (error) {
        if (!(error instanceof Changed) || tries >= TRIES) throw error;
        await wait(Math.random() * 10);
      }
    }
  }

  /**
   * Where logs end, at a moment at which none was changing.
   * @param {string[]} logs
   */
  async #ends(logs) {
    for (let tries = 1; ; tries++) {
      const before = await this.#identities(logs);
      const ends = await Promise.all(logs.map(async (log) => /** @type {const} */ ([log, await this.#endOf(log)])));
      if (logs.length === 1 || before === (await this.#identities(logs))) return ends;
      if (tries >= TRIES) throw new Changed(`The logs of ${this.#from} were never at rest`);
      await wait(Math.random() * 5);
    }
  }

  /**
   * Where the text of a log ends: the next lines may take the place of the tabs behind it (docs/design.md, Room).
   * @param {string} log
   * @returns {Promise<{ end: number, hasRoom: boolean }>}
   */
  async #endOf(log) {
    const source = await open(join(this.#from, log));
    try {
      const { size } = await source.stat();
      const { buffer, bytesRead } = await source.read(Buffer.alloc(MOST_ROOM), 0, MOST_ROOM, Math.max(0, size - MOST_ROOM));
      const tail = buffer.toString("latin1", 0, bytesRead);
      const room = /\}(\t+\n)$/.exec(tail)?.[1] ?? "";
      return { end: size - room.length, hasRoom: room !== "" };
    } finally {
      await source.close();
    }
  }

  /** @param {string} log */
  async #endLine(log) {
    const path = join(this.#to, log);
    const target = await open(path, "a");
    try {
      await naming(path, target.writeFile("\n"));
      await naming(path, target.sync());
    } finally {
      await target.close();
    }
  }

  /** @param {string} file */
  async #sizeOf(file) {
    return (await stat(join(this.#from, file))).size;
  }

  /** @param {string[]} files */
  async #identities(files) {
    const found = await Promise.all(files.map((file) => stat(join(this.#from, file), { bigint: true }).catch(() => undefined)));
    return found.map((of) => (of === undefined ? "gone" : `${of.ino} ${of.size} ${of.mtimeNs}`)).join();
  }

  /**
   * @param {string} file
   * @param {number} length
   * @param {import("./terminal.js").Progress} progress
   */
  async #copy(file, length, progress) {
    const source = await open(join(this.#from, file));
    try {
      const path = join(this.#to, file);
      const target = await open(path, "w");
      try {
        const buffer = Buffer.alloc(PIECE);
        for (let at = 0; at < length; ) {
          const { bytesRead } = await source.read(buffer, 0, Math.min(PIECE, length - at), at);
          if (bytesRead === 0) break;
          await naming(path, target.writeFile(buffer.subarray(0, bytesRead)));
          at += bytesRead;
          progress.step(bytesRead);
        }
        await naming(path, target.sync());
      } finally {
        await target.close();
      }
    } finally {
      await source.close();
    }
  }

  /**
   * A log and its copy are the same.
   * @param {string} file
   * @param {number} length
   */
  async #compare(file, length) {
    const [source, target] = [await open(join(this.#from, file)), await open(join(this.#to, file))];
    try {
      const [left, right] = [Buffer.alloc(PIECE), Buffer.alloc(PIECE)];
      for (let at = 0; at < length; at += PIECE) {
        const size = Math.min(PIECE, length - at);
        const [one, other] = [await source.read(left, 0, size, at), await target.read(right, 0, size, at)];
        const same = one.bytesRead === size && other.bytesRead === size && left.subarray(0, size).equals(right.subarray(0, size));
        if (!same) throw new Changed(`${file} changed while it was copied`);
      }
    } finally {
      await source.close();
      await target.close();
    }
  }

  /** @param {Manifest} manifest */
  async #publish(manifest) {
    // Files of earlier attempts, and of earlier generations, are not in the copy.
    const named = new Set(namedFiles(manifest));
    for (const folder of ["snapshots", "ops", "archive"]) {
      for (const name of await readdir(join(this.#to, folder))) {
        if (!named.has(`${folder}/${name}`)) await rm(join(this.#to, folder, name));
      }
      await syncFolder(join(this.#to, folder));
    }
    const { previous: _, ...rest } = manifest;
    const path = join(this.#to, "manifest.json");
    await replaceFile(path, JSON.stringify(rest, null, 2), ownTemporary(path));
    await syncFolder(dirname(resolve(this.#to)));
    for (const file of [...named, "manifest.json"]) this.#bytes += (await stat(join(this.#to, file))).size;
  }

  /** Takes off the copy what was being written; gives how much damage it has otherwise. */
  async #settle() {
    for (;;) {
      /** @type {Map<string, number>} */
      const ends = new Map();
      const { counts } = await verify(this.#to, this.#terminal, ({ severity, file, byte }) => {
        if (severity === "unfinished" && byte !== undefined) ends.set(file, Math.min(byte, ends.get(file) ?? byte));
      });
      if (ends.size === 0) return counts.damage + counts.unreadable;
      for (const [file, end] of ends) await truncate(join(this.#to, file), end);
    }
  }
}
