/** CONTRACT.md 1: the messages that callers match on, and the `code`s that come with them. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { validateManifest, validateSnapshot } from "@backloghq/opslog";
import { beforeEach, describe, expect, it } from "vitest";
import { temporaryDirectory, treeOf } from "../support/directory.js";
import { rejectionOf, thrownBy } from "../support/errors.js";
import { manifestOf, snapshotPathOf, writeParts } from "../support/files.js";
import { hasFiles, isNative, Store } from "../support/implementation.js";
import { openStore, withStore } from "../support/stores.js";

/** The error that opening `dir` rejects with, which must leave it as it is. */
async function refusalOf(dir, options) {
  const tree = treeOf(dir);
  const error = await rejectionOf(new Store().open(dir, options));
  expect(error).toBeInstanceOf(Error);
  expect(treeOf(dir)).toEqual(tree);
  return error;
}

describe("the words and the code of", () => {
  let dir;

  beforeEach(() => {
    dir = temporaryDirectory();
  });

  it("a store that is not open", async () => {
    const expected = { message: "Store is not open. Call open() first.", code: "OPSLOG_NOT_OPEN" };
    expect(thrownBy(() => new Store().get("a"))).toMatchObject(expected);
    expect(thrownBy(() => new Store().set("a", {}))).toMatchObject(expected);
    expect(await rejectionOf(new Store().undo())).toMatchObject(expected);
  });

  it("a store that is read-only", async () => {
    await withStore(dir, {}, () => {});
    const store = await openStore(dir, { readOnly: true });
    const expected = { message: "Store is read-only. Cannot perform mutations.", code: "OPSLOG_READ_ONLY" };
    expect(thrownBy(() => store.set("a", {}))).toMatchObject(expected);
    expect(thrownBy(() => store.delete("a"))).toMatchObject(expected);
    expect(await rejectionOf(store.batch(() => {}))).toMatchObject(expected);
  });

  it("a store that is locked", async () => {
    await openStore(dir);
    const error = await rejectionOf(new Store().open(dir));
    expect(error.message).toMatch(new RegExp(`^Store is locked by process ${process.pid}(?!\\d)`));
    expect(error.code).toBe("OPSLOG_LOCKED");
  });

  it("a read-only open where no store is", async () => {
    const expected = { message: "Cannot open in readOnly mode: no existing store found" };
    expect(await refusalOf(dir, { readOnly: true })).toMatchObject({ ...expected, code: expect.stringMatching(/^OPSLOG_/) });
    const missing = join(dir, "missing");
    expect(await rejectionOf(new Store().open(missing, { readOnly: true }))).toMatchObject(expected);
    expect(treeOf(dir)).toEqual({});
  });

  it.runIf(hasFiles)("a snapshot that is missing", async () => {
    await withStore(dir, {}, (store) => store.set("a", { n: 1 }));
    const path = snapshotPathOf(dir);
    rmSync(path);
    for (const options of [{}, { readOnly: true }]) {
      const error = await refusalOf(dir, options);
      expect(error.message).toContain("Snapshot file not found: ");
      expect(error.message).toContain(manifestOf(dir).currentSnapshot);
      expect(error.code).toMatch(/^(OPSLOG_\w+|ENOENT)$/);
      expect(error.path).toBe(path);
    }
  });

  it("a record that is not found", async () => {
    const store = await openStore(dir);
    const expected = { message: "Record 'nobody' not found", code: "OPSLOG_NOT_FOUND" };
    expect(await rejectionOf(store.delete("nobody"))).toMatchObject(expected);
    await store.batch(() => expect(thrownBy(() => store.delete("nobody"))).toMatchObject(expected));
  });

  it("an archive segment that is not found", async () => {
    const store = await openStore(dir);
    const expected = { message: "Archive segment 'none' not found", code: "OPSLOG_NOT_FOUND" };
    expect(await rejectionOf(store.loadArchive("none"))).toMatchObject(expected);
  });

  it("an open store that is opened again", async () => {
    const store = await openStore(dir);
    expect((await rejectionOf(store.open(dir))).message).toBe("Store is already open. Call close() first.");
  });

  it.runIf(hasFiles)("an I/O error: Node's code, path and syscall", async () => {
    const file = join(dir, "file");
    writeFileSync(file, "");
    const error = await rejectionOf(new Store().open(join(file, "store")));
    expect(error).toMatchObject({ code: "ENOTDIR", syscall: expect.any(String) });
    expect(error.path.startsWith(file)).toBe(true);
  });
});

