/**
 * Stores that are opened for writing: by one process, or as one of several agents where the store has agents.
 */
import { Store } from "../index.js";
import { readManifest, versionOf } from "./reader.js";
import { CliError, EXIT, quoted } from "./failures.js";

/**
 * Opens an existing store for writing. One that live agents share is joined, if `shared`.
 * @param {string} dir
 * @param {{ shared?: boolean, options?: import("../index.js").StoreOptions }} [how]
 * @returns {Promise<Store<any>>}
 */
export async function openWriter(dir, { shared = false, options = {} } = {}) {
  const found = await readManifest(dir);
  // Opening would make a store where there is none. A manifest that cannot be read, the engine refuses.
  if (found === undefined) await new Store().open(dir, { readOnly: true });
  const settings = { ...options, version: await versionOf(dir), checkpointOnClose: false };
  const store = new Store();
  try {
    await store.open(dir, settings);
  } catch (error) {
    const { code, message } = /** @type {NodeJS.ErrnoException} */ (Object(error));
    if (code !== "OPSLOG_LOCKED" || !/\.agent-[^/]*$/.test(message)) throw error;
    if (!shared) {
      const remedy = `its agents must be closed first; \`opslog info ${quoted(dir)}\` lists them`;
      throw new CliError(EXIT.locked, message, { code, remedy, cause: error });
    }
    await store.open(dir, { ...settings, agentId: `opslog-cli-${process.pid}` });
  }
  return store;
}
