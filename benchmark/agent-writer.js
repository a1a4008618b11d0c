// An agent of a trial (agents.js), in a process of its own: opens, says so, writes when it is told to, and tells its rate.

import { once } from "node:events";

import { task, taskId } from "./record.js";

/** @typedef {import("./contenders/contender.js").Guarantee} Guarantee */
/** @typedef {{ contender: string, dir: string, guarantee: Guarantee, milliseconds: number, bytes: number }} Order */

/** Ids that an agent writes: updates, after the first round. */
const IDS = 1_000;

/** @type {Order} */
const { contender, dir, guarantee, milliseconds, bytes } = JSON.parse(process.argv[2] ?? "");
/** @type {import("./contenders/contender.js").Contender} */
const { open } = await import(`./contenders/${contender}.js`);
/** @param {unknown} message */
const tell = (message) => process.send?.(message);

const handle = await open(dir, guarantee);
const ids = Array.from({ length: IDS }, (_, index) => `${guarantee.agent}-${taskId(index)}`);
const versions = [0, 1].map((revision) => ids.map((_id, index) => task(index, revision, bytes)));
/** @param {number} count */
const write = async (count) => await handle.set(ids[count % IDS], versions[Math.floor(count / IDS) % 2][count % IDS]);
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
