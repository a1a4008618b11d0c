import { createRequire } from "node:module";

import { Store } from "../../index.js";
import { handle, noCheckpoints } from "./opslog.js";

/** @type {string} */
export const version = createRequire(import.meta.url)("../../package.json").version;

/** @type {import("./contender.js").Contender["open"]} */
export async function open(dir, { mode, durability }) {
  /** @type {Store<object>} */
  const store = new Store();
  await store.open(dir, { ...noCheckpoints, writeMode: mode, durability });
  return handle(store);
}
