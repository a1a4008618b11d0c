/** `opslog info`: what is in a store, and who has it. */
import { readManifest, openReader } from "../reader.js";
import { EXIT, failureOf, quoted } from "../failures.js";
import { holders } from "../holders.js";
import { filesOf } from "../sizes.js";
import { time } from "../show.js";
import { count, many, plain, shown, size } from "../terminal.js";
import { formatOf } from "../format.js";

/** @type {import("../arguments.js").Usage} */
export const usage = {
  name: "info",
  summary: "what is in a store, and who has it",
  positionals: ["DIR"],
  more: "Where the store is too damaged to be read, its files and its lock are shown all the same, with exit code 1.",
  examples: [
    ["opslog info ./data", "records, log, snapshot, agents, archives, sizes, clocks, and who holds the lock"],
    ["opslog info ./data --json", "the same for a program"],
  ],
};

/** @param {import("../commands.js").Call} call */
export async function run({ positionals: [dir = ""], terminal }) {
  const info = await gather(dir);
  if (terminal.json) await terminal.out(JSON.stringify(info));
  else for (const line of linesOf(info, terminal.paint)) await terminal.out(line);
  return info.problem === null ? EXIT.ok : EXIT.found;
}

/** @typedef {Awaited<ReturnType<typeof gather>>} Info */

/** @param {string} dir */
async function gather(dir) {
  const { content, problem } = await contentOf(dir);
  const manifest = (await readManifest(dir))?.manifest;
  const files = await filesOf(dir);
  const lock = await holders(dir);
  const bytesOf = (/** @type {string} */ file) => files.find((entry) => entry.file === file)?.bytes ?? 0;
  const sum = (/** @type {string} */ kind) => files.reduce((total, entry) => total + (entry.kind === kind ? entry.bytes : 0), 0);
  const sizes = { state: sum("state"), superseded: sum("superseded"), aside: sum("aside"), other: sum("other") + sum("lock") };
  const agentLogs = Object.entries(manifest?.activeAgentOps ?? {});
  const isLive = (/** @type {string} */ id) => lock.agents.some(({ file }) => file.startsWith(`.agent-${encoded(id)}-`));
  const agents = agentLogs.map(([id, log]) => ({
    id,
    log,
    bytes: bytesOf(log),
    operations: content?.agents.get(id)?.operations ?? 0,
    clock: content?.agents.get(id)?.clock ?? null,
    live: isLive(id),
  }));
  const logs = agentLogs.length > 0 ? agentLogs.map(([, log]) => log) : manifest === undefined ? [] : [manifest.activeOps];
  return {
    dir,
    version: content?.version ?? manifest?.version ?? null,
    created: manifest?.stats.created ?? null,
    lastCheckpoint: manifest?.stats.lastCheckpoint ?? null,
    records: { active: content?.records ?? null, archived: manifest?.stats.archivedRecords ?? null },
    log: {
      operations: content?.operations ?? null,
      files: logs.map((file) => ({ file, bytes: bytesOf(file) })),
    },
    snapshot:
      manifest === undefined
        ? null
        : {
            file: manifest.currentSnapshot,
            bytes: bytesOf(manifest.currentSnapshot),
            records: manifest.stats.activeRecords,
            format: await formatOf(dir, manifest.currentSnapshot),
          },
    archives: (manifest?.archiveSegments ?? []).map((file) => ({ file, bytes: bytesOf(file) })),
    agents,
    clock: Math.max(manifest?.clock ?? 0, content?.clock ?? 0) || null,
    lock: lock.writer,
    liveAgents: lock.agents,
    sizes: { ...sizes, total: sizes.state + sizes.superseded + sizes.aside + sizes.other },
    problem,
  };
}

/**
 * What can be told by opening the store; or why it cannot be opened.
 * @param {string} dir
 */
