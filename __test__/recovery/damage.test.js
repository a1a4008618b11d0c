/** CONTRACT.md 2: a bad line with good ones after it. */
import { readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { runChild } from "../support/child.js";
import { filesOf, temporaryDirectory, treeOf } from "../support/directory.js";
import { rejectionOf } from "../support/errors.js";
import { logPathOf, upstreamLine, writeParts } from "../support/files.js";
import { Store } from "../support/implementation.js";
import { openStore, stateOf, withStore } from "../support/stores.js";

const SCENARIOS = new URL("./scenarios.js", import.meta.url);
const KEEP_LOG = { checkpointThreshold: Infinity, checkpointOnClose: false };

describe("a bad line in the middle of an upstream log", () => {
  let dir;

  beforeEach(() => {
    dir = temporaryDirectory();
    writeParts(dir, {
      log: [
        upstreamLine({ op: "set", id: "a", prev: null, data: { n: 1 } }),
        "this is no JSON\n",
        upstreamLine({ op: "set", id: "b", prev: null, data: { n: 1 } }),
        upstreamLine({ op: "set", id: "", prev: null, data: { n: 1 } }),
        upstreamLine({ op: "set", id: "c", prev: null, data: { n: 1 } }),
      ].join(""),
    });
  });

  const entries = ["a", "b", "c"].map((id) => [id, { n: 1 }]);

  it.each([[{}], [{ readOnly: true }], [{ recovery: "skip" }]])("is skipped and counted on stderr, as upstream: %j", async (options) => {
    const log = logPathOf(dir);
    const { reports, stderr, code } = await runChild(SCENARIOS, "openAndReport", { dir, options });
    expect(code).toBe(0);
    expect(reports).toEqual([{ entries }]);
    expect(stderr).toContain(`opslog: skipped 2 malformed line(s) in ${log}`);
  });

  it("stays in the log until a checkpoint", async () => {
    const text = readFileSync(logPathOf(dir), "utf8");
    await withStore(dir, KEEP_LOG, async (store) => {
      expect(store.entries()).toEqual(entries);
      expect(store.getOps()).toHaveLength(3);
      await store.set("d", { n: 1 });
    });
    expect(readFileSync(logPathOf(dir), "utf8").startsWith(text)).toBe(true);
    expect((await stateOf(dir)).entries).toEqual([...entries, ["d", { n: 1 }]]);
  });

  it("is not undone in place of the last operation", async () => {
    const store = await openStore(dir, KEEP_LOG);
    for (let left = 2; left >= 0; left--) {
      expect(await store.undo()).toBe(true);
      expect(store.entries()).toEqual(entries.slice(0, left));
    }
    expect(await store.undo()).toBe(false);
    await store.close();
    expect((await stateOf(dir)).entries).toEqual([]);
  });
});

describe("a bad line in the middle of our log", () => {
  let dir;
  let log;
  let lines;

  beforeEach(async () => {
    dir = temporaryDirectory();
    await withStore(dir, KEEP_LOG, async (store) => {
      for (const id of ["a", "b", "c", "d"]) await store.set(id, { id, text: "é" });
      await store.set("a", { id: "changed", text: "é" });
    });
    log = logPathOf(dir);
    lines = readFileSync(log, "utf8").split(/(?<=\n)/);
  });

  const DAMAGE = [
    ["a changed value", (line) => line.replace('"id":"c","text"', '"id":"x","text"')],
    ["a changed time", (line) => line.replace('"ts":"2', '"ts":"3')],
    ["a changed checksum", (line) => line.replace(/"crc":"(.)/, (_all, digit) => `"crc":"${digit === "0" ? "1" : "0"}`)],
    ["a checksum that is gone, beside other members", (line) => line.replace('"crc"', '"arc"')],
    ["foreign text", () => "hello\n"],
    ["half a line", (line) => `${line.slice(0, line.length / 2)}\n`],
    ["two lines run together", (line) => line.trimEnd()],
    ["zeros", (line) => `${"\0".repeat(line.length - 1)}\n`],
  ];

  it.each(DAMAGE)("is corruption: open rejects with code, path and byte: %s", async (_name, damage) => {
    writeFileSync(log, [...lines.slice(0, 2), damage(lines[2]), ...lines.slice(3)].join(""));
    const tree = treeOf(dir);
    for (const options of [{}, { readOnly: true }, { recovery: "reject" }]) {
      const error = await rejectionOf(new Store().open(dir, options));
      expect(error).toMatchObject({ code: "OPSLOG_CORRUPT", path: log });
      const offset = Buffer.byteLength(lines[0] + lines[1]);
      expect(error.message).toContain(log);
      expect(error.message).toMatch(new RegExp(`\\b(line 3|byte ${offset})\\b`));
      expect(treeOf(dir)).toEqual(tree);
    }
  });

  it.each(DAMAGE)("is left out with recovery: \"skip\", which opens with the valid lines: %s", async (name, damage) => {
    const text = [...lines.slice(0, 2), damage(lines[2]), ...lines.slice(3)].join("");
    writeFileSync(log, text);
    const { reports, code } = await runChild(SCENARIOS, "openAndReport", { dir, options: { ...KEEP_LOG, recovery: "skip" } });
    expect(code).toBe(0);
    const left = name === "two lines run together" ? ["a", "b"] : ["a", "b", "d"];
    const entries = left.map((id) => [id, { id: id === "a" ? "changed" : id, text: "é" }]);
    expect(reports).toEqual([{ entries }]);
    expect(readFileSync(log, "utf8")).toBe(text);
  });

  it("is never deleted: the damaged file is still there after checkpoints and an hour", async () => {
    writeFileSync(log, [...lines.slice(0, 2), "hello\n", ...lines.slice(3)].join(""));
    const anHourAgo = new Date(Date.now() - 3_600_000);
    utimesSync(log, anHourAgo, anHourAgo);
    await withStore(dir, { recovery: "skip" }, async (store) => {
      await store.set("e", { n: 1 });
      await store.compact();
      await store.set("e", { n: 2 });
      await store.compact();
    });
    await withStore(dir, {}, (store) => expect(store.count()).toBe(4));
    const texts = filesOf(dir).map((path) => readFileSync(join(dir, path), "utf8"));
    expect(texts.some((text) => text.includes("hello\n"))).toBe(true);
  });

  it("in a batch: open rejects, and recovery: \"skip\" gives no part of a value that was not written", async () => {
    dir = temporaryDirectory();
    await withStore(dir, KEEP_LOG, async (store) => {
      await store.set("a", { n: 0 });
      await store.batch(() => {
        store.set("a", { n: 1 });
        store.set("b", { n: 1 });
        store.set("c", { n: 1 });
      });
      await store.set("d", { n: 2 });
    });
    const path = logPathOf(dir);
    const text = readFileSync(path, "utf8").split(/(?<=\n)/);
    writeFileSync(path, [...text.slice(0, 2), "hello\n", ...text.slice(3)].join(""));
    expect(await rejectionOf(new Store().open(dir))).toMatchObject({ code: "OPSLOG_CORRUPT", path });
    const store = await openStore(dir, { recovery: "skip", readOnly: true });
    expect(store.get("d")).toEqual({ n: 2 });
    expect([0, 1]).toContain(store.get("a").n);
    expect(store.has("b")).toBe(false);
  });
});
