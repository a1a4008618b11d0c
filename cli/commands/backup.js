/** `opslog backup`: a consistent copy of a store, also while it is written. */
import { copyStore } from "../copy.js";
import { CliError, EXIT, quoted } from "../failures.js";
import { many, size } from "../terminal.js";

/** @type {import("../arguments.js").Usage} */
export const usage = {
  name: "backup",
  summary: "a consistent copy of a store, also while it is written",
  positionals: ["DIR", "DEST"],
  more: "The copy is the store at one moment, with its archives, verified. DEST must not exist, or be empty. Exit code 1: the store is damaged, and so is the copy.",
  examples: [
    ["opslog backup ./data ./backups/monday", "a copy, which is a store"],
    ["opslog list ./backups/monday", "so it can be looked into"],
  ],
};

/** @param {import("../commands.js").Call} call */
export async function run({ positionals: [dir = "", dest = ""], terminal }) {
  const { json, out, paint } = terminal;
  const { damage, ...copied } = await copyStore(dir, dest, terminal, "backup");
  if (json) await out(JSON.stringify({ dir, dest, ...copied, damage }));
  else await out(`${many(copied.records, "record")} in ${many(copied.files, "file")}, ${size(copied.bytes)}, copied to ${dest}.`);
  if (damage === 0) {
    if (!json) await out(paint.green("Verified."));
    return EXIT.ok;
  }
  throw new CliError(EXIT.found, `${dir} is damaged, and so is the copy: ${many(damage, "place")}`, {
    code: "OPSLOG_CORRUPT",
    remedy: `\`opslog verify ${quoted(dest)}\` lists them, \`opslog repair --dry-run ${quoted(dest)}\` says what can be kept`,
  });
}