async function contentOf(dir) {
  let store;
  try {
    store = await openReader(dir);
  } catch (error) {
    const failure = failureOf(error, dir);
    if (failure.exit !== EXIT.found) throw error;
    return { content: undefined, problem: { message: failure.message, code: failure.code ?? "OPSLOG_CORRUPT" } };
  }
  try {
    /** @type {Map<string, { operations: number, clock: number }>} */
    const agents = new Map();
    let clock = 0;
    const operations = store.getOps();
    for (const { agent, clock: at = 0 } of operations) {
      clock = Math.max(clock, at);
      if (agent === undefined) continue;
      const known = agents.get(agent) ?? { operations: 0, clock: 0 };
      agents.set(agent, { operations: known.operations + 1, clock: Math.max(known.clock, at) });
    }
    const { versionOf } = await import("../reader.js");
    const content = { records: store.count(), operations: operations.length, agents, clock, version: await versionOf(dir) };
    return { content, problem: null };
  } finally {
    await store.close();
  }
}

/**
 * An agent id as it stands in the name of its lock (`src/format/names.rs`).
 * @param {string} id
 */
function encoded(id) {
  let name = "";
  for (const character of id) {
    // eslint-disable-next-line no-control-regex -- what cannot stand in a file name
    const odd = /[/\\\x00-\x1f\x7f]/.test(character);
    name += odd ? `%${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(2, "0")}` : character;
    if (Buffer.byteLength(name) > 150) break;
  }
  return name;
}

/**
 * @param {Info} info
 * @param {import("../terminal.js").Paint} paint
 */
function* linesOf(info, paint) {
  const { records, log, snapshot, archives, agents, lock, liveAgents, sizes, problem } = info;
  const row = (/** @type {string} */ name, /** @type {string} */ text) => `${paint.bold(name.padEnd(14))}${text}`;
  const known = (/** @type {number | null} */ n) => (n === null ? "unknown" : count(n));
  if (problem !== null) {
    yield `${paint.red("damaged")}: ${shown(problem.message)}`;
    yield `\`opslog verify ${quoted(info.dir)}\` lists all damage.`;
  }
  yield row("store", `${plain(info.dir)}, records of version ${known(info.version)}`);
  if (info.created !== null) yield row("created", time(info.created));
  if (info.lastCheckpoint !== null) yield row("checkpoint", time(info.lastCheckpoint));
  yield row("records", `${known(records.active)} active, ${known(records.archived)} archived`);
  if (snapshot !== null) {
    yield row("snapshot", `${plain(snapshot.file)}, ${many(snapshot.records, "record")}, ${size(snapshot.bytes)}, ${snapshot.format}`);
  }
  yield row("log", `${known(log.operations)} operations since the checkpoint`);
  for (const { file, bytes } of log.files) yield row("", `${plain(file)}, ${size(bytes)}`);
  for (const { file, bytes } of archives) yield row("archive", `${plain(file)}, ${size(bytes)}`);
  for (const { id, operations, clock, live } of agents) {
    const at = clock === null ? "" : `, clock ${clock}`;
    yield row("agent", `${plain(id)}, ${many(operations, "operation")}${at}, ${live ? paint.yellow("live") : "not live"}`);
  }
  if (info.clock !== null) yield row("clock", String(info.clock));
  const writer = { free: "nobody", held: `process ${lock.pid ?? "unknown"}`, unknown: `perhaps process ${lock.pid}` }[lock.state];
  const live = liveAgents.length === 0 ? "" : `, ${many(liveAgents.length, "live agent")}`;
  yield row("written by", (lock.state === "free" ? writer : paint.yellow(writer)) + live);
  const more = Object.entries({ superseded: sizes.superseded, "kept aside": sizes.aside, other: sizes.other });
  const parts = more.filter(([, bytes]) => bytes > 0).map(([name, bytes]) => `, ${size(bytes)} ${name}`);
  yield row("size", `${size(sizes.state)}${parts.join("")}`);
}
