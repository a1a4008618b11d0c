/** The reading commands beside a process that writes: they see its writes, and write nothing themselves. */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { startChild } from "../support/child.js";
import { temporaryDirectory, treeOf } from "../support/directory.js";
import { PATIENCE_MS } from "../support/patience.js";
import { openStore } from "../support/stores.js";
import { canTrace } from "../support/strace.js";
import { json, MAIN, opslog, output, start } from "./run.js";

const SCENARIOS = new URL("./scenarios.js", import.meta.url);

const READING = [["info"], ["get", "a"], ["list"], ["history", "a"], ["log"], ["verify"], ["export"], ["upgrade", "--dry-run"], ["repair", "--dry-run"]];

describe("beside an open store", () => {
  it("every reading command answers, and changes nothing", async () => {
    const dir = join(temporaryDirectory(), "store");
    const store = await openStore(dir, { checkpointThreshold: Infinity });
    await store.set("a", { n: 1 });
    await store.compact();
    await store.set("a", { n: 2 });
    const before = treeOf(dir);
    for (const [command, ...rest] of READING) {
      const { status, stderr } = opslog([command, dir, ...rest]);
      expect([status, stderr], command).toEqual([0, ""]);
    }
    expect(treeOf(dir)).toEqual(before);
    expect(json(["info", dir]).lock).toEqual({ state: "held", pid: process.pid });
    expect(json(["compact", dir], { exit: 4 })).toMatchObject({ code: "OPSLOG_LOCKED" });
    expect(json(["upgrade", dir]).needed).toBe(false);
    expect(json(["import", dir], { exit: 4 })).toMatchObject({ code: "OPSLOG_LOCKED" });
    await store.close();
    expect(json(["info", dir]).lock.state).toBe("free");
  });

  it.skipIf(!canTrace)("(needs strace) no file of the store is opened for writing, locked, made or renamed", async () => {
    const dir = join(temporaryDirectory(), "store");
    const store = await openStore(dir);
    await store.set("a", { n: 1 });
    const trace = join(temporaryDirectory(), "trace");
    for (const [command, ...rest] of [...READING, ["backup", join(temporaryDirectory(), "copy")]]) {
      const calls = "trace=openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,flock,truncate,utimensat,chmod,fchmod";
      const traced = ["-f", "-y", "-o", trace, "-e", calls, "-e", "signal=none", process.execPath, MAIN, command, dir, ...rest];
      expect(spawnSync("strace", traced, { encoding: "utf8", timeout: PATIENCE_MS }).status, command).toBe(0);
      const lines = readFileSync(trace, "utf8").split("\n").filter((line) => line.includes(dir));
      expect(lines.length, command).toBeGreaterThan(0);
      expect(lines.filter((line) => !/\bopenat?(\(| resumed)/.test(line) || /O_WRONLY|O_RDWR|O_CREAT|O_TRUNC/.test(line)), command).toEqual([]);
    }
  });

  it("log --follow gives each operation once, across checkpoints, and ends when told to", async () => {
    const dir = join(temporaryDirectory(), "store");
    const store = await openStore(dir, { checkpointThreshold: Infinity });
    await store.set("r0", { n: 0 });
    const follower = start(["log", dir, "--follow", "--json"]);
    await follower.until(/"r0"/);
    for (let i = 1; i <= 30; i++) {
      await store.set(`r${i}`, { n: i });
      if (i % 10 === 0) await store.compact();
    }
    await follower.until(/"r30"/);
    follower.process.kill("SIGINT");
    expect(await follower.ended).toEqual({ code: 0, stderr: "" });
    const ids = follower.text().split("\n").filter(Boolean).map((line) => JSON.parse(line).id);
    expect(ids).toEqual(Array.from({ length: 31 }, (_, i) => `r${i}`));
  });

  it("log --follow says nothing of a reader that is slower than the writer", async () => {
    const dir = join(temporaryDirectory(), "store");
    const store = await openStore(dir, { checkpointThreshold: Infinity });
    await store.set("r0", { n: 0 });
    const follower = start(["log", dir, "--follow", "--json"]);
    await follower.until(/"r0"/);
    follower.process.stdout.pause();
    await store.batch(() => {
      for (let i = 1; i <= 5_000; i++) store.set(`r${i}`, { n: i });
    });
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    follower.process.stdout.resume();
    await follower.until(/"r5000"/);
    follower.process.kill("SIGINT");
    expect(await follower.ended).toEqual({ code: 0, stderr: "" });
  });

  it("log --since leaves out what came before", async () => {
    const dir = join(temporaryDirectory(), "store");
    const store = await openStore(dir);
    await store.set("a", 1);
    await new Promise((resolve) => setTimeout(resolve, 5));
    const [{ ts }] = store.getOps();
    await store.set("b", 2);
    expect(json(["log", dir, "--since", ts]).map(({ id }) => id)).toEqual(["b"]);
    expect(json(["log", dir, "--since", "2020-01-01"])).toHaveLength(2);
    expect(json(["log", dir, "--since", "2999-01-01T00:00"])).toEqual([]);
  });

  it("history shows what each operation changed", async () => {
    const dir = join(temporaryDirectory(), "store");
    const store = await openStore(dir);
    await store.set("task", { title: "Build", owner: { name: "Ana" }, tags: ["a"] });
    await store.set("task", { title: "Build", owner: { name: "Ben" }, tags: ["a", "b"], done: true });
    await store.delete("task");
    const changes = json(["history", dir, "task"]).map(({ changes }) => changes);
    expect(changes[0]).toEqual([{ path: [], after: { title: "Build", owner: { name: "Ana" }, tags: ["a"] } }]);
    expect(changes[1]).toEqual([
      { path: ["owner", "name"], before: "Ana", after: "Ben" },
      { path: ["tags"], before: ["a"], after: ["a", "b"] },
      { path: ["done"], after: true },
    ]);
    expect(changes[2]).toMatchObject([{ path: [], before: { done: true } }]);
    const text = output(["history", dir, "task"]);
    expect(text).toContain('  - owner.name: "Ana"\n  + owner.name: "Ben"\n');
    expect(text).toMatch(/create task\n.*\n.* update task\n/);
    expect(text).toContain("  + done: true\n");
  });
});

describe("beside a process that does nothing but write", () => {
  it("verify finds nothing, and each backup is the store at one moment", { timeout: 300_000 }, async () => {
    const folder = temporaryDirectory();
    const dir = join(folder, "store");
    const writer = startChild(SCENARIOS, "writeWithoutEnd", { dir });
    await writer.next();
    for (let i = 0; i < 6; i++) {
      expect(json(["verify", dir]).findings.filter(({ severity }) => severity !== "unfinished")).toEqual([]);
      const acknowledged = writer.reports.at(-1).n;
      const copy = join(folder, `copy-${i}`);
      expect(json(["backup", dir, copy]).damage).toBe(0);
      expect(json(["verify", copy])).toMatchObject({ ok: true, findings: [] });
      // The writer changes all ten records in each batch: of one moment they are all the same.
      const values = json(["list", copy]).map(({ data }) => data.n);
      expect(values).toHaveLength(10);
      expect(new Set(values).size).toBe(1);
      expect(values[0]).toBeGreaterThanOrEqual(acknowledged);
    }
    writer.send("stop");
    const { stderr } = await writer.ended;
    expect(stderr).toBe("");
  });

  it("a backup of a store of agents holds what its operations build on", { timeout: 300_000 }, async () => {
    const folder = temporaryDirectory();
    const dir = join(folder, "store");
    const agents = ["one", "two"].map((agentId) => startChild(SCENARIOS, "countUp", { dir, agentId }));
    await Promise.all(agents.map((agent) => agent.next()));
    for (let i = 0; i < 5; i++) {
      const copy = join(folder, `copy-${i}`);
      const { damage, records } = json(["backup", dir, copy]);
      expect([damage, records > 0]).toEqual([0, true]);
      expect(json(["verify", copy])).toMatchObject({ ok: true, findings: [] });
      // Whoever wrote number n had seen n - 1: none is missing below the highest.
      const numbers = json(["list", copy, "--ids"]).map(({ id }) => Number(id.split("-")[1]));
      expect(new Set(numbers).size).toBe(Math.max(...numbers));
      if (i === 0) {
        // An agent is in the manifest again as soon as it writes after another one's checkpoint.
        const live = () => json(["info", dir]).agents.map(({ id, live }) => [id, live]).sort();
        await vi.waitFor(() => expect(live()).toEqual([["one", true], ["two", true]]), { timeout: PATIENCE_MS });
        expect(json(["repair", dir], { exit: 4 })).toMatchObject({ code: "OPSLOG_LOCKED" });
        // A checkpoint beside them, as one of them.
        expect(json(["compact", dir]).records).toBeGreaterThan(0);
      }
    }
    for (const agent of agents) agent.send("stop");
    for (const { ended } of agents) expect((await ended).code).toBe(0);
  });
});

it("a command that fails leaves a store that others can open", async () => {
  const dir = join(temporaryDirectory(), "store");
  writeFileSync(join(dir, "../bad.jsonl"), "nonsense\n");
  expect(opslog(["import", dir, join(dir, "../bad.jsonl")]).status).toBe(1);
  const store = await openStore(dir);
  expect(store.count()).toBe(0);
});
