/** backup and restore, export and import, compact and upgrade. */
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { run as restore } from "../../cli/commands/restore.js";
import { copyStore } from "../../cli/copy.js";
import { copyOf, temporaryDirectory, treeOf } from "../support/directory.js";
import { openStore, openUpstream } from "../support/stores.js";
import { json, MAIN, opslog, output, ROOT, start } from "./run.js";

const STORES = `${ROOT}__test__/fixtures/stores/`;

const canLimit = process.platform !== "win32" && spawnSync("bash", ["-c", "ulimit -f 1"]).status === 0;

/** @param {string} name */
const expectedOf = (name) => JSON.parse(readFileSync(`${STORES}${name}.expected.json`, "utf8"));

describe("backup and restore", () => {
  it.each(["0.1.4/archive", "0.8.1/wal", "0.8.1/archive", "0.8.1/agents", "0.8.1/torn"])("%s: the copy of the copy is the store", (name) => {
    const folder = temporaryDirectory();
    const [copy, again] = [join(folder, "copy"), join(folder, "again")];
    const { records, archive } = expectedOf(name);
    const before = treeOf(STORES + name);
    expect(json(["backup", STORES + name, copy])).toMatchObject({ records: records.length, damage: 0, attempts: 1 });
    expect(treeOf(STORES + name)).toEqual(before);
    expect(json(["restore", copy, again]).records).toBe(records.length);
    expect(json(["verify", again])).toMatchObject({ ok: true, findings: [] });
    expect(json(["list", again]).map(({ id, data }) => [id, data])).toEqual(records);
    expect(readdirSync(join(again, "archive")).length).toBe(Object.keys(archive ?? {}).length);
    expect(treeOf(again)).toEqual(treeOf(copy));
  });

  it("refuse a directory that is not empty, or lies in the store, and leave it as it is", () => {
    const dir = copyOf(`${STORES}0.8.1/clean`);
    const before = treeOf(dir);
    const full = temporaryDirectory();
    writeFileSync(join(full, "mine"), "mine");
    const link = join(temporaryDirectory(), "link");
    symlinkSync(dir, link, "junction");
    for (const command of ["backup", "restore"]) {
      expect(json([command, dir, full], { exit: 3 })).toMatchObject({ code: "ENOTEMPTY", message: expect.stringContaining("mine") });
      expect(json([command, dir, join(dir, "within")], { exit: 2 }).message).toContain("lies within");
      expect(json([command, dir, join(link, "with/in")], { exit: 2 }).message).toContain("lies within");
    }
    expect(readdirSync(full)).toEqual(["mine"]);
    expect(treeOf(dir)).toEqual(before);
    mkdirSync(join(full, "empty"));
    expect(json(["backup", dir, join(full, "empty")]).damage).toBe(0);
  });

  it("a damaged store is copied with its damage, and a damaged backup is not restored", () => {
    const folder = temporaryDirectory();
    const dir = copyOf(`${STORES}0.8.1/wal`);
    const [log] = json(["info", dir]).log.files;
    const path = join(dir, log.file);
    writeFileSync(path, readFileSync(path, "utf8").replace('"op":"set"', '"op":"sat"'));
    const { status, stderr } = opslog(["backup", dir, join(folder, "copy")]);
    expect([status, stderr]).toEqual([1, expect.stringContaining("is damaged, and so is the copy: 1 place")]);
    expect(readFileSync(join(folder, "copy", log.file), "utf8")).toBe(readFileSync(path, "utf8"));
    expect(json(["restore", join(folder, "copy"), join(folder, "again")], { exit: 1 }).message).toContain("Nothing was restored");
    expect(existsSync(join(folder, "again"))).toBe(false);
  });

  it("a backup that fails leaves nothing", () => {
    const folder = temporaryDirectory();
    const dir = copyOf(`${STORES}0.8.1/clean`);
    rmSync(join(dir, json(["info", dir]).snapshot.file));
    expect(json(["backup", dir, join(folder, "a/b")], { exit: 1 }).remedy).toContain("opslog repair");
    expect(readdirSync(folder)).toEqual([]);
  });

  it("copies no generation that checkpoints have removed meanwhile, however many", async () => {
    const dir = join(temporaryDirectory(), "store");
    const store = await openStore(dir, { checkpointOnClose: false });
    await store.set("a", { n: 1 });
    const generations = [];
    for (let i = 0; i < 2; i++) {
      await store.compact();
      generations.push(copyOf(dir));
    }
    await store.close();
    let switched = 0;
    const progress = (label) => {
      // As two checkpoints would, when the manifest has been read.
      if (label === "backup" && switched < 8) {
        for (const folder of ["snapshots", "ops"]) rmSync(join(dir, folder), { recursive: true });
        const { currentSnapshot, activeOps } = JSON.parse(readFileSync(join(generations[switched++ % 2], "manifest.json"), "utf8"));
        for (const file of [currentSnapshot, activeOps, "manifest.json"]) cpSync(join(generations[(switched - 1) % 2], file), join(dir, file));
      }
      return { step() {}, end() {} };
    };
    const copy = join(temporaryDirectory(), "copy");
    expect(await copyStore(dir, copy, { progress }, "backup")).toMatchObject({ damage: 0, records: 1, attempts: 9 });
    expect(json(["verify", copy]).ok).toBe(true);
  });

  it("a restored store that has damage is not called verified", async () => {
    const folder = temporaryDirectory();
    const dir = copyOf(`${STORES}0.8.1/wal`);
    const { activeOps } = JSON.parse(readFileSync(join(dir, "manifest.json"), "utf8"));
    const log = join(dir, activeOps);
    const ruin = () => writeFileSync(log, readFileSync(log, "utf8").replace('"op":"set"', '"op":"sat"'));
    const terminal = { json: false, paint: {}, out: () => {}, progress: (label) => (label === "restore" && ruin(), { step() {}, end() {} }) };
    await expect(restore({ positionals: [dir, join(folder, "again")], terminal })).rejects.toMatchObject({ exit: 1, code: "OPSLOG_CORRUPT" });
  });

  it("a copy is a store that upstream opens", async () => {
    const copy = join(temporaryDirectory(), "copy");
    const dir = join(temporaryDirectory(), "store");
    const store = await openStore(dir);
    await store.set("a", { n: 1 });
    json(["backup", dir, copy]);
    const upstream = await openUpstream(copy, { readOnly: true });
    expect(upstream.entries()).toEqual([["a", { n: 1 }]]);
  });
});

