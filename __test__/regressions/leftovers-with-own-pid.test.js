/**
 * Failure: `open` failed for ever beside temporary files whose names held this process's own pid (left by a process that
 * had the same one: in a container that is usual).
 * Cause: temporary files are made exclusively, and their names, pid and counter, were taken.
 */
import { existsSync, mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import { temporaryDirectory } from "../support/directory.js";
import { openStore } from "../support/stores.js";

it.each([".lock", "manifest.json", "archive/archive-S.json"])("temporary files of %s with this process's pid are in nobody's way", async (file) => {
  const dir = temporaryDirectory();
  const leftovers = Array.from({ length: 40 }, (_, n) => join(dir, `${file}.${process.pid}-${n}.tmp`));
  mkdirSync(dirname(leftovers[0]), { recursive: true });
  for (const path of leftovers) writeFileSync(path, "");
  for (let life = 0; life < 2; life++) {
    const store = await openStore(dir, { durability: "os" });
    await store.set(`k${life}`, { life });
    await store.set("old", { life });
    expect(await store.archive((_value, id) => id === "old", "S")).toBe(1);
    await store.compact();
    expect(store.entries()).toEqual(Array.from({ length: life + 1 }, (_, n) => [`k${n}`, { life: n }]));
    await store.close();
    // young ones of the lock might belong to somebody who is opening the store right now
    for (const path of leftovers) if (existsSync(path)) utimesSync(path, 1, 1);
  }
  expect(leftovers.filter((path) => existsSync(path))).toEqual([]);
});
