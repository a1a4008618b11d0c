// Several writers ("agents") on one directory (`npm run bench -- --agents`): what is measured of them.
//
// Writing: each agent is a process of its own that makes one `set` after the other for a fixed time. Refreshing: two
// agents, of which one has written what the other one has not read yet.

import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { taskId } from "./record.js";
import { fillAndCheckpoint, makeEntries } from "./scenarios.js";

/** @typedef {import("./contenders/contender.js").Guarantee} Guarantee */
/** @typedef {import("./scenarios.js").Measurement} Measurement */
/** @typedef {import("./scenarios.js").Metric} Metric */
/** @typedef {import("./scenarios.js").Scenario} Scenario */
/** @typedef {import("./scenarios.js").Trial} Trial */

const CONTENDERS = ["opslog-native", "upstream"];
const PROCESSES = [1, 2, 4, 8];
const NEW = [1, 100, 10_000];
const WRITER = fileURLToPath(new URL("agent-writer.js", import.meta.url));

/** @type {Scenario[]} */
export const agents = [
  writing("agents-fsync", { mode: "immediate", durability: "fsync" }),
  writing("agents-os", { mode: "immediate", durability: "os" }),
  {
    name: "agents-refresh",
    title: (size) => `\`refresh\` of an agent, ${size} records`,
    size: { full: 100_000, quick: 1_000 },
    guarantee: { mode: "immediate", durability: "os" },
    contenders: CONTENDERS,
    metrics: NEW.map((count) => ({
      name: `new-${count}`,
      title: count === 1 ? "another one has made 1 operation" : `another one has made ${count.toLocaleString("en-US")} operations`,
      unit: "ms",
      better: "less",
      goals: [{ against: "upstream", times: 1 }],
    })),
    prepare: fillAndCheckpoint,
    run: refreshing,
  },
];

/**
 * @param {string} name
 * @param {Guarantee} guarantee
 * @returns {Scenario}
 */
function writing(name, guarantee) {
  return {
    name,
    title: () => `\`set\` one after the other in each process, agents, \`"${guarantee.durability}"\``,
    // milliseconds
    size: { full: 2_000, quick: 100 },
    guarantee,
    contenders: CONTENDERS,
    metrics: PROCESSES.map((count) => ({
      name: `processes-${count}`,
      title: count === 1 ? "1 process" : `${count} processes, together`,
      unit: "set/s",
      better: "more",
      goals: [],
    })),
    run: (trial) => together(trial, guarantee),
  };
}

/**
 * @param {Trial} trial
 * @param {Guarantee} guarantee
 * @returns {Promise<Measurement>}
 */
async function together({ contender, dir, size: milliseconds, bytes }, guarantee) {
  /** @type {Measurement} */
  const rates = {};
  for (const count of PROCESSES) {
    const store = join(dir, String(count));
    mkdirSync(store);
    const writers = [];
    for (let number = 0; number < count; number += 1) {
      const order = { contender, dir: store, guarantee: { ...guarantee, agent: `agent-${number}` }, milliseconds, bytes };
      const writer = fork(WRITER, [JSON.stringify(order)]);
      // One registers after the other: agents of upstream that do so at once lose what they write.
      await once(writer, "message");
      writers.push(writer);
    }
    const results = writers.map(async (writer) => {
      const [[result], [code]] = await Promise.all([once(writer, "message"), once(writer, "exit")]);
      if (code !== 0) throw new Error(`a writer ended with ${code}`);
      return /** @type {number} */ (result);
    });
    for (const writer of writers) writer.send("go");
    const done = await Promise.all(results);
    rates[`processes-${count}`] = done.reduce((sum, rate) => sum + rate, 0);
  }
  return rates;
}

/** @param {Trial} trial @returns {Promise<Measurement>} */
async function refreshing({ open, size, bytes }) {
  const [reader, writer] = [await open("reader"), await open("writer")];
  if (reader.refresh === undefined) throw new Error("this contender has no agents");
  /** @type {Measurement} */
  const times = {};
  let revision = 0;
  // the first two are not counted: the code is compiled, and the other agent has just come
  for (const count of [1, 1, ...NEW]) {
    revision += 1;
    const changed = Math.min(count, size);
    await writer.batch(Array.from({ length: Math.ceil(count / changed) }, () => makeEntries(changed, bytes, revision)).flat());
    globalThis.gc?.();
    const started = performance.now();
    await reader.refresh();
    times[`new-${count}`] = performance.now() - started;
    const last = /** @type {{ revision: number }} */ (reader.get(taskId(changed - 1)));
    if (last.revision !== revision) throw new Error("what the other agent wrote was not found");
  }
  await reader.close();
  await writer.close();
  return times;
}
