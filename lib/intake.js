/**
 * Buffered sets without a call of the engine: their texts are written to memory that it shares, and taken from there at
 * the next call, or by its writer some milliseconds later. See `src/store/intake.rs`.
 *
 * What could go wrong if: the caller's stack overflows between two steps (what is not published was not called; how much
 * is there stands in the memory alone, so that nothing is taken twice).
 */

/** The clock, whatever a caller's tests put in the place of `Date` later. */
const { now } = Date;

/** Places in the header. The engine changes these during calls only: bytes that are there (a call takes them all), */
const PUBLISHED = 0;
/** how many sets may cross before one has to call; */
const ALLOWED = 2;
/** and this at any time: whether nobody looks by himself. */
const CALL = 1;
/** Where the texts begin. */
const START = 64;

/** A time, three newlines and two quotation marks take no more. */
const BESIDE = 32;
/** A character of a JSON text takes no more bytes in UTF-8, */
const WIDEST = 3;
/** and one of an id no more as a JSON text: `\uXXXX`. */
const ESCAPED = 6;
/** Longer ones are not looked at letter by letter. */
const SHORT = 64;

const NEWLINE = 10;
const QUOTE = 34;
const BACKSLASH = 92;

export class Intake {
  #bytes;
  #header;
  #end;
  /** Of the last set, in milliseconds since 1970. */
  #time = -1;

  /** @param {ArrayBuffer} memory */
  constructor(memory) {
    this.#bytes = Buffer.from(memory);
    this.#end = memory.byteLength;
    this.#header = new Uint32Array(memory, 0, START / Uint32Array.BYTES_PER_ELEMENT);
  }

  /**
   * Puts a set there. False where it does not fit, or has to call.
   * @param {string} id
   * @param {string} text JSON text of its value
   */
  put(id, text) {
    const bytes = this.#bytes;
    const header = this.#header;
    const allowed = /** @type {number} */ (header[ALLOWED]);
    let at = START + /** @type {number} */ (header[PUBLISHED]);
    if (allowed === 0 || at + ESCAPED * id.length + WIDEST * text.length + BESIDE > this.#end || header[CALL] !== 0) return false;
    const time = now();
    if (time !== this.#time) {
      at += bytes.write(String(time), at);
      bytes[at++] = NEWLINE;
    }
    at = this.#putId(id, at);
    bytes[at++] = NEWLINE;
    at += bytes.write(text, at);
    bytes[at++] = NEWLINE;
    header[ALLOWED] = allowed - 1;
    // ORDER: after the texts, and before anybody asks whether somebody looks.
    Atomics.store(header, PUBLISHED, at - START);
    this.#time = time;
    return true;
  }

  /**
   * The JSON text of an id. Answers where it ends.
   * @param {string} id
   * @param {number} start
   */
  #putId(id, start) {
    const bytes = this.#bytes;
    const { length } = id;
    let at = start;
    if (length <= SHORT) {
      bytes[at++] = QUOTE;
      let i = 0;
      for (; i < length; i++) {
        const code = id.charCodeAt(i);
        if (code < 0x20 || code > 0x7e || code === QUOTE || code === BACKSLASH) break;
        bytes[at++] = code;
      }
      if (i === length) {
        bytes[at++] = QUOTE;
        return at;
      }
    }
    return start + bytes.write(JSON.stringify(id), start);
  }

  /** True if the engine does not look by itself: who has put something there calls. */
  get isUnwatched() {
    return Atomics.load(this.#header, CALL) !== 0;
  }
}
