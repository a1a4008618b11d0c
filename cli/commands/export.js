/** `opslog export`: the records as lines of JSON. */
import { rename, rm } from "node:fs/promises";
import { open } from "node:fs/promises";
import { CliError, EXIT } from "../failures.js";
import { loadRecords } from "../reader.js";
import { many, size } from "../terminal.js";

/** Lines are handed over in pieces of about so many characters. */
const PIECE = 256 * 1024;

/** @type {import("../arguments.js").Usage} */
export const usage = {
  name: "export",
  summary: "the records as lines of JSON",
  positionals: ["DIR", "[FILE]"],
  more: 'One {"id", "data"} a line, in the order of the store; `opslog import` takes them. To stdout, or to FILE, which must not exist.',
  examples: [
    ["opslog export ./data records.jsonl", "with a progress bar at a terminal"],
    ["opslog export ./data | gzip > records.jsonl.gz", "through a pipe"],
  ],
};

/** @param {import("../commands.js").Call} call */
export async function run({ positionals: [dir = "", file], terminal }) {
  const { json, out, write } = terminal;
  if (file === undefined) {
    await records(dir, terminal, write);
    return EXIT.ok;
  }
  const temporary = `${file}.${process.pid}.tmp`;
  const taken = await open(file, "wx").catch((error) => {
    if (error.code !== "EEXIST") throw error;
    throw new CliError(EXIT.failed, `${file} exists`, { code: "EEXIST", remedy: "nothing is overwritten: name another file" });
  });
  await taken.close();
  try {
    const handle = await open(temporary, "wx");
    let bytes = 0;
    let count;
    try {
      count = await records(dir, terminal, async (text) => {
        bytes += (await handle.write(text)).bytesWritten;
      });
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
    if (json) await out(JSON.stringify({ dir, file, records: count, bytes }));
    else await out(`${many(count, "record")}, ${size(bytes)}, exported to ${file}.`);
    return EXIT.ok;
  } catch (error) {
    await rm(temporary, { force: true });
    await rm(file, { force: true });
    throw error;
  }
}

/**
 * Gives all records to `write` and returns how many there were.
 * @param {string} dir
 * @param {import("../terminal.js").Terminal} terminal
 * @param {(text: string) => Promise<void> | void} write
 */
async function records(dir, terminal, write) {
  const { count, records, release } = await loadRecords(dir);
  const progress = terminal.progress("export", count, "records");
  try {
    let [piece, held, total] = ["", 0, 0];
    const flush = async () => {
      if (piece !== "") await write(piece);
      progress.step(held);
      [piece, held] = ["", 0];
    };
    for (const [id, data] of records()) {
      piece += `${JSON.stringify({ id, data })}\n`;
      held++;
      total++;
      if (piece.length >= PIECE) await flush();
    }
    await flush();
    return total;
  } finally {
    progress.end();
    release();
  }
}
