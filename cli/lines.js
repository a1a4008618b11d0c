/**
 * Lines of a file or of stdin, a piece at a time.
 */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { CliError, EXIT } from "./failures.js";

const PIECE = 1 << 18;

/**
 * Bytes that there are to be read; Infinity where nobody knows.
 * @param {string} file `-` for stdin.
 */
export async function bytesOf(file) {
  return file === "-" ? Infinity : (await stat(file)).size || Infinity;
}

/**
 * @param {string} file `-` for stdin.
 * @param {(bytes: number) => void} onRead
 * @returns {AsyncGenerator<{ line: number, text: string }, void>}
 */
export async function* linesOf(file, onRead) {
  const input = file === "-" ? process.stdin : createReadStream(file, { highWaterMark: PIECE });
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let [rest, line] = ["", 0];
  const decode = (/** @type {Buffer | undefined} */ piece) => {
    try {
      return piece === undefined ? decoder.decode() : decoder.decode(piece, { stream: true });
    } catch (error) {
      throw new CliError(EXIT.found, `${file === "-" ? "stdin" : file} is not UTF-8, after line ${line + 1}`, { cause: error });
    }
  };
  for await (const piece of input) {
    onRead(piece.length);
    const lines = (rest + decode(piece)).split("\n");
    rest = lines.pop() ?? "";
    for (const text of lines) yield { line: ++line, text };
  }
  rest += decode(undefined);
  if (rest !== "") yield { line: ++line, text: rest };
}
