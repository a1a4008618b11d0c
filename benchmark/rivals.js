// What only the benchmark needs: installed into benchmark/node_modules on first use, loaded by name.

import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const here = fileURLToPath(new URL(".", import.meta.url));
const run = promisify(execFile);

/**
 * A package of benchmark/package.json. Named by a string, as type checks run where it is not installed.
 * @param {string} name
 * @returns {Promise<{ module: any, version: string }>}
 */
export async function rival(name) {
  const module = await import(name);
  return { module, version: versionOf(name) ?? "" };
}

/**
 * Installs what is missing, the way the lock file says.
 *
 * Only better-sqlite3 has no binary in its npm package: one is downloaded from its release page. Where that cannot be
 * reached, it is compiled (about two minutes) if `compile` is set.
 * @param {boolean} compile
 */
export async function installRivals(compile) {
  /** @type {{ dependencies: Record<string, string> }} */
  const { dependencies } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));
  if (Object.entries(dependencies).some(([name, version]) => versionOf(name) !== version)) {
    console.error("Installing the rivals into benchmark/node_modules …");
    // Not `ci`: it refuses a lock without the optional binaries of platforms that the registry's mirror did not have.
    // `install` takes every version from the lock, and with --no-save it leaves the lock as it is.
    const args = ["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"];
    const reason = await attempt("npm", args, here);
    if (reason !== undefined) console.error(`npm could not install them (offline?): ${reason}`);
  }
  const sqlite = join(here, "node_modules/better-sqlite3");
  if (!existsSync(sqlite) || existsSync(join(sqlite, "build/Release/better_sqlite3.node"))) return;
  if (compile) {
    console.error("Fetching the binary of better-sqlite3, or compiling it …");
    await attempt("npm", ["rebuild", "better-sqlite3", "--foreground-scripts"], here);
  } else {
    await attempt(process.execPath, [join(here, "node_modules/prebuild-install/bin.js")], sqlite, 20_000);
  }
}

/**
 * Contenders that cannot be loaded, each with the reason.
 * @param {string[]} contenders
 * @returns {Promise<Map<string, string>>}
 */
export async function unavailable(contenders) {
  /** @type {Map<string, string>} */
  const missing = new Map();
  for (const contender of contenders) {
    const reason = await attempt(process.execPath, [join(here, "contenders", `${contender}.js`)], here);
    if (reason !== undefined) missing.set(contender, reason);
  }
  return missing;
}

/**
 * @param {string} command
 * @param {string[]} args
 * @param {string} cwd
 * @param {number} [timeout]
 * @returns {Promise<string | undefined>} why it failed, in a line
 */
async function attempt(command, args, cwd, timeout) {
  try {
    await run(command, args, { cwd, timeout, maxBuffer: 2 ** 26 });
    return undefined;
  } catch (error) {
    const { message, stderr } = /** @type {Error & { stderr: string }} */ (error);
    const said = /^(?:\w*Error|npm error (?!code|$)).*$/m.exec(stderr)?.[0] ?? message.split("\n", 1)[0];
    // npm names the registry in its messages
    return said?.replaceAll(/\bhttps?:\/\/[^\s/]+/g, "<registry>");
  }
}

/** @param {string} name @returns {string | undefined} */
function versionOf(name) {
  try {
    return JSON.parse(readFileSync(join(here, "node_modules", name, "package.json"), "utf8")).version;
  } catch {
    return undefined;
  }
}
