/** CONTRACT.md 5: what the text in `.lock` means when no kernel lock is on it. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { startChild } from "../support/child.js";
import { temporaryDirectory } from "../support/directory.js";
import { rejectionOf } from "../support/errors.js";
import { Store, UpstreamStore } from "../support/implementation.js";
import { PATIENCE_MS } from "../support/patience.js";
import { closedAtEnd, openStore, stateOf, withStore } from "../support/stores.js";

const SCENARIOS = new URL("./scenarios.js", import.meta.url);
const HOUR = 3_600_000;

let dir;
let lock;

beforeEach(() => {
  dir = temporaryDirectory();
  lock = join(dir, ".lock");
});

/** Writes `.lock` with the given text and age. */
function leave(text, age = 0) {
  writeFileSync(lock, text);
  const when = new Date(Date.now() - age);
  utimesSync(lock, when, when);
}

/** Starts a process that does nothing; it is killed when the running test ends. */
async function startSleeper() {
  const sleeper = spawn("sleep", ["1000"]);
  onTestFinished(() => {
    sleeper.kill("SIGKILL");
  });
  await new Promise((resolve) => sleeper.once("spawn", resolve));
  return sleeper;
}

/** Opening must succeed, take the lock with our pid, and free it at close. */
async function expectOpens() {
  await withStore(dir, {}, async (store) => {
    expect(readFileSync(lock, "utf8")).toBe(String(process.pid));
    await store.set("a", { n: 1 });
  });
  expect(existsSync(lock)).toBe(false);
}

describe("a lock file without a kernel lock does not block", () => {
  it.each([
    ["is empty", ""], ["is a blank", " \n"], ["is no number", "hello"], ["is bytes", "\u0000\u0001\ufffd"],
    ["is zero", "0"], ["is negative", "-1"], ["is huge", "99999999999999999999"], ["is a long text", "x".repeat(100_000)],
  ])("when its text %s", async (_name, text) => {
    leave(text, HOUR);
    await expectOpens();
  });

  it("when its process is dead", async () => {
    const sleeper = await startSleeper();
    leave(String(sleeper.pid));
    const ended = new Promise((resolve) => sleeper.once("close", resolve));
    sleeper.kill("SIGKILL");
    await ended;
    await expectOpens();
  });

  it("when its process is a zombie", async () => {
    const { pid } = await startChild(SCENARIOS, "keepZombie").next();
    await expect.poll(() => readFileSync(`/proc/${pid}/stat`, "utf8"), { timeout: PATIENCE_MS }).toMatch(/\) Z /);
    leave(String(pid));
    await expectOpens();
  });

  it("when its pid was reused: the process started after the file was written", async () => {
    const sleeper = await startSleeper();
    leave(String(sleeper.pid), HOUR);
    await expectOpens();
  });

  it("when its pid is our own, reused: this process started after the file was written", async () => {
    leave(String(process.pid), 24 * HOUR);
    await expectOpens();
  });
});

describe("a lock file without a kernel lock blocks", () => {
  it("when its process lives and started before the file was written", async () => {
    const sleeper = await startSleeper();
    leave(String(sleeper.pid), -2_000);
    const words = `Store is locked by process ${sleeper.pid}`;
    expect(await rejectionOf(new Store().open(dir))).toMatchObject({ code: "OPSLOG_LOCKED", message: expect.stringContaining(words) });
    expect(readFileSync(lock, "utf8")).toBe(String(sleeper.pid));
    const ended = new Promise((resolve) => sleeper.once("close", resolve));
    sleeper.kill("SIGKILL");
    await ended;
    await expectOpens();
  });

  it("with a newline after the pid as without", async () => {
    const sleeper = await startSleeper();
    leave(`${sleeper.pid}\n`, -2_000);
    expect(await rejectionOf(new Store().open(dir))).toMatchObject({ code: "OPSLOG_LOCKED" });
  });
});

describe("open never hangs", () => {
  it("on a directory in place of the lock file: it rejects with code and path", async () => {
    mkdirSync(lock);
    expect(await rejectionOf(new Store().open(dir))).toMatchObject({ code: "EISDIR", path: lock });
    rmSync(lock, { recursive: true });
    await expectOpens();
  });
});

describe("our lock", () => {
  it("is upstream's pid text and nothing else, and keeps upstream out in this process", async () => {
    const store = await openStore(dir);
    expect(readFileSync(lock, "utf8")).toBe(String(process.pid));
    await expect(new UpstreamStore().open(dir)).rejects.toThrow(`Store is locked by process ${process.pid}`);
    await store.close();
    const upstream = closedAtEnd(new UpstreamStore());
    await upstream.open(dir);
    expect(upstream.count()).toBe(0);
  });

  it("is the directory's, by whatever name it is opened", async () => {
    await openStore(dir);
    const link = join(temporaryDirectory(), "link");
    symlinkSync(dir, link);
    for (const name of [link, `${dir}/`, join(dir, "ops", "..")]) {
      expect(await rejectionOf(new Store().open(name))).toMatchObject({ code: "OPSLOG_LOCKED" });
    }
  });

  it("is released only if it is still our own", async () => {
    const store = await openStore(dir, { checkpointOnClose: false });
    rmSync(lock);
    const upstream = closedAtEnd(new UpstreamStore());
    await upstream.open(dir);
    const text = readFileSync(lock, "utf8");
    await store.close();
    expect(readFileSync(lock, "utf8")).toBe(text);
    await upstream.close();
  });

  it("is not left behind by an open that is refused", async () => {
    await withStore(dir, {}, (store) => store.set("a", { n: 1 }));
    const manifest = readFileSync(join(dir, "manifest.json"));
    writeFileSync(join(dir, "manifest.json"), "{");
    for (let attempt = 0; attempt < 3; attempt++) {
      expect(await rejectionOf(new Store().open(dir))).toMatchObject({ code: "OPSLOG_CORRUPT" });
      expect(existsSync(lock)).toBe(false);
    }
    writeFileSync(join(dir, "manifest.json"), manifest);
    expect((await stateOf(dir)).entries).toEqual([["a", { n: 1 }]]);
    await expectOpens();
  });
});
