/**
 * Lines of a file or of stdin, a piece at a time.
 */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { CliError, EXIT } from "./failures.js";

const PIECE = 1 << 18;
const NEWLINE = 10;
const BOM = Buffer.from("\ufeff");
const DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Bytes that there are to be read; Infinity where nobody knows.
 * @param {string} file `-` for stdin.
 */
export async function bytesOf(file) {
  if (file === "-") return Infinity;
  const found = await stat(file);
  if (found.isDirectory()) throw new CliError(EXIT.failed, `${file} is a directory`, { code: "EISDIR" });
  return found.size || Infinity;
}

/**
 * @param {string} file `-` for stdin.
 * @param {(bytes: number) => void} onRead
 * @returns {AsyncGenerator<{ line: number, text: string }, void>}
 */
export async function* linesOf(file, onRead) {
  const input = file === "-" ? process.stdin : createReadStream(file, { highWaterMark: PIECE });
  let line = 0;
  /** What has come of a line that has not ended yet. @type {Buffer[]} */
  let rest = [];
  for await (const piece of input) {
    onRead(piece.length);
    const end = piece.lastIndexOf(NEWLINE);
    if (end >= 0) {
      for (const text of textsIn(Buffer.concat([...rest, piece.subarray(0, end)]), line, file)) yield { line: ++line, text };
      rest = [];
    }
    if (end + 1 < piece.length) rest.push(piece.subarray(end + 1));
  }
  if (rest.length > 0) for (const text of textsIn(Buffer.concat(rest), line, file)) yield { line: ++line, text };
}

/**
 * The lines of a piece. One that is not UTF-8 is an error once those before it were given.
 * @param {Buffer} piece Without the newline at its end.
 * @param {number} before How many lines came before it.
 * @param {string} file
 * @returns {Iterable<string>}
 */
function* textsIn(piece, before, file) {
  const start = before === 0 && piece.subarray(0, BOM.length).equals(BOM) ? BOM.length : 0;
  const all = decoded(piece.subarray(start));
  if (all !== undefined) return yield* all.split("\n");
  for (let [line, at] = [before + 1, start]; at <= piece.length; line++) {
    const newline = piece.indexOf(NEWLINE, at);
    const end = newline < 0 ? piece.length : newline;
    const text = decoded(piece.subarray(at, end));
    if (text === undefined) throw new CliError(EXIT.found, `${file === "-" ? "stdin" : file}, line ${line}: not UTF-8`, { code: "OPSLOG_INVALID" });
    yield text;
    at = end + 1;
  }
}

/**
 * @param {Buffer} bytes
 * @returns {string | undefined} undefined where they are not UTF-8
 */
function decoded(bytes) {
  try {
    return DECODER.decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}
