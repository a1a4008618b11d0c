// An agent of a trial (agents.js), in a process of its own: opens, says so, writes when it is told to, and tells its rate.

import { once } from "node:events";

import { task, taskId } from "./record.js";

/** @typedef {{ contender: string, dir: string, guarantee: import("./contenders/contender.js").Guarantee, milliseconds: number, bytes: number }} Order */

/** Ids that an agent writes: updates, after the first round. */
const IDS = 1_000;

/** @type {Order} */
const { contender, dir, guarantee, milliseconds, bytes } = JSON.parse(process.argv[2] ?? "");
/** @type {import("./contenders/contender.js").Contender} */
const { open } = await import(`./contenders/${contender}.js`);
/** @param {unknown} message */
const tell = (message) => process.send?.(message);

const handle = await open(dir, guarantee);
const records = Array.from({ length: IDS }, (_, index) => [`${guarantee.agent}-${taskId(index)}`, task(index, 0, bytes), task(index, 1, bytes)]);
/** @param {number} count */
const write = async (count) => {
  const [id, even, odd] = /** @type {[string, object, object]} */ (records[count % IDS]);
  await handle.set(id, Math.floor(count / IDS) % 2 === 0 ? even : odd);
};
for (let count = 0; count < 20; count += 1) await write(count);
tell("ready");
await once(process, "message");

const started = performance.now();
let count = 0;
while (performance.now() - started < milliseconds) await write(count++);
const rate = count / ((performance.now() - started) / 1000);
await handle.close();
tell(rate);
process.disconnect();
