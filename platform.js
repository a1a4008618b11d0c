/**
 * How this platform is called in the name of an addon's file: `opslog-native.linux-x64-musl.node`.
 *
 * What could go wrong if: the C library were taken from the system instead of from this process. A musl build of Node
 * runs on a glibc system and the reverse, and an addon has to fit the process.
 */
import { createRequire } from "node:module";

// As in loader.js: importing it costs a millisecond. A bundle in CommonJS has no import.meta.url.
const { closeSync, openSync, readSync } = process.getBuiltinModule?.("node:fs") ?? fsBefore2016();

/** @returns {typeof import("node:fs")} */
function fsBefore2016() {
  return createRequire(import.meta.url ?? __filename)("node:fs");
}

/** @typedef {"gnu" | "musl"} Libc */

/** @typedef {{ platform: string, arch: string, libc: Libc | undefined, target: string, file: string }} Platform */

/**
 * Of a Linux whose C library cannot be told, glibc is assumed.
 * @returns {Platform} `libc` is undefined where it could not be told, and outside of Linux.
 */
export function thisPlatform() {
  const { platform, arch } = process;
  const libc = platform === "linux" ? libcOf(process.execPath) ?? libcOfReport() : undefined;
  const abi = platform === "linux" ? `-${libc ?? "gnu"}` : platform === "win32" ? "-msvc" : "";
  const target = `${platform}-${arch}${abi}`;
  return { platform, arch, libc, target, file: addonFile(target) };
}

/** @param {string} target */
export function addonFile(target) {
  return `opslog-native.${target}.node`;
}

/**
 * Reads which dynamic loader an executable asks for: /lib64/ld-linux-x86-64.so.2, /lib/ld-musl-x86_64.so.1.
 * @param {string} executable
 * @returns {Libc | undefined}
 */
function libcOf(executable) {
  const PROGRAM_INTERPRETER = 3;
  let file;
  try {
    file = openSync(executable, "r");
    const header = readAt(file, 0, 64);
    // 64 bits and little-endian, as all that Node runs on but s390x
    if (header.toString("latin1", 0, 6) !== "\x7fELF\x02\x01") return undefined;
    const size = header.readUInt16LE(54);
    const table = readAt(file, Number(header.readBigUInt64LE(32)), size * header.readUInt16LE(56));
    for (let entry = 0; entry < table.length; entry += size) {
      if (table.readUInt32LE(entry) !== PROGRAM_INTERPRETER) continue;
      const from = Number(table.readBigUInt64LE(entry + 8));
      return libcOfPath(readAt(file, from, Number(table.readBigUInt64LE(entry + 32))).toString("latin1"));
    }
    return undefined;
  } catch {
    // replaced, or unreadable: the report tells too, and takes longer
    return undefined;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** @returns {Libc | undefined} */
function libcOfReport() {
  const report = /** @type {{ header?: { glibcVersionRuntime?: string }, sharedObjects?: string[] } | undefined} */ (
    /** @type {unknown} */ (process.report?.getReport())
  );
  if (report?.header?.glibcVersionRuntime !== undefined) return "gnu";
  return report?.sharedObjects?.map(libcOfPath).find((libc) => libc !== undefined);
}

/**
 * @param {string} path of a dynamic loader, or of any other library
 * @returns {Libc | undefined}
 */
function libcOfPath(path) {
  if (/\/ld-musl-|\/libc\.musl-/.test(path)) return "musl";
  return /\/ld-linux|\/ld64\.so/.test(path) ? "gnu" : undefined;
}

/**
 * @param {number} file
 * @param {number} position
 * @param {number} length
 */
function readAt(file, position, length) {
  const bytes = Buffer.alloc(Math.min(length, 65_536));
  return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, position));
}
