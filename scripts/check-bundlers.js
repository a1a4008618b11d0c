// Do programs that are bundled find the addon? `npm run test:bundlers [-- --only NAME]`
//
// Installs the bundlers (`__test__/bundlers/package.json`) and the packed tree into an empty project, bundles a small
// program in every way that bundle.js knows, and runs the result from another folder:
// in the project; moved to a folder without node_modules, with the addon beside it, or named in the variable, or neither,
// which must end in the loader's error. Then the files that a tracer (Next.js, Vercel) finds are copied and run, and
// a single executable is made.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { thisPlatform } from "../platform.js";
import { pack, run } from "./pack.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const { values } = parseArgs({ options: { only: { type: "string" } } });
const work = mkdtempSync(join(realpathSync(tmpdir()), "opslog-bundlers-"));
const project = join(work, "project");
const away = join(work, "away");
const { file } = thisPlatform();
let failed = 0;

try {
  const folder = join(root, "__test__/bundlers");
  cpSync(folder, project, { recursive: true, filter: (path) => !path.includes("node_modules") });
  const quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"];
  run("npm", ["ci", ...quiet], project);
  run("npm", ["install", "--no-save", ...quiet, pack(work)], project);
  const addon = join(work, file);
  copyFileSync(join(project, "node_modules/opslog-native/prebuilds", file), addon);

  const cases = run(process.execPath, ["bundle.js", "--list"], project).trim().split("\n");
  for (const name of cases.filter(chosen)) check(name, () => bundled(name, addon));
  if (chosen("trace")) check("trace", traced);
  if (chosen("executable") && process.platform === "linux") check("executable", () => executable(addon));
} finally {
  rmSync(work, { recursive: true, force: true });
}
if (failed > 0) process.exitCode = 1;

/** @param {string} name */
function chosen(name) {
  return values.only === undefined || name.includes(values.only);
}

/**
 * @param {string} name
 * @param {() => string} work says what worked
 */
function check(name, work) {
  try {
    console.log(`ok: ${name}: ${work()}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED: ${name}: ${error instanceof Error ? error.message : error}`);
  }
}

/**
 * @param {string} name
 * @param {string} addon
 */
function bundled(name, addon) {
  const program = run(process.execPath, ["bundle.js", name, `out/${name}`], project).trim();
  const own = name.endsWith("own-binding");
  if (!own) works([join(project, "out", name, program)]);
  if (name.includes("external")) return "in the project";
  return moved(() => {
    copyFileSync(join(work, "hidden/out", name, program), join(away, program));
    const path = [join(away, program)];
    if (own) {
      mkdirSync(join(away, "kept"));
      copyFileSync(addon, join(away, "kept/engine.node"));
      works(path);
      return "with a module of its own in the loader's place";
    }
    const { stderr, status } = start(path);
    assert.equal(status, 1, "it runs without an addon");
    assert.match(stderr, /OPSLOG_BINDING/);
    assert.ok(stderr.includes(`${join(away, file)} (no such file)`), stderr);
    works(path, { OPSLOG_NATIVE_BINDING: addon });
    copyFileSync(addon, join(away, file));
    works(path);
    return "in the project, and away from it with the addon beside it or named";
  });
}

/** What `output: "standalone"` of Next.js copies. */
function traced() {
  const code = `
    import { nodeFileTrace } from "@vercel/nft";
    const { fileList } = await nodeFileTrace(["program.js"]);
    console.log(JSON.stringify([...fileList]));`;
  /** @type {string[]} */
  const files = JSON.parse(run(process.execPath, ["--input-type=module", "-e", code], project));
  assert.ok(files.some((path) => path.endsWith(file)), `no addon in ${files.join(", ")}`);
  return moved(() => {
    for (const path of files) cpSync(join(work, "hidden", path), join(away, path));
    works([join(away, "program.js")]);
    return `${files.length} files are enough`;
  });
}

/** https://nodejs.org/api/single-executable-applications.html @param {string} addon */
function executable(addon) {
  const program = run(process.execPath, ["bundle.js", "esbuild-cjs", "out/executable"], project).trim();
  const config = { main: join("out/executable", program), output: "program.blob", disableExperimentalSEAWarning: true };
  writeFileSync(join(project, "sea.json"), JSON.stringify(config));
  run(process.execPath, ["--experimental-sea-config", "sea.json"], project);
  const path = join(project, "single");
  copyFileSync(process.execPath, path);
  const fuse = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2";
  run(process.execPath, ["node_modules/postject/dist/cli.js", path, "NODE_SEA_BLOB", "program.blob", "--sentinel-fuse", fuse], project);
  return moved(() => {
    copyFileSync(join(work, "hidden/single"), join(away, "single"));
    works([], { OPSLOG_NATIVE_BINDING: addon }, join(away, "single"));
    copyFileSync(addon, join(away, file));
    works([], {}, join(away, "single"));
    return "with the addon beside it or named";
  });
}

/**
 * Runs what must not find anything of the project.
 * @param {() => string} what
 */
function moved(what) {
  const hidden = join(work, "hidden");
  renameSync(project, hidden);
  mkdirSync(away);
  try {
    return what();
  } finally {
    rmSync(away, { recursive: true });
    renameSync(hidden, project);
  }
}

/**
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} [env]
 * @param {string} [program]
 */
function works(args, env, program) {
  const { stdout, stderr } = start(args, env, program);
  assert.equal(stdout, "works\n", stderr);
}

/**
 * From another folder: nothing may depend on the current one.
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} env
 */
function start(args, env = {}, program = process.execPath) {
  return spawnSync(program, args, { cwd: tmpdir(), env: { ...process.env, ...env }, encoding: "utf8" });
}
