/** Runs the command line, and checks its JSON against the schemas in docs/cli/. */
import Ajv from "ajv";
import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished } from "vitest";
import { PATIENCE_MS } from "../support/patience.js";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
export const MAIN = fileURLToPath(new URL("../../cli/opslog.js", import.meta.url));

/** Commands whose JSON is one object a line. */
const BY_LINE = ["list", "history", "log"];

// Whoever runs the tests may have set these.
const { NO_COLOR: _, ...ENV } = process.env;

/**
 * @param {string[]} args
 * @param {{ input?: string, env?: object, cwd?: string }} [how]
 * @returns {{ status: number | null, stdout: string, stderr: string }}
 */
export function opslog(args, { input = "", env = {}, cwd } = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    input,
    cwd,
    env: { ...ENV, ...env },
    encoding: "utf8",
    timeout: PATIENCE_MS,
    maxBuffer: 1 << 28,
  });
  return { status, stdout, stderr };
}

/**
 * Runs a command that is to succeed.
 *
 * @param {string[]} args
 * @param {object} [how] as for `opslog`
 * @returns {string} what it prints
 */
export function output(args, how) {
  const { status, stdout, stderr } = opslog(args, how);
  expect(stderr).toBe("");
  expect(status).toBe(0);
  return stdout;
}

const ajv = new Ajv({ allErrors: true, strictTypes: false });

/**
 * @param {string} name of a schema
 * @param {unknown} value
 * @returns {any} the value, which is as the schema says
 */
export function checked(name, value) {
  const validate = ajv.getSchema(name) ?? compiled(name);
  expect(validate(value), `${name}: ${JSON.stringify(validate.errors)} in ${JSON.stringify(value).slice(0, 500)}`).toBe(true);
  return value;
}

function compiled(name) {
  const { $schema: _, ...schema } = JSON.parse(readFileSync(`${ROOT}docs/cli/${name}.schema.json`, "utf8"));
  return ajv.addSchema(schema, name).getSchema(name);
}

/**
 * Runs a command with --json.
 *
 * @param {string[]} args
 * @param {{ exit?: number }} [expected]
 * @returns {any} what it answers, checked against its schema; of an error, what stderr says
 */
export function json(args, { exit = 0 } = {}) {
  const { status, stdout, stderr } = opslog([...args, "--json"]);
  expect(status, stderr).toBe(exit);
  const [command] = args;
  if (stdout === "" && stderr !== "") return checked("error", JSON.parse(stderr)).error;
  if (!BY_LINE.includes(command)) return checked(command, JSON.parse(stdout));
  return stdout.split("\n").filter(Boolean).map((line) => checked(command, JSON.parse(line)));
}

/**
 * Starts a command that goes on.
 *
 * @param {string[]} args
 * @returns {{ process: import("node:child_process").ChildProcess, text: () => string, until: (pattern: RegExp) => Promise<void>, ended: Promise<{ code: number | null, stderr: string }> }}
 */
export function start(args) {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ["ignore", "pipe", "pipe"], env: ENV });
  let [text, stderr] = ["", ""];
  let look = () => {};
  child.stdout.setEncoding("utf8").on("data", (piece) => {
    text += piece;
    look();
  });
  child.stderr.setEncoding("utf8").on("data", (piece) => (stderr += piece));
  const ended = new Promise((resolve) => child.on("close", (code) => resolve({ code, stderr })));
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  const until = (pattern) =>
    new Promise((resolve, reject) => {
      look = () => pattern.test(text) && resolve(undefined);
      look();
      void ended.then(() => reject(new Error(`it ended: ${text}${stderr}`)));
    });
  return { process: child, text: () => text, until, ended };
}
