/**
 * Runs scenarios in an installation: `node run.js '{"phase","implementation","state","result","names"}'`.
 *
 * The folders of the scenarios are below `state`. A line of JSON per scenario goes to `result` as it ends: a process
 * that dies leaves what came before.
 */
import { appendFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { Context } from "./context.js";
import { scenarios } from "./scenarios.js";

/** No scenario takes a second on a machine of its own; one that hangs must not take the others with it. */
const LIMIT_MS = 120_000;

/**
 * @typedef {object} Task
 * @property {"write" | "read"} phase
 * @property {"original" | "ours"} implementation
 * @property {string} state folder of the scenarios' folders
 * @property {string} result file for the results
 * @property {string[]} names
 */
/** @type {Task} */
const task = JSON.parse(process.argv[2] ?? "");

for (const name of task.names) {
  const act = scenarios[name]?.[task.phase];
  if (act === undefined) continue;
  const dir = join(task.state, name);
  mkdirSync(dir, { recursive: true });
  const context = new Context(dir, task.implementation);
  let failure;
  try {
    await limited(act(context));
  } catch (error) {
    const { message = String(error), stack = "" } = /** @type {Error} */ (error ?? {});
    failure = { message: message.replaceAll(dir, "<dir>"), stack: stack.replaceAll(dir, "<dir>") };
  }
  await limited(context.end()).catch((error) => (failure ??= { message: `at the end: ${error.message}`, stack: "" }));
  appendFileSync(task.result, `${JSON.stringify({ name, transcript: context.transcript, failure })}\n`);
}
// a store that a failed scenario left open could keep the process alive
process.exit(0);

/** @param {Promise<void>} promise */
async function limited(promise) {
  let timer;
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`did not end within ${LIMIT_MS / 1000} s`)), LIMIT_MS);
  });
  await Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
