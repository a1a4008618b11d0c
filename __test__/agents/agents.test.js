/** CONTRACT.md 5: several writers on one directory. */
import { existsSync, readFileSync, readdirSync, unlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { FsBackend } from "../../index.js";
import { startChild } from "../support/child.js";
import { copyOf, filesOf, temporaryDirectory, treeOf } from "../support/directory.js";
import { manifestOf } from "../support/files.js";
import { eventually } from "../support/patience.js";
import { choices } from "../support/random.js";
import { openStore, openUpstream, stateOf, withStore } from "../support/stores.js";

const SCENARIOS = new URL("./scenarios.js", import.meta.url);

const newStore = () => join(temporaryDirectory(), "store");
const agent = (dir, agentId, options = {}) => openStore(dir, { agentId, checkpointOnClose: false, ...options });
const stamps = (ops) => ops.map(({ id, agent: by, clock }) => [id, by, clock]);

/** In the order of clock and agent. */
const byPlace = (found) => found.sort(([, a, m], [, b, n]) => m - n || (a < b ? -1 : 1));

describe("order", () => {
  it("the first operation of a fresh store has clock 1: opening, registering and merging do not tick", async () => {
    const dir = newStore();
    const [a, b] = [await agent(dir, "a"), await agent(dir, "b")];
    await a.refresh();
    await b.refresh();
    await b.set("x", { n: 1 });
    await a.refresh();
    await a.refresh();
    await a.set("y", { n: 2 });
    expect(stamps(a.getOps())).toEqual([["x", "b", 1], ["y", "a", 2]]);
  });

  it("operations of the same clock count in the order of their agents by UTF-16 code units", async () => {
    const dir = newStore();
    // By code points U+FF5E comes before U+1F600, by code units after it; by locale "a" before "B".
    const ids = ["a", "B", "\u{1f600}", "\uff5e", "é"];
    const stores = await Promise.all(ids.map((id) => agent(dir, id)));
    for (const store of stores) await store.refresh();
    // At once: no agent has looked at the manifest's logs again, so all clocks are the same.
    await Promise.all(stores.map((store, i) => store.set("shared", { by: ids[i] })));
    const expected = [...ids].sort((x, y) => (x < y ? -1 : 1));
    for (const store of stores) {
      await store.refresh();
      expect(store.getHistory("shared").map(({ agent: by }) => by)).toEqual(expected);
      expect(store.get("shared")).toEqual({ by: expected.at(-1) });
    }
    expect((await stateOf(dir)).entries).toEqual([["shared", { by: expected.at(-1) }]]);
  });

  it("clocks go on after a checkpoint and across sessions", async () => {
    const dir = newStore();
    await withStore(dir, { agentId: "a" }, async (a) => {
      await a.set("x", { n: 1 });
      await a.set("x", { n: 2 });
      await a.compact();
      await a.set("x", { n: 3 });
      expect(stamps(a.getOps())).toEqual([["x", "a", 3]]);
    });
    const b = await agent(dir, "b");
    await b.set("x", { n: 4 });
    expect(stamps(b.getOps())).toEqual([["x", "b", 4]]);
  });
});

describe("others' operations", () => {
  it("are delivered once each by tail, overlapping calls included, also when a peer made checkpoints in between", async () => {
    const dir = newStore();
    const [a, b] = [await agent(dir, "a"), await agent(dir, "b", { checkpointThreshold: 7 })];
    const told = [];
    for (let n = 0; n < 40; n++) {
      const written = b.set(`k${n}`, { n });
      told.push(...(await Promise.all([a.tail(), a.tail()])).flat());
      await written;
    }
    told.push(...(await a.tail()));
    expect(told.map(({ id }) => id).sort()).toEqual(Array.from({ length: 40 }, (_, n) => `k${n}`).sort());
    expect(new Map(a.entries())).toEqual(new Map(b.entries()));
  });

  it.each(Array.from({ length: 24 }, (_, seed) => seed))("are told once, as they were written, by who sleeps through several checkpoints (%i)", async (seed) => {
    const dir = newStore();
    const below = choices(seed);
    const [a, b] = [await agent(dir, "a", { durability: "os" }), await agent(dir, "b", { durability: "os" })];
    const asleep = [await agent(dir, "c"), await openStore(dir, { readOnly: true })];
    let untold = [];
    for (let n = 0; n < 24; n++) {
      const writer = below(2) === 0 ? a : b;
      const step = below(20);
      if (step < 11) {
        const id = `k${below(4)}`;
        await writer.set(id, { n });
        untold.push(writer.getHistory(id).at(-1));
      } else if (step < 13) {
        const last = writer.getOps().findLast(({ agent: by }) => by === (writer === a ? "a" : "b"));
        if (await writer.undo()) untold = untold.filter(({ agent: by, clock }) => by !== last.agent || clock !== last.clock);
      } else if (step < 19) {
        await writer.compact();
      } else {
        for (const store of asleep) expect(byPlace(stamps(await store.tail()))).toEqual(byPlace(stamps(untold)));
        untold = [];
      }
    }
    for (const store of asleep) expect(byPlace(stamps(await store.tail()))).toEqual(byPlace(stamps(untold)));
    await a.refresh();
    for (const store of asleep) expect(new Map(store.entries())).toEqual(new Map(a.entries()));
  });

  it("reach a watch", async () => {
    const dir = newStore();
    const [a, b] = [await agent(dir, "a"), await agent(dir, "b")];
    const told = [];
    a.watch((ops) => told.push(...ops.map(({ id }) => id)), 5);
    await b.set("x", { n: 1 });
    await b.compact();
    await b.batch(() => ["y", "z"].forEach((id) => b.set(id, { n: 2 })));
    await eventually(() => expect([...told].sort()).toEqual(["x", "y", "z"]));
    a.unwatch();
  });

  it("archived ones are gone for all agents, and an id written later is there again", async () => {
    const dir = newStore();
    const [a, b] = [await agent(dir, "a"), await agent(dir, "b")];
    await a.set("old", { n: 1 });
    await b.set("new", { n: 2 });
    await b.refresh();
    expect(await b.archive((_value, id) => id === "old", "2026-Q1")).toBe(1);
    await a.refresh();
    expect(a.entries()).toEqual([["new", { n: 2 }]]);
    expect(await a.loadArchive("2026-Q1")).toEqual(new Map([["old", { n: 1 }]]));
    await a.set("old", { n: 3 });
    await b.refresh();
    expect(b.get("old")).toEqual({ n: 3 });
  });
});

describe("undo", () => {
  it("takes back an agent's own last operation beneath what others did later", async () => {
    const dir = newStore();
    const [a, b] = [await agent(dir, "a"), await agent(dir, "b")];
    await a.set("x", { n: 1 });
    await a.set("mine", { n: 1 });
    await b.refresh();
    await b.set("x", { n: 2 });
    await a.refresh();
    expect(await a.undo()).toBe(true);
    expect(await a.undo()).toBe(true);
    expect(await a.undo()).toBe(false);
    for (const store of [a, b]) {
      await store.refresh();
      expect(store.entries()).toEqual([["x", { n: 2 }]]);
    }
    expect((await stateOf(dir)).entries).toEqual([["x", { n: 2 }]]);
  });

  it("answers false once a peer's checkpoint holds the operation, and nothing is taken back", async () => {
    const dir = newStore();
    const [a, b] = [await agent(dir, "a"), await agent(dir, "b")];
    await a.set("x", { n: 1 });
    await b.compact();
    expect(await a.undo()).toBe(false);
    expect(a.get("x")).toEqual({ n: 1 });
    await a.set("y", { n: 2 });
    expect(await a.undo()).toBe(true);
    expect(await a.undo()).toBe(false);
    expect((await stateOf(dir)).entries).toEqual([["x", { n: 1 }]]);
  });

  it("of an agent that was opened again takes back what stands in its own log only", async () => {
    const dir = newStore();
    const b = await agent(dir, "b");
    await withStore(dir, { agentId: "a", checkpointOnClose: false }, async (a) => {
      await a.set("x", { n: 1 });
      await b.compact();
      await a.set("y", { n: 2 });
    });
    const a = await agent(dir, "a");
    expect([await a.undo(), await a.undo()]).toEqual([true, false]);
    await b.refresh();
    expect(b.entries()).toEqual([["x", { n: 1 }]]);
  });
});

describe("checkpoints", () => {
  it("are left out while a peer holds the compaction lock; archive waits for it and rejects in the end", async () => {
    const dir = newStore();
    const a = await agent(dir, "a", { checkpointThreshold: 2 });
    const other = new FsBackend();
    await other.initialize(dir, { readOnly: false });
    const lock = await other.acquireCompactionLock();
    const { currentSnapshot } = manifestOf(dir);
    for (const id of ["x", "y", "z"]) await a.set(id, {});
    await a.compact();
    expect(manifestOf(dir).currentSnapshot).toBe(currentSnapshot);
    await expect(a.archive(() => true, "s")).rejects.toThrow("Compaction lock held by another agent");
    expect(a.count()).toBe(3);
    const waiting = a.archive((_value, id) => id === "x", "s");
    setTimeout(() => void other.releaseCompactionLock(lock), 100);
    expect(await waiting).toBe(1);
    expect((await stateOf(dir)).entries.map(([id]) => id).sort()).toEqual(["y", "z"]);
  });

  it("an agent keeps its entry at close; the next checkpoint drops entries of agents that are gone", async () => {
    const dir = newStore();
    await withStore(dir, { agentId: "a", checkpointOnClose: false }, (a) => a.set("x", { n: 1 }));
    const b = await agent(dir, "b");
    expect(Object.keys(manifestOf(dir).activeAgentOps)).toEqual(["a", "b"]);
    await b.compact();
    expect(Object.keys(manifestOf(dir).activeAgentOps)).toEqual(["b"]);
    expect((await stateOf(dir)).entries).toEqual([["x", { n: 1 }]]);
  });

  it("keep the manifest small, however many agents there were", async () => {
    const dir = newStore();
    for (let n = 0; n < 300; n++) await withStore(dir, { agentId: `agent-${n}` }, (store) => store.set(`k${n % 10}`, { n }));
    expect(JSON.stringify(manifestOf(dir)).length).toBeLessThan(20_000);
    expect(readdirSync(dir).filter((name) => name.startsWith(".agent-"))).toEqual([]);
    expect((await stateOf(dir)).entries).toHaveLength(10);
  });

  it("one that was begun by an agent that is gone holds nobody up", async () => {
    const dir = newStore();
    const a = await agent(dir, "a");
    await a.set("x", { n: 1 });
    writeFileSync(join(dir, "manifest.json"), JSON.stringify({ ...manifestOf(dir), compacting: "ops/agent-z-1.jsonl" }));
    writeFileSync(join(dir, "ops/agent-z-1.jsonl"), "");
    await a.set("y", { n: 2 });
    expect(manifestOf(dir)).not.toHaveProperty("compacting");
    const b = await agent(dir, "b");
    await b.refresh();
    expect(b.count()).toBe(2);
    expect((await stateOf(dir)).entries).toHaveLength(2);
  });
});

describe("who may open", () => {
  it("a second live holder of an agent id is refused, until the first is closed or killed", async () => {
    const dir = newStore();
    const child = startChild(SCENARIOS, "hold", { dir, options: { agentId: "a" } });
    await child.next();
    await expect(agent(dir, "a")).rejects.toMatchObject({ code: "OPSLOG_LOCKED" });
    const b = await agent(dir, "b");
    child.process.kill("SIGKILL");
    await child.ended;
    const a = await agent(dir, "a");
    expect(a.has("held by a")).toBe(true);
    await expect(agent(dir, "a")).rejects.toMatchObject({ code: "OPSLOG_LOCKED" });
    await a.close();
    await (await agent(dir, "a")).close();
    await b.close();
    expect(readdirSync(dir).filter((name) => name.startsWith("."))).toEqual([]);
  });

  it("a single writer is refused while an agent is live, and an agent while a single writer is", async () => {
    const dir = newStore();
    const a = await agent(dir, "a");
    await expect(openStore(dir)).rejects.toMatchObject({ code: "OPSLOG_LOCKED" });
    await a.set("x", { n: 1 });
    await a.close();
    const single = await openStore(dir);
    expect(single.get("x")).toEqual({ n: 1 });
    await expect(agent(dir, "a")).rejects.toMatchObject({ code: "OPSLOG_LOCKED" });
    await single.set("y", { n: 2 });
    await single.close();
    expect((await agent(dir, "a")).count()).toBe(2);
  });

  it("what an agent leaves is there for a single writer and a reader of upstream's", async () => {
    const dir = newStore();
    await withStore(dir, { agentId: "a", checkpointOnClose: false }, (a) => a.set("x", { n: 1 }));
    const reader = await openUpstream(dir, { readOnly: true });
    expect(reader.entries()).toEqual([["x", { n: 1 }]]);
    const writer = await openUpstream(dir, { checkpointOnClose: false });
    expect(writer.entries()).toEqual([["x", { n: 1 }]]);
    await writer.set("y", { n: 2 });
    await writer.close();
    expect(new Map((await stateOf(dir)).entries)).toEqual(new Map([["x", { n: 1 }], ["y", { n: 2 }]]));
  });

  it("a single writer's log is kept when agents open its store, for them, for readers and for upstream", async () => {
    const dir = newStore();
    await withStore(dir, { checkpointOnClose: false }, async (single) => {
      await single.set("x", { n: 1 });
      await single.set("y", { n: 1 });
      await single.delete("y");
    });
    const a = await agent(dir, "a");
    const b = await agent(dir, "b");
    expect(await a.undo()).toBe(false);
    const upstream = await openUpstream(copyOf(dir), { agentId: "u", checkpointOnClose: false });
    for (const store of [a, b, upstream]) expect(store.entries()).toEqual([["x", { n: 1 }]]);
    expect((await stateOf(dir)).entries).toEqual([["x", { n: 1 }]]);
  });

  it.each(["a/b", "..", ".", "../../outside", "__proto__", "constructor", "x".repeat(5000), "agent \u{1f600} é", "\ud800", "a\0b", "%2F"])(
    "an agent may be called %j, and no file leaves the store",
    async (id) => {
      const dir = newStore();
      const outside = () => readdirSync(dirname(dir));
      const before = outside();
      await withStore(dir, { agentId: "other", checkpointOnClose: false }, (store) => store.set("y", {}));
      await withStore(dir, { agentId: id, checkpointOnClose: false }, async (store) => {
        await store.set("x", { n: 1 });
        expect(store.getHistory("x")[0].agent).toBe(id);
      });
      expect(outside()).toEqual([...before, "store"].filter((name, i, all) => all.indexOf(name) === i));
      expect(Object.keys(manifestOf(dir).activeAgentOps).sort()).toEqual([id, "other"].sort());
      for (const file of filesOf(dir)) expect(file).toMatch(/^(manifest\.json|(ops|snapshots|archive)\/[^/]+)$/);
      const again = await agent(dir, id);
      expect(await again.undo()).toBe(true);
      await again.compact();
      expect(again.entries()).toEqual([["y", {}]]);
      expect((await stateOf(dir)).entries).toEqual([["y", {}]]);
    },
  );

  it("a buffered write mode falls back to immediate, with one line", async () => {
    const stderr = vi.spyOn(console, "error").mockImplementation(() => {});
    for (const writeMode of ["group", "async"]) {
      const dir = newStore();
      stderr.mockClear();
      const a = await agent(dir, "a", { writeMode });
      expect(stderr.mock.calls).toEqual([[`opslog: writeMode '${writeMode}' is not compatible with multi-writer (agentId). Using 'immediate'.`]]);
      await a.set("x", { n: 1 });
      expect((await stateOf(dir)).entries).toEqual([["x", { n: 1 }]]);
    }
    stderr.mockRestore();
  });
});

describe("readers", () => {
  it.each([{}, { agentId: "r" }])("see every agent's records, follow, and write nothing (%j)", async (options) => {
    const dir = newStore();
    const [a, b] = [await agent(dir, "a"), await agent(dir, "b")];
    await a.set("x", { n: 1 });
    await b.set("y", { n: 2 });
    const before = treeOf(dir);
    const reader = await openStore(dir, { readOnly: true, ...options });
    expect(new Map(reader.entries())).toEqual(new Map([["x", { n: 1 }], ["y", { n: 2 }]]));
    await reader.refresh();
    expect(treeOf(dir)).toEqual(before);
    await b.set("z", { n: 3 });
    await a.compact();
    expect((await reader.tail()).map(({ id }) => id)).toEqual(["z"]);
    expect(await reader.tail()).toEqual([]);
    expect(() => reader.set("w", {})).toThrow("Store is read-only");
    const after = treeOf(dir);
    await reader.close();
    expect(treeOf(dir)).toEqual(after);
  });
});

describe("a reader that sees agents and single writers take turns", () => {
  const single = (dir, id) => withStore(dir, {}, (store) => store.set(id, { n: 1 }));
  const told = async (reader) => (await reader.tail()).map(({ id }) => id).sort();

  it("is told what a single writer's checkpoint took along, between those of agents", async () => {
    const dir = newStore();
    const a = await agent(dir, "a");
    await a.set("x", { n: 1 });
    await a.compact();
    const reader = await openStore(dir, { readOnly: true });
    await a.close();
    await single(dir, "single");
    await withStore(dir, { agentId: "a" }, (again) => again.set("after", { n: 1 }));
    expect(await told(reader)).toEqual(["after", "single"]);
  });

  it("is told what agents did before a single writer came", async () => {
    const dir = newStore();
    const a = await agent(dir, "a");
    await a.set("x", { n: 1 });
    const reader = await openStore(dir, { readOnly: true });
    await withStore(dir, { agentId: "b", checkpointOnClose: false }, (b) => b.set("y", { n: 1 }));
    await a.compact();
    await a.close();
    await single(dir, "single");
    await agent(dir, "a");
    expect(await told(reader)).toEqual(["single", "y"]);
  });

  it("is not told twice what it was told of agents", async () => {
    const dir = newStore();
    const a = await agent(dir, "a");
    await a.set("x", { n: 1 });
    const reader = await openStore(dir, { readOnly: true });
    await a.set("y", { n: 1 });
    expect(await told(reader)).toEqual(["y"]);
    await a.close();
    await single(dir, "single");
    expect(await told(reader)).toEqual(["single"]);
  });
});

describe("an agent of an older version than another", () => {
  it("takes no more writes once the records are migrated; close says so, once, and gives its place back", async () => {
    const dir = newStore();
    const old = await openStore(dir, { agentId: "a" });
    await old.set("x", { n: 1 });
    const migrate = (record) => ({ ...record, version: 2 });
    const b = await agent(dir, "b", { version: 2, migrate });
    await expect(old.set("y", { n: 2 })).rejects.toThrow("version 2");
    await expect(old.close()).rejects.toThrow("version 2");
    await expect(old.close()).rejects.toThrow("Store is not open");
    const again = await agent(dir, "a", { version: 2, migrate });
    expect(again.entries()).toEqual([["x", { n: 1, version: 2 }]]);
    expect(b.entries()).toEqual(again.entries());
  });
});

describe("what a crash leaves", () => {
  it("a log that was made and never entered does no harm", async () => {
    const dir = newStore();
    await withStore(dir, { agentId: "a", checkpointOnClose: false }, (store) => store.set("x", { n: 1 }));
    writeFileSync(join(dir, "ops/agent-a-9999999999999.jsonl"), "");
    writeFileSync(join(dir, ".agent-gone-00000000.lock"), "1");
    const a = await agent(dir, "a");
    await a.set("y", { n: 2 });
    await a.compact();
    await a.close();
    await withStore(dir, {}, (single) => expect(single.count()).toBe(2));
    expect(existsSync(join(dir, ".agent-gone-00000000.lock"))).toBe(false);
    expect(readFileSync(join(dir, "manifest.json"), "utf8")).not.toContain("9999999999999");
  });

  it("nothing is written by an agent that is closed, tail and watch included", async () => {
    const dir = newStore();
    const [a, b] = [await agent(dir, "a"), await agent(dir, "b")];
    await b.compact();
    const closed = a.close();
    const tailed = a.tail().catch(() => []);
    await closed;
    const before = treeOf(dir);
    await tailed;
    expect(treeOf(dir)).toEqual(before);
  });
});

/** Agents that the engine leaves to a backend's methods, which take what is missing for what never was. */
describe.each([{ agentId: "\ud800" }, { agentId: "b", skipLoad: true }])("an agent of %j", (options) => {
  const stored = async () => {
    const dir = newStore();
    await withStore(dir, { agentId: "a" }, (a) => a.set("x", { n: 1 }));
    await withStore(dir, { agentId: "a", checkpointOnClose: false }, (a) => a.set("y", { n: 2 }));
    return dir;
  };

  it.each([
    ["a missing manifest", () => "manifest.json"],
    ["a missing snapshot", (manifest) => manifest.currentSnapshot],
  ])("is refused beside %s, and changes nothing", async (_what, pathOf) => {
    const dir = await stored();
    unlinkSync(join(dir, pathOf(manifestOf(dir))));
    const before = treeOf(dir);
    await expect(openStore(dir, options)).rejects.toMatchObject({ code: "OPSLOG_CORRUPT" });
    expect(treeOf(dir)).toEqual(before);
  });

  it("is refused in a store of a newer version", async () => {
    const dir = await stored();
    await withStore(dir, { version: 2, migrate: (record) => record }, () => {});
    await expect(openStore(dir, options)).rejects.toThrow("written with version 2");
  });

  it("does not mix records of two versions", async () => {
    const dir = await stored();
    const versioned = { ...options, version: 2, migrate: (record) => ({ ...record, version: 2 }) };
    if (options.skipLoad) {
      await expect(openStore(dir, versioned)).rejects.toThrow("have to be migrated to 2 first");
    } else {
      await withStore(dir, versioned, (store) => expect(store.get("x")).toEqual({ n: 1, version: 2 }));
    }
  });

  it("opens what is not there yet", async () => {
    const dir = newStore();
    await withStore(dir, options, (store) => store.set("x", { n: 1 }));
    expect((await stateOf(dir)).entries).toEqual([["x", { n: 1 }]]);
  });
});
