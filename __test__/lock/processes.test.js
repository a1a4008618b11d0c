/** CONTRACT.md 5: one writer per directory, among processes. */
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { startChild } from "../support/child.js";
import { temporaryDirectory } from "../support/directory.js";
import { rejectionOf } from "../support/errors.js";
import { Store, UpstreamStore } from "../support/implementation.js";
import { closedAtEnd, openStore, stateOf, withStore } from "../support/stores.js";
import { canUnsharePids } from "../support/strace.js";

const SCENARIOS = new URL("./scenarios.js", import.meta.url);

let dir;

beforeEach(() => {
  dir = temporaryDirectory();
});

describe("two openers at once", () => {
  it("exactly one wins, the others are refused with OPSLOG_LOCKED", async () => {
    for (let round = 0; round < 4; round++) {
      const children = Array.from({ length: 4 }, (_, n) => startChild(SCENARIOS, "race", { dir, name: `${round}-${n}` }));
      await Promise.all(children.map((child) => child.next()));
      for (const child of children) child.send("go");
      const reports = await Promise.all(children.map((child) => child.next()));
      const outcomes = reports.map(({ outcome }) => outcome).sort();
      expect(outcomes).toEqual(["OPSLOG_LOCKED", "OPSLOG_LOCKED", "OPSLOG_LOCKED", "open"]);
      for (const child of children) child.send("go");
      for (const child of children) expect(await child.ended).toMatchObject({ code: 0, signal: null });
      expect((await stateOf(dir)).entries).toHaveLength(round + 1);
      expect(existsSync(join(dir, ".lock"))).toBe(false);
    }
  });

  it("also in one process", async () => {
    const stores = Array.from({ length: 5 }, () => closedAtEnd(new Store()));
    const results = await Promise.allSettled(stores.map((store) => store.open(dir)));
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const { reason } of results.filter(({ status }) => status === "rejected")) expect(reason.code).toBe("OPSLOG_LOCKED");
  });
});

describe("a holder in another process", () => {
  it("keeps us out by its pid, and upstream too, until it closes", async () => {
    const child = startChild(SCENARIOS, "hold", { dir });
    const { pid } = await child.next();
    expect(readFileSync(join(dir, ".lock"), "utf8")).toBe(String(pid));
    const words = new RegExp(`^Store is locked by process ${pid}(?!\\d)`);
    expect(await rejectionOf(new Store().open(dir))).toMatchObject({ code: "OPSLOG_LOCKED", message: expect.stringMatching(words) });
    expect((await rejectionOf(new UpstreamStore().open(dir))).message).toMatch(words);
    expect(readFileSync(join(dir, ".lock"), "utf8")).toBe(String(pid));
    child.send("close");
    expect(await child.ended).toMatchObject({ code: 0 });
    expect(existsSync(join(dir, ".lock"))).toBe(false);
    await openStore(dir);
  });

  it("that is killed with -9 blocks nobody", async () => {
    for (let round = 0; round < 3; round++) {
      const child = startChild(SCENARIOS, "hold", { dir });
      expect(await child.next()).toMatchObject({ open: true });
      child.process.kill("SIGKILL");
      await child.ended;
      await withStore(dir, {}, (store) => store.set(`k${round}`, { round }));
    }
    expect((await stateOf(dir)).entries).toHaveLength(3);
  });

  it("that is killed with -9 does not block upstream", async () => {
    const child = startChild(SCENARIOS, "hold", { dir });
    await child.next();
    child.process.kill("SIGKILL");
    await child.ended;
    const upstream = closedAtEnd(new UpstreamStore());
    await upstream.open(dir);
    expect(upstream.count()).toBe(0);
  });

  it("that is stopped still holds it", async () => {
    const child = startChild(SCENARIOS, "hold", { dir });
    await child.next();
    child.process.kill("SIGSTOP");
    expect(await rejectionOf(new Store().open(dir))).toMatchObject({ code: "OPSLOG_LOCKED" });
    child.process.kill("SIGCONT");
    child.send("close");
    expect(await child.ended).toMatchObject({ code: 0 });
  });

  it("whose lock file somebody removed leaves the next holder's lock alone when it closes", async () => {
    const child = startChild(SCENARIOS, "hold", { dir });
    await child.next();
    expect(await rejectionOf(new Store().open(dir))).toMatchObject({ code: "OPSLOG_LOCKED" });
    rmSync(join(dir, ".lock"));
    // nobody can know of the first holder now
    const store = await openStore(dir, { checkpointOnClose: false });
    child.send("close");
    await child.ended;
    expect(readFileSync(join(dir, ".lock"), "utf8")).toBe(String(process.pid));
    expect(await rejectionOf(new Store().open(dir))).toMatchObject({ code: "OPSLOG_LOCKED" });
    await store.close();
    expect(existsSync(join(dir, ".lock"))).toBe(false);
  });

  it("does not keep readers out, who need no lock and write none", async () => {
    await withStore(dir, {}, (store) => store.set("a", { n: 1 }));
    const child = startChild(SCENARIOS, "hold", { dir });
    await child.next();
    const text = readFileSync(join(dir, ".lock"), "utf8");
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }]]);
    expect(readFileSync(join(dir, ".lock"), "utf8")).toBe(text);
    child.send("close");
    await child.ended;
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }]]);
    expect(existsSync(join(dir, ".lock"))).toBe(false);
  });
});

