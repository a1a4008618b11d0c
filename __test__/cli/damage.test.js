/** verify and repair on damaged stores. */
import { existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { temporaryDirectory, treeOf } from "../support/directory.js";
import { openStore } from "../support/stores.js";
import { json, opslog, output } from "./run.js";

/** A store of ours with five records in the snapshot, four operations in the log and three records in an archive. */
async function makeStore() {
  const dir = join(temporaryDirectory(), "store");
  const store = await openStore(dir, { checkpointThreshold: Infinity, checkpointOnClose: false });
  await store.batch(() => {
    for (let i = 1; i <= 8; i++) store.set(`record-${i}`, { n: i, text: "text" });
  });
  await store.archive(({ n }) => n > 5, "old");
  await store.compact();
  for (let i = 1; i <= 4; i++) await store.set(`record-${i}`, { n: 10 * i, text: "new" });
  const { currentSnapshot: snapshot, activeOps: log, archiveSegments } = store.getManifest();
  await store.close();
  return { dir, snapshot, log, segment: archiveSegments[0] };
}

/** Overwrites the first `what` of a line (from 1) with another text of the same length; gives the line's first byte. */
function damage(dir, file, line, what, by) {
  const path = join(dir, file);
  const lines = readFileSync(path, "utf8").split("\n");
  const byte = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
  expect(lines[line - 1]).toContain(what);
  lines[line - 1] = lines[line - 1].replace(what, by);
  writeFileSync(path, lines.join("\n"));
  return { severity: "damage", file, line, byte };
}

describe("verify", () => {
  it("tells all damage of all files with its place, and changes nothing", async () => {
    const { dir, snapshot, log, segment } = await makeStore();
    expect(json(["verify", dir])).toMatchObject({ ok: true, findings: [] });
    const places = [
      damage(dir, snapshot, 2, '"id"', '"id?'),
      damage(dir, snapshot, 5, '"id"', '"id?'),
      damage(dir, log, 1, "new", "old"),
      damage(dir, log, 3, "new", "old"),
      damage(dir, segment, 7, ":", "?"),
    ];
    const before = treeOf(dir);
    const { findings, counts, ok, files } = json(["verify", dir], { exit: 1 });
    expect(findings.map(({ message: _, ...place }) => place)).toEqual(places);
    expect([ok, counts.damage]).toEqual([false, 5]);
    expect(files.filter(({ state }) => state === "damage").map(({ file }) => file)).toEqual([snapshot, log, segment]);
    const { status, stdout } = opslog(["verify", dir]);
    expect(status).toBe(1);
    for (const { file, line, byte } of places) expect(stdout).toContain(`${file}:${line} (byte ${byte}): damage: `);
    expect(stdout).toContain("5 places damaged.");
    expect(stdout).toContain(`\`opslog repair --dry-run ${dir}\``);
    expect(treeOf(dir)).toEqual(before);
  });

  it("tells a missing file and a bad manifest", async () => {
    const { dir, segment } = await makeStore();
    rmSync(join(dir, segment));
    expect(json(["verify", dir], { exit: 1 }).findings).toMatchObject([{ file: segment, severity: "damage" }]);
    writeFileSync(join(dir, "manifest.json"), "{");
    expect(json(["verify", dir], { exit: 1 }).findings).toMatchObject([{ file: "manifest.json", severity: "damage" }]);
  });

  it("calls what a crash cut off unfinished, which is no damage", async () => {
    const { dir, log } = await makeStore();
    truncateSync(join(dir, log), readFileSync(join(dir, log)).length - 9);
    const { ok, findings } = json(["verify", dir]);
    expect([ok, findings]).toMatchObject([true, [{ severity: "unfinished", file: log, line: 4 }]]);
  });

  it("finds as many places as there are, in bounded memory", async () => {
    const dir = join(temporaryDirectory(), "store");
    const store = await openStore(dir, { checkpointThreshold: Infinity, checkpointOnClose: false });
    await store.batch(() => {
      for (let i = 0; i < 20_000; i++) store.set(`record-${i}`, i);
    });
    const { activeOps } = store.getManifest();
    await store.close();
    const path = join(dir, activeOps);
    writeFileSync(path, readFileSync(path, "utf8").replaceAll('"op":"set"', '"op":"sat"').replace('"op":"sat"', '"op":"set"'));
    const { counts, findings } = json(["verify", dir], { exit: 1 });
    // and that the batch which its first line began is not whole
    expect(counts).toEqual({ damage: 19_999, unfinished: 1, unreadable: 0, note: 0 });
    expect(findings.length).toBe(20_000);
  });
});

describe("reading a damaged store", () => {
  it("ends with code 1, the place and what to do", async () => {
    const { dir, log } = await makeStore();
    damage(dir, log, 2, "new", "old");
    for (const command of [["list"], ["get", "record-1"], ["log"], ["export"]]) {
      const [name, ...rest] = command;
      const { status, stdout, stderr } = opslog([name, dir, ...rest]);
      expect([status, stdout], name).toEqual([1, ""]);
      expect(stderr).toContain(`${log}, line 2, byte `);
      expect(stderr).toContain(`\`opslog verify ${dir}\` lists all damage`);
    }
    const info = json(["info", dir], { exit: 1 });
    expect(info.problem).toMatchObject({ code: "OPSLOG_CORRUPT" });
    expect(info.log.files).toMatchObject([{ file: log }]);
  });
});

describe("what the manifest says", () => {
  it.each(["null", "[]", "{}", '{"version":1,"currentSnapshot":"snapshots"}'])("%s is no manifest: code 1, and what to do", async (text) => {
    const { dir } = await makeStore();
    writeFileSync(join(dir, "manifest.json"), text);
    const copy = join(temporaryDirectory(), "copy");
    for (const [command, ...rest] of [["list"], ["get", "record-1"], ["history", "record-1"], ["compact"], ["upgrade"], ["backup", copy]]) {
      const error = json([command, dir, ...rest], { exit: 1 });
      expect(error, command).toMatchObject({ code: "OPSLOG_CORRUPT", message: expect.stringContaining("Invalid manifest"), remedy: expect.stringContaining("opslog repair") });
    }
    expect(json(["info", dir], { exit: 1 }).problem).toMatchObject({ code: "OPSLOG_CORRUPT" });
  });

  it("a log that is missing is damage", async () => {
    const { dir, log } = await makeStore();
    rmSync(join(dir, log));
    for (const command of ["list", "log", "compact"]) {
      expect(json([command, dir], { exit: 1 })).toMatchObject({ code: "ENOENT", remedy: expect.stringContaining("opslog repair") });
    }
    expect(json(["info", dir], { exit: 1 })).toMatchObject({ problem: { code: "ENOENT" }, log: { files: [{ file: log, bytes: 0 }] } });
  });

  it("is no command to the terminal", async () => {
    const { dir } = await makeStore();
    const path = join(dir, "manifest.json");
    const manifest = JSON.parse(readFileSync(path, "utf8"));
    for (const odd of ["snapshots/\x1b[31mred", "snapshots"]) {
      writeFileSync(path, JSON.stringify({ ...manifest, currentSnapshot: odd }));
      for (const args of [["info"], ["list"], ["verify"], ["repair", "--dry-run"]]) {
        const { status, stdout, stderr } = opslog([args[0], dir, ...args.slice(1)]);
        expect(status, args[0]).toBe(args[0] === "repair" ? 0 : 1);
        expect(stdout + stderr, args[0]).not.toContain("\x1b");
      }
    }
  });
});

describe("repair", () => {
  it("keeps all that can be read and the damaged files, and verify is clean afterwards", async () => {
    const { dir, snapshot, log, segment } = await makeStore();
    damage(dir, snapshot, 6, '"id"', '"id?');
    damage(dir, log, 2, "new", "old");
    damage(dir, segment, 7, ":", "?");
    const damaged = Object.fromEntries([snapshot, log, segment].map((file) => [file, readFileSync(join(dir, file), "utf8")]));
    const before = treeOf(dir);
    const planned = json(["repair", dir, "--dry-run"]);
    expect(output(["repair", dir, "--dry-run"])).toContain("Nothing was changed.");
    expect(treeOf(dir)).toEqual(before);

    const { steps } = json(["repair", dir]);
    const shown = (all) => all.map(({ file, action, kept, lost }) => ({ file, action, kept, lost }));
    expect(shown(steps)).toEqual([
      { file: snapshot, action: "rewritten", kept: 4, lost: 1 },
      { file: log, action: "rewritten", kept: 3, lost: 1 },
      { file: segment, action: "rewritten", kept: 2, lost: 1 },
    ]);
    expect(shown(planned.steps)).toEqual(shown(steps));
    for (const { file, aside } of steps) expect(readFileSync(join(dir, aside), "utf8")).toBe(damaged[file]);
    expect(json(["verify", dir])).toMatchObject({ ok: true, findings: [] });
    expect(json(["repair", dir]).steps).toEqual([]);

    const store = await openStore(dir);
    expect(store.entries()).toEqual([
      ["record-1", { n: 10, text: "new" }],
      ["record-2", { n: 2, text: "text" }],
      ["record-3", { n: 30, text: "new" }],
      ["record-4", { n: 40, text: "new" }],
    ]);
    const archived = await store.loadArchive("old");
    expect([...archived.keys()].sort()).toHaveLength(2);
    await store.close();
    // Closing makes a checkpoint: what was put aside is nobody's to remove.
    for (const { aside } of steps) expect(existsSync(join(dir, aside))).toBe(true);
  });

  it("makes a manifest that is gone", async () => {
    const { dir } = await makeStore();
    const records = json(["list", dir]);
    rmSync(join(dir, "manifest.json"));
    expect(opslog(["list", dir]).status).toBe(1);
    expect(json(["repair", dir]).steps).toMatchObject([{ file: "manifest.json", action: "replaced" }]);
    expect(json(["list", dir])).toEqual(records);
    expect(json(["info", dir]).records).toEqual({ active: 5, archived: 3 });
  });

  it("is refused with code 4 while the store is open", async () => {
    const { dir, log } = await makeStore();
    const store = await openStore(dir, { checkpointThreshold: Infinity, checkpointOnClose: false });
    damage(dir, log, 2, "new", "old");
    const before = treeOf(dir);
    expect(json(["repair", dir], { exit: 4 })).toMatchObject({ code: "OPSLOG_LOCKED", remedy: expect.stringContaining("close the store") });
    expect(json(["repair", dir, "--dry-run"]).steps).toHaveLength(1);
    expect(treeOf(dir)).toEqual(before);
    await store.close();
  });
});
