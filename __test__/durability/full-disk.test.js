/** CONTRACT.md 2: ENOSPC rejects a call, rolls back, and never spoils what was acknowledged. */
import { execFileSync } from "node:child_process";
import { rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { filesOf, temporaryDirectory } from "../support/directory.js";
import { logPathOf, logTextOf } from "../support/files.js";
import { openStore, stateIn, stateOf, WRITE_MODES } from "../support/stores.js";
import { canMount } from "../support/strace.js";

const LARGE = { text: "x".repeat(400_000) };
const IMMEDIATE = WRITE_MODES.filter(({ options }) => options.writeMode === "immediate");
const BUFFERED = WRITE_MODES.filter(({ options }) => options.writeMode !== "immediate");

/** Mounts a file system of 256 KiB; it is unmounted when the running test ends. */
function smallFileSystem() {
  const dir = temporaryDirectory();
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=256k", "none", dir]);
  onTestFinished(() => {
    execFileSync("umount", ["-l", dir]);
  });
  return dir;
}

/** Takes all the space that is left; the answer gives it back. */
function fill(dir) {
  const path = join(dir, "filler");
  const { bfree, bsize } = statfsSync(dir);
  writeFileSync(path, Buffer.alloc(Number(bfree) * Number(bsize)));
  return () => rmSync(path);
}

describe.skipIf(!canMount).each(IMMEDIATE)("a full disk (skipped where nothing may be mounted) ($mode)", ({ options }) => {
  let dir;
  let store;

  beforeEach(async () => {
    dir = smallFileSystem();
    store = await openStore(join(dir, "store"), { ...options, checkpointThreshold: Infinity, checkpointOnClose: false });
    await store.set("a", { n: 1 });
    await store.set("b", { n: 1 });
  });

  it("rejects a set with ENOSPC, cuts the file back, and takes smaller ones", async () => {
    const state = stateIn(store);
    const text = logTextOf(join(dir, "store"));
    await expect(store.set("large", LARGE)).rejects.toMatchObject({ code: "ENOSPC", path: logPathOf(join(dir, "store")) });
    expect(stateIn(store)).toEqual(state);
    expect(logTextOf(join(dir, "store"))).toBe(text);
    await store.set("c", { n: 1 });
    await store.close();
    expect((await stateOf(join(dir, "store"))).entries).toEqual([...state.entries, ["c", { n: 1 }]]);
  });

  it("rejects a batch as a whole", async () => {
    const state = stateIn(store);
    const text = logTextOf(join(dir, "store"));
    const batch = store.batch(() => {
      store.delete("a");
      for (let n = 0; n < 400; n++) store.set(`k${n}`, { text: "x".repeat(1_000) });
    });
    await expect(batch).rejects.toMatchObject({ code: "ENOSPC" });
    expect(stateIn(store)).toEqual(state);
    expect(logTextOf(join(dir, "store"))).toBe(text);
    await store.close();
    expect(await stateOf(join(dir, "store"))).toEqual(state);
  });

  it("one caller's failure is never another's: the calls that shared its append succeed", async () => {
    const calls = [
      store.set("c", { n: 1 }), store.set("large", LARGE), store.set("d", { n: 1 }),
      store.batch(() => store.set("e", { n: 1 })), store.delete("b"),
    ];
    const results = await Promise.allSettled(calls);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled", "fulfilled", "fulfilled"]);
    expect(results[1].reason).toMatchObject({ code: "ENOSPC" });
    const entries = ["a", "c", "d", "e"].map((id) => [id, { n: 1 }]);
    expect(store.entries()).toEqual(entries);
    await store.close();
    expect((await stateOf(join(dir, "store"))).entries).toEqual(entries);
  });

  it("a failed set under later ones of the same id leaves what those say", async () => {
    const calls = [store.set("a", LARGE), store.set("a", { n: 2 }), store.set("b", LARGE)];
    const results = await Promise.allSettled(calls);
    expect(results.map(({ status }) => status)).toEqual(["rejected", "fulfilled", "rejected"]);
    expect(store.entries()).toEqual([["a", { n: 2 }], ["b", { n: 1 }]]);
    expect(store.getHistory("a").at(-1).prev).toEqual({ n: 1 });
    const state = stateIn(store);
    await store.close();
    expect(await stateOf(join(dir, "store"))).toEqual(state);
  });

  it("an archive that finds no room archives nothing, and compact changes nothing", async () => {
    const big = { text: "y".repeat(60_000) };
    await store.set("big", big);
    const state = stateIn(store);
    const free = fill(dir);
    await expect(store.archive(() => true, "s")).rejects.toMatchObject({ code: "ENOSPC" });
    await expect(store.compact()).rejects.toMatchObject({ code: "ENOSPC" });
    expect(stateIn(store)).toEqual(state);
    expect(store.listArchiveSegments()).toEqual([]);
    free();
    expect(filesOf(join(dir, "store")).filter((path) => path.includes("tmp"))).toEqual([]);
    await store.compact();
    await store.close();
    expect((await stateOf(join(dir, "store"))).entries).toEqual(state.entries);
  });
});

describe.skipIf(!canMount).each(BUFFERED)("a full disk (skipped where nothing may be mounted) ($mode)", ({ options }) => {
  it("keeps what was buffered until there is room; the error reaches flush", async () => {
    const dir = smallFileSystem();
    const path = join(dir, "store");
    const store = await openStore(path, { ...options, checkpointThreshold: Infinity, checkpointOnClose: false });
    await store.set("a", { n: 1 });
    await store.flush();
    const free = fill(dir);
    const buffered = store.set("b", { text: "x".repeat(20_000) });
    await expect(store.flush()).rejects.toMatchObject({ code: "ENOSPC" });
    await Promise.allSettled([buffered]);
    expect(store.count()).toBe(2);
    free();
    await store.flush();
    await store.close();
    expect((await stateOf(path)).entries.map(([id]) => id)).toEqual(["a", "b"]);
  });
});
