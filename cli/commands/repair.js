/** `opslog repair`: makes a damaged store sound, with all that can be read. */
import { resolve } from "node:path";
import * as native from "../../binding.js";
import { toError } from "../../lib/errors.js";
import { EXIT, quoted } from "../failures.js";
import { many, plain, shown } from "../terminal.js";

/** @typedef {import("../../binding.js").RepairStep} Step */

/** @type {import("../arguments.js").Usage} */
export const usage = {
  name: "repair",
  summary: "make a damaged store sound, with all that can be read",
  positionals: ["DIR"],
  options: { "dry-run": { type: "boolean", help: "say what would be done, and change nothing" } },
  more: "Keeps every valid operation and record. Damaged files stay beside the store under names that nothing reads (….damaged-N, ….cut-N). The store must not be open (exit code 4).",
  examples: [
    ["opslog repair --dry-run ./data", "what would be kept and what is lost"],
    ["opslog repair ./data", "do it; `opslog verify ./data` is clean afterwards"],
  ],
};

/** @param {import("../commands.js").Call} call */
export async function run({ positionals: [dir = ""], values, terminal }) {
  const { json, paint, out } = terminal;
  const dryRun = values["dry-run"] === true;
  const { steps, failure } = await native.repairStore(resolve(dir), dryRun);
  if (failure !== undefined) throw toError(failure);
  if (json) {
    await out(JSON.stringify({ dir, dryRun, steps }));
    return EXIT.ok;
  }
  for (const step of steps) {
    await out(`${paint.bold(plain(step.file))}: ${shown(step.why)}`);
    for (const line of doneTo(step, dryRun)) await out(`  ${line}`);
  }
  if (steps.length === 0) await out("There is nothing to repair.");
  else if (dryRun) await out(`Nothing was changed. \`opslog repair ${quoted(dir)}\` does it.`);
  else await out(paint.green("Repaired."));
  return EXIT.ok;
}

/**
 * @param {Step} step
 * @param {boolean} dryRun
 */
function doneTo({ file, action, kept, lost, aside, replacedBy }, dryRun) {
  const entry = file.startsWith("ops/") ? "operation" : "record";
  const lines = [];
  const say = (/** @type {string} */ would, /** @type {string} */ did) => lines.push(dryRun ? would : did);
  const counts = `${many(kept, entry)} kept, ${many(lost, "place")} lost`;
  const by = replacedBy === undefined || replacedBy === file ? "" : ` in ${plain(replacedBy)}`;
  if (action === "rewritten") say(`would be rewritten: ${counts}`, `rewritten: ${counts}${by}`);
  else if (action === "cut") say(`its end would be cut off: ${many(kept, entry)} kept`, `its end was cut off: ${many(kept, entry)} kept`);
  else if (action === "replaced") say("would be made anew", `made anew${by}`);
  else if (action === "dropped") say("would be struck off the manifest", "struck off the manifest");
  else say("would be put right", "put right");
  if (aside !== undefined) lines.push(`what was there is in ${plain(aside)}`);
  return lines;
}
