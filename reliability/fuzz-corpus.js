// Writes the small files that fuzzing begins with, fuzz/corpus/: `node reliability/fuzz-corpus.js`
//
// From the fixtures (stores of eight versions of upstream) and from a store of this package. They are committed; run it
// again when the format gains something.

import { Store } from "../index.js";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const corpus = join(root, "fuzz/corpus");
const FIXTURES = join(root, "__test__/fixtures/stores");

/** Larger seeds make a fuzzer slow, not better. */
const MOST = 1500;
const MOST_OF_DIRECTORY = 6000;
const MOST_PER_TARGET = 36;
/** Bit 6: writers open it, too. */
const WRITERS = 64;
/** Bit 5: checksums are put right after mutation. */
const SEALED = 32;

/** @type {Map<string, Map<string, Buffer>>} target -> hash -> seed */
const seeds = new Map();

/**
 * @param {string} target name of the fuzz target
 * @param {string | Buffer} content the seed
 * @param {number} [flags] the byte in front, for targets that take one
 */
function add(target, content, flags) {
  const bytes = Buffer.concat([Buffer.from(flags === undefined ? [] : [flags]), Buffer.from(content)]);
  if (bytes.length > (target === "directory" ? MOST_OF_DIRECTORY : MOST)) return;
  const known = seeds.get(target) ?? new Map();
  seeds.set(target, known);
  if (known.size < MOST_PER_TARGET) known.set(createHash("sha256").update(bytes).digest("hex").slice(0, 16), bytes);
}

/**
 * @param {string} dir a directory
 * @returns {string[]} all files below it
 */
function filesOf(dir) {
  return readdirSync(dir).sort().flatMap((name) => {
    const path = join(dir, name);
    return statSync(path).isDirectory() ? filesOf(path) : [path];
  });
}

/**
 * Adds what a store directory holds.
 *
 * @param {string} dir store directory
 * @param {number} n varies what is done with it
 */
function addStore(dir, n) {
  const flags = (n % 16) | (n % 3 === 0 ? WRITERS : 0);
  let whole = "";
  for (const path of filesOf(dir)) {
    const name = relative(dir, path).split(sep).join("/");
    const text = readFileSync(path, "utf8");
    const lines = text.split("\n");
    // the first lines of a long file stand for it
    let short = text;
    if (!name.endsWith(".json") && text.length > 1000) {
      while (lines.join("\n").length > 1000) lines.pop();
      short = `${lines.join("\n")}\n`;
    }
    whole += `\n=== ${name}\n${short}`;
    if (name === "manifest.json") add("manifest", text, flags);
    else if (name.startsWith("archive/")) add("archive", text, flags);
    else if (name.startsWith("snapshots/")) add("snapshot", short, n % 2 === 0 ? flags : SEALED);
    else if (text !== "") {
      add("log", short, flags | SEALED | (n % 5 === 0 ? 16 : 0));
      for (const line of lines) if (line !== "") add("op_line", line);
    }
  }
  add("directory", whole, flags);
}

/**
 * Adds logs whose lines have room (src/log/room.rs), and what a crash may leave of one.
 *
 * @param {string[]} lines lines of a log
 */
function addRoom([one = "", two = "", three = ""]) {
  const logs = [`${one}\n${two}\t\t\t\n${three}\n`, `${one}\t\t\n`, `${one}\n\t\t\t\n`, `${one}\t\t${three.slice(9)}\t\n`, `${one}\t${two}\n`];
  for (const log of logs) for (const flags of [SEALED, SEALED | 16, SEALED | WRITERS]) add("log", log, flags);
}

const dir = mkdtempSync(join(realpathSync(tmpdir()), "opslog-corpus-"));
try {
  const store = /** @type {Store<any>} */ (new Store());
  await store.open(dir, { checkpointOnClose: false, version: 2 });
  const before = { n: 1, text: "a record with some text", list: [1, 2], "é": null };
  await store.set("a", before);
  await store.compact();
  await store.set("a", { ...before, n: 2, more: true });
  await store.set("__proto__", [1, "\ud800", { constructor: 1e21 }]);
  await store.set("__proto__", "text");
  await store.batch(() => {
    for (const id of ["b", "c"]) void store.set(id, { n: 3 });
    void store.delete("b");
  });
  addStore(dir, 8);
  addRoom(readFileSync(join(dir, store.getManifest()?.activeOps ?? ""), "utf8").split("\n"));
  await store.undo();
  await store.archive((_value, id) => id === "c", "s");
  await store.set("d", 1);
  await store.close();
  addStore(dir, 2);
} finally {
  rmSync(dir, { recursive: true, force: true });
}

let n = 0;
for (const version of readdirSync(FIXTURES).reverse()) {
  for (const name of readdirSync(join(FIXTURES, version))) if (!name.endsWith(".json")) addStore(join(FIXTURES, version, name), n++);
}

for (const [old, now] of [
  ['{"a":1,"b":[1,2],"c":"x"}', '{"a":1,"b":[1,3],"d":null}'],
  ["[1,2,3]", "[1,9]"],
  ['{"__proto__":1,"constructor":{"n":1}}', '{"toString":1e21}'],
  ['{"a":1,"a":2}', '{"\\u0061":1}'],
  ["1", '{"n":1}'],
  [' { "a" : 1 } ', '{"a":1}'],
  ['{"é":"🚀"}', '{"é":"\\ud83d\\ude80"}'],
]) add("delta", `${old}\0${now}`);

for (const name of existsSync(corpus) ? readdirSync(corpus) : []) rmSync(join(corpus, name), { recursive: true });
for (const [target, files] of seeds) {
  mkdirSync(join(corpus, target), { recursive: true });
  for (const [hash, bytes] of files) writeFileSync(join(corpus, target, hash), bytes);
  console.log(`${target}: ${files.size} files, ${[...files.values()].reduce((sum, bytes) => sum + bytes.length, 0)} bytes`);
}