describe("a damaged manifest rejects in upstream's words, with code and path", () => {
  const stats = { activeRecords: 0, archivedRecords: 0, opsCount: 0, created: "t", lastCheckpoint: "t" };

  it.runIf(hasFiles).each([
    ["version: 0", { version: 0 }],
    ["version: text", { version: "1" }],
    ["no snapshot", { currentSnapshot: "" }],
    ["no log", { activeOps: undefined }],
    ["segments", { archiveSegments: {} }],
    ["a segment", { archiveSegments: [""] }],
    ["no stats", { stats: undefined }],
    ["activeRecords", { stats: { ...stats, activeRecords: -1 } }],
    ["archivedRecords", { stats: { ...stats, archivedRecords: 0.5 } }],
    ["opsCount", { stats: { ...stats, opsCount: "0" } }],
    ["created", { stats: { ...stats, created: "" } }],
    ["lastCheckpoint", { stats: { ...stats, lastCheckpoint: undefined } }],
    ["agents", { activeAgentOps: [] }],
    ["an agent", { activeAgentOps: { a: "" } }],
  ])("%s", async (_name, manifest) => {
    const dir = temporaryDirectory();
    writeParts(dir, { manifest });
    const { message } = thrownBy(() => validateManifest(manifestOf(dir)));
    expect(message).toMatch(/^Invalid manifest: /);
    const error = await refusalOf(dir);
    expect(error.message).toContain(message);
    expect(error).toMatchObject({ code: expect.stringMatching(/^OPSLOG_/), path: join(dir, "manifest.json") });
  });

  it.runIf(hasFiles).each(["[]", "null", "7", '"text"'])("not an object: %s", async (text) => {
    const dir = temporaryDirectory();
    writeParts(dir);
    writeFileSync(join(dir, "manifest.json"), text);
    const error = await refusalOf(dir);
    expect(error.message).toContain("Invalid manifest: not an object");
    expect(error.path).toBe(join(dir, "manifest.json"));
  });

  it.runIf(hasFiles).each(["{", "{}x", "\u0000\u0000", "not json", '{"version":1,'])("no JSON: %j", async (text) => {
    const dir = temporaryDirectory();
    writeParts(dir);
    writeFileSync(join(dir, "manifest.json"), text);
    const error = await refusalOf(dir);
    expect(error).toMatchObject({ code: "OPSLOG_CORRUPT", path: join(dir, "manifest.json") });
  });

  it.runIf(hasFiles).each([
    ["currentSnapshot", "../outside.jsonl"], ["currentSnapshot", "/etc/passwd"], ["activeOps", "../outside.jsonl"],
    ["activeOps", "ops/../../outside.jsonl"], ...(isNative ? [["activeOps", "manifest.json"]] : []),
  ])("%s that names a file outside its folder: %s", async (member, path) => {
    const parent = temporaryDirectory();
    const dir = join(parent, "store");
    mkdirSync(dir);
    writeFileSync(join(parent, "outside.jsonl"), '{"version":1,"timestamp":"t"}\n');
    writeParts(dir, { manifest: { [member]: path } });
    const error = await refusalOf(dir);
    expect(error.code).toEqual(expect.any(String));
  });
});

describe("a damaged snapshot from before 0.7 rejects in upstream's words, with code and path", () => {
  it.runIf(hasFiles).each([
    ["version", { version: 0, timestamp: "t", records: {} }],
    ["timestamp", { version: 1, timestamp: "", records: {} }],
    ["records", { version: 1, timestamp: "t", records: [] }],
    ["records: null", { version: 1, timestamp: "t", records: null }],
  ])("%s", async (_name, snapshot) => {
    const { message } = thrownBy(() => validateSnapshot(snapshot));
    expect(message).toMatch(/^Invalid snapshot: /);
    for (const indent of [0, 2]) {
      const dir = temporaryDirectory();
      writeParts(dir, { snapshot: JSON.stringify(snapshot, null, indent) });
      const error = await refusalOf(dir);
      expect(error.message).toContain(message);
      expect(error).toMatchObject({ code: expect.stringMatching(/^OPSLOG_/), path: snapshotPathOf(dir) });
      expect(basename(error.path)).toMatch(/^snap-/);
    }
  });
});
