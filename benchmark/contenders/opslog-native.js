import { createRequire } from "node:module";

import { Store } from "../../index.js";
import { handle, options } from "./opslog.js";

/** @type {string} */
export const version = createRequire(import.meta.url)("../../package.json").version;

/** @type {import("./contender.js").Contender["open"]} */
export async function open(dir, guarantee) {
  /** @type {Store<object>} */
  const store = new Store();
  await store.open(dir, options(guarantee));
  return handle(store);
}
