/**
 * Carries one workload out in a process of its own, and says before and after each call that it does so.
 *
 * `node driver.js IMPLEMENTATION WORKLOAD DIRECTORY MARKS`. A line `mark i N` goes to the file MARKS before call N,
 * `mark a N` once it is acknowledged, each with one write: what was written before the process is killed is there.
 */
import { openSync, writeSync } from "node:fs";
import { run, toError } from "./run.js";
import { implementation, optionsOf } from "./stores.js";
import { chosen } from "./workloads.js";

const [kind, name, dir, marks] = process.argv.slice(2);
const [workload] = chosen(name);
const fd = openSync(marks, "a");
const { Store } = await implementation(kind);
const options = optionsOf(workload, kind);

/** @param {string | undefined} agent */
const opened = async (agent) => {
  const store = new Store();
  await store.open(dir, agent === undefined ? options : { ...options, agentId: agent });
  return store;
};

/** @type {Map<string | undefined, import("../index.js").Store<unknown>>} */
const stores = new Map();
for (const agent of workload.agents ?? [undefined]) stores.set(agent, await opened(agent));
await run(workload.steps, {
  store: (agent) => /** @type {import("../index.js").Store<unknown>} */ (stores.get(agent)),
  open: async (store, agent) => store.open(dir, agent === undefined ? options : { ...options, agentId: agent }),
  before: (at) => writeSync(fd, `mark i ${at}\n`),
  after: (at, error) => {
    if (error !== undefined) throw toError(error);
    writeSync(fd, `mark a ${at}\n`);
  },
});
writeSync(fd, "mark end\n");
// The process ends as one that forgot to close: at once, with the store open.
process.kill(process.pid, "SIGKILL");
