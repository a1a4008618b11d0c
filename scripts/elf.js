// What a Linux library needs of others: the part of ELF that the dynamic loader reads to decide whether it can be loaded.

/** @typedef {{ machine: number, libraries: string[], versions: Map<string, string[]> }} Needs */

const SECTION = { strings: 3, dynamic: 6, versionNeeds: 0x6ffffffe };
const NEEDED = 1n;

/**
 * @param {Buffer} bytes of a 64-bit little-endian ELF file
 * @returns {Needs} `versions`: what is needed of each library, such as GLIBC_2.17, in no order
 */
export function needsOf(bytes) {
  if (bytes.toString("latin1", 0, 6) !== "\x7fELF\x02\x01") throw new Error("not a 64-bit little-endian ELF file");
  const sections = sectionsOf(bytes);
  /** @type {string[]} */
  const libraries = [];
  /** @type {Map<string, string[]>} */
  const versions = new Map();
  for (const { type, offset, size, link } of sections) {
    const strings = sections[link];
    if (strings === undefined || strings.type !== SECTION.strings) continue;
    const text = (/** @type {number} */ at) => textAt(bytes, strings.offset + at);
    if (type === SECTION.dynamic) {
      for (let at = offset; at < offset + size; at += 16) {
        if (bytes.readBigInt64LE(at) === NEEDED) libraries.push(text(Number(bytes.readBigUInt64LE(at + 8))));
      }
    } else if (type === SECTION.versionNeeds) {
      for (const [library, names] of versionNeeds(bytes, offset, text)) versions.set(library, names);
    }
  }
  return { machine: bytes.readUInt16LE(18), libraries, versions };
}

/** @param {Buffer} bytes */
function sectionsOf(bytes) {
  const from = Number(bytes.readBigUInt64LE(40));
  const size = bytes.readUInt16LE(58);
  return Array.from({ length: bytes.readUInt16LE(60) }, (_, number) => {
    const at = from + number * size;
    return {
      type: bytes.readUInt32LE(at + 4),
      offset: Number(bytes.readBigUInt64LE(at + 24)),
      size: Number(bytes.readBigUInt64LE(at + 32)),
      link: bytes.readUInt32LE(at + 40),
    };
  });
}

/**
 * Elf64_Verneed: version 2, count 2, file 4, first 4, next 4; Elf64_Vernaux: hash 4, flags 2, other 2, name 4, next 4.
 * @param {Buffer} bytes
 * @param {number} start
 * @param {(at: number) => string} text
 */
function* versionNeeds(bytes, start, text) {
  for (let at = start, next = 1; next !== 0; at += next) {
    /** @type {string[]} */
    const names = [];
    let name = at + bytes.readUInt32LE(at + 8);
    for (let left = bytes.readUInt16LE(at + 2); left > 0; left -= 1) {
      names.push(text(bytes.readUInt32LE(name + 8)));
      name += bytes.readUInt32LE(name + 12);
    }
    yield /** @type {const} */ ([text(bytes.readUInt32LE(at + 4)), names]);
    next = bytes.readUInt32LE(at + 12);
  }
}

/**
 * @param {Buffer} bytes
 * @param {number} at
 */
function textAt(bytes, at) {
  return bytes.toString("latin1", at, bytes.indexOf(0, at));
}
