/**
 * Failure: loadArchive() that ran while its store was closed and another opened could answer with the other's records.
 * Cause: the number by which JavaScript knows a store of the engine was used again at once.
 */
import { expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { openStore, withStore } from "../support/stores.js";
import { Store } from "../support/implementation.js";

it("loadArchive() that races close() and the next open() never answers from another store", async () => {
  const [first, second] = [temporaryDirectory(), temporaryDirectory()];
  for (const [dir, id] of [[first, "one"], [second, "two"]]) {
    await withStore(dir, { durability: "os" }, async (store) => {
      await store.set(id, {});
      await store.archive(() => true, "S");
    });
  }
  const wrong = [];
  for (let round = 0; round < 150; round++) {
    const store = await openStore(first, { readOnly: true });
    const loading = store.loadArchive("S").then((records) => {
      if (!records.has("one")) wrong.push([...records.keys()]);
    }, (error) => {
      if (error.code !== "OPSLOG_NOT_OPEN") wrong.push(error);
    });
    const closing = store.close();
    if (round % 2) await closing;
    const other = new Store();
    await other.open(second, { readOnly: true });
    expect([...(await other.loadArchive("S")).keys()]).toEqual(["two"]);
    await Promise.all([loading, closing]);
    await other.close();
  }
  expect(wrong).toEqual([]);
});
