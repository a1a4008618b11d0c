/**
 * Who holds a store, without touching its locks: asking for a lock would keep an opener out for a moment.
 *
 * On Linux the kernel lists its locks by inode. Elsewhere, and for upstream, which has no kernel lock, a pid in the file
 * whose process lives counts.
 */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";

/** @typedef {{ state: "free" | "held" | "unknown", pid?: number }} Holder */

/**
 * @param {string} dir
 * @returns {Promise<{ writer: Holder, agents: { file: string, pid?: number }[] }>}
 */
export async function holders(dir) {
  const locked = await lockedInodes();
  const writer = await holderOf(dir, ".lock", locked);
  const names = (await readdir(dir)).filter((name) => /^\.agent-.*\.lock$/.test(name));
  const agents = [];
  for (const file of names) {
    const { state, pid } = await holderOf(dir, file, locked);
    if (state === "held") agents.push({ file, ...(pid !== undefined && { pid }) });
  }
  return { writer, agents };
}

/**
 * @param {string} dir
 * @param {string} name
 * @param {Set<bigint> | undefined} locked
 * @returns {Promise<Holder>}
 */
async function holderOf(dir, name, locked) {
  try {
    const path = join(dir, name);
    const { ino, mtimeNs } = await stat(path, { bigint: true });
    const text = await readFile(path, "utf8");
    const pid = /^[1-9]\d*$/.test(text.trim()) ? Number(text) : undefined;
    const who = pid === undefined ? {} : { pid };
    if (locked?.has(ino)) return { state: "held", ...who };
    if (pid === undefined || !isAlive(pid)) return { state: "free" };
    // Written by this implementation, and without a kernel lock: what a crash left.
    const owner = await readFile(`${path}-owner`, "utf8").catch(() => "");
    const ours = owner === `${ino} ${mtimeNs}` || name !== ".lock";
    if (!ours) return { state: "held", ...who };
    return locked === undefined ? { state: "unknown", ...who } : { state: "free" };
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === "ENOENT") return { state: "free" };
    throw error;
  }
}

/** Inodes that the kernel knows to be locked; undefined where it does not tell. */
async function lockedInodes() {
  try {
    const lines = (await readFile("/proc/locks", "utf8")).split("\n");
    return new Set(lines.flatMap((line) => /FLOCK .* [\da-f]+:[\da-f]+:(\d+) /.exec(line)?.[1] ?? []).map(BigInt));
  } catch {
    return undefined;
  }
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === "EPERM";
  }
}
