/** Databases whose process is killed while it writes: what it acknowledged is there for the next one. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { openDb } from "./agentdb.js";

/** Acknowledged records after which the process is killed. */
const ENOUGH = 25;

/**
 * @param {string} title
 * @param {Record<string, unknown>} options of the database
 * @param {import("./context.js").Scenario["needs"]} [needs]
 * @returns {import("./context.js").Scenario}
 */
function killedWith(title, options, needs) {
  return {
    title,
    needs,
    async write(context) {
      const acknowledged = await killAmidWrites(context, options);
      const db = await openDb(context, options);
      await sayWhole(context, await db.collection("tasks"), acknowledged);
      await db.close();
      // once more, for the reader to find as it was left
      await killAmidWrites(context, { ...options, dir: "left" });
    },
    async read(context) {
      const db = await openDb(context, { ...options, dir: "left" });
      const tasks = await db.collection("tasks");
      await sayWhole(context, tasks, ENOUGH);
      await tasks.insert({ _id: "after", n: -1 });
      await db.close();
      const again = await openDb(context, { ...options, dir: "left" });
      context.say("what came after", await (await again.collection("tasks")).findOne("after"));
    },
  };
}

/** @type {Record<string, import("./context.js").Scenario>} */
export const scenarios = {
  "killed-in-memory": killedWith("a collection in memory has what a killed process acknowledged", {}),
  "killed-at-checkpoints": killedWith("a process that is killed among checkpoints loses nothing", { checkpointThreshold: 2 }),
  "killed-on-disk": killedWith("a collection on disk has what a killed process acknowledged", { storageMode: "disk" }, ["skipLoad"]),
  "killed-agent": killedWith("an agent that was killed has lost nothing, and comes back under its name", { agentId: "ada" }, ["agentId"]),
};

/**
 * Has a process write records `n0`, `n1`, … and kills it.
 *
 * @param {import("./context.js").Context} context
 * @param {Record<string, unknown> & { dir?: string }} options
 * @returns {Promise<number>} how many were acknowledged
 */
async function killAmidWrites(context, { dir = "db", ...options }) {
  const main = fileURLToPath(new URL("killed-main.js", import.meta.url));
  const child = spawn(process.execPath, [main, join(context.dir, dir), JSON.stringify(options)], { stdio: ["ignore", "pipe", "pipe"] });
  context.atEnd(() => child.kill("SIGKILL"));
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text) => {
    errors += text;
  });
  const ended = new Promise((resolve) => child.on("close", resolve));
  let acknowledged = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    if (Number(line) !== acknowledged) throw new Error(`unexpected line: ${line}`);
    acknowledged += 1;
    if (acknowledged === ENOUGH) child.kill("SIGKILL");
  }
  await ended;
  if (acknowledged < ENOUGH) throw new Error(errors);
  return acknowledged;
}

/** Says whether there are all acknowledged records and no gap among those that came after them. */
async function sayWhole(context, tasks, acknowledged) {
  const numbers = (await tasks.findAll()).map(({ n }) => n).sort((a, b) => a - b);
  context.say("acknowledged records are there", numbers.length >= acknowledged);
  context.say("records without a gap", numbers.every((n, index) => n === index));
}
