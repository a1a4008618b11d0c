/** Entry of the child processes that `child.js` starts: runs one exported function of a scenario module. */
import { readSync, writeSync } from "node:fs";
import { Store, UpstreamStore } from "./implementation.js";

const [scenarios, name, args] = process.argv.slice(2);

/**
 * Writes a report to the parent; it is out when this returns.
 *
 * @param {unknown} value any JSON value
 */
function report(value) {
  writeSync(1, `${JSON.stringify(value)}\n`);
}

/**
 * Blocks until the parent has sent a line. Nothing else runs in this thread meanwhile.
 *
 * @returns {string} the line without its newline, or what came before the end of input
 */
function command() {
  const byte = Buffer.alloc(1);
  let line = "";
  while (readSync(0, byte, 0, 1, null) === 1 && byte[0] !== 10) line += byte.toString("latin1");
  return line;
}

const module = await import(scenarios);
const values = JSON.parse(args, (_key, value) => (value === "@Infinity" ? Infinity : value));
await module[name]({ Store, UpstreamStore, report, command, ...values });
