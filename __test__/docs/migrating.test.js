/** docs/migrating.md: what it says to do is done, with upstream 0.8.1 itself, there, back, and there again. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { copyOf, makeTemporaryDirectory, removeDirectory, temporaryDirectory, treeOf } from "../support/directory.js";
import { manifestOf } from "../support/files.js";
import { PATIENCE_MS } from "../support/patience.js";
import { openStore, openUpstream, withStore, withUpstream } from "../support/stores.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const PAGE = readFileSync(join(ROOT, "docs/migrating.md"), "utf8");

/** The programs of the page by name, as they stand there. */
const PROGRAMS = new Map(
  [...PAGE.matchAll(/^ *```js\n *\/\/ (\w+\.mjs)\n(.*?)^ *```$/gms)].map(([, name = "", code = ""]) => [name, code]),
);

let dir;

/** A project in which both packages are installed. */
function makeProject() {
  const project = makeTemporaryDirectory();
  mkdirSync(join(project, "node_modules/@backloghq"), { recursive: true });
  symlinkSync(ROOT, join(project, "node_modules/opslog-native"), "dir");
  symlinkSync(join(ROOT, "node_modules/@backloghq/opslog"), join(project, "node_modules/@backloghq/opslog"), "dir");
  for (const [name, code] of PROGRAMS) writeFileSync(join(project, name), code);
  return project;
}

/**
 * Runs a program of the page on the store.
 *
 * @param {string} name
 */
function run(name) {
  expect([...PROGRAMS.keys()]).toContain(name);
  const project = makeProject();
  onTestFinished(() => removeDirectory(project));
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(project, name), dir], { encoding: "utf8", timeout: PATIENCE_MS });
  expect(status, stderr).toBe(0);
  return stdout.trim();
}

/** @param {any} store @returns {Promise<any>} all that callers see of its records */
async function contentOf(store) {
  const archive = {};
  for (const segment of store.listArchiveSegments()) archive[segment] = [...(await store.loadArchive(segment))];
  return { entries: store.entries(), archive };
}

/** What a program does in a session, with either package: some of everything. @param {any} store @param {string} session */
async function work(store, session) {
  await store.set(`${session}-a`, { session, n: 1.5 });
  await store.set(`${session}-b`, { session, tags: ["x", { y: null }] });
  await store.set(`${session}-gone`, { session });
  await store.archive((_record, id) => id === `${session}-gone`, "2026-Q1");
  await store.set(`${session}-a`, { ...store.get(`${session}-a`), changed: true });
  await store.batch(() => {
    store.set(`${session}-c`, { session });
    store.delete(`${session}-b`);
  });
  await store.set(`${session}-d`, { session });
  expect(await store.undo()).toBe(true);
  // Behind the undo: upstream's cuts at the wrong place where the end of the log holds such text.
  await store.set(`${session}-e`, { text: "日本語 \u2028" });
}

/** As `work` leaves a store on upstream, with operations in the log. */
async function leftByUpstream() {
  await withUpstream(dir, {}, (store) => work(store, "first"));
  let content;
  await withUpstream(dir, { checkpointOnClose: false }, async (store) => {
    await work(store, "second");
    content = await contentOf(store);
  });
  return content;
}

beforeEach(() => {
  dir = join(temporaryDirectory(), "data");
});

beforeAll(() => {
  expect([...PROGRAMS.keys()]).toEqual(["compare.mjs", "fold.mjs"]);
});

