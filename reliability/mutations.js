// Would the suite notice? `npm run check:mutations [-- --short] [-- --only TEXT] [-- --from N]`
//
// Applies the faults of mutation-list.js one at a time in a copy of the tree (target/mutations/tree) and runs the part of
// the suite that must notice: it has to fail. Before that the same commands must succeed without a fault. The short form
// checks that every fault can still be applied, and runs two of them: which ones follows from the sources, so that
// another change has others checked.

import { createHash } from "node:crypto";
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, stripVTControlCharacters } from "node:util";
import { MUTATIONS } from "./mutation-list.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const tree = join(root, "target/mutations/tree");
const { values: flags } = parseArgs({
  options: { short: { type: "boolean", default: false }, only: { type: "string" }, from: { type: "string", default: "1" } },
});

/** How many the short form runs. */
const SHORT = 2;
/** A fault that makes a test hang is noticed. */
const TIMEOUT_MS = 600_000;
const COPIED = ["src", "tests", "lib", "__test__", "Cargo.toml", "Cargo.lock", "build.rs", "index.js", "index.d.ts", "binding.js", "loader.js", "platform.js", "package.json", "vitest.config.js", "scripts", "reliability"];

/** What a fault needs to be run: without the addon those in JavaScript cannot be. */
const [addon] = readdirSync(root).filter((name) => name.endsWith(".node"));

// Every fault must have its place, whether it is run or not.
/** @type {string[]} */
const lost = [];
const digest = createHash("sha256");
for (const { name, file, find } of MUTATIONS) {
  const text = readFileSync(join(root, file), "utf8");
  digest.update(text);
  const places = text.split(find).length - 1;
  if (places !== 1) lost.push(`${name}: ${file} has its text ${places} times:\n${find}`);
}
if (lost.length > 0) {
  console.error(`${lost.join("\n\n")}\n\nPut these faults where the code has gone (reliability/mutation-list.js).`);
  process.exit(1);
}

const chosen = choose();
copyTree();
/** @type {string[]} */
const survived = [];
let notRun = 0;
for (const command of new Set(chosen.map(({ caughtBy }) => JSON.stringify(caughtBy)))) {
  const { status, output } = run(JSON.parse(command));
  if (status === 0) continue;
  console.error(`${JSON.parse(command).join(" ")} fails without any fault:\n${output.slice(-4000)}`);
  process.exit(1);
}
for (const { name, file, find, replace, caughtBy } of chosen) {
  if (!caughtBy.includes("cargo") && addon === undefined) {
    notRun++;
    continue;
  }
  const path = join(tree, file);
  const text = readFileSync(path, "utf8");
  writeFileSync(path, text.replace(find, () => replace));
  const began = Date.now();
  const { status, output } = run(caughtBy);
  writeFileSync(path, text);
  const compiles = !/^error(\[E\d+\])?: (?!test failed|\d+ target)/m.test(output);
  const seconds = ((Date.now() - began) / 1000).toFixed(0);
  if (status !== 0 && compiles) {
    console.log(`caught in ${seconds} s: ${name} (${failedTests(output)})`);
  } else {
    survived.push(name);
    console.error(`${compiles ? "SURVIVED" : "DOES NOT COMPILE"}: ${name}\n  ${file}: ${find.trim().split("\n")[0]}\n  ${caughtBy.join(" ")}`);
    if (!compiles) console.error(output.slice(0, 3000));
  }
}
console.log(
  `check:mutations: ${MUTATIONS.length} faults can be applied, ${chosen.length - notRun} were run, ` +
    `${chosen.length - notRun - survived.length} caught, ${survived.length} not${notRun > 0 ? `; ${notRun} need the addon, which is not built` : ""}`,
);
if (survived.length > 0) process.exit(1);

/** @returns {readonly import("./mutation-list.js").Mutation[]} those that are run */
function choose() {
  const wanted = MUTATIONS.slice(Number(flags.from) - 1).filter(({ name }) => flags.only === undefined || name.includes(flags.only));
  if (!flags.short) return wanted;
  const start = digest.digest().readUInt32BE() % wanted.length;
  // far apart in the list: of different kinds
  return Array.from({ length: SHORT }, (_, n) => wanted[(start + Math.floor((n * wanted.length) / SHORT)) % wanted.length]);
}

/**
 * @param {string} output of cargo or vitest
 * @returns {string} names of the tests that failed
 */
function failedTests(output) {
  const text = stripVTControlCharacters(output);
  const names = new Set([
    ...[...text.matchAll(/^ {4}([\w:]+)$/gm)].map(([, name]) => name),
    ...[...text.matchAll(/^ *FAIL .*? > (.*)$/gm)].map(([, name]) => name),
  ]);
  return names.size === 0 ? "the run was ended" : `${[...names].slice(0, 2).join(", ")}${names.size > 2 ? ` and ${names.size - 2} more` : ""}`;
}

/** Copies what is built and tested. With new times: cargo must not take what it built of a fault for what it is now. */
function copyTree() {
  mkdirSync(tree, { recursive: true });
  for (const name of readdirSync(tree)) if (name !== "node_modules") rmSync(join(tree, name), { recursive: true });
  for (const name of COPIED) cpSync(join(root, name), join(tree, name), { recursive: true });
  if (addon !== undefined) cpSync(join(root, addon), join(tree, addon));
  if (!existsSync(join(tree, "node_modules"))) symlinkSync(join(root, "node_modules"), join(tree, "node_modules"));
}

/**
 * @param {readonly string[]} command as in the list
 * @returns {{ status: number | null, output: string }} how it ended
 */
function run(command) {
  const [program, ...args] = command[0] === "cargo" ? command : [process.execPath, ...command];
  const env = { ...process.env, CARGO_TARGET_DIR: join(root, "target/mutations/target"), CARGO_TERM_COLOR: "never", RUSTFLAGS: "-Awarnings", RUST_BACKTRACE: "0" };
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: tree, env, encoding: "utf8", timeout: TIMEOUT_MS, maxBuffer: 1 << 28 });
  return { status, output: `${stderr}\n${stdout}` };
}
