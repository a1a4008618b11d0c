// One thing, again and again, for a profiler: node benchmark/profile.js open | set | update | checkpoint [records]
//
// The flame graphs of docs/performance.md:
//   CARGO_PROFILE_RELEASE_STRIP=none CARGO_PROFILE_RELEASE_DEBUG=line-tables-only npm run build
//   perf record -e cpu-clock -F 2000 -g node --perf-basic-prof benchmark/profile.js open
//   perf script | inferno-collapse-perf | inferno-flamegraph --minwidth 0.5 > open.svg     # cargo install inferno

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { open } from "./contenders/opslog-native.js";
import { task, taskId } from "./record.js";

const [what = "set", count = "200000"] = process.argv.slice(2);
const records = Number(count);
const dir = mkdtempSync(join(tmpdir(), "opslog-profile-"));
/** @type {import("./contenders/contender.js").Guarantee} */
const guarantee = { mode: what === "set" ? "immediate" : "async", durability: "os" };

/** @param {import("./contenders/contender.js").Handle} handle @param {number} revision */
async function setAll(handle, revision) {
  for (let i = 0; i < records; i += 1) await handle.set(taskId(i), task(i, revision));
}

let handle = await open(dir, guarantee);
await setAll(handle, 0);
if (what === "open") {
  await handle.checkpoint();
  for (let n = 0; n < 30; n += 1) {
    await handle.close();
    handle = await open(dir, guarantee);
  }
} else if (what === "checkpoint") {
  for (let n = 0; n < 30; n += 1) {
    await handle.set(taskId(n), task(n, n + 1));
    await handle.checkpoint();
  }
} else if (what === "update") {
  for (let n = 1; n <= 5; n += 1) await setAll(handle, n);
} else if (what !== "set") {
  throw new Error(`unknown: ${what}; open, set, update or checkpoint`);
}
await handle.close();
rmSync(dir, { recursive: true });
