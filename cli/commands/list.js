/** `opslog list`: the records, or those with certain values. */
import { isDeepStrictEqual } from "node:util";
import { readCount } from "../arguments.js";
import { CliError, EXIT } from "../failures.js";
import { loadRecords } from "../reader.js";
import { paintJson } from "../show.js";
import { fit, plain, visible } from "../terminal.js";

/** @type {import("../arguments.js").Usage} */
export const usage = {
  name: "list",
  summary: "the records, or those with certain values",
  positionals: ["DIR"],
  options: {
    where: { type: "string", value: "PATH=VALUE", multiple: true, help: "only records with this value" },
    limit: { type: "string", value: "N", help: "no more than N records" },
    ids: { type: "boolean", help: "the ids only" },
  },
  more: "PATH leads into the record, by dots: owner.name, tags.0; `\\.` is a dot within a name. VALUE is JSON, or a string without its quotes.",
  examples: [
    ["opslog list ./data", "a line for each record"],
    ["opslog list ./data --where status=active --where owner.id=7 --limit 10", "the first ten that match both"],
    ["opslog list ./data --json | jq .data.title", 'lines of {"id", "data"} for another program'],
  ],
};

/** @param {import("../commands.js").Call} call */
export async function run({ positionals: [dir = ""], values, terminal }) {
  const limit = readCount(values, "limit") ?? Infinity;
  const conditions = (values.where ?? []).map(condition);
  const { records, release } = await loadRecords(dir);
  try {
    let shown = 0;
    for (const [id, data] of records()) {
      if (!conditions.every((/** @type {Condition} */ holds) => holds(data))) continue;
      const wait = terminal.out(lineOf(id, data, values.ids, terminal));
      if (wait !== undefined) await wait;
      if (++shown >= limit) break;
    }
    return EXIT.ok;
  } finally {
    release();
  }
}

/**
 * @param {string} id
 * @param {any} data
 * @param {boolean | undefined} idOnly
 * @param {import("../terminal.js").Terminal} terminal
 */
function lineOf(id, data, idOnly, { json, paint, width }) {
  if (json) return JSON.stringify(idOnly ? { id } : { id, data });
  const name = plain(id);
  if (idOnly) return name;
  const room = Math.max(width - name.length - 2, 10);
  return `${paint.bold(name)}  ${paintJson(fit(visible(JSON.stringify(data)), room), paint)}`;
}

/** @typedef {(data: any) => boolean} Condition */

/**
 * @param {string} text
 * @returns {Condition}
 */
function condition(text) {
  const equals = text.search(/(?<!\\)=/);
  if (equals <= 0) {
    throw new CliError(EXIT.usage, `--where takes PATH=VALUE, got ${JSON.stringify(text)}`, { remedy: "for example: --where status=active" });
  }
  const path = text.slice(0, equals).split(/(?<!\\)\./).map((part) => part.replaceAll(/\\([.=])/g, "$1"));
  const value = text.slice(equals + 1);
  const wanted = parsed(value);
  return (data) => {
    let found = data;
    for (const part of path) {
      if (typeof found !== "object" || found === null || !Object.hasOwn(found, part)) return false;
      found = found[part];
    }
    return found === value || isDeepStrictEqual(found, wanted);
  };
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
