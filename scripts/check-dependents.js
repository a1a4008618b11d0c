// Do packages that depend on the original work as well with this one? `npm run test:dependents [-- --only NAME]`
//
// Installs `@backloghq/agentdb` and `@backloghq/opslog-s3` (`__test__/dependents/package.json`) twice: as they are, and
// with npm's `overrides` sending `@backloghq/opslog` to the packed tree. The same scenarios run in both and say what
// they see; then each installation reads what either of them wrote. All must have said the same.
//
// Options: `--only NAME` (may be repeated) runs single scenarios, `--list` names them, `--self` installs the original
// on both sides, which shows whether the scenarios themselves are steady, `--show` prints what the original said.

import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { inspect, isDeepStrictEqual, parseArgs } from "node:util";
import { pack } from "./pack.js";

/** @typedef {{ name: string, transcript: [string, unknown][], failure?: { message: string, stack: string } }} Result */
/** @typedef {Map<string, Result>} Results */
/** @typedef {"original" | "ours"} Implementation */
/** @typedef {{ name: string, title: string, needs: string[], reads: boolean }} Listed */

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const NAME = "@backloghq/opslog";

/**
 * Options that this package still refuses. A scenario that needs one must fail with that refusal: one that runs shows
 * that the option is there, and is no longer to be excused.
 * @type {readonly string[]}
 */
const NOT_YET = [];
const REFUSAL = /is not supported by this version|this version of opslog-native supports no other/;

/** Of a scenario that fails in all combinations the first few say it all. */
const LINES = 6;

const { values: flags } = parseArgs({
  options: {
    only: { type: "string", multiple: true, default: [] },
    list: { type: "boolean", default: false },
    self: { type: "boolean", default: false },
    show: { type: "boolean", default: false },
  },
});

/** @type {readonly [Implementation, Implementation]} */
const SIDES = flags.self ? ["original", "original"] : ["original", "ours"];

const project = mkdtempSync(join(realpathSync(tmpdir()), "opslog-dependents-"));
try {
  await main();
} finally {
  rmSync(project, { recursive: true, force: true });
}

async function main() {
  const [first, second] = SIDES;
  const left = await install("left", first);
  const right = await install("right", second);
  /** @type {Listed[]} */
  const listed = await list(left);
  if (flags.list) {
    for (const { name, title } of listed) console.log(`${name}: ${title}`);
    return;
  }
  const unknown = flags.only.filter((name) => !listed.some((scenario) => scenario.name === name));
  if (unknown.length > 0) throw new Error(`no such scenario: ${unknown.join(", ")}; --list names them`);
  const chosen = listed.filter(({ name }) => flags.only.length === 0 || flags.only.includes(name));
  const names = chosen.map(({ name }) => name);

  const [leftWrote, rightWrote] = await Promise.all([
    play(left, "write", "left-wrote", names),
    play(right, "write", "right-wrote", names),
  ]);
  // each reader has its own copy: reading a store includes writing to it
  /** @type {(installation: Installation, source: string) => Promise<Results>} */
  const read = (installation, source) => {
    const state = `${source}-${installation.name}-reads`;
    cpSync(join(project, source), join(project, state), { recursive: true });
    return play(installation, "read", state, names);
  };
  const [leftReadLeft, rightReadRight] = await Promise.all([read(left, "left-wrote"), read(right, "right-wrote")]);
  const [leftReadRight, rightReadLeft] = await Promise.all([read(left, "right-wrote"), read(right, "left-wrote")]);

  const counts = { passed: 0, failed: 0, refused: 0 };
  for (const { name, title, needs, reads } of chosen) {
    const wrote = [leftWrote.get(name), rightWrote.get(name)];
    const missing = second === "ours" && needs.some((need) => NOT_YET.includes(need));
    if (flags.show) {
      const said = [...(wrote[0]?.transcript ?? []), ...(leftReadLeft.get(name)?.transcript ?? [])];
      for (const [label, value] of said) console.log(`  ${label}: ${JSON.stringify(value)}`);
    }
    /** @type {string[]} */
    const problems = [];
    const check = (/** @type {string} */ what, /** @type {Result | undefined} */ result, /** @type {Result | undefined} */ reference) => {
      problems.push(...problemsOf(result, reference).map((problem) => `${what}: ${problem}`));
    };
    check(`written by the ${first}`, wrote[0], wrote[0]);
    if (reads) check(`written and read by the ${first}`, leftReadLeft.get(name), leftReadLeft.get(name));
    if (missing) {
      const failures = [wrote[1], rightReadRight.get(name), rightReadLeft.get(name)].flatMap((result) => result?.failure ?? []);
      const other = failures.find(({ message }) => !REFUSAL.test(message));
      if (failures.length === 0) problems.push(`needs ${needs.join(", ")}, which is refused no more: see NOT_YET in scripts/check-dependents.js`);
      else if (other !== undefined) problems.push(`does not refuse what is not there yet: ${other.stack}`);
    } else {
      const who = second === "ours" ? "this package" : "the original again";
      check(`written by ${who}`, wrote[1], wrote[0]);
      if (reads) {
        const reference = leftReadLeft.get(name);
        check(`written and read by ${who}`, rightReadRight.get(name), reference);
        check(`written by the ${first}, read by ${who}`, rightReadLeft.get(name), reference);
        check(`written by ${who}, read by the ${first}`, leftReadRight.get(name), reference);
      }
    }
    if (problems.length > 0) {
      counts.failed += 1;
      const more = problems.length > LINES ? [`and ${problems.length - LINES} more`] : [];
      const lines = [...problems.slice(0, LINES), ...more].map((line) => `  ${line.replaceAll("\n", "\n    ")}`);
      console.log(`FAILED: ${name}: ${title}\n${lines.join("\n")}`);
    } else if (missing) {
      counts.refused += 1;
      console.log(`refused: ${name}: ${title} (needs ${needs.join(", ")})`);
    } else {
      counts.passed += 1;
      console.log(`ok: ${name}: ${title}`);
    }
  }
  console.log(`dependents: ${counts.passed} scenarios passed, ${counts.failed} failed, ${counts.refused} need what is not there yet`);
  if (counts.failed > 0) process.exitCode = 1;
}

