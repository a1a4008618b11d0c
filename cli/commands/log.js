/** `opslog log`: the operations since the last checkpoint, and those that come. */
import { changes, sides } from "../diff.js";
import { CliError, EXIT } from "../failures.js";
import { openReader } from "../reader.js";
import { headOf } from "../show.js";
import { plain } from "../terminal.js";

/** How often `--follow` looks, in milliseconds. */
const INTERVAL = 200;
/** So many changed members are named. */
const NAMED = 5;

/** @type {import("../arguments.js").Usage} */
export const usage = {
  name: "log",
  summary: "the operations since the last checkpoint, and those that come",
  positionals: ["DIR"],
  options: {
    follow: { type: "boolean", help: "go on with each new operation, until Ctrl-C" },
    since: { type: "string", value: "TIME", help: "only those after this time, for example 2026-11-23T04:00" },
  },
  examples: [
    ["opslog log ./data", "one line for each operation, oldest first"],
    ["opslog log ./data --follow --json", "the operations as lines of JSON, as they are written"],
    ["opslog log ./data --since 2026-11-23T04:00", "times are UTC unless they say otherwise"],
  ],
};

/** @param {import("../commands.js").Call} call */
export async function run({ positionals: [dir = ""], values, terminal }) {
  const since = values.since === undefined ? undefined : timeOf(values.since);
  const store = await openReader(dir);
  try {
    // Nothing runs between the two: what comes after these operations is told to the watch, each once.
    const operations = store.getOps(since);
    const end = values.follow ? follow(store, terminal) : undefined;
    for (const operation of operations) {
      const wait = terminal.out(lineOf(operation, terminal));
      if (wait !== undefined) await wait;
    }
    await end?.();
    return EXIT.ok;
  } finally {
    await store.close();
  }
}

/**
 * Prints what comes. Gives a function that begins with what has come by then, and resolves when the process is told to
 * end.
 * @param {import("../../index.js").Store<any>} store
 * @param {import("../terminal.js").Terminal} terminal
 */
function follow(store, terminal) {
  /** @type {import("../../index.js").Operation<any>[] | undefined} */
  let held = [];
  const print = (/** @type {import("../../index.js").Operation<any>} */ operation) => void terminal.out(lineOf(operation, terminal));
  store.watch((fresh) => {
    if (held === undefined) fresh.forEach(print);
    else held.push(...fresh);
  }, INTERVAL);
  return () => {
    held?.forEach(print);
    held = undefined;
    return /** @type {Promise<void>} */ (
      new Promise((resolve) => {
        for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => resolve());
      })
    );
  };
}

/**
 * @param {import("../../index.js").Operation<any>} operation
 * @param {import("../terminal.js").Terminal} terminal
 */
function lineOf(operation, { json, paint }) {
  if (json) return JSON.stringify(operation);
  const head = headOf(operation, paint);
  if (operation.prev === null || operation.op === "delete") return head;
  const { before, after } = sides(operation);
  const names = [...new Set(changes(before, after).map(({ path }) => plain(path.join("."))))].filter((name) => name !== '""');
  const more = names.length > NAMED ? `, and ${names.length - NAMED} more` : "";
  return names.length === 0 ? head : `${head}  ${paint.dim(names.slice(0, NAMED).join(", ") + more)}`;
}

/**
 * A time as operations have it.
 * @param {string} text
 */
function timeOf(text) {
  const hasZone = /(Z|[+-]\d\d:?\d\d)$/i.test(text) || /^\d{4}-\d\d-\d\d$/.test(text);
  const date = new Date(hasZone ? text : `${text}Z`);
  if (/^\d{4}-\d\d/.test(text) && !Number.isNaN(date.getTime())) return date.toISOString();
  throw new CliError(EXIT.usage, `--since must be a time, got ${JSON.stringify(text)}`, {
    remedy: "for example: --since 2026-11-23 or --since 2026-11-23T04:00:00Z",
  });
}