describe("there", () => {
  it("both see the same, and comparing changes nothing", async () => {
    const content = await leftByUpstream();
    const tree = treeOf(dir);
    expect(run("compare.mjs")).toBe(`${content.entries.length} records, the same in both`);
    expect(treeOf(dir)).toEqual(tree);
  });

  it("the store opens with records, operations and archives, and goes on", async () => {
    const content = await leftByUpstream();
    const store = await openStore(dir);
    expect(await contentOf(store)).toEqual(content);
    expect(store.getHistory("second-c")).toHaveLength(1);
    expect(await store.undo()).toBe(true);
    expect(store.has("second-e")).toBe(false);
    await work(store, "third");
  });

  it("superseded files of upstream's are removed at the first open for writing, not by a reader", async () => {
    await leftByUpstream();
    const snapshots = () => readdirSync(join(dir, "snapshots"));
    const before = snapshots();
    expect(before.length).toBeGreaterThan(2);
    await withStore(dir, { readOnly: true }, () => {});
    expect(snapshots()).toEqual(before);
    const current = manifestOf(dir).currentSnapshot;
    await withStore(dir, { checkpointOnClose: false }, () => {});
    expect(snapshots().map((name) => `snapshots/${name}`)).toEqual([current]);
  });

  it("a habit that the page names: a changed object is not stored, upstream's holds it until a restart", async () => {
    const record = { n: 1 };
    await withUpstream(join(temporaryDirectory(), "data"), {}, async (store) => {
      await store.set("a", record);
      record.n = 2;
      expect(store.get("a")).toEqual({ n: 2 });
    });
    record.n = 1;
    await withStore(dir, {}, async (store) => {
      await store.set("a", record);
      record.n = 2;
      expect(store.get("a")).toEqual({ n: 1 });
    });
  });
});

describe("back again", () => {
  /** Upstream has what ours had, works on it, and ours opens what that left. @param {any} content */
  async function expectTakenBack(content) {
    await withUpstream(dir, {}, async (store) => {
      expect(await contentOf(store)).toEqual(content);
      expect(store.getOps()).toEqual([]);
      expect(await store.undo()).toBe(false);
      await work(store, "upstream's");
    });
    run("compare.mjs");
    await withStore(dir, {}, async (store) => {
      expect(store.has("upstream's-c")).toBe(true);
      await work(store, "there again");
    });
  }

  it("a store that was closed is upstream's at once", async () => {
    await leftByUpstream();
    let content;
    await withStore(dir, {}, async (store) => {
      await work(store, "ours");
      content = await contentOf(store);
    });
    await expectTakenBack(content);
  });

  it("one that was closed without a checkpoint, after fold.mjs", async () => {
    let content;
    await withStore(dir, { checkpointOnClose: false }, async (store) => {
      await work(store, "ours");
      content = await contentOf(store);
    });
    expect(run("fold.mjs")).toBe("");
    await expectTakenBack(content);
  });

  it("one that several agents have written, after fold.mjs", async () => {
    const agents = [];
    for (const agentId of ["one", "two"]) agents.push(await openStore(dir, { agentId, checkpointOnClose: false }));
    for (const [n, agent] of agents.entries()) {
      await agent.refresh();
      await agent.set(`agent-${n}`, { n });
      await agent.set("shared", { n });
    }
    for (const agent of agents) await agent.close();
    run("fold.mjs");
    const content = { entries: [["agent-0", { n: 0 }], ["shared", { n: 1 }], ["agent-1", { n: 1 }]], archive: {} };
    await expectTakenBack(content);
    expect(manifestOf(dir)).not.toHaveProperty("activeAgentOps");
  });

  it("one that was written with skipLoad, after fold.mjs", async () => {
    await withStore(dir, {}, (store) => store.set("a", { n: 1 }));
    await withStore(dir, { skipLoad: true }, async (store) => {
      await store.set("a", { n: 2 });
      await store.set("b", { n: 1 });
    });
    run("fold.mjs");
    await expectTakenBack({ entries: [["a", { n: 2 }], ["b", { n: 1 }]], archive: {} });
  });

  it("with files beside it that upstream does not look at", async () => {
    await withStore(dir, {}, (store) => work(store, "ours"));
    const content = await contentOf(await openUpstream(copyOf(dir)));
    for (const name of [".lock-owner", ".compact-lock-owner", ".agent-a-0123abcd.lock"]) writeFileSync(join(dir, name), "rest");
    const { activeOps } = manifestOf(dir);
    for (const name of ["cut-1", "damaged-1"]) writeFileSync(join(dir, `${activeOps}.${name}`), "{\n");
    await expectTakenBack(content);
    expect(existsSync(join(dir, `${activeOps}.cut-1`))).toBe(true);
  });
});
