// Do the README's ways to install work? `node scripts/check-install.js`
//
// Packs the tree and serves the tarball from a registry on this machine that holds nothing else but a package which depends
// on the original. Installs from there, each into an empty project: under its own name, under the name of the original
// (`npm install @backloghq/opslog@npm:opslog-native`), and by `overrides` for that other package. The
// original is not to be had from that registry: whatever asks for it fails.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { once } from "node:events";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { mebibytes, pack, run } from "./pack.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const ORIGINAL = "@backloghq/opslog";
const work = mkdtempSync(join(tmpdir(), "opslog-install-"));

/** Imports a package by name, uses it, and prints the name in its manifest. @param {string} name */
const program = (name) => `
  import assert from "node:assert/strict";
  import { createRequire } from "node:module";
  import { Store } from "${name}";
  import addon from "${name}/binding";
  const store = new Store();
  await store.open("./data");
  await store.set("a", { n: 1 });
  assert.deepEqual(store.entries(), [["a", { n: 1 }]]);
  await store.close();
  assert.equal(typeof addon, "object");
  console.log(createRequire(import.meta.url)("${name}/package.json").name);`;

const CONSUMER = `
  import { use } from "opslog-consumer";
  const { package: name, entries } = await use("./data");
  console.log(name, JSON.stringify(entries));`;

const tarballs = [pack(work), join(work, packConsumer())];
const { server, address } = await serve(tarballs);
try {
  const plain = await install("plain", {}, "opslog-native");
  assert.equal(play(plain, program("opslog-native")), "opslog-native");
  console.log("ok: npm install opslog-native");

  const alias = await install("alias", {}, `${ORIGINAL}@npm:opslog-native`);
  assert.equal(play(alias, program(ORIGINAL)), "opslog-native");
  console.log(`ok: npm install ${ORIGINAL}@npm:opslog-native`);

  await assert.rejects(install("without", {}, "opslog-consumer"), /E404/);
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const overrides = { [ORIGINAL]: `npm:opslog-native@^${version}` };
  const consumer = await install("overrides", { overrides }, "opslog-consumer");
  assert.equal(play(consumer, CONSUMER), 'opslog-native [["a",{"n":1}]]');
  console.log("ok: overrides for a package that depends on the original");
} finally {
  server.close();
  rmSync(work, { recursive: true, force: true });
}

function packConsumer() {
  const folder = join(root, "__test__/package/consumer");
  /** @type {{ filename: string }[]} */
  const [packed] = JSON.parse(run("npm", ["pack", "--json", "--pack-destination", work], folder));
  return packed?.filename ?? "";
}

/**
 * What npm asks a registry for: the document of a package, and its tarball.
 * @param {string[]} tarballs
 */
async function serve(tarballs) {
  /** @type {Map<string, string | Buffer>} */
  const answers = new Map();
  const server = createServer((request, response) => {
    const answer = answers.get(decodeURIComponent(request.url ?? ""));
    response.writeHead(answer === undefined ? 404 : 200, { "content-type": typeof answer === "string" ? "application/json" : "application/octet-stream" });
    response.end(answer ?? "{}");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  const address = `http://127.0.0.1:${port}/`;
  for (const path of tarballs) {
    const bytes = readFileSync(path);
    const manifest = JSON.parse(run("tar", ["-xOzf", path, "package/package.json"], work));
    const { name, version } = manifest;
    const integrity = `sha512-${createHash("sha512").update(bytes).digest("base64")}`;
    const dist = { tarball: `${address}-/${basename(path)}`, integrity };
    answers.set(`/-/${basename(path)}`, bytes);
    answers.set(`/${name}`, JSON.stringify({ name, "dist-tags": { latest: version }, versions: { [version]: { ...manifest, dist } } }));
    console.log(`served: ${name} ${version}, ${mebibytes(bytes.length)}`);
  }
  return { server, address };
}

/**
 * @param {string} name
 * @param {object} manifest
 * @param {string} what
 * @returns {Promise<string>} the project's folder
 */
async function install(name, manifest, what) {
  const project = join(work, name);
  mkdirSync(project);
  writeFileSync(join(project, "package.json"), JSON.stringify({ name, private: true, type: "module", ...manifest }));
  // a cache of its own: one that knows the original, or an older tarball of the same version, would answer for the registry
  const settings = [`--registry=${address}`, `--@backloghq:registry=${address}`, `--cache=${join(work, "cache")}`];
  const args = ["install", what, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-retries=0", ...settings];
  const npm = spawn("npm", args, { cwd: project, stdio: ["ignore", "ignore", "pipe"], shell: process.platform === "win32" });
  let said = "";
  npm.stderr.on("data", (text) => (said += text));
  const [code] = await once(npm, "close");
  if (code !== 0) throw new Error(`npm install ${what} failed:\n${said}`);
  return project;
}

/**
 * @param {string} project
 * @param {string} code
 */
function play(project, code) {
  writeFileSync(join(project, "program.js"), code);
  return run(process.execPath, ["program.js"], project).trim();
}
