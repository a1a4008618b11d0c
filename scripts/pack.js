// The package as npm would publish it, for the scripts that install it elsewhere.

import { execFileSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** @typedef {{ filename: string, size: number, unpackedSize: number, files: { path: string, size: number }[] }} Packed */

/**
 * Packs the tree and says what is in it.
 * @param {string} destination folder for the tarball
 * @returns {string} path of the tarball
 */
export function pack(destination) {
  const { filename, files, size, unpackedSize } = packList(destination);
  console.log(`packed ${filename}: ${files.length} files, ${mebibytes(size)}, unpacked ${mebibytes(unpackedSize)}`);
  return join(destination, filename);
}

/**
 * @param {string} destination folder for the tarball
 * @returns {Packed}
 */
export function packList(destination) {
  // by hand: npm puts what a script prints into its JSON
  run(process.execPath, [join(root, "scripts/prepack.js")], root);
  /** @type {Packed[]} */
  const [packed] = JSON.parse(run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", destination], root));
  if (packed === undefined) throw new Error("npm pack made no tarball");
  return packed;
}

/** @param {number} bytes */
export function mebibytes(bytes) {
  return `${(bytes / 2 ** 20).toFixed(2)} MiB`;
}

/**
 * Output goes to this process's stderr only if the command fails.
 * @param {string} command
 * @param {string[]} args
 * @param {string} cwd
 * @param {NodeJS.ProcessEnv} env
 */
export function run(command, args, cwd, env = process.env) {
  // npm is a batch file on Windows, which only a shell runs
  const shell = process.platform === "win32" && command === "npm";
  return execFileSync(command, args, { cwd, env, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], shell });
}
