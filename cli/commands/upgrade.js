/** `opslog upgrade`: rewrites a store of an older format in the present one. */
import { formatOf } from "../format.js";
import { EXIT } from "../failures.js";
import { openReader, readManifest } from "../reader.js";
import { many } from "../terminal.js";
import { verify } from "../verification.js";
import { openWriter } from "../writer.js";

/** @type {import("../arguments.js").Usage} */
export const usage = {
  name: "upgrade",
  summary: "rewrite a store of an older format in the present one",
  positionals: ["DIR"],
  options: { "dry-run": { type: "boolean", help: "say what would be done, and change nothing" } },
  more: "Every store of @backloghq/opslog from 0.1.4 on opens as it is. This makes the checkpoint that gives it checksums, and a snapshot that is read in pieces, at once. It must not be open (exit code 4).",
  examples: [
    ["opslog upgrade --dry-run ./data", "which format it has, and what would be done"],
    ["opslog upgrade ./data", "do it, and verify the result"],
  ],
};

const WORDS = {
  document: "one document (before upstream 0.7)",
  lines: "one record a line, without a checksum (upstream 0.7 or later)",
  checksum: "one record a line, with a checksum",
  missing: "missing",
};

/** @param {import("../commands.js").Call} call */
export async function run({ positionals: [dir = ""], values, terminal }) {
  const { json, out, paint } = terminal;
  const dryRun = values["dry-run"] === true;
  const reader = await openReader(dir);
  const [records, operations] = [reader.count(), reader.getOps().length];
  await reader.close();
  const from = await present(dir);
  const needed = from !== "checksum";
  let to = from;
  if (needed && !dryRun) {
    const store = await openWriter(dir);
    try {
      await store.compact();
    } finally {
      await store.close();
    }
    const { counts } = await verify(dir, terminal);
    if (counts.damage + counts.unreadable > 0) throw new Error(`${dir} was upgraded, and its verification finds damage`);
    to = await present(dir);
  }
  if (json) {
    await out(JSON.stringify({ dir, dryRun, from, to, needed, records, operations }));
    return EXIT.ok;
  }
  await out(`snapshot: ${WORDS[from]}`);
  if (!needed) await out("It has the present format. There is nothing to do.");
  else {
    const what = `${many(records, "record")}, ${many(operations, "operation")} of the log among them,`;
    await out(dryRun ? `${what} would be written to a new snapshot. Nothing was changed.` : `${what} are in a new snapshot: ${WORDS[to]}.`);
    if (!dryRun) await out(paint.green("Upgraded and verified."));
  }
  return EXIT.ok;
}

/** @param {string} dir */
async function present(dir) {
  const found = await readManifest(dir);
  return found === undefined ? "missing" : formatOf(dir, found.manifest.currentSnapshot);
}
