/** CONTRACT.md 2: a bad tail is repaired at open before anything is appended, and what is cut is saved beside the log. */
import { appendFileSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { beforeEach, describe, expect, it } from "vitest";
import { temporaryDirectory, treeOf } from "../support/directory.js";
import { cutTailsOf, logPathOf, logTextOf, upstreamLine, writeParts } from "../support/files.js";
import { openStore, openUpstream, stateIn, stateOf, withStore } from "../support/stores.js";

const KEEP_LOG = { checkpointThreshold: Infinity, checkpointOnClose: false };

/** Writes a store of three operations by this package. */
async function writeOurs(dir) {
  await withStore(dir, KEEP_LOG, async (store) => {
    await store.set("a", { n: 1, text: "first é" });
    await store.set("b", { n: 2, text: "second 日本語" });
    await store.set("a", { n: 3, text: "first é" });
  });
}

/** Writes the same as upstream would. */
async function writeForeign(dir) {
  writeParts(dir, {
    log: [
      { op: "set", id: "a", prev: null, data: { n: 1, text: "first é" } },
      { op: "set", id: "b", prev: null, data: { n: 2, text: "second 日本語" } },
      { op: "set", id: "a", prev: { $set: { n: 1 } }, data: { n: 3, text: "first é" }, encoding: "delta" },
    ].map(upstreamLine).join(""),
  });
}

const AFTER_TWO = [["a", { n: 1, text: "first é" }], ["b", { n: 2, text: "second 日本語" }]];
const AFTER_THREE = [["a", { n: 3, text: "first é" }], ["b", { n: 2, text: "second 日本語" }]];

describe.each([["our", writeOurs], ["an upstream", writeForeign]])("the tail of %s log", (_whose, write) => {
  let dir;
  let whole;

  beforeEach(async () => {
    dir = temporaryDirectory();
    await write(dir);
    whole = readFileSync(logPathOf(dir));
  });

  /**
   * Opens the store, checks what it holds, that it goes on, and that everybody then reads the same.
   *
   * @param {[string, unknown][]} entries the records that must be there
   * @param {Buffer} kept the bytes of the log that must be left, apart from a restored newline
   * @param {Buffer | null} cut the bytes that must be saved
   */
  async function expectRepaired(entries, kept, cut) {
    const tree = treeOf(dir);
    expect((await stateOf(dir)).entries).toEqual(entries);
    expect(treeOf(dir)).toEqual(tree);
    const log = logPathOf(dir);
    const store = await openStore(dir, KEEP_LOG);
    expect(store.entries()).toEqual(entries);
    const repaired = readFileSync(log);
    expect(repaired.subarray(0, kept.length).equals(kept)).toBe(true);
    expect(repaired.subarray(kept.length).toString().trim()).toBe("");
    expect(cutTailsOf(dir).map((path) => readFileSync(path).toString("hex"))).toEqual(cut ? [cut.toString("hex")] : []);
    await store.set("new", { n: 4 });
    await store.undo();
    await store.set("new", { n: 5 });
    const state = stateIn(store);
    expect(state.entries).toEqual([...entries, ["new", { n: 5 }]]);
    await store.close();
    expect(await stateOf(dir)).toEqual(state);
    const upstream = await openUpstream(dir, { readOnly: true });
    expect(stateIn(upstream).entries).toEqual(state.entries);
  }

  it("cut in the middle of the last line is cut back to the line before", async () => {
    const twoLines = whole.subarray(0, whole.lastIndexOf(10, whole.length - 2) + 1);
    for (const cut of [1, 2, 40, whole.length - twoLines.length - 2]) {
      dir = temporaryDirectory();
      await write(dir);
      const bytes = readFileSync(logPathOf(dir));
      const two = bytes.subarray(0, bytes.lastIndexOf(10, bytes.length - 2) + 1);
      truncateSync(logPathOf(dir), two.length + cut);
      await expectRepaired(AFTER_TWO, two, bytes.subarray(two.length, two.length + cut));
    }
  });

  it("without its last newline keeps the whole valid last line", async () => {
    truncateSync(logPathOf(dir), whole.length - 1);
    await expectRepaired(AFTER_THREE, whole.subarray(0, whole.length - 1), null);
  });

  it.each([
    ["foreign text", "hello, world\n"],
    ["foreign text without a newline", "hello"],
    ["several invalid lines", "one\n{}\n[1,2]\nnull\n{\"ts\":1}\n"],
    ["bytes that are no UTF-8", Buffer.from([0xff, 0xfe, 0x00, 0x80, 0x0a])],
    ["zeros, as some file systems leave after a power cut", Buffer.alloc(4096)],
    ["the middle of a character", Buffer.from("{\"ts\":\"é").subarray(0, 8)],
    ["JSON that is no operation", '{"ts":"2026-01-01T00:00:00.000Z","op":"merge","id":"a","prev":null}\n'],
    ["an operation with a wrong checksum",
      '{"ts":"2026-01-01T00:00:00.000Z","op":"set","id":"a","prev":null,"data":{"n":9},"crc":"00000000"}\n'],
    ["an operation with a foreign member and no checksum",
      '{"ts":"2026-01-01T00:00:00.000Z","op":"set","id":"a","prev":null,"data":{"n":9},"brc":"00000000"}\n'],
    ["a large invalid line", `${"x".repeat(3_000_000)}\n`],
  ])("that ends in %s is cut back to the last good line", async (_name, text) => {
    appendFileSync(logPathOf(dir), text);
    await expectRepaired(AFTER_THREE, whole, Buffer.from(text));
  });

  it("that ends in blank lines is as good as without them", async () => {
    appendFileSync(logPathOf(dir), "\n\n  \n\n");
    const store = await openStore(dir, KEEP_LOG);
    expect(store.entries()).toEqual(AFTER_THREE);
    expect(store.getOps()).toHaveLength(3);
    expect(await store.undo()).toBe(true);
    expect(store.entries()).toEqual(AFTER_TWO);
    await store.close();
    expect((await stateOf(dir)).entries).toEqual(AFTER_TWO);
  });

  it("that is all there is and all bad gives an empty log", async () => {
    const bad = whole.subarray(0, 20);
    writeFileSync(logPathOf(dir), bad);
    await expectRepaired([], Buffer.alloc(0), bad);
  });

  it("cut twice is saved twice", async () => {
    for (let round = 1; round <= 2; round++) {
      appendFileSync(logPathOf(dir), `round ${round}`);
      await withStore(dir, KEEP_LOG, (store) => expect(store.entries()).toEqual(AFTER_THREE));
    }
    expect(cutTailsOf(dir).map((path) => readFileSync(path, "utf8")).sort()).toEqual(["round 1", "round 2"]);
  });
});

describe("a batch at the tail", () => {
  let dir;

  beforeEach(async () => {
    dir = temporaryDirectory();
    await withStore(dir, KEEP_LOG, async (store) => {
      await store.set("before", { n: 0 });
      await store.batch(() => {
        store.set("a", { n: 1 });
        store.set("before", { n: 1 });
        store.set("c", { n: 1 });
        store.delete("a");
      });
    });
  });

  it("that is incomplete is cut as a whole, wherever it is cut", async () => {
    const log = logPathOf(dir);
    const bytes = readFileSync(log);
    const first = bytes.indexOf(10) + 1;
    const lastNewline = bytes.length - 1;
    for (let length = first + 1; length < lastNewline; length += 7) {
      writeFileSync(log, bytes.subarray(0, length));
      expect((await stateOf(dir)).entries).toEqual([["before", { n: 0 }]]);
    }
    const thirdLine = bytes.lastIndexOf(10, bytes.length - 2) + 1;
    writeFileSync(log, bytes.subarray(0, thirdLine));
    await withStore(dir, KEEP_LOG, async (store) => {
      expect(store.entries()).toEqual([["before", { n: 0 }]]);
      expect(logTextOf(dir)).toBe(bytes.subarray(0, first).toString());
      await store.set("d", { n: 2 });
    });
    expect(cutTailsOf(dir).map((path) => readFileSync(path, "utf8"))).toEqual([bytes.subarray(first, thirdLine).toString()]);
    expect((await stateOf(dir)).entries).toEqual([["before", { n: 0 }], ["d", { n: 2 }]]);
  });

  it("that lost only its last newline is kept", async () => {
    truncateSync(logPathOf(dir), readFileSync(logPathOf(dir)).length - 1);
    expect((await stateOf(dir)).entries).toEqual([["before", { n: 1 }], ["c", { n: 1 }]]);
  });

  it("whose last lines were undone is not incomplete", async () => {
    const expected = [
      [["before", { n: 1 }], ["a", { n: 1 }], ["c", { n: 1 }]],
      [["before", { n: 1 }], ["a", { n: 1 }]],
      [["before", { n: 0 }], ["a", { n: 1 }]],
      [["before", { n: 0 }]],
    ];
    for (const entries of expected) {
      await withStore(dir, KEEP_LOG, async (store) => {
        expect(await store.undo()).toBe(true);
        expect(store.entries()).toEqual(entries);
      });
      expect((await stateOf(dir)).entries).toEqual(entries);
    }
    expect(cutTailsOf(dir)).toEqual([]);
  });

  it("whose last lines were undone takes further operations and further undos", async () => {
    const store = await openStore(dir, KEEP_LOG);
    await store.undo();
    await store.undo();
    await store.set("x", { n: 9 });
    expect((await stateOf(dir)).entries).toEqual([["before", { n: 1 }], ["a", { n: 1 }], ["x", { n: 9 }]]);
    await store.undo();
    await store.undo();
    await store.batch(() => {
      store.set("y", { n: 9 });
      store.set("z", { n: 9 });
    });
    const state = stateIn(store);
    expect(state.entries).toEqual([["before", { n: 0 }], ["a", { n: 1 }], ["y", { n: 9 }], ["z", { n: 9 }]]);
    await store.close();
    expect(await stateOf(dir)).toEqual(state);
    const upstream = await openUpstream(dir, { readOnly: true });
    expect(upstream.entries()).toEqual(state.entries);
  });
});
