/** Where upstream, which does not know our batches, and this package read one log differently: docs/compatibility.md, "Limits". */
import { readFileSync, truncateSync } from "node:fs";
import { beforeEach, describe, expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { cutTailsOf, logPathOf, logTextOf } from "../support/files.js";
import { UpstreamStore } from "../support/implementation.js";
import { stateOf, withStore, withUpstream } from "../support/stores.js";

const KEEP_LOG = { checkpointThreshold: Infinity, checkpointOnClose: false };
const BEFORE = ["before", { n: 0 }];
const IDS = ["a", "b", "c"];

/** @param {string} dir @param {any} [Implementation] */
const entriesOf = async (dir, Implementation) => (await stateOf(dir, Implementation)).entries;

let dir;

/** A store with one operation and a batch of three behind it, all in the log. */
beforeEach(async () => {
  dir = temporaryDirectory();
  await withStore(dir, KEEP_LOG, async (store) => {
    await store.set(...BEFORE);
    await store.batch(() => IDS.forEach((id, n) => store.set(id, { n })));
  });
});

describe("a batch of ours, for upstream", () => {
  it("that a crash has cut is there as far as its lines go, where we read none of it", async () => {
    const text = logTextOf(dir);
    truncateSync(logPathOf(dir), Buffer.byteLength(text) - 5);
    expect(await entriesOf(dir, UpstreamStore)).toEqual([BEFORE, ["a", { n: 0 }], ["b", { n: 1 }]]);
    expect(await entriesOf(dir)).toEqual([BEFORE]);
  });

  it("of which it takes the last operation back looks cut off to us: the rest is cut as well, and saved", async () => {
    await withUpstream(dir, KEEP_LOG, async (store) => {
      expect(await store.undo()).toBe(true);
      expect(store.has("b")).toBe(true);
    });
    await withStore(dir, KEEP_LOG, (store) => expect(store.entries()).toEqual([BEFORE]));
    const [saved, ...more] = cutTailsOf(dir);
    expect(more).toEqual([]);
    expect(readFileSync(saved, "utf8").match(/"id":"."/g)).toEqual(['"id":"a"', '"id":"b"']);
  });

  it("of which we took the last operation back: its undo removes the blank line behind it, not the operation", async () => {
    await withStore(dir, KEEP_LOG, async (store) => {
      expect(await store.undo()).toBe(true);
    });
    await withUpstream(dir, KEEP_LOG, async (store) => {
      expect(await store.undo()).toBe(true);
      expect(store.has("b")).toBe(false);
    });
    expect(await entriesOf(dir, UpstreamStore)).toEqual([BEFORE, ["a", { n: 0 }], ["b", { n: 1 }]]);
    expect(await entriesOf(dir)).toEqual([BEFORE]);
  });
});
