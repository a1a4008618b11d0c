/** `opslog get`: a record. */
import { CliError, EXIT, quoted } from "../failures.js";
import { openReader } from "../reader.js";
import { paintJson } from "../show.js";

/** @type {import("../arguments.js").Usage} */
export const usage = {
  name: "get",
  summary: "a record",
  positionals: ["DIR", "ID"],
  more: "Exit code 1: there is no such record.",
  examples: [
    ["opslog get ./data task-1", "the record's value"],
    ["opslog get ./data task-1 --json", 'the same as {"id", "data"}'],
  ],
};

/** @param {import("../commands.js").Call} call */
export async function run({ positionals: [dir = "", id = ""], terminal }) {
  const store = await openReader(dir);
  try {
    if (!store.has(id)) {
      throw new CliError(EXIT.found, `Record ${JSON.stringify(id)} not found in ${dir}`, {
        code: "OPSLOG_NOT_FOUND",
        remedy: `\`opslog list ${quoted(dir)} --ids\` lists the ids`,
      });
    }
    const data = store.get(id);
    await terminal.out(terminal.json ? JSON.stringify({ id, data }) : paintJson(JSON.stringify(data, null, 2), terminal.paint));
    return EXIT.ok;
  } finally {
    await store.close();
  }
}
