// The package as npm would publish it, for the scripts that install it elsewhere.

import { execFileSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/**
 * Packs the tree and says what is in it. The addon must have been built.
 * @param {string} destination folder for the tarball
 * @returns {string} path of the tarball
 */
export function pack(destination) {
  /** @type {{ filename: string, unpackedSize: number, files: { path: string }[] }[]} */
  const packed = JSON.parse(run("npm", ["pack", "--json", "--pack-destination", destination], root));
  const [tarball] = packed;
  if (tarball === undefined) throw new Error("npm pack made no tarball");
  if (!tarball.files.some(({ path }) => path.endsWith(".node"))) {
    throw new Error("the tarball holds no addon: run `npm run build` first");
  }
  console.log(`packed ${tarball.filename}: ${tarball.files.length} files, ${(tarball.unpackedSize / 2 ** 20).toFixed(1)} MiB`);
  return join(destination, tarball.filename);
}

/**
 * Output goes to this process's stderr only if the command fails.
 * @param {string} command
 * @param {string[]} args
 * @param {string} cwd
 * @param {NodeJS.ProcessEnv} env
 */
export function run(command, args, cwd, env = process.env) {
  return execFileSync(command, args, { cwd, env, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
}
