/**
 * Blobs: files of the caller's in a store's directory, beside the store's own.
 *
 * What could go wrong if: two writers of one blob overlap (each file is whole, the later rename wins); a writer dies
 * (its temporary file stays, is not listed, and goes with its folder); a range is larger than any buffer (the blob's
 * length bounds it).
 */
import { open, readFile, readdir, rm, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { TEMPORARY, makeFolder, replaceFile, syncFolder } from "./durable.js";
import { argumentError, isMissing, show, withCode } from "./errors.js";
import { inside, isOwn } from "./paths.js";

/**
 * The full path of a blob or a folder of blobs.
 * @param {string} dir
 * @param {string} path
 */
function pathOf(dir, path) {
  const below = inside(dir, path);
  if (below === "" || isOwn(below)) {
    throw argumentError(`Argument 'relativePath' must name a blob, not the store or a file of its own, got ${show(path)}`);
  }
  return join(dir, below);
}

/**
 * @param {string} dir
 * @param {string} path
 * @param {string | Uint8Array} content
 */
export async function writeBlob(dir, path, content) {
  const full = pathOf(dir, path);
  await makeFolder(dirname(full));
  await replaceFile(full, content);
}

/**
 * @param {string} dir
 * @param {string} path
 */
export async function readBlob(dir, path) {
  return readFile(pathOf(dir, path));
}

/**
 * @param {string} dir
 * @param {string} path
 * @param {number} offset
 * @param {number} length
 */
export async function readBlobRange(dir, path, offset, length) {
  if (offset < 0 || length < 0) {
    throw withCode(new Error("readBlobRange: offset and length must be non-negative"), "OPSLOG_INVALID");
  }
  for (const [name, value] of Object.entries({ offset, length })) {
    if (!Number.isInteger(value) && value !== Infinity) {
      throw argumentError(`Argument '${name}' must be an integer, got ${show(value)}`);
    }
  }
  const full = pathOf(dir, path);
  if (length === 0) return Buffer.alloc(0);
  const handle = await open(full, "r");
  try {
    const { size } = await handle.stat();
    const part = Buffer.alloc(Math.max(0, Math.min(length, size - offset)));
    let filled = 0;
    while (filled < part.length) {
      const { bytesRead } = await handle.read(part, filled, part.length - filled, offset + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return part.subarray(0, filled);
  } finally {
    await handle.close();
  }
}

/**
 * @param {string} dir
 * @param {string} prefix
 */
export async function listBlobs(dir, prefix) {
  const below = inside(dir, prefix);
  const isTop = below === "";
  const full = isTop ? dir : pathOf(dir, below);
  try {
    const names = await readdir(full);
    return names.filter((name) => !TEMPORARY.test(name) && !(isTop && isOwn(name)));
  } catch (error) {
    // Where a file stands in the way there is no such folder either.
    if (isMissing(error) || /** @type {NodeJS.ErrnoException} */ (error).code === "ENOTDIR") return [];
    throw error;
  }
}

/**
 * @param {string} dir
 * @param {string} path
 */
export async function deleteBlob(dir, path) {
  const full = pathOf(dir, path);
  try {
    await unlink(full);
  } catch (error) {
    if (isMissing(error)) return;
    throw error;
  }
  await syncFolder(dirname(full));
}

/**
 * @param {string} dir
 * @param {string} prefix
 */
export async function deleteBlobDir(dir, prefix) {
  const full = pathOf(dir, prefix);
  await rm(full, { recursive: true, force: true });
  await syncFolder(dirname(full)).catch((error) => {
    if (!isMissing(error)) throw error;
  });
}