describe.skipIf(!canUnsharePids)("a holder in another pid namespace (skipped where unshare --pid is not permitted)", () => {
  const wrapper = ["unshare", "--pid", "--fork", "--kill-child"];

  it("keeps us out while it lives, whatever its pid means here", async () => {
    const child = startChild(SCENARIOS, "hold", { dir }, { wrapper });
    const { pid } = await child.next();
    expect(pid).toBeLessThan(100);
    expect(await rejectionOf(new Store().open(dir))).toMatchObject({ code: "OPSLOG_LOCKED" });
    child.send("close");
    expect(await child.ended).toMatchObject({ code: 0 });
    await openStore(dir);
  });

  it("blocks nobody once it is killed, although its pid is that of a living process here", async () => {
    const child = startChild(SCENARIOS, "hold", { dir }, { wrapper });
    const { pid } = await child.next();
    expect(readFileSync(join(dir, ".lock"), "utf8")).toBe(String(pid));
    child.process.kill("SIGKILL");
    await child.ended;
    expect(existsSync(`/proc/${pid}`)).toBe(true);
    const store = await openStore(dir);
    await store.set("a", { n: 1 });
  });
});

describe("a live upstream holder", () => {
  it("in another process keeps us out until it closes", async () => {
    const child = startChild(SCENARIOS, "hold", { dir, upstream: true });
    const { pid } = await child.next();
    const words = new RegExp(`^Store is locked by process ${pid}(?!\\d)`);
    expect(await rejectionOf(new Store().open(dir))).toMatchObject({ code: "OPSLOG_LOCKED", message: expect.stringMatching(words) });
    expect(readFileSync(join(dir, ".lock"), "utf8")).toBe(String(pid));
    child.send("close");
    await child.ended;
    await openStore(dir);
  });

  it("that was killed with -9 does not", async () => {
    const child = startChild(SCENARIOS, "hold", { dir, upstream: true });
    await child.next();
    child.process.kill("SIGKILL");
    await child.ended;
    await openStore(dir);
  });

  it("in this process keeps us out until it closes", async () => {
    const upstream = closedAtEnd(new UpstreamStore());
    await upstream.open(dir);
    const words = new RegExp(`^Store is locked by process ${process.pid}(?!\\d)`);
    expect(await rejectionOf(new Store().open(dir))).toMatchObject({ code: "OPSLOG_LOCKED", message: expect.stringMatching(words) });
    await upstream.set("a", { n: 1 });
    await upstream.close();
    const store = await openStore(dir);
    expect(store.get("a")).toEqual({ n: 1 });
  });
});
