/**
 * What the harnesses let a store do while they kill it, cut its power or break its disk.
 *
 * A workload is data: steps that `driver.js` carries out and `model.js` understands. `prepare` is done beforehand and in
 * peace; `steps` under fire. Each workload is small, as it is run once for each of its system calls.
 */

/** Every workload begins with an `open` that is not written down, of each agent if there are some. */

/** @typedef {import("./steps.js").Step} Step */

/**
 * @typedef {object} Workload
 * @property {string} name
 * @property {import("../index.js").StoreOptions} options of the store under fire
 * @property {Step[]} prepare
 * @property {Step[]} steps
 * @property {number} [torn] bytes that are cut off the prepared log's end: the store opens after a crash
 * @property {boolean} [upgrade] true where the store is opened with the next schema version
 * @property {string[]} [agents] ids of the agents that write; ids of records begin with the agent's
 * @property {Peer} [peer] an agent in a process of its own, which nobody kills; such a workload is for `crash.js` only
 * @property {boolean} [ours] true where the options are not upstream's
 */

/** @typedef {{ agent: string, beside: Step[], after: Step[] }} Peer what it does meanwhile, and what once the other one is dead */

const TEXT = "long enough that an update is stored as a patch, and a little longer than that";

/** @param {number} n @param {string} [text] */
const record = (n, text = TEXT) => ({ text, n });
/** @param {string} id @param {number} n @returns {Step} */
const set = (id, n) => ["set", id, record(n)];
/** @param {number} from @param {number} to @param {(n: number) => Step} step */
const each = (from, to, step) => Array.from({ length: to - from }, (_, at) => step(from + at));

/** @type {Step[]} */
const SOME = [set("a", 1), set("b", 1), ["set", "c", "é"], ["compact"], ["set", "d", [1]], set("a", 2), ["delete", "b"]];

/** Longer than two pages, so that a power cut can tear it in several places. */
const LONG = "日本語 ".repeat(1_000);

/** @type {Step[]} */
const WRITES = [
  set("a", 3), set("e", 1), ["delete", "c"], ["batch", [set("f", 1), ["delete", "d"], set("a", 4)]], set("e", 2),
  ["undo"], ["set", "é\n\"", { ["__proto__"]: 1 }], set("g", 1), ["delete", "g"], ["undo"],
];

const NEVER = { checkpointThreshold: Infinity };

/** So many, one by one, that the log has room afterwards (src/log/room.rs). */
const UNTIL_ROOM = each(0, 66, (n) => ["set", `long${n}`, record(n, TEXT.repeat(5))]);

