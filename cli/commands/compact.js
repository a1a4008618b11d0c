/** `opslog compact`: makes a checkpoint. */
import { EXIT } from "../failures.js";
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
  const store = await openWriter(dir, { shared: true });
  try {
    const before = await stateBytes(dir);
    const operations = store.getOps().length;
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
