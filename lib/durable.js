/**
 * Files that are there as a whole or not at all, and stay there.
 */
import { mkdir, open, rename, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";

/** Names of files that are being written: other readers of the folder are to pass them over. */
export const TEMPORARY = /^\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.tmp$/;

/** What `fsync` of a directory answers where the file system (or Windows) does not have it. */
const NO_SYNC = new Set(["EINVAL", "ENOTSUP", "ENOSYS", "EPERM", "EISDIR"]);

/**
 * Makes the names in a folder durable.
 * @param {string} folder
 */
export async function syncFolder(folder) {
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } catch (error) {
    if (!NO_SYNC.has(/** @type {NodeJS.ErrnoException} */ (error).code ?? "")) throw error;
  } finally {
    await handle.close();
  }
}

/**
 * Makes a folder and those above it, where they do not exist.
 * @param {string} folder
 */
export async function makeFolder(folder) {
  const first = await mkdir(folder, { recursive: true });
  if (first === undefined) return;
  const above = dirname(first);
  for (let made = folder; made !== above; made = dirname(made)) await syncFolder(dirname(made));
}

/**
 * A temporary name beside one of the store's own files, as the engine gives them (`src/format/names.rs`): what a crash
 * leaves under it, the next writer that opens the store removes.
 * @param {string} path
 */
export function ownTemporary(path) {
  return `${path}.${process.pid}-${Math.floor(Math.random() * 2 ** 47)}.tmp`;
}

/**
 * Puts a file with this content in the place of what has that name. A crash leaves the old file or the new one.
 * @param {string} path
 * @param {string | Uint8Array} content
 * @param {string} [temporary] Where it is written first.
 */
export async function replaceFile(path, content, temporary = join(dirname(path), `.${crypto.randomUUID()}.tmp`)) {
  const handle = await open(temporary, "wx");
  try {
    try {
      await handle.writeFile(content);
      // ORDER: before the rename, or a power cut leaves the new name on an empty file.
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw error;
  }
  await syncFolder(dirname(path));
}
