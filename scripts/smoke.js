// Does the package install and run where there is nothing but Node? `node scripts/smoke.js [TARBALL] [--build]`
//
// Packs the tree, or takes a tarball, and installs it with --ignore-scripts into an empty project outside of the tree. Runs
// there, with a PATH that holds neither cargo nor a compiler: an ESM program, a CommonJS one, a TypeScript one, the
// examples, and the command line. `--build`: then takes the addon away and does what the error says, which needs Rust.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { pack, run } from "./pack.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const programs = join(root, "__test__/package/programs");
const { values, positionals } = parseArgs({ options: { build: { type: "boolean", default: false } }, allowPositionals: true });
const project = mkdtempSync(join(tmpdir(), "opslog-smoke-"));

try {
  const tarball = positionals[0] === undefined ? pack(project) : resolve(positionals[0]);

  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "smoke", private: true, type: "module" }));
  run("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", tarball], project);
  cpSync(programs, project, { recursive: true });
  // nothing there, not even what lies in the same folder as node; Windows itself needs two more
  const empty = join(project, "empty");
  mkdirSync(empty);
  const { SystemRoot, TEMP } = process.env;
  const bare = process.platform === "win32" ? { PATH: empty, SystemRoot, TEMP } : { PATH: empty };

  program("ESM", "esm.mjs", bare);
  // its first line asks for a node in PATH, which is not there
  run(process.execPath, [join(project, "node_modules/opslog-native/dist/cli/opslog.js"), "verify", "esm"], project, bare);
  console.log("ok: the command line");
  program("worker threads", "workers.mjs", bare);
  program("the end of the process", "process-end.mjs", bare);
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major > 20 || minor >= 19) program("require", "cjs.cjs", bare);
  else console.log(`skipped: require of an ES module needs Node 20.19, this is ${process.versions.node}`);
  compile();
  program("TypeScript", "typescript.mjs", bare);

  // demo.js is a program of the repository: it imports what lies beside it
  const examples = readdirSync(join(root, "examples")).filter((name) => name.endsWith(".js") && name !== "demo.js");
  cpSync(join(root, "examples/support"), join(project, "support"), { recursive: true });
  for (const name of examples) {
    cpSync(join(root, "examples", name), join(project, name));
    program(`examples/${name}`, name, bare);
  }
  if (values.build) buildWhereItIsMissing(bare);
} finally {
  rmSync(project, { recursive: true, force: true });
}

/**
 * @param {string} what
 * @param {string} name
 * @param {NodeJS.ProcessEnv} env the whole environment
 */
function program(what, name, env) {
  run(process.execPath, [name], project, env);
  console.log(`ok: ${what}, Node ${process.versions.node}`);
}

/** With the package's own declarations, and nothing else of it. */
function compile() {
  const types = join(project, "node_modules/@types");
  mkdirSync(types, { recursive: true });
  for (const name of ["@types/node", "undici-types"]) cpSync(join(root, "node_modules", name), join(project, "node_modules", name), { recursive: true });
  const manifest = join(root, "node_modules/typescript/package.json");
  const tsc = join(dirname(manifest), JSON.parse(readFileSync(manifest, "utf8")).bin.tsc);
  const options = ["--strict", "--module", "nodenext", "--target", "es2023", "--types", "node", "--lib", "es2023,esnext.disposable"];
  run(process.execPath, [tsc, ...options, "typescript.mts"], project);
}

/** @param {NodeJS.ProcessEnv} bare */
function buildWhereItIsMissing(bare) {
  rmSync(join(project, "node_modules/opslog-native/prebuilds"), { recursive: true });
  const { status, stderr } = spawnSync(process.execPath, ["esm.mjs"], { cwd: project, env: bare, encoding: "utf8" });
  assert.equal(status, 1, "a package without an addon runs");
  const [, command] = /^To build one.*\n {2}(.*)$/m.exec(stderr) ?? [];
  assert.ok(command, `the error names no command:\n${stderr}`);
  // as fast as it can be compiled: the command is tried here, not the addon's speed
  const fast = { CARGO_PROFILE_RELEASE_LTO: "off", CARGO_PROFILE_RELEASE_OPT_LEVEL: "0", CARGO_PROFILE_RELEASE_CODEGEN_UNITS: "16" };
  const built = spawnSync(command, { cwd: project, env: { ...process.env, ...fast }, shell: true, encoding: "utf8" });
  assert.equal(built.status, 0, `${command} failed:\n${built.stderr}`);
  program("built where it was missing, by the command in the error", "esm.mjs", bare);
}
