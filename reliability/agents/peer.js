/**
 * An agent that lives beside one that is killed: carries out its part of a workload in a process of its own.
 *
 * `node peer.js JSON`, with what {@link Order} says. Says a line once its store is open, begins when the other one is
 * there, and goes on with what it does afterwards when its standard input ends. Its marks are as `driver.js` makes them.
 */
import { existsSync, openSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { run, toError } from "../run.js";
import { implementation, optionsOf } from "../stores.js";
import { chosen } from "../workloads.js";

/**
 * @typedef {object} Order
 * @property {string} kind `ours` or `upstream`
 * @property {string} workload
 * @property {string} dir
 * @property {string} marks
 * @property {string} other the marks of the agent beside: there once it begins
 */

/** @type {Order} */
const { kind, workload: name, dir, marks, other } = JSON.parse(process.argv[2] ?? "");
const [workload] = chosen(name);
if (workload.peer === undefined) throw new Error(`${name} has no peer`);
const { agent, beside, after } = workload.peer;
const { Store } = await implementation(kind);
const store = /** @type {import("../../index.js").Store<unknown>} */ (new Store());
await store.open(dir, { ...optionsOf(workload, kind), agentId: agent });
const fd = openSync(marks, "a");
const told = new Promise((resolve) => process.stdin.once("close", resolve).resume());
console.log('"ready"');

let first = 0;
/** @param {import("../workloads.js").Step[]} steps */
const carryOut = async (steps) => {
  let last = first;
  await run(steps, {
    store: () => store,
    open: async () => {},
    before: (at) => {
      last = first + at + 1;
      writeSync(fd, `mark i ${first + at}\n`);
    },
    after: (at, error) => {
      if (error !== undefined) throw toError(error);
      writeSync(fd, `mark a ${first + at}\n`);
    },
  });
  first = last;
};

const gone = told.then(() => true);
while (!existsSync(other) && !(await Promise.race([gone, sleep(1, false)])));
await carryOut(beside);
await told;
await carryOut(after);
