/** acquireLock and releaseLock: exclude stores and locks of either implementation, in this process and others. */
import * as upstream from "@backloghq/opslog";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { beforeEach, describe, expect, it } from "vitest";
import { acquireLock, releaseLock, Store } from "../../index.js";
import { startChild } from "../support/child.js";
import { temporaryDirectory } from "../support/directory.js";
import { rejectionOf } from "../support/errors.js";
import { openStore } from "../support/stores.js";

const SCENARIOS = new URL("./scenarios.js", import.meta.url);

let dir;
let path;

beforeEach(() => {
  dir = temporaryDirectory();
  path = join(dir, ".lock");
});

/** Everybody who may take the lock is kept out by a process with this pid. */
async function expectLocked(pid = process.pid) {
  const words = new RegExp(`^Store is locked by process ${pid}(?!\\d)`);
  for (const attempt of [() => acquireLock(dir), () => new Store().open(dir)]) {
    expect(await rejectionOf(attempt())).toMatchObject({ code: "OPSLOG_LOCKED", message: expect.stringMatching(words) });
  }
  for (const attempt of [() => upstream.acquireLock(dir), () => new upstream.Store().open(dir)]) {
    expect((await rejectionOf(attempt())).message).toMatch(words);
  }
}

describe("a lock that is held", () => {
  it("is a FileHandle of a file with our pid, excludes everybody, and goes with releaseLock", async () => {
    const handle = await acquireLock(dir);
    const plain = await open(path, "r");
    expect(handle).toBeInstanceOf(plain.constructor);
    await plain.close();
    expect(handle.fd).toBeGreaterThan(2);
    expect(await handle.readFile("utf8")).toBe(String(process.pid));
    await expectLocked();
    expect(readFileSync(path, "utf8")).toBe(String(process.pid));
    await releaseLock(dir, handle);
    expect(handle.fd).toBe(-1);
    expect(readdirSync(dir).filter((name) => name.startsWith("."))).toEqual([]);
    const store = await openStore(dir);
    await store.set("a", {});
  });

  it("by another process excludes everybody until that ends, however it ends", async () => {
    for (const end of [(child) => child.send("release"), (child) => child.process.kill("SIGKILL")]) {
      const child = startChild(SCENARIOS, "holdLock", { dir });
      const { pid } = await child.next();
      await expectLocked(pid);
      end(child);
      await child.ended;
      await releaseLock(dir, await acquireLock(dir));
    }
  });

  it("by a store excludes acquireLock, and so does one of upstream's", async () => {
    const store = await openStore(dir);
    expect(await rejectionOf(acquireLock(dir))).toMatchObject({ code: "OPSLOG_LOCKED", path });
    await store.close();
    const theirs = await upstream.acquireLock(dir);
    expect(await rejectionOf(acquireLock(dir))).toMatchObject({ code: "OPSLOG_LOCKED", path });
    await upstream.releaseLock(dir, theirs);
    await releaseLock(dir, await acquireLock(dir));
  });

  it("by a worker is given back when the worker ends", async () => {
    const code = `
      const { acquireLock } = await import(${JSON.stringify(new URL("../../index.js", import.meta.url).href)});
      const { parentPort, workerData } = await import("node:worker_threads");
      globalThis.kept = await acquireLock(workerData);
      parentPort.postMessage("held");
      setInterval(() => {}, 1000);`;
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`), { workerData: dir });
    await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
    await expectLocked();
    await worker.terminate();
    await releaseLock(dir, await acquireLock(dir));
  });

  it("does not keep the process alive, and is given back at its end", async () => {
    const child = startChild(SCENARIOS, "keepLock", { dir });
    expect(await child.ended).toMatchObject({ code: 0, signal: null, reports: ["held"] });
    expect(existsSync(path)).toBe(false);
  });
});

describe("acquireLock", () => {
  it("takes over what a dead holder left, and unparsable text", async () => {
    for (const stale of ["", "999999999", "no pid"]) {
      writeFileSync(path, stale);
      const handle = await acquireLock(dir);
      expect(readFileSync(path, "utf8")).toBe(String(process.pid));
      await releaseLock(dir, handle);
    }
  });

  it("of many calls at once lets exactly one win", async () => {
    for (let round = 0; round < 10; round++) {
      const results = await Promise.allSettled(Array.from({ length: 8 }, () => acquireLock(dir)));
      const winners = results.filter(({ status }) => status === "fulfilled");
      expect(winners).toHaveLength(1);
      await releaseLock(dir, winners[0].value);
    }
  });

  it("rejects where there is no directory, as upstream", async () => {
    const missing = join(dir, "missing");
    const expected = { code: "ENOENT", syscall: "open", path: join(missing, ".lock") };
    expect(await rejectionOf(acquireLock(missing))).toMatchObject(expected);
    expect(await rejectionOf(upstream.acquireLock(missing))).toMatchObject(expected);
    expect(existsSync(missing)).toBe(false);
    expect(await rejectionOf(acquireLock(undefined))).toBeInstanceOf(TypeError);
  });
});

describe("releaseLock", () => {
  it("a second time does no harm, also not to the next holder", async () => {
    const first = await acquireLock(dir);
    await releaseLock(dir, first);
    const second = await acquireLock(dir);
    await releaseLock(dir, first);
    await expectLocked();
    await releaseLock(dir, second);
  });

  it("leaves a lock file that somebody put in the place of its own", async () => {
    const handle = await acquireLock(dir);
    rmSync(path);
    writeFileSync(path, "1");
    await releaseLock(dir, handle);
    expect(readFileSync(path, "utf8")).toBe("1");
  });

  it("closes a handle of other origin and removes nothing, where upstream removes anybody's lock", async () => {
    const held = await acquireLock(dir);
    const other = await open(path, "r");
    await releaseLock(dir, other);
    expect(other.fd).toBe(-1);
    await expectLocked();
    await releaseLock(dir, held);
  });
});
