// One trial, in a process of its own. Started by run.js with a JSON argument; prints the measurement as JSON.

import { agents } from "./agents.js";
import { growth, scenarios } from "./scenarios.js";

/** @typedef {{ scenario: string, contender: string, stage: "prepare" | "run", dir: string, size: number, bytes: number }} Order */

/** @type {Order} */
const order = JSON.parse(process.argv[2] ?? "");
const scenario = [...scenarios, growth, ...agents].find(({ name }) => name === order.scenario);
if (scenario === undefined) throw new Error(`no scenario ${order.scenario}`);

/** @type {import("./contenders/contender.js").Contender} */
const contender = await import(`./contenders/${order.contender}.js`);
const { dir, size, bytes } = order;
// a store is filled without the automatic checkpoints that `defaults` may have
const guarantee = order.stage === "prepare" ? { ...scenario.guarantee, defaults: false } : scenario.guarantee;
/** @type {import("./scenarios.js").Trial} */
const trial = { contender: order.contender, dir, size, bytes, open: async (agent) => await contender.open(dir, { ...guarantee, agent }) };

/** @type {import("./scenarios.js").Measurement} */
let measurement = {};
if (order.stage === "prepare") await scenario.prepare?.(trial);
else measurement = await scenario.run(trial);
process.stdout.write(JSON.stringify({ version: contender.version, measurement }));
