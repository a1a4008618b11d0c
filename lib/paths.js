/**
 * Paths in a store, as callers give them: relative, with any separators and dots, and never out of the store.
 */
import { isAbsolute, join, relative, resolve, sep } from "node:path";
import { argumentError, show } from "./errors.js";

/** What the store itself has at its top, with temporary files and owners' notes of locks: blobs are kept out of it. */
const OWN = /^(manifest\.json.*|snapshots|ops|archive|\.lock.*|\.compact-lock.*)$/;

/** Where file names are compared without their case. */
const CASELESS = process.platform === "darwin" || process.platform === "win32";

/**
 * The path below `dir`, with `/` between its parts and without dots; empty for `dir` itself.
 * @param {string} dir
 * @param {unknown} path Joined to `dir`, as `path.join` does: a leading slash does not make it absolute.
 * @returns {string}
 */
export function inside(dir, path) {
  if (typeof path !== "string" || path.includes("\0")) {
    throw argumentError(`Argument 'relativePath' must be a path, got ${show(path)}`);
  }
  const root = resolve(dir);
  const below = relative(root, join(root, path));
  if (below === ".." || below.startsWith(`..${sep}`) || isAbsolute(below)) {
    throw argumentError(`Argument 'relativePath' must not lead out of the store, got ${show(path)}`);
  }
  return sep === "/" ? below : below.replaceAll(sep, "/");
}

/**
 * True for the store's own files and folders, and what is in them.
 * @param {string} path As {@link inside} answers.
 */
export function isOwn(path) {
  const [top = ""] = path.split("/");
  return OWN.test(CASELESS ? top.toLowerCase() : top);
}
