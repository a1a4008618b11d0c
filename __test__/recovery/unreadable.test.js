/** CONTRACT.md 2: "cannot be read" is never "is empty", and a refused open touches nothing. */
import { chmodSync, chownSync, cpSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { runChild } from "../support/child.js";
import { filesOf, temporaryDirectory, treeOf } from "../support/directory.js";
import { rejectionOf } from "../support/errors.js";
import { logPathOf, manifestOf, snapshotPathOf, upstreamLine, writeParts } from "../support/files.js";
import { Store } from "../support/implementation.js";
import { stateOf, withStore, withUpstream } from "../support/stores.js";

const SCENARIOS = new URL("./scenarios.js", import.meta.url);
const isRoot = process.getuid?.() === 0;
const NOBODY = 65_534;
const PARTS = [
  ["manifest", (dir) => join(dir, "manifest.json")],
  ["snapshot", snapshotPathOf],
  ["log", logPathOf],
];

let dir;

beforeEach(async () => {
  dir = temporaryDirectory();
  await withStore(dir, {}, (store) => store.set("a", { n: 1 }));
  await withStore(dir, { checkpointOnClose: false }, (store) => store.set("b", { n: 2 }));
});

/** Checks that opening rejects with what `expected` says, whatever the options, and changes nothing. */
async function expectRefused(expected) {
  const tree = treeOf(dir);
  for (const options of [{}, { readOnly: true }, { recovery: "skip" }]) {
    const error = await rejectionOf(new Store().open(dir, options));
    expect(error).toMatchObject({ code: expect.any(String), ...expected });
    expect(error.message).toContain(basename(expected.path));
    expect(treeOf(dir)).toEqual(tree);
  }
}

describe("open rejects with code and path and touches nothing", () => {
  it.each(PARTS)("when a directory is in place of the %s (EISDIR)", async (_name, pathOf) => {
    const path = pathOf(dir);
    rmSync(path);
    mkdirSync(path);
    await expectRefused({ code: "EISDIR", path });
  });

  it.each(PARTS)("when the %s may not be read (EACCES)", async (_name, pathOf) => {
    const path = pathOf(dir);
    const tree = treeOf(dir);
    const nobody = isRoot ? { uid: NOBODY, gid: NOBODY } : {};
    if (isRoot) for (const name of ["", ...Object.keys(tree)]) chownSync(join(dir, name), NOBODY, NOBODY);
    chmodSync(path, 0o000);
    for (const options of [{}, { readOnly: true }]) {
      const { reports, code } = await runChild(SCENARIOS, "openAndReport", { dir, options }, { spawn: nobody });
      expect(reports).toEqual([{ error: expect.objectContaining({ code: "EACCES", path, syscall: expect.any(String) }) }]);
      expect(code).toBe(0);
    }
    chmodSync(path, 0o644);
    expect(Object.keys(treeOf(dir))).toEqual(Object.keys(tree));
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }], ["b", { n: 2 }]]);
  });

  it("when no file descriptor is left (EMFILE), and the same process can retry", async () => {
    const wrapper = ["bash", "-c", "ulimit -n 200; exec \"$@\"", "bash"];
    const { reports, code } = await runChild(SCENARIOS, "openWithoutDescriptors", { dir }, { wrapper });
    expect(reports).toEqual([{ outcome: "EMFILE" }, { entries: [["a", { n: 1 }], ["b", { n: 2 }]] }]);
    expect(code).toBe(0);
  });

  it("when the manifest is missing beside data", async () => {
    rmSync(join(dir, "manifest.json"));
    await expectRefused({ path: join(dir, "manifest.json") });
  });

  it("when the manifest is missing beside a snapshot with records only", async () => {
    rmSync(logPathOf(dir));
    rmSync(join(dir, "manifest.json"));
    await expectRefused({ path: join(dir, "manifest.json") });
  });

  it("when the manifest is missing beside a log with lines only", async () => {
    rmSync(snapshotPathOf(dir));
    rmSync(join(dir, "manifest.json"));
    await expectRefused({ path: join(dir, "manifest.json") });
  });

  it("when the manifest has length zero beside data", async () => {
    truncateSync(join(dir, "manifest.json"), 0);
    await expectRefused({ path: join(dir, "manifest.json") });
  });

  it("when the snapshot is missing", async () => {
    const path = snapshotPathOf(dir);
    rmSync(path);
    await expectRefused({ path });
  });

  it("when the log is missing", async () => {
    const path = logPathOf(dir);
    rmSync(path);
    await expectRefused({ code: "ENOENT", path });
  });

  it("when the folder of the log or of the snapshot is missing", async () => {
    const [log, snapshot] = [logPathOf(dir), snapshotPathOf(dir)];
    cpSync(dir, `${dir}-copy`, { recursive: true });
    rmSync(join(dir, "ops"), { recursive: true });
    await expectRefused({ path: log });
    rmSync(dir, { recursive: true });
    cpSync(`${dir}-copy`, dir, { recursive: true });
    rmSync(`${dir}-copy`, { recursive: true });
    rmSync(join(dir, "snapshots"), { recursive: true });
    await expectRefused({ path: snapshot });
  });
});

