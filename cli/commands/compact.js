/** `opslog compact`: makes a checkpoint. */
import { EXIT } from "../failures.js";
import { openReader, readManifest } from "../reader.js";
import { many, size } from "../terminal.js";
import { openWriter } from "../writer.js";
import { stateBytes } from "../sizes.js";

/** @type {import("../arguments.js").Usage} */
export const usage = {
  name: "compact",
  summary: "make a checkpoint",
  positionals: ["DIR"],
  more: "The log's operations go into a new snapshot; history and undo begin anew. Agents may be at work; a single writer must be closed (exit code 4).",
  examples: [["opslog compact ./data", "what the checkpoint made smaller, if anything"]],
};

/** @param {import("../commands.js").Call} call */
export async function run({ positionals: [dir = ""], terminal }) {
  const { json, out } = terminal;
  // Before it is opened: a writer that finds logs of agents begins with a checkpoint of them.
  const before = await stateBytes(dir);
  const ofAgents = await agentOperations(dir);
  const store = await openWriter(dir, { shared: true });
  try {
    const operations = Math.max(store.getOps().length, ofAgents);
    await store.compact();
    const after = await stateBytes(dir);
    const records = store.count();
    if (json) await out(JSON.stringify({ dir, operations, records, bytesBefore: before, bytesAfter: after }));
    else await out(`${many(operations, "operation")} folded into a snapshot of ${many(records, "record")}: ${size(before)}, now ${size(after)}.`);
    return EXIT.ok;
  } finally {
    await store.close();
  }
}

/**
 * Operations in the logs of agents; 0 where there are none.
 * @param {string} dir
 */
async function agentOperations(dir) {
  if ((await readManifest(dir))?.manifest.activeAgentOps === undefined) return 0;
  const reader = await openReader(dir);
  try {
    return reader.getOps().length;
  } finally {
    await reader.close();
  }
}
