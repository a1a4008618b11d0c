/** `opslog verify`: looks at every checksum and line, and tells all damage. */
import { EXIT, quoted } from "../failures.js";
import { many, plain, shown, size } from "../terminal.js";
import { verify } from "../verification.js";

/** @typedef {import("../verification.js").Finding} Finding */

/** @type {import("../arguments.js").Usage} */
export const usage = {
  name: "verify",
  summary: "look at every checksum and line, and tell all damage",
  positionals: ["DIR"],
  more: "Changes nothing, and works beside a process that writes. Exit code 1: there is damage. 3: a file could not be read.",
  examples: [
    ["opslog verify ./data", "all damage with file, line and byte, then what was looked at"],
    ["opslog verify ./data --json", "the same for a program"],
  ],
};

/** @type {Record<import("../verification.js").LookedAt["state"], "green" | "yellow" | "red">} */
const COLOURS = { sound: "green", note: "yellow", unfinished: "yellow", damage: "red", unreadable: "red" };

/** @param {import("../commands.js").Call} call */
export async function run({ positionals: [dir = ""], terminal }) {
  const { json, paint, out, write } = terminal;
  if (json) await write(`{"dir":${JSON.stringify(dir)},"findings":[`);
  let first = true;
  const { files, counts } = await verify(dir, terminal, (finding) => {
    if (!json) return out(lineOf(finding, paint));
    const comma = first ? "" : ",";
    first = false;
    return write(comma + JSON.stringify(finding));
  }).catch(async (error) => {
    // What has been begun is to be JSON all the same.
    if (json) await out(`],"files":[],"counts":{"damage":0,"unreadable":0,"unfinished":0,"note":0},"ok":false}`);
    throw error;
  });
  const ok = counts.damage === 0 && counts.unreadable === 0;
  if (json) {
    await out(`],"files":${JSON.stringify(files)},"counts":${JSON.stringify(counts)},"ok":${ok}}`);
  } else {
    const width = Math.max(...files.map(({ file }) => plain(file).length));
    for (const { file, bytes, entries, checked, state, role } of files) {
      const what = role === "manifest" ? "" : `, ${many(entries, role === "log" ? "operation" : "record")}`;
      const by = role === "manifest" ? "" : checked === entries && entries > 0 ? ", by checksum" : checked > 0 ? `, ${checked} by checksum` : ", no checksums";
      const colour = COLOURS[state];
      await out(`${paint[colour](state.padEnd(10))}  ${plain(file).padEnd(width)}  ${paint.dim(size(bytes) + what + (entries === 0 ? "" : by))}`);
    }
    await out(ok ? paint.green("No damage.") : paint.red(summary(counts)));
    if (counts.damage > 0) await out(`\`opslog repair --dry-run ${quoted(dir)}\` says what can be kept.`);
  }
  if (counts.unreadable > 0) return EXIT.failed;
  return ok ? EXIT.ok : EXIT.found;
}

/** @param {Record<Finding["severity"], number>} counts */
function summary({ damage, unreadable }) {
  const parts = [];
  if (damage > 0) parts.push(`${many(damage, "place")} damaged`);
  if (unreadable > 0) parts.push(`${many(unreadable, "file")} not readable`);
  return `${parts.join(", ")}.`;
}

/**
 * @param {Finding} finding
 * @param {import("../terminal.js").Paint} paint
 */
function lineOf({ severity, file, line, byte, message }, paint) {
  const place = line === undefined ? plain(file) : `${plain(file)}:${line} (byte ${byte})`;
  const colour = severity === "damage" || severity === "unreadable" ? paint.red : paint.yellow;
  return `${paint.bold(place)}: ${colour(severity)}: ${shown(message)}`;
}
