// Does the package install and run where there is nothing but Node? `node scripts/smoke.js`
//
// Packs the tree, installs the tarball with --ignore-scripts into an empty project outside of it, and runs there,
// with a PATH that holds neither cargo nor a compiler: an ESM program, a CommonJS one, the examples, and the command line. The addon must
// have been built.

import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { pack, run } from "./pack.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const project = mkdtempSync(join(tmpdir(), "opslog-smoke-"));

const ESM = `
import assert from "node:assert/strict";
import { Store } from "opslog-native";
const store = new Store();
await store.open("./esm");
await store.set("a", { n: 1 });
await store.batch(() => {
  store.set("b", { n: 2 });
  store.delete("a");
});
await store.close();
await store.open("./esm", { readOnly: true });
assert.deepEqual(store.entries(), [["b", { n: 2 }]]);
await store.close();
`;

const COMMON_JS = `
const assert = require("node:assert/strict");
const { Store } = require("opslog-native");
(async () => {
  const store = new Store();
  await store.open("./cjs");
  await store.set("a", { n: 1 });
  assert.equal(await store.undo(), true);
  assert.equal(store.get("a"), undefined);
  await store.close();
})();
`;

try {
  const tarball = pack(project);

  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "smoke", private: true, type: "module" }));
  run("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", tarball], project);

  // nothing but node: not even the directory that node happens to share with other tools
  const bin = join(project, "bin");
  mkdirSync(bin);
  symlinkSync(realpathSync(process.execPath), join(bin, "node"));

  program("ESM", "esm.mjs", ESM, bin);
  const command = join(project, "node_modules/.bin/opslog");
  run(command, ["verify", "esm"], project, { PATH: bin });
  console.log("ok: the command line");
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major > 20 || minor >= 19) program("require", "cjs.cjs", COMMON_JS, bin);
  else console.log(`skipped: require of an ES module needs Node 20.19, this is ${process.versions.node}`);

  // demo.js is a program of the repository: it imports what lies beside it
  const examples = readdirSync(join(root, "examples")).filter((name) => name.endsWith(".js") && name !== "demo.js");
  cpSync(join(root, "examples/support"), join(project, "support"), { recursive: true });
  for (const name of examples) {
    program(`examples/${name}`, name, readFileSync(join(root, "examples", name), "utf8"), bin);
  }
} finally {
  rmSync(project, { recursive: true, force: true });
}

/**
 * @param {string} what
 * @param {string} name
 * @param {string} code
 * @param {string} path the whole PATH
 */
function program(what, name, code, path) {
  writeFileSync(join(project, name), code);
  run("node", [name], project, { PATH: path });
  console.log(`ok: ${what}`);
}
