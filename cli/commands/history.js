/** `opslog history`: what happened to a record since the last checkpoint. */
import { changes, sides } from "../diff.js";
import { CliError, EXIT, quoted } from "../failures.js";
import { openReader } from "../reader.js";
import { headOf, time } from "../show.js";
import { plain, visible } from "../terminal.js";

/** @type {import("../arguments.js").Usage} */
export const usage = {
  name: "history",
  summary: "what happened to a record since the last checkpoint",
  positionals: ["DIR", "ID"],
  more: "Each operation with what it changed: - before, + after. A checkpoint ends what is known. Exit code 1: nothing is known of such a record.",
  examples: [
    ["opslog history ./data task-1", "the operations, oldest first"],
    ["opslog history ./data task-1 --json", "a line of JSON for each, with its changes"],
  ],
};

/** @param {import("../commands.js").Call} call */
export async function run({ positionals: [dir = "", id = ""], terminal }) {
  const { json, paint, out } = terminal;
  const store = await openReader(dir);
  try {
    const operations = store.getHistory(id);
    if (operations.length === 0 && !store.has(id)) {
      throw new CliError(EXIT.found, `Nothing is known of record ${JSON.stringify(id)} in ${dir}`, {
        code: "OPSLOG_NOT_FOUND",
        remedy: `\`opslog list ${quoted(dir)} --ids\` lists the ids`,
      });
    }
    for (const operation of operations) {
      const { before, after } = sides(operation);
      const changed = changes(before, after);
      if (json) {
        const { ts, op, agent, clock } = operation;
        await out(JSON.stringify({ ts, op, id, ...(agent !== undefined && { agent }), ...(clock !== undefined && { clock }), changes: changed }));
        continue;
      }
      await out(headOf(operation, paint));
      for (const change of changed) for (const line of linesOf(change, paint)) await out(line);
    }
    if (!json && operations.length === 0) {
      await out(`unchanged since the last checkpoint (${time(store.getManifest()?.stats.lastCheckpoint ?? "unknown")})`);
    }
    return EXIT.ok;
  } finally {
    await store.close();
  }
}

/**
 * @param {import("../diff.js").Change} change
 * @param {import("../terminal.js").Paint} paint
 */
function linesOf({ path, before, after }, paint) {
  const name = path.length === 0 ? "" : `${path.map((part) => plain(String(part))).join(".")}: `;
  const text = (/** @type {any} */ value) => visible(JSON.stringify(value));
  return [
    ...(before === undefined ? [] : [paint.red(`  - ${name}${text(before)}`)]),
    ...(after === undefined ? [] : [paint.green(`  + ${name}${text(after)}`)]),
  ];
}
