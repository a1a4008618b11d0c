// Are there sizes at which a store breaks? `npm run check:sizes [-- --short]`
//
// A log and a snapshot longer than the longest string of V8, a batch with more operations than a call takes arguments,
// one record of 100 MB, a million records: each is written and closed by one process, opened, checked, checkpointed and
// closed by another, with the greatest memory of both; upstream 0.8.1 beside it. The short form takes a fifth of everything, and leaves upstream out. Linux.

import { spawnSync } from "node:child_process";
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const SCENARIO = join(dirname(fileURLToPath(import.meta.url)), "sizes-scenario.js");
const { values: flags } = parseArgs({ options: { short: { type: "boolean", default: false }, only: { type: "string" } } });
const SCALE = flags.short ? 0.2 : 1;
/** Writing 600 MB on a busy machine. */
const TIMEOUT_MS = 900_000;

/** Each case, and the least length of its largest file in the full form. */
const CASES = { "a log": 600e6, "a snapshot": 600e6, "a batch": 10e6, "one record": 100e6, "many records": 30e6 };

const base = mkdtempSync(join(realpathSync(tmpdir()), "opslog-sizes-"));
let failed = 0;
let most = 0;
let cases = 0;
/** @type {string[]} */
const rivalFailed = [];
try {
  for (const [name, least] of Object.entries(CASES)) {
    if (flags.only !== undefined && flags.only !== name) continue;
    cases++;
    const { failure, parts, largest, peak } = runCase(name, false);
    most = Math.max(most, peak);
    if (failure !== undefined || largest < least * SCALE) {
      failed++;
      console.error(`${name}: ${failure ?? `its largest file is ${largest} bytes, which proves nothing`}`);
    }
    console.log(`${name}, ${Math.round(largest / 1e6)} MB: ${parts.join("; ")}`);
    if (flags.short) continue;
    const rival = runCase(name, true);
    if (rival.failure !== undefined) rivalFailed.push(name);
    console.log(`  upstream: ${[...rival.parts, ...(rival.failure === undefined ? [] : [rival.failure])].join("; ")}`);
  }
} finally {
  rmSync(base, { recursive: true, force: true });
}
const beside = flags.short ? "" : `; upstream fails at ${rivalFailed.length}${rivalFailed.length > 0 ? ` (${rivalFailed.join(", ")})` : ""}`;
console.log(`check:sizes: ${cases} sizes (scale ${SCALE}), ${failed} failed, ${most} MB of memory at most${beside}`);
if (failed > 0) process.exit(1);

/**
 * Writes a store and opens it again.
 *
 * @param {string} name of the case
 * @param {boolean} rival upstream instead
 * @returns {{ failure?: string, parts: string[], largest: number, peak: number }} how it went
 */
function runCase(name, rival) {
  const dir = join(base, name);
  /** @type {{ failure?: string, parts: string[], largest: number, peak: number }} */
  const result = { parts: [], largest: 0, peak: 0 };
  for (const again of [false, true]) {
    const args = [SCENARIO, name, JSON.stringify({ dir, scale: SCALE, again, rival })];
    const run = spawnSync(process.execPath, args, { encoding: "utf8", timeout: TIMEOUT_MS, maxBuffer: 1 << 26 });
    if (run.status !== 0) {
      const why = /^\w*(?:Error|ERR)\w*.*$/m.exec(run.stderr)?.[0] ?? run.stderr.slice(-500);
      result.failure = `${again ? "opened again" : "written"}: ended with ${run.status ?? run.signal}: ${why}`;
      break;
    }
    const { seconds, largest, peak } = JSON.parse(run.stdout);
    result.largest = Math.max(result.largest, largest);
    result.peak = Math.max(result.peak, peak);
    const times = Object.entries(seconds).map(([step, time]) => `${step} ${time} s`);
    result.parts.push(`${again ? "opened again" : "written"} with ${peak} MB at most (${times.join(", ")})`);
  }
  rmSync(dir, { recursive: true, force: true });
  return result;
}
