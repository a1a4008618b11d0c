// @backloghq/opslog. It never syncs: where a scenario asks for "fsync" it gives "os".

import { readFileSync } from "node:fs";

import { Store } from "@backloghq/opslog";

import { handle, options } from "./opslog.js";

/** @type {string} */
export const version = JSON.parse(
  readFileSync(new URL("../package.json", import.meta.resolve("@backloghq/opslog")), "utf8"),
).version;

/** @type {import("./contender.js").Contender["open"]} */
export async function open(dir, guarantee) {
  /** @type {Store<object>} */
  const store = new Store();
  const { durability: _unknown, ...known } = options(guarantee);
  await store.open(dir, /** @type {import("@backloghq/opslog").StoreOptions} */ (known));
  return handle(/** @type {import("../../index.js").Store<object>} */ (/** @type {unknown} */ (store)));
}