/** @type {Workload[]} */
export const WORKLOADS = [
  { name: "first", options: {}, prepare: [], steps: [set("a", 1), ["batch", [set("b", 1), set("c", 1)]], ["close"]] },
  { name: "immediate", options: NEVER, prepare: SOME, steps: [...WRITES, ...each(0, 8, (n) => set(`k${n % 3}`, n))] },
  {
    name: "concurrent", options: NEVER, prepare: SOME,
    steps: each(0, 5, (n) => ["together", each(0, 6, (m) => set(`k${(n + m) % 7}`, n * 6 + m))]),
  },
  {
    name: "os", options: { ...NEVER, durability: "os" }, ours: true, prepare: SOME,
    steps: [...WRITES, ["flush"], set("h", 1), ["sync"], set("h", 2)],
  },
  {
    name: "group", options: { ...NEVER, writeMode: "group", groupCommitSize: 4, groupCommitMs: 10_000 }, prepare: SOME,
    steps: [...each(0, 10, (n) => set(`k${n % 3}`, n)), ["flush"], ...each(0, 3, (n) => set(`l${n}`, n)), ["sync"], set("m", 1)],
  },
  {
    name: "async", options: { ...NEVER, writeMode: "async", groupCommitSize: 5, groupCommitMs: 5 }, prepare: SOME,
    steps: [
      ...each(0, 8, (n) => set(`k${n % 3}`, n)), ["pause", 15], ...each(0, 4, (n) => set(`l${n}`, n)), ["sync"],
      ["batch", [set("m", 1), set("n", 1)]], ["flush"], set("o", 1), ["close"],
    ],
  },
  {
    name: "batch", options: NEVER, prepare: SOME,
    steps: [
      ["batch", each(0, 5, (n) => set(`k${n}`, n))], ["batch", [set("a", 5)]],
      ["batch", each(0, 4, (n) => ["set", `l${n}`, record(n, LONG)])], ["batch", each(0, 3, (n) => ["delete", `k${n}`])],
      ["together", [["batch", [set("x", 1), set("y", 1)]], set("z", 1), ["batch", [set("x", 2), set("y", 2)]]]],
    ],
  },
  {
    name: "undo", options: NEVER, prepare: SOME,
    steps: [
      set("e", 1), ["undo"], ["undo"], ["batch", [set("f", 1), set("g", 1), set("h", 1)]], ["undo"], ["undo"], set("i", 1),
      ["undo"], ["undo"], ["batch", [set("j", 1), set("k", 1)]], ["undo"], ["batch", [set("l", 1), set("m", 1)]],
    ],
  },
  {
    name: "undo-os", options: { ...NEVER, durability: "os" }, ours: true, prepare: SOME,
    steps: [
      ["batch", each(0, 4, (n) => set(`k${n}`, n))], ["sync"], ["undo"], ["sync"], ["undo"], ["undo"], ["sync"], set("e", 1), ["undo"], ["undo"],
    ],
  },
  {
    name: "undo-group", options: { ...NEVER, writeMode: "group", groupCommitSize: 3, groupCommitMs: 10_000 }, prepare: SOME,
    steps: [
      ["batch", each(0, 5, (n) => set(`k${n}`, n))], ["sync"], ["undo"], ["undo"], ["undo"], set("e", 1), set("f", 1), ["flush"],
      ...each(0, 5, () => /** @type {Step} */ (["undo"])), set("g", 1), ["undo"],
    ],
  },
  {
    name: "room", options: NEVER, prepare: SOME,
    steps: [
      ...UNTIL_ROOM, set("e", 1), ["delete", "long3"], ["set", "long", LONG], set("f", 1), ["set", "long4", record(1, TEXT.repeat(9))],
      ["undo"], set("g", 1), ["undo"], set("h", 1), ["close"], ["open"], set("i", 1),
    ],
  },
  {
    name: "room-left", options: { ...NEVER, checkpointOnClose: false }, prepare: SOME,
    steps: [
      ...UNTIL_ROOM, set("e", 1), ["batch", [set("f", 1), set("g", 1), ["delete", "long1"]]], set("h", 1),
      ...UNTIL_ROOM, set("i", 1), ["together", [["compact"], set("j", 1)]], set("k", 1), set("l", 1), ["undo"], ["close"],
    ],
  },
  {
    name: "threshold", options: { checkpointThreshold: 3 }, prepare: SOME,
    steps: [...each(0, 7, (n) => set(`k${n}`, n)), ["batch", each(0, 4, (n) => set(`l${n}`, n))], ["delete", "a"]],
  },
  {
    name: "compact", options: NEVER, prepare: SOME,
    steps: [
      ["together", [set("e", 1), ["compact"], set("e", 2), ["delete", "a"]]],
      ["together", [["compact"], ["batch", [set("f", 1), set("g", 1)]]]], set("h", 1), ["compact"], ["undo"],
    ],
  },
  {
    name: "archive", options: NEVER, prepare: [...SOME, set("old1", 1), ["archive", "old", "s"], set("old2", 1)],
    steps: [set("new1", 1), ["archive", "new", "t"], ["archive", "old", "s"], set("new2", 1), ["archive", "new", "t"], set("z", 1)],
  },
  {
    name: "lifecycle-os", options: { ...NEVER, durability: "os" }, ours: true, prepare: [...SOME, set("old1", 1)],
    steps: [
      set("e", 1), ["compact"], set("e", 2), ["undo"], set("f", 1), ["together", [["compact"], set("g", 1)]], ["undo"],
      ["close"], ["open"], set("h", 1), ["sync"], ["batch", [set("i", 1), set("j", 1)]], ["undo"], ["archive", "old", "s"], set("k", 1),
    ],
  },
  { name: "close", options: NEVER, prepare: SOME, steps: [set("e", 1), ["close"], ["open"], ["close"], ["open"], set("f", 1), ["close"]] },
  { name: "torn", options: NEVER, prepare: [...SOME, set("e", 1)], torn: 20, steps: [set("f", 1), ["close"], ["open"], set("g", 1)] },
  {
    name: "torn-batch", options: NEVER, prepare: [...SOME, ["batch", [set("e", 1), set("f", 1), set("g", 1)]]], torn: 150,
    steps: [set("h", 1), ["batch", [set("i", 1), set("j", 1)]]],
  },
  {
    name: "migrate", options: NEVER, prepare: [...SOME, set("old", 1), ["archive", "old", "s"], set("e", 1)], upgrade: true, ours: true,
    steps: [set("f", 1), ["close"]],
  },
  {
    name: "agents", options: NEVER, prepare: [], agents: ["A", "B"],
    steps: [
      ["as", "A", set("A1", 1)], ["as", "B", set("B1", 1)], ["as", "A", ["batch", [set("A2", 1), set("A3", 1)]]],
      ["together", [["as", "A", set("A1", 2)], ["as", "B", set("B1", 2)], ["as", "B", ["delete", "B1"]]]],
      ["as", "A", ["compact"]], ["as", "B", set("B2", 1)], ["together", [["as", "B", ["compact"]], ["as", "A", set("A4", 1)]]],
      ["as", "B", set("B3", 1)], ["as", "A", set("A5", 1)], ["as", "A", ["undo"]], ["as", "A", ["close"]], ["as", "B", ["close"]],
    ],
  },
];

