/** A reader that reads everything while a refresh of its own is under way: applied by the engine, not told yet. */
import { beforeEach, describe, expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { openStore, withStore } from "../support/stores.js";

/** Lets a refresh begin and the engine get on with it, while this thread does nothing else. @param {number} ms */
async function holdUp(ms) {
  for (let turn = 0; turn < 6; turn++) await null;
  const end = performance.now() + ms;
  while (performance.now() < end);
}

describe("a scan during a refresh", () => {
  let dir;

  beforeEach(() => {
    dir = temporaryDirectory();
  });

  it("leaves the order of the writer", async () => {
    await withStore(dir, { durability: "os" }, async (writer) => {
      for (const id of ["a", "b", "c"]) await writer.set(id, { id });
      const reader = await openStore(dir, { readOnly: true });
      await writer.delete("a");
      await writer.set("a", { again: 1 });
      await writer.set("n", { new: 1 });
      const refreshed = reader.refresh();
      await holdUp(50);
      reader.entries();
      await refreshed;
      expect(reader.entries()).toEqual(writer.entries());
      await reader.close();
    });
  });

  it("has each record once, however many pieces it comes in", async () => {
    await withStore(dir, { durability: "os", writeMode: "async" }, async (writer) => {
      const ids = Array.from({ length: 20_000 }, (_, i) => `k${i}`);
      await writer.batch(() => ids.forEach((id, n) => void writer.set(id, { n, text: "x".repeat(60) })));
      await writer.compact();
      const first = ids.slice(0, 200);
      for (let round = 0; round < 12; round++) {
        const reader = await openStore(dir, { readOnly: true });
        await writer.batch(() => first.forEach((id) => void writer.delete(id)));
        await writer.batch(() => first.forEach((id) => void writer.set(id, { round })));
        await writer.flush();
        const refreshed = reader.refresh();
        await holdUp(round / 4);
        const found = reader.entries().map(([id]) => id);
        expect(new Set(found).size).toBe(found.length);
        expect(reader.count()).toBe(found.length);
        await refreshed;
        expect(reader.entries()).toEqual(writer.entries());
        await reader.close();
      }
    });
  });
});
