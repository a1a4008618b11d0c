/**
 * Failure: a store whose directory had been replaced (a symbolic link pointed elsewhere, or renamed and made anew) wrote
 * its checkpoint over the store that stood there now.
 * Cause: files were reached by the path of `open`, and nothing checked that the lock held was still the lock there.
 */
import { mkdirSync, renameSync, symlinkSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { temporaryDirectory, treeOf } from "../support/directory.js";
import { rejectionOf } from "../support/errors.js";
import { openStore, stateOf } from "../support/stores.js";

const MANUAL = { durability: "os", checkpointOnClose: false };
const idsIn = async (dir) => (await stateOf(dir)).entries.map(([id]) => id);

it("a checkpoint behind a link that points to another store now rejects, and does not touch that store", async () => {
  const base = temporaryDirectory();
  const [first, second, link] = ["v1", "v2", "current"].map((name) => join(base, name));
  mkdirSync(first);
  symlinkSync("v1", link);
  const other = await openStore(second, MANUAL);
  await other.set("theirs", { v: 2 });
  const store = await openStore(link, { durability: "os" });
  await store.set("ours", { v: 1 });
  unlinkSync(link);
  symlinkSync("v2", link);
  const tree = treeOf(second);

  expect(await rejectionOf(store.compact())).toBeInstanceOf(Error);
  await store.archive(() => true, "S").then(() => expect.fail("archived"), () => {});
  await store.close().catch(() => {});
  expect(treeOf(second)).toEqual(tree);
  await other.set("more", { v: 2 });
  await other.compact();
  await other.close();
  expect(await idsIn(second)).toEqual(["theirs", "more"]);
  expect(await idsIn(first)).toEqual(["ours"]);
  const again = await openStore(first, MANUAL);
  expect(again.count()).toBe(1);
});

it("a checkpoint where the directory was renamed and another made in its place rejects, and does not touch that one", async () => {
  const dir = join(temporaryDirectory(), "store");
  const store = await openStore(dir, { durability: "os" });
  await store.set("ours", { v: 1 });
  renameSync(dir, `${dir}.old`);
  const other = await openStore(dir, MANUAL);
  await other.set("theirs", { v: 2 });
  const tree = treeOf(dir);

  expect(await rejectionOf(store.compact())).toBeInstanceOf(Error);
  await store.close().catch(() => {});
  expect(treeOf(dir)).toEqual(tree);
  await other.set("more", { v: 2 });
  await other.close();
  expect(await idsIn(dir)).toEqual(["theirs", "more"]);
  expect(await idsIn(`${dir}.old`)).toEqual(["ours"]);
});
