/** Starting processes of this folder, one session after the other, and killing them. */
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));

/** A process that takes longer than it was given and this besides hangs. */
const PATIENCE_MS = 120_000;

/** @typedef {{ code: number | null, signal: string | null, said: any[], stderr: string }} Ended */

/**
 * @typedef {object} Running
 * @property {() => void} kill
 * @property {Promise<void>} ready it has said its first line, or has ended
 * @property {() => void} go lets it go on: its standard input ends
 * @property {Promise<Ended>} ended
 */

/**
 * @param {string} script of this folder
 * @param {object} order
 * @param {number} milliseconds that it may take
 * @returns {Running}
 */
export function start(script, order, milliseconds) {
  const child = spawn(process.execPath, [join(HERE, script), JSON.stringify(order)], { stdio: ["pipe", "pipe", "pipe"] });
  let [stdout, stderr, late] = ["", "", false];
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, milliseconds + PATIENCE_MS);
  child.stdin.on("error", () => {});
  child.stderr.setEncoding("utf8").on("data", (/** @type {string} */ text) => void (stderr += text));
  child.stdout.setEncoding("utf8");
  /** @type {Promise<void>} */
  const ready = new Promise((resolve) => {
    child.stdout.on("data", (/** @type {string} */ text) => {
      stdout += text;
      if (stdout.includes("\n")) resolve();
    });
    child.once("close", () => resolve());
  });
  /** @type {Promise<Ended>} */
  const ended = new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      const said = stdout.split("\n").filter(Boolean).map((line) => JSON.parse(line));
      resolve({ code, signal, said, stderr: late ? `${stderr}\nit hung` : stderr });
    });
  });
  return { kill: () => void child.kill("SIGKILL"), ready, go: () => void child.stdin.end(), ended };
}

/** @param {Ended} ended */
export function howItEnded({ code, signal, stderr }) {
  return `ended with ${signal ?? code}: ${/^\w*Error.*$/m.exec(stderr)?.[0] ?? stderr.trim().slice(-600)}`;
}
