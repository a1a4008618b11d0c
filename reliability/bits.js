// Is every flipped bit, cut and zeroed block of a store's files noticed? `npm run check:bits [-- --short] [-- --seed N]`
//
// Our files: reliability/bits.rs, an engine without Node.js. Upstream 0.8.1 beside it: a log of the same 200 operations
// and a snapshot of the same 200 records, written by upstream, each bit flipped in turn, and opened by upstream. "Told"
// is what rejects, or says something on stderr; "silent" is another state without a word.

import { Store } from "@backloghq/opslog";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const { values: flags } = parseArgs({
  options: { short: { type: "boolean", default: false }, seed: { type: "string", default: "1" } },
});

/** In the short form upstream gets every so manieth bit; odd, so that each bit of a byte has its turn. */
const UPSTREAM_STEP = flags.short ? 101 : 1;

const ours = checkOurs();
const upstream = await checkUpstream();

const sum = (/** @type {(key: string) => boolean} */ wanted) =>
  Object.entries(ours).reduce((total, [key, count]) => (wanted(key) ? total + count : total), 0);
const cases = sum((key) => /^[^:]+: \w+$/.test(key));
const unnoticed = ours["archive segment: flip: other records, unnoticed"] ?? 0;
console.log(
  `check:bits: ${cases} damaged files, ${ours.failures} of them not noticed or not as they should be ` +
    `(flipped bits: log ${ours["log: flip"]}, snapshot ${ours["snapshot: flip"]}, manifest ${ours["manifest: flip"]}); ` +
    `archive segments have no checksum: ${unnoticed} of ${ours["archive segment: flip"]} flips change a value unnoticed; ` +
    `upstream: ${upstream.log.silent} of ${upstream.log.cases} flips in a log and ${upstream.snapshot.silent} of ` +
    `${upstream.snapshot.cases} in a snapshot give another state in silence`,
);
if (ours.failures > 0) process.exit(1);

/**
 * Runs the engine's part.
 *
 * @returns {Record<string, number>} its counts
 */
function checkOurs() {
  const args = ["test", "--quiet", "--no-default-features", "--profile", "checks", "--test", "bits", "--", "--seed", flags.seed];
  if (flags.short) args.push("--short");
  const run = spawnSync("cargo", args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], maxBuffer: 1 << 26 });
  if (run.error !== undefined) throw run.error;
  const line = run.stdout.split("\n").findLast((text) => text.startsWith("{"));
  if (line === undefined) {
    console.error(`reliability/bits.rs ended with ${run.status ?? run.signal} and no counts\n${run.stdout}`);
    process.exit(1);
  }
  const counts = JSON.parse(line);
  for (const [key, count] of Object.entries(counts)) if (/: .*: /.test(key)) console.log(`${key}: ${count}`);
  return counts;
}

/** @typedef {{ cases: number, told: number, same: number, silent: number }} Result */

/** @returns {Promise<{ log: Result, snapshot: Result }>} what upstream does with its own damaged files */
async function checkUpstream() {
  // in memory: a flip is two system calls there
  const base = existsSync("/dev/shm") ? "/dev/shm" : realpathSync(tmpdir());
  const dir = mkdtempSync(join(base, "opslog-bits-"));
  try {
    await write(join(dir, "log"), { checkpointThreshold: 1_000_000, checkpointOnClose: false }, operations);
    await write(join(dir, "snapshot"), {}, async (store) => {
      for (let n = 0; n < 200; n++) await store.set(`k${n}`, value(n));
    });
    return { log: await flipAll(join(dir, "log"), "activeOps"), snapshot: await flipAll(join(dir, "snapshot"), "currentSnapshot") };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/**
 * @param {string} dir store directory
 * @param {import("@backloghq/opslog").StoreOptions} options options of `open`
 * @param {(store: Store) => Promise<void>} work what to do
 */
async function write(dir, options, work) {
  const store = new Store();
  await store.open(dir, options);
  await work(store);
  await store.close();
}

/**
 * @param {number} n any number
 * @returns {Record<string, unknown>} the value of reliability/bits.rs
 */
function value(n) {
  return { n, text: `naïve text № ${n}`, tags: [`t${n % 3}`, n % 2 === 0] };
}

/**
 * The operations of reliability/bits.rs; upstream cannot read back updates of an array, so `list` is an object.
 *
 * @param {Store} store where to
 */
async function operations(store) {
  for (let n = 0; n < 197; n++) {
    if (n % 20 === 5) await store.delete(`k${n - 5}`);
    else if (n % 20 === 7) await store.set("list", { items: [n, "x"] });
    else if (n % 20 === 14) await store.set(`k${n - 8}`, value(n));
    else if (n % 20 === 10) {
      const made = value(n);
      await store.batch(() => {
        for (const id of [`k${n}`, `k${n - 1}`, "batched"]) void store.set(id, made);
      });
      n += 2;
    } else await store.set(`k${n}`, value(n));
  }
  await store.batch(() => {
    void store.set("last", { n: 1 });
    void store.delete("batched");
    void store.set("last", { n: 2 });
  });
}

/**
 * Flips bits of the file that a member of the manifest names, and opens the store each time.
 *
 * @param {string} dir store directory
 * @param {"activeOps" | "currentSnapshot"} member which file
 * @returns {Promise<Result>} how it ended, counted
 */
async function flipAll(dir, member) {
  const path = join(dir, JSON.parse(readFileSync(join(dir, "manifest.json"), "utf8"))[member]);
  const bytes = readFileSync(path);
  const result = { cases: 0, told: 0, same: 0, silent: 0 };
  const { error: original } = console;
  let lines = 0;
  console.error = () => lines++;
  try {
    const whole = await stateOf(dir);
    for (let bit = 0; bit < bytes.length * 8; bit += UPSTREAM_STEP) {
      bytes[bit >> 3] ^= 1 << (bit & 7);
      writeFileSync(path, bytes);
      bytes[bit >> 3] ^= 1 << (bit & 7);
      const before = lines;
      const state = await stateOf(dir).catch(() => undefined);
      result.cases++;
      if (state === undefined || lines > before) result.told++;
      else if (state === whole) result.same++;
      else result.silent++;
    }
  } finally {
    console.error = original;
  }
  return result;
}

/**
 * @param {string} dir store directory
 * @returns {Promise<string>} everything that it opens to
 */
async function stateOf(dir) {
  const store = new Store();
  await store.open(dir, { readOnly: true });
  const state = JSON.stringify(store.entries());
  await store.close();
  return state;
}
