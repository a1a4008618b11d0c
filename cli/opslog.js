#!/usr/bin/env node
/**
 * The command line: `opslog <command> DIR`. See docs/cli.md.
 *
 * Loads nothing but the command that runs. A command gives its exit code; an error that it throws is told in a line that
 * names the thing, with what to do about it in the next.
 */
import { readFileSync, writeSync } from "node:fs";
import { COMMON, help, readArguments } from "./arguments.js";
import { COMMANDS } from "./commands.js";
import { CliError, EXIT, failureOf } from "./failures.js";
import { shown, terminal } from "./terminal.js";

const [name = "--help", ...args] = process.argv.slice(2);
// What comes after `--` is no option.
const options = args.slice(0, [...args, "--"].indexOf("--"));
const json = options.includes("--json");
// Not awaited here: commands import from this file once it is bundled. Output goes on after the end: process.exit()
// would cut it off.
void main().then((exit) => {
  process.exitCode = exit;
});

/** @returns {Promise<number>} */
async function main() {
  const plainly = terminal({ json, color: !options.includes("--no-color"), onFailure: endWithoutOutput });
  let positionals;
  try {
    if (name === "--help" || name === "-h" || name === "help") {
      const [about] = args;
      await plainly.out(about !== undefined && Object.hasOwn(COMMANDS, about) ? help(await usageOf(about)) : overview());
      return EXIT.ok;
    }
    if (name === "--version" || name === "-v") {
      await plainly.out(version());
      return EXIT.ok;
    }
    const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
    if (command === undefined) throw unknown();
    const { usage, run } = await command.load();
    const read = readArguments(usage, args.map((arg, i) => (arg === "-h" && i < options.length ? "--help" : arg)));
    if (read.values.help) {
      await plainly.out(help(usage));
      return EXIT.ok;
    }
    positionals = read.positionals;
    return await run({ ...read, terminal: plainly });
  } catch (error) {
    const failure = failureOf(error, positionals?.[0]);
    tell(failure, plainly);
    return failure.exit;
  }
}

/**
 * @param {CliError} failure
 * @param {{ note: (line: string) => void }} terminal
 */
function tell({ message, remedy, code, exit }, { note }) {
  if (json) note(JSON.stringify({ error: { message, ...(code && { code }), ...(remedy && { remedy }), exit } }));
  else note(`opslog: ${shown(message)}${remedy === undefined ? "" : `\n  ${shown(remedy)}`}`);
}

/**
 * @param {NodeJS.ErrnoException} error
 * @returns {never}
 */
function endWithoutOutput(error) {
  const { message, code, remedy } = failureOf(error, undefined);
  tell(new CliError(EXIT.failed, `Output could not be written: ${message}`, { code, remedy }), { note });
  process.exit(EXIT.failed);
}

/** @param {string} line */
function note(line) {
  try {
    // At once: the process ends.
    writeSync(2, `${line}\n`);
  } catch {
    // Where stderr is full as well, the exit code is what is left.
  }
}

function unknown() {
  const near = Object.keys(COMMANDS).find((known) => known.startsWith(name.slice(0, 3)));
  const remedy = near === undefined ? "`opslog --help` lists the commands" : `did you mean \`opslog ${near}\`?`;
  return new CliError(EXIT.usage, `Unknown command: ${JSON.stringify(name)}`, { remedy });
}

/** @param {string} about */
async function usageOf(about) {
  const { usage } = await /** @type {typeof COMMANDS[string]} */ (COMMANDS[about]).load();
  return usage;
}

function overview() {
  const commands = Object.entries(COMMANDS).map(([command, { summary }]) => `  ${command.padEnd(10)}${summary}`);
  const options = Object.entries(COMMON).map(([flag, { help }]) => `  --${flag.padEnd(20)}${help}`);
  return [
    "opslog: looks into the directory of a store, and takes care of it",
    "",
    "Usage: opslog <command> DIR [options]",
    "",
    "Commands:",
    ...commands,
    "",
    "Options of every command:",
    ...options,
    "",
    "`opslog <command> --help` has the rest, with examples. info, get, list, history, log, verify, export and backup",
    "read only: they work beside a process that writes, and change nothing in DIR.",
    "Exit codes: 0 done, 1 damaged or not found, 2 wrong usage, 3 could not read or write, 4 the store is in use.",
  ].join("\n");
}

function version() {
  // beside the sources, or above the bundle
  for (const place of ["../package.json", "../../package.json"]) {
    try {
      return JSON.parse(readFileSync(new URL(place, import.meta.url), "utf8")).version;
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== "ENOENT") throw error;
    }
  }
  return "unknown";
}
