/**
 * The examples run and print what their comments say, and what the README shows stands in them.
 *
 * They import the package by its name: inside of it that is `exports` in package.json, the same way that a program
 * which installed it comes in. scripts/smoke.js runs them in an installation.
 */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { PATIENCE_MS } from "../support/patience.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const FOLDER = join(ROOT, "examples");

/** `npm run demo` is a program of its own, with data, and not one of these. */
const EXAMPLES = readdirSync(FOLDER).filter((name) => /\.[jt]s$/.test(name) && name !== "demo.js");

/** @param {string} name */
const textOf = (name) => readFileSync(join(FOLDER, name), "utf8");

/**
 * Node 20 knows neither types nor `await using`.
 *
 * @param {string} name of an example in TypeScript
 * @returns {string} path of its translation, in a project where the package is installed
 */
function translated(name) {
  const project = temporaryDirectory();
  cpSync(join(FOLDER, "support"), join(project, "support"), { recursive: true });
  writeFileSync(join(project, "package.json"), JSON.stringify({ type: "module" }));
  mkdirSync(join(project, "node_modules"));
  symlinkSync(ROOT, join(project, "node_modules/opslog-native"), "dir");
  const { outputText } = ts.transpileModule(textOf(name), {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  });
  const path = join(project, name.replace(/\.ts$/, ".js"));
  writeFileSync(path, outputText);
  return path;
}

describe("an example runs by itself and prints what its comments say", () => {
  it.each(EXAMPLES)("examples/%s", (name) => {
    const path = name.endsWith(".ts") ? translated(name) : join(FOLDER, name);
    const cwd = temporaryDirectory();
    const { status, stdout, stderr } = spawnSync(process.execPath, [path], { cwd, encoding: "utf8", timeout: PATIENCE_MS });
    expect(status, stderr).toBe(0);
    const promised = [...textOf(name).matchAll(/^ *console\.log\(.*\); \/\/ (.*)$/gm)].map(([, text]) => text);
    expect(stdout.split("\n").filter(Boolean)).toEqual(promised);
    expect(readdirSync(cwd), "files were left behind").toEqual([]);
  });
});

/**
 * Lines of a program without what may differ between the README and an example: indentation, empty lines, imports, and
 * the assertions, which the README leaves out.
 *
 * @param {string} text
 */
function essence(text) {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !/^import\b|^(await )?assert\b/.test(line));
}

describe("the README", () => {
  const readme = readFileSync(join(ROOT, "README.md"), "utf8");
  const snippets = [...readme.matchAll(/^ *```(?:js|ts|mjs|javascript|typescript)\n(.*?)^ *```$/gms)].map(([, text = ""]) => text);

  it("shows programs", () => {
    expect(snippets.length).toBeGreaterThan(0);
  });

  it.each(snippets.map((text, n) => ({ n: n + 1, text })))("has its snippet $n from an example", ({ text }) => {
    const wanted = `\n${essence(text).join("\n")}\n`;
    const sources = EXAMPLES.filter((name) => `\n${essence(textOf(name)).join("\n")}\n`.includes(wanted));
    expect(sources, text).not.toEqual([]);
  });

  it("prints what its comments say where its programs run one after the other", () => {
    const programs = [...readme.matchAll(/^```js\n(.*?)^```$/gms)].map(([, text = ""]) => text);
    const project = temporaryDirectory();
    mkdirSync(join(project, "node_modules"));
    symlinkSync(ROOT, join(project, "node_modules/opslog-native"), "dir");
    writeFileSync(join(project, "all.mjs"), `${programs.join("\n")}\nawait reader.close();\n`);
    const { status, stdout, stderr } = spawnSync(process.execPath, ["all.mjs"], { cwd: project, encoding: "utf8", timeout: PATIENCE_MS });
    expect(status, stderr).toBe(0);
    const promised = [...programs.join("\n").matchAll(/^ *console\.log\(.*\); \/\/ (.*)$/gm)].map(([, text]) => text);
    expect(stdout.split("\n").filter(Boolean)).toEqual(promised);
  });

  it("names every example", () => {
    const named = new Set([...readme.matchAll(/\]\(examples\/([\w.-]+)\)/g)].map(([, name]) => name));
    expect([...named].filter((name) => name !== "demo.js").sort()).toEqual([...EXAMPLES].sort());
  });
});
