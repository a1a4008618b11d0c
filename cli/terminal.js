/**
 * Where output goes: colours and progress for people at a terminal, plain text and JSON for everybody else.
 *
 * What could go wrong if: the reader of a pipe ends first (`| head -1`: the command ends as well, as if it had said all);
 * output cannot be written (the disk of `> file` is full: `onFailure` ends the command);
 * output is faster than its reader (`out` waits); a text from a store holds control characters (`plain` shows them).
 */
import { fstatSync, writeFileSync } from "node:fs";

const CODES = { red: 31, green: 32, yellow: 33, blue: 34, cyan: 36, dim: 2, bold: 1 };

/** @typedef {Record<keyof typeof CODES, (text: string) => string>} Paint */
/** @typedef {{ step: (amount: number) => void, end: () => void }} Progress */

/**
 * @typedef {object} Terminal
 * @property {boolean} json
 * @property {Paint} paint
 * @property {number} width columns of the terminal, or Infinity
 * @property {(line: string) => Promise<void> | void} out writes a line to stdout; a promise where it has to wait
 * @property {(text: string) => Promise<void> | void} write the same without a newline
 * @property {(line: string) => void} note writes a line to stderr
 * @property {(label: string, total: number, unit: "bytes" | "records") => Progress} progress
 */

/**
 * @param {{ json: boolean, color: boolean, onFailure: (error: NodeJS.ErrnoException) => never }} how
 * @returns {Terminal}
 */
export function terminal({ json, color, onFailure }) {
  const { stdout, stderr } = process;
  endWithReader(stdout, onFailure);
  endWithReader(stderr, onFailure);
  const { NO_COLOR, TERM } = process.env;
  const toFile = isFile(stdout.fd);
  const wanted = color && !json && (NO_COLOR === undefined || NO_COLOR === "") && TERM !== "dumb";
  /** @type {Promise<void> | undefined} */
  let draining;
  /** @param {string} text */
  const write = (text) => {
    if (toFile) return writeWhole(stdout.fd, text, onFailure);
    if (stdout.write(text)) return undefined;
    // One for all that wait: not every caller waits before it writes on.
    draining ??= new Promise((resolve) => {
      stdout.once("drain", () => {
        draining = undefined;
        resolve();
      });
    });
    return draining;
  };
  return {
    json,
    paint: paintFor(wanted && stdout.isTTY),
    width: stdout.isTTY && !json ? stdout.columns : Infinity,
    write,
    out: (line) => write(`${line}\n`),
    note: (line) => void stderr.write(`${line}\n`),
    progress: (label, total, unit) => (stderr.isTTY && TERM !== "dumb" ? bar(label, total, unit) : { step() {}, end() {} }),
  };
}

/**
 * @param {boolean} colours
 * @returns {Paint}
 */
export function paintFor(colours) {
  const paint = (/** @type {number} */ code) => (/** @type {string} */ text) => (colours ? `\x1b[${code}m${text}\x1b[0m` : text);
  return /** @type {Paint} */ (Object.fromEntries(Object.entries(CODES).map(([name, code]) => [name, paint(code)])));
}

/**
 * @param {NodeJS.WriteStream} stream
 * @param {(error: NodeJS.ErrnoException) => never} onFailure
 */
function endWithReader(stream, onFailure) {
  stream.on("error", (/** @type {NodeJS.ErrnoException} */ error) => {
    if (error.code === "EPIPE") process.exit(process.exitCode ?? 0);
    onFailure(error);
  });
}

/**
 * Writes all of a text, or fails. The stream of a file takes what fits on a disk that fills up, and says nothing.
 * @param {number} fd
 * @param {string} text
 * @param {(error: NodeJS.ErrnoException) => never} onFailure
 */
function writeWhole(fd, text, onFailure) {
  try {
    writeFileSync(fd, text);
  } catch (error) {
    onFailure(/** @type {NodeJS.ErrnoException} */ (error));
  }
}

/** @param {number} fd */
function isFile(fd) {
  try {
    return fstatSync(fd).isFile();
  } catch {
    return false;
  }
}

/** Milliseconds between two drawings. */
const REDRAW = 100;
const CELLS = 24;

/**
 * A progress bar on stderr that goes when it has ended.
 * @param {string} label
 * @param {number} total Infinity where it is not known.
 * @param {"bytes" | "records"} unit
 * @returns {Progress}
 */
function bar(label, total, unit) {
  const { stderr } = process;
  const started = performance.now();
  let [done, drawn] = [0, 0];
  const draw = () => {
    drawn = performance.now();
    const rate = done / Math.max((drawn - started) / 1000, 0.001);
    const amount = unit === "bytes" ? size(done) : `${count(done)} records`;
    const speed = unit === "bytes" ? `${size(rate)}/s` : `${count(Math.round(rate))}/s`;
    const share = Number.isFinite(total) && total > 0 ? Math.min(done / total, 1) : undefined;
    const filled = Math.round((share ?? 0) * CELLS);
    const cells = share === undefined ? "" : `${"█".repeat(filled)}${"░".repeat(CELLS - filled)} ${Math.floor(share * 100)}%  `;
    stderr.write(`\r\x1b[2K${`${label}  ${cells}${amount}  ${speed}`.slice(0, stderr.columns - 1)}`);
  };
  draw();
  return {
    step(amount) {
      done += amount;
      if (performance.now() - drawn >= REDRAW) draw();
    },
    end() {
      draw();
      stderr.write("\r\x1b[2K");
    },
  };
}

/**
 * Bytes for people.
 * @param {number} bytes
 */
export function size(bytes) {
  if (bytes < 1024) return `${Math.round(bytes)} B`;
  const power = Math.min(Math.floor(Math.log2(bytes) / 10), 4);
  return `${(bytes / 1024 ** power).toFixed(1)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

/**
 * A count for people.
 * @param {number} n
 */
export function count(n) {
  return String(n).replaceAll(/\B(?=(\d{3})+$)/g, ",");
}

/**
 * A count with its word: "1 record", "2 records".
 * @param {number} n
 * @param {string} word
 */
export function many(n, word) {
  return `${count(n)} ${n === 1 ? word : word.endsWith("y") ? `${word.slice(0, -1)}ies` : `${word}s`}`;
}

/**
 * A text of a store's on one line of a terminal: quoted where it would not stand there as it is.
 * @param {string} text
 */
export function plain(text) {
  // eslint-disable-next-line no-control-regex -- a terminal obeys these
  return text === "" || /[\s"\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]|\p{Surrogate}/u.test(text)
    ? visible(JSON.stringify(text))
    : text;
}

/**
 * A JSON text without characters that a terminal obeys.
 * @param {string} json
 */
export function visible(json) {
  return json.replaceAll(
    /[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/**
 * A message that may quote a text of a store's. It may have several lines.
 * @param {string} message
 */
export function shown(message) {
  // eslint-disable-next-line no-control-regex -- a terminal obeys these
  return visible(message.replaceAll(/[\x00-\x09\x0b-\x1f]/g, (character) => JSON.stringify(character).slice(1, -1)));
}

/**
 * Cuts a line to the terminal's width.
 * @param {string} line
 * @param {number} width
 */
export function fit(line, width) {
  return line.length <= width ? line : `${line.slice(0, Math.max(width - 1, 1))}…`;
}
