/**
 * Arguments of the commands, and the help that is made of the same descriptions.
 */
import { parseArgs } from "node:util";
import { CliError, EXIT } from "./failures.js";

/**
 * @typedef {object} Option
 * @property {"boolean" | "string"} type
 * @property {string} help what it does
 * @property {string} [value] how its value is called in the help
 * @property {boolean} [multiple] may be given several times
 */

/**
 * @typedef {object} Usage
 * @property {string} name
 * @property {string} summary what the command does, in a line
 * @property {string[]} positionals names of its arguments, in order; `[NAME]` may be left out
 * @property {Record<string, Option>} [options]
 * @property {string} [more] what else there is to say
 * @property {[string, string][]} examples a command line, and what it does
 */

/** @typedef {Record<string, any>} Values */

/** Options of every command. @type {Record<string, Option>} */
export const COMMON = {
  json: { type: "boolean", help: "answer in JSON; docs/cli.md has the shapes" },
  "no-color": { type: "boolean", help: "no colours, also at a terminal (so does NO_COLOR)" },
  help: { type: "boolean", help: "this text" },
};

/**
 * @param {Usage} usage
 * @param {string[]} args
 * @returns {{ values: Values, positionals: string[] }}
 */
export function readArguments(usage, args) {
  const hint = { remedy: `see \`opslog ${usage.name} --help\`` };
  const described = { ...usage.options, ...COMMON };
  const options = Object.fromEntries(
    Object.entries(described).map(([name, { type, multiple = false }]) => [name, { type, multiple }]),
  );
  let parsed;
  try {
    parsed = parseArgs({ args, options, allowPositionals: true });
  } catch (error) {
    const [message = ""] = /** @type {Error} */ (error).message.split(". To specify");
    throw new CliError(EXIT.usage, message, hint);
  }
  const { values, positionals } = parsed;
  if (values.help) return { values, positionals };
  const least = usage.positionals.filter((name) => !name.startsWith("[")).length;
  if (positionals.length < least) {
    throw new CliError(EXIT.usage, `${usage.positionals[positionals.length]} is missing`, hint);
  }
  if (positionals.length > usage.positionals.length) {
    const extra = positionals[usage.positionals.length];
    throw new CliError(EXIT.usage, `Unexpected argument: ${JSON.stringify(extra)}`, hint);
  }
  const empty = positionals.indexOf("");
  if (empty >= 0) throw new CliError(EXIT.usage, `${usage.positionals[empty]} is empty`, hint);
  return { values, positionals };
}

/**
 * A count among the options.
 * @param {Values} values
 * @param {string} name
 * @returns {number | undefined}
 */
export function readCount(values, name) {
  const text = values[name];
  if (text === undefined) return undefined;
  const n = Number(text);
  if (/^\d+$/.test(text) && n >= 1 && Number.isSafeInteger(n)) return n;
  throw new CliError(EXIT.usage, `--${name} must be an integer from 1 on, got ${JSON.stringify(text)}`);
}

/** @param {Usage} usage */
export function help(usage) {
  const { name, summary, positionals, options = {}, more, examples } = usage;
  const flags = Object.entries({ ...options, ...COMMON }).map(([flag, { value, help, multiple }]) => {
    const left = value === undefined ? `--${flag}` : `--${flag} ${value}`;
    return `  ${left.padEnd(22)}${help}${multiple ? " (may be repeated)" : ""}`;
  });
  const shown = examples.map(([line, what]) => `  ${line}\n      ${what}`);
  return [
    `opslog ${name}: ${summary}`,
    "",
    `Usage: opslog ${[name, ...positionals].join(" ")} [options]`,
    ...(more === undefined ? [] : ["", more]),
    "",
    "Options:",
    ...flags,
    "",
    "Examples:",
    ...shown,
  ].join("\n");
}
