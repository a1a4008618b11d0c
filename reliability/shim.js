/** Building the shim, and starting processes under it. */
import { execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const TARGET = join(HERE, "..", "target", "shim");
const LIBRARY = join(TARGET, "debug", "libopslog_fault_shim.so");

/** Builds the shim; ends the process with a word where there is none for this system. */
export function buildShim() {
  if (process.platform !== "linux") {
    console.log(`skipped: the shim stands in front of Linux's libc, and this is ${process.platform}`);
    process.exit(0);
  }
  const args = ["build", "--quiet", "--locked", "--manifest-path", join(HERE, "shim", "Cargo.toml"), "--target-dir", TARGET];
  execFileSync("cargo", args, { stdio: "inherit" });
  if (!existsSync(LIBRARY)) throw new Error(`cargo built no ${LIBRARY}`);
}

/**
 * @param {Record<string, string>} variables of the shim, without their prefix
 * @returns {NodeJS.ProcessEnv}
 */
export function shimmed(variables) {
  const own = Object.entries(variables).map(([name, value]) => [`OPSLOG_SHIM_${name}`, value]);
  // Through io_uring libuv would pass libc by.
  return { ...process.env, ...Object.fromEntries(own), LD_PRELOAD: LIBRARY, UV_USE_IO_URING: "0" };
}

/** @typedef {{ code: number | null, signal: string | null, stderr: string }} Ended */

/** A driver that takes longer hangs: the longest one does some hundred cases. */
const PATIENCE_MS = 900_000;

/**
 * Runs `node SCRIPT ARGS…` to its end.
 * @param {string} script in this folder
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<Ended>}
 */
export function runNode(script, args, env) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(HERE, script), ...args], { env, stdio: ["ignore", "ignore", "pipe"] });
    let stderr = "";
    const timer = setTimeout(() => {
      stderr += `\n${script} took longer than ${PATIENCE_MS} ms`;
      child.kill("SIGKILL");
    }, PATIENCE_MS);
    child.stderr.setEncoding("utf8").on("data", (/** @type {string} */ text) => {
      stderr += text;
    });
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stderr });
    });
  });
}
