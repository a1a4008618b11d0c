// The history of a real repository, replayed into a store: `npm run demo`.
//
// examples/data/express-history.jsonl holds 3,884 commits of expressjs/express as operations on paths, oldest first.
// Each commit is one `batch`, written and synced before the next begins. Afterwards a second process opens the store
// and compares it with the file tree at the repository's head (examples/data/express-head.json).
//
// Options: `--keep` leaves the store where it is and prints its path.
// Exit code: 0 if the second process found exactly the known state, 1 otherwise.

import { spawnSync } from "node:child_process";
import { createReadStream, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual, parseArgs } from "node:util";

import cliProgress from "cli-progress";

import { Store } from "../index.js";

/**
 * What the store keeps about one path of the repository.
 * @typedef {{ blob: string, size: number, mode: string, commit: string, date: string }} FileRecord
 */
/**
 * One line of express-history.jsonl.
 * @typedef {{ commit: string, date: string, ops: ({ op: "set", id: string, data: FileRecord } | { op: "delete", id: string })[] }} Commit
 */
/** @typedef {{ commits: number, ops: number, records: number, state: Record<string, FileRecord> }} Known */

const script = fileURLToPath(import.meta.url);
const { values: flags } = parseArgs({
  options: { keep: { type: "boolean", default: false }, verify: { type: "string" } },
});

/** @type {Known} */
const known = JSON.parse(readFileSync(new URL("data/express-head.json", import.meta.url), "utf8"));

if (flags.verify === undefined) await main();
else await verify(flags.verify);

async function main() {
  const root = mkdtempSync(join(tmpdir(), "opslog-demo-"));
  const dir = join(root, "store");
  try {
    heading("Replay");
    await fill(dir);

    heading("On disk");
    printTree(dir);

    heading("A second process opens the store");
    const child = spawnSync(process.execPath, [script, "--verify", dir], { stdio: "inherit" });
    if (child.status !== 0) process.exitCode = 1;
  } finally {
    if (flags.keep) console.log(`\nThe store was left in ${dir}`);
    else rmSync(root, { recursive: true, force: true });
  }
}

/**
 * Replays the history, asks a few questions, takes the last operation back and makes it again.
 * @param {string} dir
 */
async function fill(dir) {
  /** @type {Store<FileRecord>} */
  const store = new Store();
  // getHistory and getOps reach back to the last checkpoint. Without an automatic one they reach back to 2009;
  // close() makes one all the same.
  await store.open(dir, { checkpointThreshold: Infinity });

  const commits = await readCommits();
  const progress = startProgress(commits.length);
  const started = performance.now();
  let ops = 0;
  for (const [index, commit] of commits.entries()) {
    // resolves when the whole commit is on stable storage: all of its operations or none
    await store.batch(() => {
      for (const op of commit.ops) {
        if (op.op === "set") void store.set(op.id, op.data);
        else void store.delete(op.id);
      }
    });
    ops += commit.ops.length;
    progress.update(index + 1);
  }
  progress.stop();
  const seconds = (performance.now() - started) / 1000;
  console.log(
    `${number(commits.length)} commits with ${number(ops)} operations in ${seconds.toFixed(2)} s, each synced to disk: ` +
      `${number(commits.length / seconds)} commits/s, ${number(ops / seconds)} operations/s`,
  );

  heading("The largest files");
  const largest = store.entries().sort(([, a], [, b]) => b.size - a.size);
  for (const [path, file] of largest.slice(0, 5)) console.log(`${bytes(file.size).padStart(10)}  ${path}`);

  heading("Files by extension");
  /** @type {Map<string, number>} */
  const extensions = new Map();
  for (const [path] of store.entries()) {
    const extension = extname(path) || "(none)";
    extensions.set(extension, (extensions.get(extension) ?? 0) + 1);
  }
  for (const [extension, count] of [...extensions].sort(([, a], [, b]) => b - a).slice(0, 5)) {
    console.log(`${String(count).padStart(10)}  ${extension}`);
  }

  heading("History of package.json");
  const history = store.getHistory("package.json");
  console.log(`${number(history.length)} of ${number(store.getOps().length)} operations; the last five:`);
  for (const op of history.slice(-5)) {
    console.log(`${op.data?.date.slice(0, 10) ?? "deleted   "}  ${op.data?.commit ?? ""}  ${bytes(op.data?.size ?? 0)}`);
  }

  heading("Undo the last operation, then redo it");
  const last = store.getOps().at(-1);
  if (last?.data === undefined) throw new Error("the history ends with a set");
  console.log(`now    ${last.id} is of commit ${store.get(last.id)?.commit}`);
  await store.undo();
  console.log(`undo   ${last.id} is of commit ${store.get(last.id)?.commit}`);
  await store.set(last.id, last.data);
  console.log(`redo   ${last.id} is of commit ${store.get(last.id)?.commit}`);

  await store.close();
}

/**
 * Runs in a process of its own: opens the store and compares it with the known answer.
 * @param {string} dir
 */
async function verify(dir) {
  /** @type {Store<FileRecord>} */
  const store = new Store();
  const started = performance.now();
  await store.open(dir);
  console.log(`process ${process.pid} opened it in ${(performance.now() - started).toFixed(1)} ms`);

  const wrong = Object.keys(known.state).filter((path) => !isDeepStrictEqual(store.get(path), known.state[path]));
  const surplus = store.entries().flatMap(([path]) => (Object.hasOwn(known.state, path) ? [] : [path]));
  await store.close();

  if (wrong.length === 0 && surplus.length === 0) {
    console.log(`all ${known.records} records are equal to the repository's head`);
    return;
  }
  for (const path of wrong) console.error(`missing or different: ${path}`);
  for (const path of surplus) console.error(`not in the repository: ${path}`);
  process.exitCode = 1;
}

async function readCommits() {
  const lines = createInterface({ input: createReadStream(new URL("data/express-history.jsonl", import.meta.url)) });
  /** @type {Commit[]} */
  const commits = [];
  for await (const line of lines) commits.push(JSON.parse(line));
  return commits;
}

/**
 * A progress bar on a terminal, a line per quarter elsewhere.
 * @param {number} total
 */
function startProgress(total) {
  if (process.stderr.isTTY) {
    const bar = new cliProgress.SingleBar(
      { format: "{bar} {percentage} % | {value}/{total} commits | {eta_formatted} left", stream: process.stderr },
      cliProgress.Presets.shades_classic,
    );
    bar.start(total, 0);
    return { update: (/** @type {number} */ value) => bar.update(value), stop: () => bar.stop() };
  }
  let quarter = 0;
  return {
    update(/** @type {number} */ value) {
      const reached = Math.floor((4 * value) / total);
      if (reached > quarter) console.log(`${reached * 25} % (${value} of ${total} commits)`);
      quarter = reached;
    },
    stop() {},
  };
}

/** @param {string} dir */
function printTree(dir) {
  const files = readdirSync(dir, { recursive: true, encoding: "utf8" })
    .filter((name) => statSync(join(dir, name)).isFile())
    .sort();
  for (const name of files) console.log(`${bytes(statSync(join(dir, name)).size).padStart(10)}  ${name}`);
}

/** @param {string} text */
function heading(text) {
  console.log(`\n${text}\n${"-".repeat(text.length)}`);
}

/** @param {number} value */
function number(value) {
  return Math.round(value).toLocaleString("en-US");
}

/** @param {number} value */
function bytes(value) {
  return value < 1024 ? `${value} B` : `${(value / 1024).toFixed(1)} KiB`;
}
