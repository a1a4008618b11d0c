// A package that knows nothing of opslog-native: says which package it was given, and what a store of that does.
import { createRequire } from "node:module";
import { Store } from "@backloghq/opslog";

/** @param {string} dir */
export async function use(dir) {
  const store = new Store();
  await store.open(dir);
  await store.set("a", { n: 1 });
  await store.close();
  await store.open(dir, { readOnly: true });
  const entries = store.entries();
  await store.close();
  return { package: createRequire(import.meta.url)("@backloghq/opslog/package.json").name, entries };
}
