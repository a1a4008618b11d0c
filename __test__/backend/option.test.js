/** CONTRACT.md 5: the option `backend`. An unmodified FsBackend is the native path, any other object is called. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { FsBackend, Store } from "../../index.js";
import { temporaryDirectory } from "../support/directory.js";

describe("the option backend", () => {
  it("takes an unmodified FsBackend: the store works, and direct calls mean its directory", async () => {
    const dir = temporaryDirectory();
    const backend = new FsBackend();
    const store = new Store();
    await store.open(join(dir, "one"), { backend });
    await store.set("a", { n: 1 });
    expect((await backend.readManifest())?.activeOps).toBe(store.getManifest()?.activeOps);
    await backend.writeBlob("blobs/a.bin", Buffer.from("text"));
    expect(await backend.listBlobs("blobs")).toEqual(["a.bin"]);
    await store.close();
  });

  it("lets one FsBackend serve several stores, each on its own directory", async () => {
    const dir = temporaryDirectory();
    const backend = new FsBackend();
    const stores = [new Store(), new Store(), new Store()];
    await Promise.all(stores.map((store, i) => store.open(join(dir, String(i)), { backend })));
    await Promise.all(stores.map((store, i) => store.set("who", { i })));
    await Promise.all(stores.map((store) => store.close()));
    for (const [i, store] of stores.entries()) {
      await store.open(join(dir, String(i)));
      expect(store.entries()).toEqual([["who", { i }]]);
      await store.close();
    }
  });

  it.each([
    ["an object without the methods", () => ({})],
    ["null", () => null],
    ["a string", () => "fs"],
  ])("refuses %s by name, and the store can be opened without it", async (_name, make) => {
    const dir = join(temporaryDirectory(), "store");
    const store = new Store();
    await expect(store.open(dir, { backend: make() })).rejects.toMatchObject({
      code: "OPSLOG_INVALID",
      message: expect.stringContaining("'backend'"),
    });
    await store.open(dir, { backend: undefined });
    expect(store.count()).toBe(0);
    await store.close();
  });
});