describe("a snapshot of ours", () => {
  it("that is cut at the end of a line has fewer records than its header's count", async () => {
    const path = snapshotPathOf(dir);
    const [header] = readFileSync(path, "utf8").split(/(?<=\n)/);
    writeFileSync(path, header);
    await expectRefused({ code: "OPSLOG_CORRUPT", path });
  });

  it("that has no header is refused", async () => {
    const path = snapshotPathOf(dir);
    writeFileSync(path, readFileSync(path, "utf8").split(/(?<=\n)/).slice(1).join(""));
    await expectRefused({ path });
  });

  it("of length zero is refused", async () => {
    const path = snapshotPathOf(dir);
    truncateSync(path, 0);
    await expectRefused({ path });
  });

  it("that lost its count and checksum but kept other members is refused", async () => {
    const path = snapshotPathOf(dir);
    writeFileSync(path, readFileSync(path, "utf8").replace('"crc"', '"arc"'));
    await expectRefused({ code: "OPSLOG_CORRUPT", path });
  });
});

describe("a snapshot of upstream's", () => {
  const header = '{"version":1,"timestamp":"2026-01-02T03:04:05.678Z"}\n';
  const record = (id) => `${JSON.stringify({ id, data: { id } })}\n`;

  beforeEach(() => {
    dir = temporaryDirectory();
  });

  it("with fewer records than stats.activeRecords is refused", async () => {
    writeParts(dir, { snapshot: header + record("a"), activeRecords: 2 });
    await expectRefused({ code: "OPSLOG_CORRUPT", path: snapshotPathOf(dir) });
  });

  it("with more records than stats.activeRecords is accepted", async () => {
    writeParts(dir, { snapshot: header + record("a") + record("b"), activeRecords: 1 });
    expect((await stateOf(dir)).entries).toEqual([["a", { id: "a" }], ["b", { id: "b" }]]);
  });

  it("that is cut inside a record is refused", async () => {
    const text = header + record("a") + record("b");
    for (const cut of [2, 5, 12]) {
      writeParts(dir, { snapshot: text.slice(0, -cut), activeRecords: 2 });
      await expectRefused({ path: snapshotPathOf(dir) });
    }
  });

  it("that lost only its last newline is whole", async () => {
    writeParts(dir, { snapshot: (header + record("a")).trimEnd(), activeRecords: 1 });
    expect((await stateOf(dir)).entries).toEqual([["a", { id: "a" }]]);
  });

  it.each([
    ["no header", record("a") + record("b")],
    ["nothing", ""],
    ["a blank line for a header", `\n${record("a")}`],
    ["a header without a version", `{"timestamp":"t"}\n${record("a")}`],
    ["a header that is no object", `7\n${record("a")}`],
    ["a record that is no JSON", `${header}${record("a")}hello\n${record("b")}`],
    ["a record without an id", `${header}${record("a")}{"data":{}}\n`],
    ["a record whose id is no string", `${header}${record("a")}{"id":7,"data":{}}\n`],
    ["a member in the header that is not upstream's, without a checksum",
      `{"version":1,"timestamp":"t","count":1}\n${record("a")}`],
  ])("with %s is refused", async (_name, snapshot) => {
    writeParts(dir, { snapshot, activeRecords: 1 });
    await expectRefused({ code: expect.stringMatching(/^OPSLOG_/), path: snapshotPathOf(dir) });
  });

  it("with a record without data is opened: upstream writes that for a record that was set to undefined", async () => {
    writeParts(dir, { snapshot: `${header}${record("a")}{"id":"b"}\n`, activeRecords: 2 });
    const store = new Store();
    await store.open(dir, { readOnly: true });
    expect(store.has("b")).toBe(true);
    expect(store.count()).toBe(2);
    await store.close();
  });
});

describe("an interrupted first open is a fresh store", () => {
  const header = '{"version":1,"timestamp":"2026-01-02T03:04:05.678Z"}\n';

  beforeEach(() => {
    dir = temporaryDirectory();
  });

  it.each([
    ["empty folders", { manifest: null, snapshot: null, log: null }],
    ["an empty snapshot", { manifest: null, snapshot: "", log: null }],
    ["a snapshot of no records", { manifest: null, snapshot: header, log: null }],
    ["a snapshot of no records and an empty log", { manifest: null, snapshot: header, log: "" }],
    ["these and an empty manifest", { manifest: "", snapshot: header, log: "" }],
    ["these and a temporary manifest", { manifest: null, snapshot: header, log: "", temporary: '{"version":1' }],
  ])("with %s", async (_name, { manifest, snapshot, log, temporary }) => {
    writeParts(dir, { snapshot: snapshot ?? undefined, log: log ?? undefined });
    if (snapshot === null) rmSync(snapshotPathOf(dir));
    if (log === null) rmSync(logPathOf(dir));
    rmSync(join(dir, "manifest.json"));
    if (manifest !== null) writeFileSync(join(dir, "manifest.json"), manifest);
    if (temporary) writeFileSync(join(dir, "manifest.json.tmp"), temporary);
    const tree = treeOf(dir);
    const words = "Cannot open in readOnly mode: no existing store found";
    await expect(new Store().open(dir, { readOnly: true })).rejects.toThrow(words);
    expect(treeOf(dir)).toEqual(tree);
    await withStore(dir, {}, async (store) => {
      expect(store.count()).toBe(0);
      await store.set("a", { n: 1 });
    });
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }]]);
    await withUpstream(dir, {}, (store) => expect(store.entries()).toEqual([["a", { n: 1 }]]));
  });

  it("but not beside a log with lines, even of length-zero manifest and snapshot", async () => {
    writeParts(dir, { snapshot: "", log: upstreamLine({ op: "set", id: "a", prev: null, data: { n: 1 } }) });
    expect(manifestOf(dir).version).toBe(1);
    writeFileSync(join(dir, "manifest.json"), "");
    await expectRefused({ path: join(dir, "manifest.json") });
    expect(filesOf(dir)).toHaveLength(3);
  });
});
