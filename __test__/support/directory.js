/** Temporary directories, and fingerprints of what is in them. */
import { createHash } from "node:crypto";
import { cpSync, lstatSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { onTestFinished } from "vitest";
import { hasFiles } from "./implementation.js";
import { copyDisk, forgetDisk, textsOf } from "./memory-backend.js";

/**
 * Makes a temporary directory that the caller removes.
 *
 * @returns {string} its absolute path, free of symbolic links
 */
export function makeTemporaryDirectory() {
  return mkdtempSync(join(realpathSync(tmpdir()), "opslog-test-"));
}

/**
 * Makes a temporary directory that is removed when the running test ends.
 *
 * @returns {string} its absolute path, free of symbolic links
 */
export function temporaryDirectory() {
  const dir = makeTemporaryDirectory();
  onTestFinished(() => removeDirectory(dir));
  return dir;
}

/**
 * @param {string} dir the directory to remove with all that is in it
 */
export function removeDirectory(dir) {
  rmSync(dir, { recursive: true, force: true });
  forgetDisk(dir);
}

/**
 * Copies a directory.
 *
 * @param {string} dir the directory to copy
 * @param {string} copy where to
 */
export function copyTo(dir, copy) {
  if (hasFiles) cpSync(dir, copy, { recursive: true });
  else copyDisk(dir, copy);
}

/**
 * Copies a directory into a new temporary one that is removed when the running test ends.
 *
 * @param {string} dir the directory to copy
 * @returns {string} the path of the copy
 */
export function copyOf(dir) {
  const copy = join(temporaryDirectory(), "store");
  copyTo(dir, copy);
  return copy;
}

/**
 * Describes every file and folder below a directory.
 *
 * @param {string} dir the directory
 * @returns {Record<string, string>} path relative to `dir` -> kind, mode, and size and hash of files
 */
export function treeOf(dir) {
  /** @type {Record<string, string>} */
  const tree = {};
  const hashOf = (content) => createHash("sha256").update(content).digest("hex");
  if (!hasFiles) {
    for (const [path, text] of Object.entries(textsOf(dir))) tree[path] = `file ${text.length} ${hashOf(text)}`;
    return tree;
  }
  const visit = (folder) => {
    for (const name of readdirSync(folder).sort()) {
      const path = join(folder, name);
      const stat = lstatSync(path);
      const mode = (stat.mode & 0o7777).toString(8);
      if (stat.isDirectory()) {
        tree[relative(dir, path)] = `folder ${mode}`;
        visit(path);
      } else {
        tree[relative(dir, path)] = `file ${mode} ${stat.size} ${hashOf(readFileSync(path))}`;
      }
    }
  };
  visit(dir);
  return tree;
}

/**
 * Lists the files below a directory.
 *
 * @param {string} dir the directory
 * @returns {string[]} sorted paths relative to `dir`
 */
export function filesOf(dir) {
  return Object.entries(treeOf(dir))
    .filter(([, text]) => text.startsWith("file"))
    .map(([path]) => path)
    .sort();
}
