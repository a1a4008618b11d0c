// Hostile bytes for every reader of the engine: `npm run check:fuzz [-- --short] [-- --seconds N] [-- --only TARGET]`
//
// The targets are in fuzz/ (libFuzzer through cargo-fuzz, on stable Rust). cargo-fuzz is installed into target/ if it is
// not there. Each target begins with the committed corpus and keeps what it finds in target/fuzz-corpus. A failing input
// stays in target/fuzz-artifacts. Built without a sanitizer: the engine has no unsafe code, and an allocator that counts
// checks its memory instead (fuzz/src/lib.rs). The JavaScript side is `__test__/hostile`, part of `npm test`.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const target = join(root, "target");
const { values: flags } = parseArgs({
  options: {
    short: { type: "boolean", default: false },
    seconds: { type: "string" },
    only: { type: "string", multiple: true },
  },
});
const seconds = Number(flags.seconds ?? (flags.short ? 5 : 120));

/** A case that takes longer hangs. A virtual machine that others keep busy has stood still for more than a minute. */
const TIMEOUT_S = 300;
const PATH = [join(target, "tools/bin"), process.env.PATH].join(delimiter);
const env = { ...process.env, PATH, RUSTC_BOOTSTRAP: "1", CARGO_TERM_COLOR: "never" };

/**
 * Runs a command that must succeed.
 *
 * @param {string} command its name
 * @param {string[]} args its arguments
 */
function must(command, args) {
  const run = spawnSync(command, args, { cwd: root, env, encoding: "utf8", maxBuffer: 1 << 28 });
  if (run.status === 0) return;
  console.error(`${command} ${args.join(" ")}\n${run.stdout ?? ""}${run.stderr ?? ""}${run.error?.message ?? ""}`);
  process.exit(1);
}

if (spawnSync("cargo", ["fuzz", "--version"], { env, stdio: "ignore" }).status !== 0) {
  must("cargo", ["install", "cargo-fuzz", "--version", "0.13.2", "--locked", "--root", join(target, "tools")]);
}
must("cargo", ["fuzz", "build", "--sanitizer", "none", "--target-dir", join(target, "fuzz")]);

const [triple] = readdirSync(join(target, "fuzz")).filter((name) => existsSync(join(target, "fuzz", name, "release/op_line")));
if (triple === undefined) throw new Error("cargo fuzz has built nothing");
const names = flags.only ?? readdirSync(join(root, "fuzz/corpus")).sort();

let total = 0;
/** @type {string[]} */
const failed = [];
for (const name of names) {
  const found = join(target, "fuzz-corpus", name);
  const artifacts = join(target, "fuzz-artifacts", "/");
  mkdirSync(found, { recursive: true });
  mkdirSync(artifacts, { recursive: true });
  const args = [
    `-max_total_time=${seconds}`,
    // the short form judges a change, not that day's luck; the full form draws a seed of its own (0)
    `-seed=${flags.short ? 1 : 0}`,
    `-timeout=${TIMEOUT_S}`,
    "-rss_limit_mb=1024",
    "-max_len=65536",
    "-dict=fuzz/words.dict",
    `-artifact_prefix=${artifacts}${name}-`,
    "-print_final_stats=1",
    found,
    join("fuzz/corpus", name),
  ];
  const run = spawnSync(join(target, "fuzz", triple, "release", name), args, { cwd: root, env, encoding: "utf8", maxBuffer: 1 << 28 });
  const number = (/** @type {RegExp} */ pattern) => Number(pattern.exec(run.stderr)?.[1] ?? 0);
  const runs = number(/stat::number_of_executed_units:\s*(\d+)/);
  total += runs;
  console.log(`${name}: ${runs} inputs, ${number(/stat::peak_rss_mb:\s*(\d+)/)} MB at most`);
  if (run.status === 0 && runs > 0) continue;
  failed.push(name);
  const lines = run.stderr.split("\n");
  const from = Math.max(0, lines.findIndex((line) => /panicked|ERROR|SUMMARY/.test(line)));
  console.error(lines.slice(from, from + 40).join("\n"));
  console.error(`repeat with: target/fuzz/${triple}/release/${name} <the file named above>`);
}
// Calls with hostile arguments, names and files, from JavaScript; more random cases in the full form.
const vitest = [join(root, "node_modules/vitest/vitest.mjs"), "run", "--project", "native", "__test__/hostile"];
const calls = flags.only === undefined && !flags.short
  ? spawnSync(process.execPath, vitest, { cwd: root, env: { ...env, OPSLOG_RUNS: "400" }, encoding: "utf8", maxBuffer: 1 << 28 })
  : undefined;
if (calls !== undefined) {
  console.log(`JavaScript calls: ${/^vitest: .*$/m.exec(calls.stdout)?.[0] ?? "no result"}`);
  if (calls.status !== 0) {
    failed.push("__test__/hostile");
    console.error(`${calls.stdout}\n${calls.stderr}`);
  }
}
console.log(`check:fuzz: ${names.length} targets, ${total} inputs in ${seconds} s each, ${failed.length} failed${failed.map((name) => ` ${name}`).join("")}`);
if (failed.length > 0) process.exit(1);
