/** The states that a power cut may leave of a disk, all of them or a sample. */
import { createHash } from "node:crypto";
import { applied } from "./disk.js";

/** @typedef {import("./disk.js").Disk} Disk */
/** @typedef {import("./disk.js").File} File */
/** @typedef {import("./disk.js").Change} Change */

/** @typedef {Map<string, Buffer>} Tree what stands under which name */

const PAGE = 4096;

/** What a disk writes at once. */
const SECTOR = 512;

/**
 * What may have arrived of one change: nothing, all, or a part.
 * @param {Change} change
 * @param {number} length of what is durable: over that, a write's end may be there without its beginning
 * @returns {Change[][]}
 */
function arrivals(change, length) {
  if (change.kind === "length") return [[], [change]];
  const { at, bytes } = change;
  const end = at + bytes.length;
  /** @type {Change[][]} */
  const found = [[], [change]];
  /** @param {number} from @param {number} to @returns {Change} */
  const part = (from, to) => ({ kind: "write", at: from, bytes: bytes.subarray(from - at, to - at) });
  /** @type {Change} */
  const grown = { kind: "write", at, bytes: Buffer.alloc(bytes.length) };
  // The length without the bytes; over bytes that were there before, nothing but these would be seen.
  found.push([grown]);
  const cuts = new Set([at + 1, at + (bytes.length >> 1), end - 1]);
  const pages = [];
  for (let page = Math.ceil((at + 1) / PAGE) * PAGE; page < end; page += PAGE) pages.push(page);
  pages.forEach((page) => cuts.add(page));
  for (const cut of cuts) if (cut > at && cut < end) found.push([part(at, cut)]);
  if (end <= length) {
    const sectors = [];
    for (let border = Math.ceil((at + 1) / SECTOR) * SECTOR; border < end; border += SECTOR) sectors.push(border);
    // The first sector's end may be a write's first byte only.
    for (const cut of new Set([at + 1, ...sectors, at + (bytes.length >> 1)])) if (cut > at && cut < end) found.push([part(cut, end)]);
  }
  // Pages of one write arrive in any order.
  const borders = [at, ...pages, end];
  for (let gone = 0; pages.length > 0 && gone < borders.length - 1; gone++) {
    const [from, to] = [borders[gone], borders[gone + 1]];
    if (to < end) found.push([grown, ...borders.slice(0, -1).flatMap((start, index) => (index === gone ? [] : [part(start, borders[index + 1])]))]);
    else if (from > at) found.push([part(at, from)]);
  }
  return found;
}

/** @param {Buffer} bytes @param {Change} change @returns {Buffer} */
function arrived(bytes, change) {
  // Zeros stand only where nothing durable stood: a page that was not written keeps its old bytes.
  if (change.kind === "write" && change.bytes.every((byte) => byte === 0)) {
    return Buffer.concat([bytes], Math.max(bytes.length, change.at + change.bytes.length));
  }
  return applied(bytes, change);
}

/** @param {(number)[]} sizes @returns {number} */
const product = (sizes) => sizes.reduce((all, size) => Math.min(all * size, 1e9), 1);

/**
 * @param {number[]} sizes
 * @param {number} limit
 * @param {() => number} random
 * @returns {number[][]} choices, one number below its size each: all if there are few, else the plain ones and a sample
 */
function choices(sizes, limit, random) {
  if (product(sizes) <= limit) {
    return sizes.reduce((/** @type {number[][]} */ all, size) => all.flatMap((one) => Array.from({ length: size }, (_, at) => [...one, at])), [[]]);
  }
  const [none, all] = [sizes.map(() => 0), sizes.map(() => 1)];
  const found = [none, all];
  // In order: what was done first arrived, the rest did not. And each one alone missing, and each one alone there.
  sizes.forEach((_size, at) => {
    found.push(sizes.map((_, other) => (other <= at ? 1 : 0)));
    found.push(sizes.map((_, other) => (other === at ? 0 : 1)));
    found.push(sizes.map((_, other) => (other === at ? 1 : 0)));
  });
  // Each way in which one alone may be torn.
  sizes.forEach((size, at) => {
    for (let way = 2; way < size; way++) found.push(sizes.map((_, other) => (other === at ? way : other < at ? 1 : 0)));
  });
  const kept = found.length <= limit ? found : [none, all, ...Array.from({ length: Math.ceil(limit / 2) }, () => found[Math.floor(random() * found.length)])];
  while (kept.length < limit) kept.push(sizes.map((size) => Math.floor(random() * size)));
  return kept;
}

/**
 * @param {Disk} disk
 * @param {number} limit at most about so many
 * @param {() => number} random
 * @returns {Tree[]}
 */
export function statesOf(disk, limit, random) {
  const files = new Set([...disk.durable.values(), ...disk.names.values()]);
  for (const { names } of disk.pending) for (const [, file] of names) if (file !== null) files.add(file);
  const dirty = [...files].filter((file) => file.pending.length > 0);
  const ways = dirty.map((file) => file.pending.map((change) => arrivals(change, file.durable.length)));
  const sizes = [...ways.flat().map((way) => way.length), ...disk.pending.map(() => 2)];
  return choices(sizes, limit, random).map((choice) => {
    let next = 0;
    /** @type {Map<File, Buffer>} */
    const contents = new Map();
    dirty.forEach((file, index) => {
      const changes = ways[index].flatMap((way) => way[choice[next++]]);
      contents.set(file, changes.reduce(arrived, file.durable));
    });
    const names = new Map(disk.durable);
    for (const renaming of disk.pending) {
      if (choice[next++] === 0) continue;
      for (const [name, file] of renaming.names) {
        if (file === null) names.delete(name);
        else names.set(name, file);
      }
    }
    return new Map([...names].map(([name, file]) => [name, contents.get(file) ?? file.durable]));
  });
}

/** @param {Tree} tree @param {string} more */
export function hashOf(tree, more) {
  const hash = createHash("sha256").update(more);
  for (const name of [...tree.keys()].sort()) {
    const bytes = /** @type {Buffer} */ (tree.get(name));
    hash.update(`\n${name} ${bytes.length}\n`).update(bytes);
  }
  return hash.digest("base64");
}
