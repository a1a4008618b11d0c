import { createRequire } from "node:module";

import { handle, options } from "./opslog.js";

// as programs get it
const entry = new URL("../../dist/index.js", import.meta.url).href;
/** @type {typeof import("../../index.js")} */
const { Store } = await import(entry);

/** @type {string} */
export const version = createRequire(import.meta.url)("../../package.json").version;

/** @type {import("./contender.js").Contender["open"]} */
export async function open(dir, guarantee) {
  /** @type {import("../../index.js").Store<object>} */
  const store = new Store();
  await store.open(dir, options(guarantee));
  return handle(store);
}
