/**
 * Runs many cases of one workload, one after the other, in one process under the shim.
 *
 * `node io-driver.js WORKLOAD TEMPLATE DIRECTORY CONTROL TRACE CASES RESULTS`. CASES is a JSON array of commands for the
 * shim, RESULTS gets a line for each of them, before and after it. Without cases it lists the calls of a run in peace.
 */
import { appendFileSync, openSync, readFileSync, statSync, truncateSync, writeSync } from "node:fs";
import { attempt } from "./io-case.js";
import { chosen } from "./workloads.js";

const [name, template, dir, control, trace, cases, results] = process.argv.slice(2);
const [workload] = chosen(name);
const fd = openSync(control, "a");

/** @returns {import("./io-case.js").Hit[]} */
const hits = () =>
  statSync(trace).size === 0 ? [] :
    readFileSync(trace, "utf8").split("\n").filter((line) => line.startsWith("hit\t")).map((line) => {
      const [, call, path] = line.split("\t");
      return { name: call, path };
    });

for (const command of JSON.parse(readFileSync(cases, "utf8"))) {
  writeSync(fd, "off\n");
  if (command !== "list") truncateSync(trace, 0);
  appendFileSync(results, `${JSON.stringify({ command })}\n`);
  let mended = false;
  const disk = {
    mend: () => {
      mended = true;
      writeSync(fd, "off\n");
    },
    hits,
    get full() {
      return command.startsWith("budget") && !mended;
    },
  };
  const problem = await attempt(workload, template, dir, disk, () => void writeSync(fd, `${command}\n`));
  appendFileSync(results, `${JSON.stringify({ command, hits: hits(), problem, done: true })}\n`);
}