/** @typedef {{ name: string, folder: string, implementation: Implementation }} Installation */

/**
 * Installs the dependents and makes sure of what they depend on.
 * @param {string} name
 * @param {Implementation} implementation
 * @returns {Promise<Installation>}
 */
async function install(name, implementation) {
  const folder = join(project, name);
  cpSync(join(root, "__test__/dependents"), folder, {
    recursive: true,
    filter: (source) => !source.includes("node_modules"),
  });
  if (implementation === "ours") {
    const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    manifest.overrides = { [NAME]: `file:${pack(project)}` };
    writeFileSync(join(folder, "package.json"), JSON.stringify(manifest, null, 2));
  }
  // `ci` refuses a lock that the overrides make stale; `install` takes the rest from it
  const command = implementation === "ours" ? "install" : "ci";
  // engines: the dependents ask for Node 22 and work on 20
  const args = [command, "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"];
  const { code, output } = await start("npm", args, folder);
  // npm names the registry in its messages
  if (code !== 0) throw new Error(`npm ${command} failed:\n${output.replaceAll(/\bhttps?:\/\/[^\s/]+/g, "<registry>")}`);

  const wanted = implementation === "ours" ? readJson(join(root, "package.json")) : { name: NAME, version: "0.8.1" };
  for (const dependent of ["@backloghq/agentdb", "@backloghq/opslog-s3"]) {
    const entry = createRequire(join(folder, "node_modules", dependent, "package.json")).resolve(NAME);
    const home = join(folder, "node_modules", NAME);
    // one copy for both, of the right package: anything else would compare the original with itself
    const found = entry.startsWith(home) ? readJson(join(home, "package.json")) : { name: "another copy", version: "?" };
    if (found.name !== wanted.name || found.version !== wanted.version) {
      throw new Error(`${dependent} got ${found.name} ${found.version} instead of ${wanted.name} ${wanted.version}`);
    }
  }
  console.log(`installed: agentdb and opslog-s3 with ${wanted.name} ${wanted.version}`);
  return { name, folder, implementation };
}

/** @param {Installation} installation @returns {Promise<Listed[]>} */
async function list({ folder }) {
  const { scenarios } = await import(pathToFileURL(join(folder, "scenarios.js")).href);
  return Object.entries(scenarios).map(([name, { title, needs = [], read }]) => ({ name, title, needs, reads: read !== undefined }));
}

/**
 * Runs scenarios in an installation.
 * @param {Installation} installation
 * @param {"write" | "read"} phase
 * @param {string} state folder of the scenarios' folders
 * @param {string[]} names
 * @returns {Promise<Results>}
 */
async function play({ folder, implementation }, phase, state, names) {
  const result = join(project, `${state}.${phase}.jsonl`);
  mkdirSync(join(project, state), { recursive: true });
  const task = JSON.stringify({ phase, implementation, state: join(project, state), result, names });
  const { code, signal, output } = await start(process.execPath, ["run.js", task], folder);
  const lines = existsSync(result) ? readFileSync(result, "utf8").split("\n").filter(Boolean) : [];
  const results = new Map(lines.map((line) => /** @type {Result} */ (JSON.parse(line))).map((item) => [item.name, item]));
  if (code !== 0) {
    console.log(`the process that ran "${phase}" with the ${implementation} package ended with ${signal ?? `code ${code}`}:\n${output.replaceAll(project, "<project>")}`);
    process.exitCode = 1;
  }
  return results;
}

/**
 * What is wrong with a transcript, and where it differs from the other.
 * @param {Result | undefined} result
 * @param {Result | undefined} reference
 * @returns {string[]}
 */
function problemsOf(result, reference) {
  if (result === undefined) return ["did not run: the process had ended"];
  if (result.failure !== undefined) return [(result.failure.stack || result.failure.message).replaceAll(project, "<project>")];
  if (reference === undefined || reference.failure !== undefined) return [];
  const problems = [];
  for (let n = 0; n < Math.max(result.transcript.length, reference.transcript.length); n++) {
    const [said, expected] = [result.transcript[n], reference.transcript[n]];
    if (isDeepStrictEqual(said, expected) && JSON.stringify(said) === JSON.stringify(expected)) continue;
    problems.push(`line ${n + 1} differs\nexpected ${show(expected)}\ngot      ${show(said)}`);
  }
  return problems;
}

/** @param {unknown} value */
function show(value) {
  const text = inspect(value, { depth: 12, breakLength: Infinity, maxArrayLength: null });
  return text.length > 2000 ? `${text.slice(0, 2000)}…` : text;
}

/** @param {string} path @returns {{ name: string, version: string }} */
function readJson(path) {
  return JSON.parse(readFileSync(path, "utf8"));
}

/**
 * @param {string} command
 * @param {string[]} args
 * @param {string} cwd
 * @returns {Promise<{ code: number | null, signal: string | null, output: string }>}
 */
function start(command, args, cwd) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => {
        output += text;
      });
    }
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, output }));
  });
}
