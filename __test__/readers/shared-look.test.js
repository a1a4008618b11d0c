/** CONTRACT.md 1: who is told what one of several calls of a reader or an agent has read. */
import { describe, expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { isNative } from "../support/implementation.js";
import { eventually } from "../support/patience.js";
import { openStore } from "../support/stores.js";

const QUIET = { checkpointThreshold: Infinity, checkpointOnClose: false };
const LONG = 60_000;
const all = async (items) => {
  const found = [];
  for await (const item of items) found.push(item);
  return found;
};
const ids = (ops) => ops.map(({ id }) => id);

const PAIRS = [
  { name: "a reader beside a writer", writer: {}, other: { readOnly: true } },
  { name: "a reader without the records", writer: {}, other: { readOnly: true, skipLoad: true } },
  { name: "an agent beside another", writer: { agentId: "a" }, other: { agentId: "b" } },
];

describe.each(PAIRS)("$name", ({ writer, other }) => {
  const open = async () => {
    const dir = temporaryDirectory();
    return [await openStore(dir, { ...QUIET, ...writer }), await openStore(dir, { ...QUIET, ...other })];
  };

  it("tells a watch what a refresh has read", async () => {
    const [a, b] = await open();
    const told = [];
    b.watch((ops) => told.push(...ids(ops)), 20);
    await a.set("x", { n: 1 });
    await Promise.all([b.refresh(), b.refresh()]);
    expect(b.has("x")).toBe(true);
    await a.set("y", { n: 2 });
    await eventually(() => expect(told).toEqual(["x", "y"]));
  });

  it("tells a tail that waits for its turn what the refresh before it has read", async () => {
    const [a, b] = await open();
    await a.set("x", { n: 1 });
    const [, told] = await Promise.all([b.refresh(), b.tail()]);
    expect(ids(told)).toEqual(["x"]);
    expect(await b.tail()).toEqual([]);
  });

  it("keeps what a watch that has ended was not told, whatever a refresh reads", async () => {
    const [a, b] = await open();
    b.watch(() => expect.unreachable(), LONG);
    await a.set("x", { n: 1 });
    await b.refresh();
    b.unwatch();
    await b.refresh();
    expect(ids(await b.tail())).toEqual(["x"]);
  });

  // Where nothing is removed it streams what it knows.
  it.runIf(isNative)("streams what is stored when others have made checkpoints since it last looked, and tells it later", async () => {
    const [a, b] = await open();
    expect(await b.tail()).toEqual([]);
    for (const id of ["x", "y", "z"]) {
      await a.set(id, { n: 1 });
      if (id !== "z") await a.compact();
    }
    expect((await all(b.streamSnapshot())).map(([id]) => id)).toEqual(["x", "y"]);
    expect(ids(await all(b.getWalOps())).filter((id) => id !== "x" && id !== "y")).toEqual(["z"]);
    const told = ids(await b.tail());
    expect(told).toContain("z");
    expect(new Set(told).size).toBe(told.length);
  });
});
