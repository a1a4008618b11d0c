/**
 * A process with agents that come, write and go, one after the other. Starts when its standard input ends.
 *
 * `node visitor.js JSON`, with what {@link Order} says. Says a line once it is ready.
 */
import { Store } from "../../index.js";
import { valueOf } from "./journal.js";

/**
 * @typedef {object} Order
 * @property {string} dir
 * @property {string[]} ids of the agents
 * @property {number} records that each one writes
 * @property {number} checkpointThreshold
 * @property {boolean} killed true if the process kills itself once everything is written, with the last store open
 */

/** @type {Order} */
const { dir, ids, records, checkpointThreshold, killed } = JSON.parse(process.argv[2] ?? "");

console.log('"ready"');
await new Promise((resolve) => process.stdin.once("close", resolve).resume());
for (const agentId of ids) {
  const store = new Store();
  await store.open(dir, { agentId, checkpointThreshold, checkpointOnClose: false });
  for (let n = 0; n < records; n++) await store.set(`${agentId}/${n}`, valueOf(`${agentId}:${n}`));
  if (killed && agentId === ids.at(-1)) process.kill(process.pid, "SIGKILL");
  await store.close();
}
