// What must hold of an addon that is published, read from its bytes: any machine can check the addons of all.

import { createRequire } from "node:module";
import { needsOf } from "./elf.js";
import { TARGETS } from "./targets.js";

/** What Node 20 itself needs on Linux. */
const NEWEST_GLIBC = [2, 28];
/** What Node 20.0.0 has. Later versions have more. */
const NODE_API = 8;

/** Parts of the C library, which every process has, and the unwinder, which Node brings along. */
const LIBRARIES = /^(?:lib(?:c|m|dl|pthread|rt)\.so\.6?\d*|libc\.so|libgcc_s\.so\.1|ld-(?:linux|musl)-\w+(?:-\w+)?\.so\.\d)$/;

/**
 * @param {string} target
 * @param {Buffer} bytes
 * @returns {string[]} what is wrong
 */
export function addonProblems(target, bytes) {
  const known = TARGETS[target];
  if (known === undefined) return ["no addon is published for this platform"];
  const { format, machine } = kindOf(bytes);
  if (format !== known.format || machine !== known.machine) {
    return [`is for another system or architecture: ${format}, machine ${machine}`];
  }
  return [...(format === "elf" ? libraryProblems(target, bytes) : []), ...nodeApiProblems(bytes)];
}

/**
 * @param {Buffer} bytes
 * @returns {{ format: string, machine: number }}
 */
function kindOf(bytes) {
  if (bytes.length > 64) {
    if (bytes.readUInt32BE(0) === 0x7f454c46) return { format: "elf", machine: bytes.readUInt16LE(18) };
    if (bytes.readUInt32LE(0) === 0xfeedfacf) return { format: "mach-o", machine: bytes.readUInt32LE(4) };
    const header = bytes.readUInt32LE(60);
    const isPe = bytes.toString("latin1", 0, 2) === "MZ" && bytes.toString("latin1", header, header + 4) === "PE\0\0";
    if (isPe) return { format: "pe", machine: bytes.readUInt16LE(header + 4) };
  }
  return { format: "unknown", machine: 0 };
}

/**
 * @param {string} target
 * @param {Buffer} bytes
 */
function libraryProblems(target, bytes) {
  const { libraries, versions } = needsOf(bytes);
  const problems = libraries.filter((name) => !LIBRARIES.test(name)).map((name) => `needs the library ${name}`);
  const glibc = [...versions.values()].flat().filter((name) => name.startsWith("GLIBC_"));
  if (target.endsWith("-musl")) return glibc.length > 0 ? [...problems, "needs glibc"] : problems;
  // a musl library names no versions at all, and would load
  if (glibc.length === 0) problems.push("was not built for glibc");
  return [...problems, ...glibc.filter(isTooNew).map((name) => `needs ${name}, newer than ${NEWEST_GLIBC.join(".")}`)];
}

/** @param {string} name such as GLIBC_2.2.5; GLIBC_PRIVATE and GLIBC_ABI_DT_RELR are no versions, and too new */
function isTooNew(name) {
  const [major = NaN, minor = NaN] = name.slice("GLIBC_".length).split(".").map(Number);
  const [newestMajor = 0, newestMinor = 0] = NEWEST_GLIBC;
  return !(major < newestMajor || (major === newestMajor && minor <= newestMinor));
}

/**
 * The addon looks functions of Node-API up by name, so that the names it can ask for stand in its data.
 * @param {Buffer} bytes
 */
function nodeApiProblems(bytes) {
  /** @type {{ symbols: Record<string, { js_native_api_symbols: string[], node_api_symbols: string[] }> }} */
  const { symbols } = createRequire(import.meta.url)("node-api-headers");
  const namesOf = (/** @type {string} */ version) => Object.values(symbols[version] ?? {}).flat();
  const allowed = new Set(namesOf(`v${NODE_API}`));
  const newer = Object.keys(symbols).flatMap(namesOf).filter((name) => !allowed.has(name));
  const named = new Set(bytes.toString("latin1").match(/(?:napi|node_api)_[a-z0-9_]+/g));
  if (![...allowed].some((name) => named.has(name))) return ["names no function of Node-API"];
  return [...new Set(newer)].filter((name) => named.has(name)).map((name) => `needs ${name}, newer than Node-API ${NODE_API}`);
}