describe("export and import", () => {
  it.each(["0.1.4/wal", "0.8.1/clean", "0.8.1/agents"])("%s: what was exported is what is imported", (name) => {
    const folder = temporaryDirectory();
    const text = output(["export", STORES + name]);
    const file = join(folder, "records.jsonl");
    const { records } = expectedOf(name);
    expect(json(["export", STORES + name, file])).toMatchObject({ records: records.length, bytes: Buffer.byteLength(text) });
    expect(readFileSync(file, "utf8")).toBe(text);
    expect(readdirSync(folder)).toEqual(["records.jsonl"]);
    for (const [place, how] of [["from-file", [file]], ["from-stdin", []]]) {
      const dir = join(folder, place);
      const { status, stdout } = opslog(["import", dir, ...how, "--json"], { input: text });
      expect([status, JSON.parse(stdout).imported]).toEqual([0, records.length]);
      expect(output(["export", dir])).toBe(text);
      expect(json(["verify", dir])).toMatchObject({ ok: true, findings: [] });
    }
  });

  it("an imported store is one that ours and upstream write on", async () => {
    const dir = join(temporaryDirectory(), "store");
    opslog(["import", dir], { input: '{"id":"a","data":{"n":1}}\n\n{"id":"b","data":{"n":2}}' });
    const store = await openStore(dir);
    await store.set("c", { n: 3 });
    await store.close();
    const upstream = await openUpstream(dir);
    await upstream.set("d", { n: 4 });
    await upstream.close();
    expect(json(["list", dir, "--ids"]).map(({ id }) => id)).toEqual(["a", "b", "c", "d"]);
  });

  it("replaces what is there, keeps the rest, and of an id that comes twice the later value", async () => {
    const dir = join(temporaryDirectory(), "store");
    const store = await openStore(dir);
    await store.set("old", { n: 0 });
    await store.set("a", { n: 0 });
    await store.close();
    const input = '{"id":"a","data":[1]}\n{"id":"b","data":"x"}\n{"id":"b","data":2}\n';
    expect(opslog(["import", dir], { input }).stdout).toContain("3 records imported");
    const all = (place) => json(["list", place]).map(({ id, data }) => [id, data]);
    expect(all(dir)).toEqual([["old", { n: 0 }], ["a", [1]], ["b", 2]]);
    const fresh = join(temporaryDirectory(), "fresh");
    expect(opslog(["import", fresh], { input }).status).toBe(0);
    expect(all(fresh)).toEqual([["a", [1]], ["b", 2]]);
    expect(json(["info", fresh]).records.active).toBe(2);
    expect(json(["verify", fresh]).files.find(({ role }) => role === "snapshot").entries).toBe(2);
  });

  it.each([
    [/stdin, line 3: not JSON/, "nonsense"],
    [/line 3: "id" must be a non-empty string/, '{"id":"","data":1}'],
    [/line 3: "id" must be a non-empty string/, '{"data":1}'],
    [/line 3: "data" must be a value other than null/, '{"id":"x"}'],
    [/line 3: "id" must be/, "null"],
    [/line 3: not UTF-8/, '{"id":"\xff","data":1}'],
    [/line 3: "data" is nested too deeply/, `{"id":"x","data":${"[".repeat(20_000)}${"]".repeat(20_000)}}`],
  ])("stops at a line that is no record: %s", (message, bad) => {
    for (const there of [false, true]) {
      const dir = join(temporaryDirectory(), "store");
      if (there) opslog(["import", dir], { input: '{"id":"old","data":1}\n' });
      const { status, stderr } = opslog(["import", dir], { input: Buffer.from(`{"id":"a","data":1}\n{"id":"b","data":2}\n${bad}\n{"id":"c","data":3}\n`, "latin1") });
      expect([status, stderr]).toEqual([1, expect.stringMatching(message)]);
      expect(stderr).toContain("2 records before it are stored");
      expect(json(["list", dir, "--ids"]).map(({ id }) => id)).toEqual([...(there ? ["old"] : []), "a", "b"]);
    }
  });

  it("an import takes a byte order mark, lines that end in \\r\\n and lines longer than what is read at once", () => {
    const long = "\u00e4".repeat(400_000);
    for (const [i, end] of ["\n", "\r\n", ""].entries()) {
      const dir = join(temporaryDirectory(), "store");
      const input = `\ufeff{"id":"a","data":1}\r\n{"id":"b","data":"${long}"}\n\n{"id":"c","data":${i}}${end}`;
      expect(opslog(["import", dir], { input }).status).toBe(0);
      expect(json(["list", dir]).map(({ id, data }) => [id, data])).toEqual([["a", 1], ["b", long], ["c", i]]);
    }
  });

  it("an import from a directory makes nothing", () => {
    const dir = temporaryDirectory();
    expect(json(["import", join(dir, "store"), dir], { exit: 3 })).toMatchObject({ code: "EISDIR", message: expect.stringContaining(dir) });
    expect(readdirSync(dir)).toEqual([]);
  });

  it("an export that is killed has not taken its name, and the next one has it", async () => {
    const dir = temporaryDirectory();
    const [store, file] = [join(dir, "store"), join(dir, "file")];
    const line = (i) => `${JSON.stringify({ id: `r${i}`, data: "x".repeat(200) })}\n`;
    writeFileSync(join(dir, "lines"), Array.from({ length: 100_000 }, (_, i) => line(i)).join(""));
    output(["import", store, join(dir, "lines")]);
    const child = start(["export", store, file]);
    while (!readdirSync(dir).some((name) => name.startsWith("file"))) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(existsSync(file)).toBe(false);
    child.process.kill("SIGKILL");
    await child.ended;
    expect(existsSync(file)).toBe(false);
    expect(json(["export", store, file]).records).toBe(100_000);
    expect(readFileSync(file).equals(readFileSync(join(dir, "lines")))).toBe(true);
  });

  it.skipIf(!canLimit)("(needs a shell that limits the size of files) an export to a disk that fills up fails", async () => {
    const dir = temporaryDirectory();
    const store = await openStore(join(dir, "store"));
    await store.set("a", "x".repeat(3_000));
    await store.close();
    // The first KiB or two fit: a write takes them and says nothing.
    const places = [
      [`'${join(dir, "file")}'`, join(dir, "file.")],
      [`> '${join(dir, "output")}'`, "Output could not be written"],
    ];
    for (const [more, named] of places) {
      const script = `trap '' XFSZ; ulimit -f 1; '${process.execPath}' '${MAIN}' export '${join(dir, "store")}' ${more}`;
      const { status, stderr } = spawnSync("bash", ["-c", script], { encoding: "utf8" });
      expect([status, stderr]).toEqual([3, expect.stringContaining("EFBIG")]);
      expect(stderr).toContain(named);
    }
    expect(existsSync(join(dir, "file"))).toBe(false);
  });

  it("an export overwrites nothing", () => {
    const file = join(temporaryDirectory(), "file");
    writeFileSync(file, "mine");
    expect(json(["export", `${STORES}0.8.1/clean`, file], { exit: 3 }).code).toBe("EEXIST");
    expect(readFileSync(file, "utf8")).toBe("mine");
    expect(opslog(["export", join(file, "nothing"), `${file}2`]).status).toBe(3);
    expect(existsSync(`${file}2`)).toBe(false);
  });

  it("an import that is killed leaves no store, and the next one begins anew", async () => {
    const dir = join(temporaryDirectory(), "store");
    const file = join(temporaryDirectory(), "lines");
    const line = (i) => `${JSON.stringify({ id: `r${i}`, data: "x".repeat(200) })}\n`;
    writeFileSync(file, Array.from({ length: 200_000 }, (_, i) => line(i)).join(""));
    const child = start(["import", dir, file]);
    const temporary = () => (existsSync(join(dir, "snapshots")) ? readdirSync(join(dir, "snapshots")) : []);
    while (!temporary().some((name) => name.endsWith(".tmp"))) await new Promise((resolve) => setTimeout(resolve, 5));
    child.process.kill("SIGKILL");
    await child.ended;
    expect(opslog(["info", dir]).status).toBe(3);
    expect(opslog(["import", dir], { input: line(1) }).status).toBe(0);
    expect(json(["list", dir])).toHaveLength(1);
  });

  it("memory does not grow with the lines of a new store", () => {
    const dir = temporaryDirectory();
    const peak = (lines) => {
      const path = join(dir, `${lines}`);
      const text = Array.from({ length: lines }, (_, i) => JSON.stringify({ id: `r${i}`, data: { n: i, text: "x".repeat(300) } })).join("\n");
      writeFileSync(path, text);
      // Told by the process itself, at its end.
      const hook = join(dir, "peak.mjs");
      writeFileSync(hook, 'process.on("exit", () => process.stderr.write(`peak ${process.resourceUsage().maxRSS}\\n`));');
      const { stderr } = opslog(["import", join(dir, `store-${lines}`), path], { env: { NODE_OPTIONS: `--import=${hook}` } });
      return Number(/peak (\d+)/.exec(stderr)[1]) * 1024;
    };
    const [small, large] = [peak(100_000), peak(400_000)];
    // 300,000 more lines are 100 MB; their ids take 8 bytes each, and V8 is not in a hurry.
    expect(large - small).toBeLessThan(64 << 20);
  });
});

