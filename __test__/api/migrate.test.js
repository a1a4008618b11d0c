/** CONTRACT.md 2, "Schema": `version` and `migrate`. */
import { beforeEach, describe, expect, it } from "vitest";
import { temporaryDirectory, treeOf } from "../support/directory.js";
import { rejectionOf } from "../support/errors.js";
import { snapshotLinesOf } from "../support/files.js";
import { isNative, Store } from "../support/implementation.js";
import { openStore, stateOf, withStore, withUpstream } from "../support/stores.js";

const hop = (record) => ({ ...record, hops: (record.hops ?? 0) + 1 });

describe("migrate", () => {
  let dir;

  beforeEach(async () => {
    dir = temporaryDirectory();
    // records in the archive, in the snapshot, and in the log
    await withUpstream(dir, {}, async (store) => {
      await store.set("archived", { from: "archive" });
      await store.archive(() => true, "s");
      await store.set("old", { from: "snapshot" });
      await store.set("changed", { from: "snapshot" });
      await store.set("gone", { from: "snapshot" });
    });
    await withUpstream(dir, { checkpointOnClose: false }, async (store) => {
      await store.set("changed", { from: "log" });
      await store.set("new", { from: "log" });
      await store.delete("gone");
    });
  });

  const expected = [
    ["old", { from: "snapshot", hops: 1 }],
    ["changed", { from: "log", hops: 1 }],
    ["new", { from: "log", hops: 1 }],
  ];

  it("covers snapshot, log and archived records, once each, also in later sessions", async () => {
    for (let session = 0; session < 3; session++) {
      await withStore(dir, { version: 2, migrate: hop }, async (store) => {
        expect(store.entries()).toEqual(expected);
        expect([...(await store.loadArchive("s"))]).toEqual([["archived", { from: "archive", hops: 1 }]]);
      });
    }
  });

  it("is called with the record and the version that it was written by", async () => {
    const versions = new Set();
    const migrate = (record, from) => {
      versions.add(from);
      return record;
    };
    await withStore(dir, { version: 5, migrate }, async (store) => {
      await store.loadArchive("s");
    });
    expect([...versions]).toEqual([1]);
  });

  it.runIf(isNative)("takes archive segments of upstream for version 1, as all of them say, whatever the records' version", async () => {
    const dir = temporaryDirectory();
    await withUpstream(dir, { version: 2 }, async (store) => {
      await store.set("archived", {});
      await store.archive(() => true, "s");
      await store.set("kept", {});
    });
    const migrate = (_record, from) => ({ from });
    await withStore(dir, { version: 3, migrate }, async (store) => {
      expect(store.entries()).toEqual([["kept", { from: 2 }]]);
      expect([...(await store.loadArchive("s"))]).toEqual([["archived", { from: 1 }]]);
    });
  });

  it.runIf(isNative)("leaves archive segments alone where the records are of the version asked for, for a reader as for a writer", async () => {
    const dir = temporaryDirectory();
    await withUpstream(dir, { version: 3 }, async (store) => {
      await store.set("archived", { n: 1 });
      await store.archive(() => true, "s");
    });
    const migrate = () => expect.unreachable();
    for (const options of [{}, { readOnly: true }]) {
      await withStore(dir, { version: 3, migrate, ...options }, async (store) => {
        expect([...(await store.loadArchive("s"))]).toEqual([["archived", { n: 1 }]]);
      });
    }
  });

  it("ends with a checkpoint: the log starts empty", async () => {
    const store = await openStore(dir, { version: 2, migrate: hop });
    expect(store.getOps()).toEqual([]);
    expect(snapshotLinesOf(dir)[0].version).toBe(2);
  });

  it("covers each version step in turn", async () => {
    await withStore(dir, { version: 2, migrate: hop }, (store) => store.set("later", { hops: 1 }));
    await withStore(dir, { version: 3, migrate: hop }, (store) => {
      expect(store.entries().map(([id, { hops }]) => [id, hops])).toEqual([["old", 2], ["changed", 2], ["new", 2], ["later", 2]]);
    });
    expect(snapshotLinesOf(dir)[0].version).toBe(3);
  });

  it("is not called when the version is the store's", async () => {
    const migrate = () => {
      throw new Error("must not be called");
    };
    await withStore(dir, { version: 1, migrate }, (store) => expect(store.count()).toBe(3));
  });

  it("is not needed: without it the records stay as they are", async () => {
    await withStore(dir, { version: 2 }, (store) => expect(store.get("old")).toEqual({ from: "snapshot" }));
  });

  it("on a read-only store shows in memory and writes nothing", async () => {
    const tree = treeOf(dir);
    await withStore(dir, { version: 2, migrate: hop, readOnly: true }, (store) => expect(store.entries()).toEqual(expected));
    expect(treeOf(dir)).toEqual(tree);
  });

  it.each([
    ["throws", () => {
      throw new RangeError("cannot do it");
    }],
    ["throws for a record of the log only", (record) => {
      if (record.from === "log") throw new RangeError("cannot do it");
      return record;
    }],
    ["returns undefined", () => undefined],
    ["returns a promise", async (record) => record],
    ["returns null", () => null],
    ["returns what is no JSON", () => 1n],
  ])("that %s makes open reject with the store unchanged", async (name, migrate) => {
    const tree = treeOf(dir);
    const store = new Store();
    const error = await rejectionOf(store.open(dir, { version: 2, migrate }));
    expect(error).toBeInstanceOf(Error);
    if (name.startsWith("throws")) expect(error.message).toContain("cannot do it");
    expect(treeOf(dir)).toEqual(tree);
    await store.open(dir);
    expect(store.get("old")).toEqual({ from: "snapshot" });
    await store.close();
  });
});

describe("a store written by a newer version", () => {
  it("is refused and stays as it is", async () => {
    const dir = temporaryDirectory();
    await withStore(dir, { version: 3 }, (store) => store.set("a", { n: 1 }));
    const tree = treeOf(dir);
    for (const options of [{ version: 2 }, {}, { readOnly: true }, { version: 2, migrate: hop }]) {
      const error = await rejectionOf(new Store().open(dir, options));
      expect(error.message).toMatch(/version/i);
      expect(error.code).toMatch(/^OPSLOG_/);
      expect(treeOf(dir)).toEqual(tree);
    }
    const store = await openStore(dir, { version: 3 });
    expect(store.get("a")).toEqual({ n: 1 });
  });

  it("is told by its snapshot's header: upstream's first manifest always says 1", async () => {
    const dir = temporaryDirectory();
    await withUpstream(dir, { version: 3, checkpointOnClose: false }, (store) => store.set("a", { n: 1 }));
    await expect(new Store().open(dir, { version: 2 })).rejects.toThrow(/version/i);
    await withStore(dir, { version: 3 }, (store) => expect(store.get("a")).toEqual({ n: 1 }));
    expect((await rejectionOf(new Store().open(dir))).message).toMatch(/version/i);
    await withStore(dir, { version: 4, migrate: hop }, (store) => expect(store.get("a")).toEqual({ n: 1, hops: 1 }));
    await expect(stateOf(dir)).rejects.toThrow(/version/i);
  });
});
