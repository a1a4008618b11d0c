/** Traces of system calls, where strace is installed and may trace. */
import { execFileSync, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { onTestFinished } from "vitest";
import { PATIENCE_MS } from "./patience.js";

/** Whether strace works here; tests that need it are skipped, by name, where it does not. */
export const canTrace = works("strace", ["-f", "-o", "/dev/null", "true"]);

/** Whether a file system may be mounted here. */
export const canMount = process.getuid?.() === 0 && works("unshare", ["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]);

/** Whether a process may be started in a process namespace of its own. */
export const canUnsharePids = works("unshare", ["--pid", "--fork", "true"]);

function works(command, args) {
  try {
    execFileSync(command, args, { stdio: "ignore", timeout: PATIENCE_MS });
    return true;
  } catch {
    return false;
  }
}

const CALLS = "write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,sync_file_range,rename,renameat,renameat2,unlink,unlinkat,ftruncate";

/**
 * The command to put in front of node's to trace its writes, syncs and renames, all threads, with paths.
 *
 * @param {string} output the file that strace writes
 * @returns {string[]} command and arguments
 */
export function tracing(output) {
  return ["strace", "-f", "-y", "-s", "300", "-e", `trace=${CALLS}`, "-e", "signal=none", "-o", output];
}

/**
 * @typedef {object} Call
 * @property {string} name the system call
 * @property {string} args its arguments as strace prints them; descriptors carry their path in `<>`
 * @property {string} result what follows the `=`
 */

/**
 * Reads a trace. Calls stand in the order in which they returned.
 *
 * @param {string} output the file that strace wrote
 * @returns {Call[]} the completed calls
 */
export function readTrace(output) {
  const calls = [];
  /** @type {Map<string, string>} thread -> text of the call that has not returned */
  const open = new Map();
  for (const line of readFileSync(output, "utf8").split("\n")) {
    const [, thread, rest] = /^(\d+)\s+(.*)$/.exec(line) ?? [];
    if (thread === undefined) continue;
    if (rest.endsWith("<unfinished ...>")) {
      open.set(thread, rest.slice(0, -"<unfinished ...>".length));
      continue;
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    const text = resumed ? (open.get(thread) ?? "") + resumed[1] : rest;
    const [, name, args, result] = /^(\w+)\((.*)\)\s+= (.*)$/.exec(text) ?? [];
    if (name !== undefined) calls.push({ name, args, result });
  }
  return calls;
}

/** Whether a call writes to the file at `path`. */
export const writesTo = (path) => ({ name, args }) => /^p?write/.test(name) && args.includes(`<${path}>`);

/** Whether a call syncs the file at `path`, successfully. */
export const syncs = (path) => ({ name, args, result }) =>
  /^(fsync|fdatasync)$/.test(name) && args.includes(`<${path}>`) && result.startsWith("0");

/** Whether a call writes the marker that the scenario `obey` leaves after a step. */
export const marks = (step) => ({ name, args }) => name === "write" && args.includes(`"done ${step}\\n"`);

/**
 * Makes system calls of a running process fail until `stop` is called.
 *
 * @param {number} pid the process
 * @param {string} fault what to inject, as strace's `-e inject=` takes it
 * @returns {Promise<() => Promise<void>>} stops it
 */
export async function injectFault(pid, fault) {
  const strace = spawn("strace", ["-f", "-p", String(pid), "-e", `inject=${fault}`, "-o", "/dev/null"]);
  const ended = new Promise((resolve) => strace.once("close", resolve));
  const stop = async () => {
    strace.kill("SIGINT");
    await ended;
  };
  onTestFinished(stop);
  await new Promise((resolve, reject) => {
    let text = "";
    strace.stderr.on("data", (chunk) => {
      text += chunk;
      if (text.includes("attached")) resolve(undefined);
    });
    strace.once("close", () => reject(new Error(`strace ended: ${text}`)));
  });
  return stop;
}
