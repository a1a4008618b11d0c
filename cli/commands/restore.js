/** `opslog restore`: a store out of a backup. */
import { copyStore } from "../copy.js";
import { CliError, EXIT, quoted } from "../failures.js";
import { many, size } from "../terminal.js";
import { verify } from "../verification.js";

/** @type {import("../arguments.js").Usage} */
export const usage = {
  name: "restore",
  summary: "a store out of a backup",
  positionals: ["BACKUP", "DIR"],
  more: "The backup is verified first, and the store afterwards. DIR must not exist, or be empty: nothing is ever overwritten. Exit code 1: the backup is damaged.",
  examples: [
    ["opslog restore ./backups/monday ./data", "a new store"],
    ["mv ./data ./data.broken && opslog restore ./backups/monday ./data", "in place of a broken one"],
  ],
};

/** @param {import("../commands.js").Call} call */
export async function run({ positionals: [backup = "", dir = ""], terminal }) {
  const { json, out, paint } = terminal;
  const { counts } = await verify(backup, terminal);
  if (counts.damage + counts.unreadable > 0) {
    throw new CliError(EXIT.found, `${backup} is damaged: ${many(counts.damage + counts.unreadable, "place")}. Nothing was restored`, {
      code: "OPSLOG_CORRUPT",
      remedy: `\`opslog repair --dry-run ${quoted(backup)}\` says what can be kept`,
    });
  }
  const { damage, ...copied } = await copyStore(backup, dir, terminal, "restore");
  if (damage > 0) {
    throw new CliError(EXIT.found, `${backup} was sound, and ${dir} has damage now: ${many(damage, "place")}`, {
      code: "OPSLOG_CORRUPT",
      remedy: `is the disk sound? \`opslog verify ${quoted(dir)}\` lists them`,
    });
  }
  if (json) await out(JSON.stringify({ backup, dir, ...copied }));
  else {
    await out(`${many(copied.records, "record")} in ${many(copied.files, "file")}, ${size(copied.bytes)}, restored to ${dir}.`);
    await out(paint.green("Verified."));
  }
  return EXIT.ok;
}