describe("compact", () => {
  it("folds the log into a snapshot", async () => {
    const dir = join(temporaryDirectory(), "store");
    const store = await openStore(dir, { checkpointThreshold: Infinity, checkpointOnClose: false });
    for (let i = 0; i < 50; i++) await store.set("a", { i });
    await store.close();
    const { operations, records, bytesBefore, bytesAfter } = json(["compact", dir]);
    expect([operations, records]).toEqual([50, 1]);
    expect(bytesAfter).toBeLessThan(bytesBefore);
    expect(json(["log", dir])).toEqual([]);
    expect(output(["compact", dir])).toMatch(/^0 operations folded into a snapshot of 1 record: /);
    expect(output(["history", dir, "a"])).toMatch(/^unchanged since the last checkpoint \(\d{4}-/);
  });

  it("tells what it folds of agents that are not at work any more", async () => {
    const dir = join(temporaryDirectory(), "store");
    for (const agentId of ["one", "two"]) {
      const store = await openStore(dir, { agentId, checkpointThreshold: Infinity, checkpointOnClose: false });
      for (let i = 0; i < 10; i++) await store.set("a", { i });
      await store.close();
    }
    const { sizes } = json(["info", dir]);
    const { operations, records, bytesBefore, bytesAfter } = json(["compact", dir]);
    expect([operations, records, bytesBefore]).toEqual([20, 1, sizes.state]);
    expect(bytesAfter).toBeLessThan(bytesBefore);
  });

  it("keeps the records' version", async () => {
    const dir = join(temporaryDirectory(), "store");
    const store = await openStore(dir, { version: 3 });
    await store.set("a", { n: 1 });
    await store.close();
    json(["compact", dir]);
    expect(json(["info", dir]).version).toBe(3);
    expect(json(["get", dir, "a"]).data).toEqual({ n: 1 });
    expect(json(["list", dir])).toHaveLength(1);
  });
});

describe("upgrade", () => {
  it.each(["0.1.4/wal", "0.2.0/torn", "0.3.0/agents", "0.6.0/archive", "0.7.1/wal"])("%s becomes a store of ours", (name) => {
    const dir = copyOf(STORES + name);
    const { records } = expectedOf(name);
    const before = treeOf(dir);
    const from = /^0\.[1-6]/.test(name) ? "document" : "lines";
    expect(json(["upgrade", dir, "--dry-run"])).toMatchObject({ from, to: from, needed: true, dryRun: true });
    expect(treeOf(dir)).toEqual(before);
    expect(opslog(["upgrade", dir, "--json"])).toMatchObject({ status: 0, stdout: expect.stringContaining(`"from":"${from}","to":"checksum"`) });
    expect(json(["list", dir]).map(({ id, data }) => [id, data])).toEqual(records);
    const { files, findings } = json(["verify", dir]);
    const { entries, checked } = files.find(({ role }) => role === "snapshot");
    expect([findings, entries, checked]).toEqual([[], records.length, records.length]);
    expect(output(["upgrade", dir])).toContain("There is nothing to do.");
  });

  it("is refused while the store is open", async () => {
    const dir = copyOf(`${STORES}0.7.1/clean`);
    const upstream = await openUpstream(dir);
    cpSync(dir, `${dir}-before`, { recursive: true });
    expect(json(["upgrade", dir], { exit: 4 })).toMatchObject({ code: "OPSLOG_LOCKED" });
    expect(json(["info", dir]).lock).toEqual({ state: "held", pid: process.pid });
    expect(treeOf(dir)).toEqual(treeOf(`${dir}-before`));
    await upstream.close();
  });
});
