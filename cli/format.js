/**
 * Which format a snapshot has, by its first bytes.
 */
import { open } from "node:fs/promises";
import { join } from "node:path";

/** @typedef {"checksum" | "lines" | "document" | "missing"} Format `lines`: upstream 0.7 or later; `document`: before. */

/** A header is never longer; the first line of a document may be. */
const HEAD = 4096;

/**
 * @param {string} dir
 * @param {string} file
 * @returns {Promise<Format>}
 */
export async function formatOf(dir, file) {
  let handle;
  try {
    handle = await open(join(dir, file));
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === "ENOENT") return "missing";
    throw error;
  }
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEAD), 0, HEAD, 0);
    const [line = ""] = buffer.toString("utf8", 0, bytesRead).split("\n", 1);
    const header = JSON.parse(line);
    if (Object.hasOwn(header, "records")) return "document";
    return Object.hasOwn(header, "crc") ? "checksum" : "lines";
  } catch (error) {
    if (error instanceof SyntaxError) return "document";
    // A damaged manifest may name a folder.
    if (/** @type {NodeJS.ErrnoException} */ (error).code === "EISDIR") return "missing";
    throw error;
  } finally {
    await handle.close();
  }
}
