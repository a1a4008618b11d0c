/** `opslog export`: the records as lines of JSON. */
import { link, lstat, open, rename, rm } from "node:fs/promises";
import { CliError, EXIT, naming } from "../failures.js";
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
  await refuseTaken(file);
  try {
    const handle = await open(temporary, "wx");
    let bytes = 0;
    let count;
    try {
      count = await records(dir, terminal, async (text) => {
        // Not write(): on a disk that fills up it takes a part, and says nothing.
        await naming(temporary, handle.appendFile(text));
        bytes += Buffer.byteLength(text);
      });
      await naming(temporary, handle.sync());
    } finally {
      await handle.close();
    }
    await nameFile(temporary, file);
    if (json) await out(JSON.stringify({ dir, file, records: count, bytes }));
    else await out(`${many(count, "record")}, ${size(bytes)}, exported to ${file}.`);
    return EXIT.ok;
  } finally {
    await rm(temporary, { force: true });
  }
}

/** @param {string} file */
async function refuseTaken(file) {
  const found = await lstat(file).catch((error) => {
    if (error.code !== "ENOENT") throw error;
  });
  if (found !== undefined) throw taken(file);
}

/** @param {string} file */
function taken(file) {
  return new CliError(EXIT.failed, `${file} exists`, { code: "EEXIST", remedy: "nothing is overwritten: name another file" });
}

/**
 * Gives a file its name, which nobody may have taken meanwhile.
 * @param {string} temporary
 * @param {string} file
 */
async function nameFile(temporary, file) {
  try {
    // Unlike a rename it refuses a name that is taken.
    await link(temporary, file);
  } catch (error) {
    const { code = "" } = /** @type {NodeJS.ErrnoException} */ (error);
    if (code === "EEXIST") throw taken(file);
    // A file system without links.
    if (!["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK", "EINVAL"].includes(code)) throw error;
    await refuseTaken(file);
    await rename(temporary, file);
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
