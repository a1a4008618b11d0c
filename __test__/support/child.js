/**
 * Child processes that run one exported function of a scenario module.
 *
 * The function gets `{ Store, UpstreamStore, report, command, ...args }`; `report(value)` writes a line to the parent
 * before it returns, `command()` blocks until the parent sends a line and returns it.
 */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import { PATIENCE_MS } from "./patience.js";

const MAIN = fileURLToPath(new URL("./child-main.js", import.meta.url));

/**
 * @typedef {object} Child
 * @property {import("node:child_process").ChildProcess} process the process (the wrapper's, if there is one)
 * @property {any[]} reports what it has reported so far
 * @property {(isIt?: (report: any) => boolean) => Promise<any>} next resolves with the first report that fits and was not
 *   yet returned; rejects when the child ends before
 * @property {(line: string) => void} send sends a line to `command()`
 * @property {Promise<{ code: number | null, signal: string | null, stderr: string, reports: any[] }>} ended settles once
 *   the process has ended and its output is read
 */

/**
 * Starts a child process; it is killed when the running test ends.
 *
 * @param {URL} scenarios the module
 * @param {string} name the function that it exports
 * @param {object} [args] further arguments, JSON values or Infinity
 * @param {object} [how] how to start it
 * @param {string[]} [how.wrapper] a command and its arguments in front of node's
 * @param {import("node:child_process").SpawnOptions} [how.spawn] more options
 * @returns {Child} the running child
 */
export function startChild(scenarios, name, args = {}, { wrapper = [], spawn: options = {} } = {}) {
  const text = JSON.stringify(args, (_key, value) => (value === Infinity ? "@Infinity" : value));
  const [command, ...rest] = [...wrapper, process.execPath, MAIN, scenarios.href, name, text];
  const child = spawn(command, rest, { stdio: ["pipe", "pipe", "pipe"], ...options });
  const timer = setTimeout(() => child.kill("SIGKILL"), PATIENCE_MS);
  let stderr = "";
  let partial = "";
  let taken = 0;
  const reports = [];
  /** @type {Set<() => void>} */
  const waiters = new Set();
  let over = false;
  const wake = () => waiters.forEach((waiter) => waiter());
  child.stdin.on("error", () => {});
  child.stderr.setEncoding("utf8").on("data", (text) => {
    stderr += text;
  });
  child.stdout.setEncoding("utf8").on("data", (text) => {
    const lines = (partial + text).split("\n");
    partial = lines.pop() ?? "";
    for (const line of lines) reports.push(JSON.parse(line));
    wake();
  });
  const ended = new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      over = true;
      wake();
      resolve({ code, signal, stderr, reports });
    });
  });
  const next = (isIt = () => true) =>
    new Promise((resolve, reject) => {
      const look = () => {
        const index = reports.findIndex((report, at) => at >= taken && isIt(report));
        if (index >= 0) {
          taken = index + 1;
          waiters.delete(look);
          resolve(reports[index]);
        } else if (over) {
          waiters.delete(look);
          reject(new Error(`child ended without the report; stderr: ${stderr}`));
        }
      };
      waiters.add(look);
      look();
    });
  onTestFinished(async () => {
    if (!over) child.kill("SIGKILL");
    await ended;
  });
  return { process: child, reports, next, send: (line) => child.stdin.write(`${line}\n`), ended };
}

/**
 * Runs a child process to its end.
 *
 * @param {URL} scenarios the module
 * @param {string} name the function that it exports
 * @param {object} [args] further arguments, JSON values
 * @param {object} [how] as for `startChild`
 * @returns {Child["ended"]} how it ended and what it said
 */
export function runChild(scenarios, name, args, how) {
  const child = startChild(scenarios, name, args, how);
  child.process.stdin.end();
  return child.ended;
}