/** @param {string} agent @param {Step[]} steps @returns {Step[]} */
const as = (agent, steps) => steps.map((step) => ["as", agent, step]);

/**
 * Agents of which one is killed while the other one lives. Only one of them makes checkpoints where the other one undoes:
 * otherwise nobody could say what an undo has answered.
 * @type {Workload[]}
 */
export const WITH_PEER = [
  {
    name: "agent-beside", options: NEVER, prepare: [], agents: ["A"],
    steps: as("A", [
      set("A1", 1), ["batch", [set("A2", 1), set("A3", 1), ["delete", "A1"]]], set("A2", 2), ["undo"], ["batch", [set("A4", 1), set("A5", 1)]],
      ["undo"], ["compact"], set("A6", 1), set("Aold1", 1), ["archive", "Aold", "s"], set("A7", 1), ["together", [["compact"], set("A8", 1)]], ["close"],
    ]),
    peer: {
      agent: "B",
      beside: as("B", each(0, 24, (n) => (n % 6 === 5 ? ["pause", 4] : set(`B${n % 4}`, n)))),
      after: as("B", [set("B9", 1), ["batch", [set("B9", 2), set("B8", 1)]], ["compact"], set("B7", 1), ["undo"], ["archive", "B8", "s"], set("B6", 1), ["close"]]),
    },
  },
  {
    name: "agent-beside-compactor", options: NEVER, prepare: [], agents: ["A"],
    steps: as("A", [
      ...each(0, 6, (n) => set(`A${n}`, n)), ["batch", [set("A1", 9), ["delete", "A2"], set("A7", 1)]], ["delete", "A3"],
      ["together", each(0, 4, (n) => set(`A${n}`, 20 + n))], ["close"],
    ]),
    peer: {
      agent: "B",
      beside: as("B", each(0, 24, (n) => (n % 4 === 3 ? ["compact"] : set(`B${n % 5}`, n)))),
      after: as("B", [set("B9", 1), ["compact"], ["batch", [set("B8", 1), ["delete", "B9"]]], ["close"]]),
    },
  },
];

/**
 * @param {string | undefined} name
 * @returns {Workload[]} the workload of this name, or all
 */
export function chosen(name) {
  const all = [...WORKLOADS, ...WITH_PEER];
  const found = name === undefined ? all : all.filter((workload) => workload.name === name);
  if (found.length === 0) throw new Error(`no workload ${name}: ${all.map((workload) => workload.name).join(", ")}`);
  return found;
}

/** The version of every store that is migrated, and what migrating does: never the same twice. */
export const MIGRATION = {
  version: 2,
  /** @param {unknown} value */
  migrate: (value) => ({ migrated: value }),
};
