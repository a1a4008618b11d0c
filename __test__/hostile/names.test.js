/** CONTRACT.md 2: no path escapes the store, whatever segments, agents and blobs are called. */
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { FsBackend, Store } from "../../index.js";
import { temporaryDirectory, treeOf } from "../support/directory.js";
import { manifestOf, writeParts } from "../support/files.js";

const RUNS = Number(process.env.OPSLOG_RUNS ?? 40);

const NAMES = [
  "..", ".", "../x", "a/../../x", "/etc/passwd", "//x", "a/b", "a\\..\\..\\x", "C:\\x", "C:x", "\0", "a\0b", "\n", "\u007f", "con", "NUL", "aux.json",
  "lpt1", "a:b", "a ", "a.", " ", "...", "....//", "%2e%2e%2f", "\ud800", "x".repeat(255), "é".repeat(200), "manifest.json", ".lock",
  "../manifest.json", "../.lock", "__proto__", "-1", "archive-s", "s.json", "*", "?", "|", "~", "$HOME", "`id`", "\u202e", "\u2028",
];

const hostile = fc.oneof(
  fc.constantFrom(...NAMES),
  fc.string({ unit: "binary", maxLength: 20 }),
  fc.array(fc.constantFrom("..", ".", "/", "\\", "a", "\0", "archive", "manifest.json", ".lock", ":"), { maxLength: 6 }).map((parts) => parts.join("")),
);

let outside;
let dir;
let before;

afterEach(() => {
  vi.restoreAllMocks();
});

beforeEach(() => {
  // files that are no logs are read as if they were, which is reported there
  vi.spyOn(console, "error").mockImplementation(() => {});
  outside = temporaryDirectory();
  for (const name of ["victim", "manifest.json", "x", ".lock"]) writeFileSync(join(outside, name), "do not touch");
  mkdirSync(join(outside, "archive"));
  dir = join(outside, "store");
  mkdirSync(dir);
  before = outsideTree();
});

/** Everything but the store. */
function outsideTree() {
  return Object.fromEntries(Object.entries(treeOf(outside)).filter(([path]) => !/^store(\/|$)/.test(path)));
}

const quietly = (call) => call().catch((error) => {
  expect(error).toBeInstanceOf(Error);
});

describe("names that would leave the store", () => {
  it("of archive segments: refused, or a file in archive/ that can be loaded", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(hostile, { minLength: 1, maxLength: 4 }), async (names) => {
        const store = new Store();
        await store.open(dir, { durability: "os" });
        for (const name of names) {
          await store.set("a", { name });
          const archived = await store.archive((_value, id) => id === "a", name).catch((error) => {
            expect(error).toBeInstanceOf(Error);
            return 0;
          });
          if (archived === 0) {
            expect(store.get("a")).toEqual({ name });
          } else {
            expect((await store.loadArchive(name)).get("a")).toEqual({ name });
          }
          await quietly(() => store.loadArchive(`x${name}`));
        }
        expect(manifestOf(dir).archiveSegments.every((path) => /^archive\/archive-[^/\\]*\.json$/.test(path))).toBe(true);
        await store.close();
        expect(outsideTree()).toEqual(before);
      }),
      { numRuns: RUNS },
    );
  });

  it("of agents: any id works, and its files are plain names in the store", { timeout: 300_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(hostile, async (agentId) => {
        fc.pre(agentId !== "");
        const store = new Store();
        await store.open(dir, { agentId });
        await store.set("a", { agentId });
        expect(store.getOps().at(-1).agent).toBe(agentId);
        await store.close();
        expect(outsideTree()).toEqual(before);
      }),
      { numRuns: RUNS },
    );
  });

  it("of blobs, logs and segments of an FsBackend: refused, or inside the store and none of its own files", async () => {
    const setup = new Store();
    await setup.open(dir);
    await setup.set("a", { n: 1 });
    await setup.close();
    const manifest = treeOf(dir)["manifest.json"];
    await fc.assert(
      fc.asyncProperty(hostile, async (name) => {
        const backend = new FsBackend();
        await backend.initialize(dir, { readOnly: false });
        await quietly(() => backend.writeBlob(name, Buffer.from("x")));
        await quietly(() => backend.readBlob(name));
        await quietly(() => backend.readBlobRange(name, 0, 1));
        await quietly(() => backend.listBlobs(name));
        await quietly(() => backend.deleteBlob(name));
        await quietly(() => backend.deleteBlobDir(name));
        await quietly(() => backend.readOps(name));
        await quietly(() => backend.loadSnapshot(name));
        await quietly(() => backend.loadArchiveSegment(name));
        await quietly(() => backend.writeArchiveSegment(name, new Map([["a", { n: 1 }]])));
        await quietly(() => backend.createAgentOpsFile?.(name) ?? Promise.resolve());
        await backend.shutdown();
        expect(outsideTree()).toEqual(before);
        expect(treeOf(dir)["manifest.json"]).toBe(manifest);
      }),
      { numRuns: RUNS * 2 },
    );
    const store = new Store();
    await store.open(dir, { readOnly: true });
    expect(store.entries()).toEqual([["a", { n: 1 }]]);
    await store.close();
  });

  it("in a manifest: open refuses, writes nothing and reads nothing outside", async () => {
    for (const bad of NAMES.filter((name) => /[/\\\0]|^\.\.?$/.test(name))) {
      for (const member of [
        { currentSnapshot: `snapshots/${bad}` },
        { currentSnapshot: bad },
        { activeOps: `ops/${bad}` },
        { activeAgentOps: { one: `ops/${bad}` } },
      ]) {
        writeParts(dir, { manifest: member });
        for (const options of [{}, { readOnly: true }, { skipLoad: true }]) {
          await expect(new Store().open(dir, options)).rejects.toBeInstanceOf(Error);
        }
        // agents read through FsBackend: a path that comes back into the store is one of a file that does not exist
        const agent = new Store();
        await quietly(async () => {
          await agent.open(dir, { agentId: "x" });
          await agent.close();
        });
        expect(outsideTree()).toEqual(before);
      }
      writeParts(dir, { manifest: { archiveSegments: [`archive/${bad}`, `../${bad}`] } });
      const store = new Store();
      await quietly(async () => {
        await store.open(dir, { readOnly: true });
        for (const name of store.listArchiveSegments()) await expect(store.loadArchive(name)).rejects.toBeInstanceOf(Error);
        await store.close();
      });
    }
  });

  it("a temporary file that is a symbolic link to somewhere else is not written through", async () => {
    writeParts(dir, {});
    symlinkSync(join(outside, "victim"), join(dir, "manifest.json.tmp"));
    symlinkSync(join(outside, "victim"), join(dir, "snapshots", `snap-${Date.now() + 5}.jsonl`));
    const store = new Store();
    await store.open(dir);
    await store.set("a", { n: 1 });
    await store.compact();
    await store.close();
    expect(outsideTree()).toEqual(before);
  });
});
