/** Reads what the shim recorded: lines of fields between tabs, with the bytes of writes behind theirs. */

/**
 * @typedef {{ name: "open", fd: number, creates: boolean, cuts: boolean, path: string } | { name: "close", fd: number }
 *   | { name: "write", fd: number, at: number, bytes: Buffer } | { name: "sync", fd: number }
 *   | { name: "ftruncate", fd: number, length: number } | { name: "truncate", path: string, length: number }
 *   | { name: "rename" | "link", from: string, to: string } | { name: "unlink" | "mkdir" | "rmdir", path: string }
 *   | { name: "mark", text: string }} Event
 *   Paths are relative to the recorded directory; that one itself is "".
 */

const NEWLINE = 10;

/**
 * @param {Buffer} trace
 * @param {string} dir
 * @returns {Event[]}
 */
export function parseTrace(trace, dir) {
  /** @param {string} path */
  const inside = (path) => path.slice(dir.length + 1);
  /** @type {Event[]} */
  const events = [];
  for (let from = 0; from < trace.length;) {
    const end = trace.indexOf(NEWLINE, from);
    const [name, ...fields] = trace.toString("utf8", from, end).split("\t");
    from = end + 1;
    const [first, second, third, fourth] = fields;
    switch (name) {
      case "open":
        events.push({ name, fd: Number(first), creates: second === "1", cuts: third === "1", path: inside(fourth) });
        break;
      case "close":
        events.push({ name, fd: Number(first) });
        break;
      case "write": {
        const length = Number(third);
        events.push({ name, fd: Number(first), at: Number(second), bytes: trace.subarray(from, from + length) });
        from += length + 1;
        break;
      }
      case "fsync":
      case "fdatasync":
        events.push({ name: "sync", fd: Number(first) });
        break;
      case "ftruncate":
        events.push({ name, fd: Number(first), length: Number(second) });
        break;
      case "truncate":
        events.push({ name, path: inside(first), length: Number(second) });
        break;
      case "rename":
      case "link":
        events.push({ name, from: inside(first), to: inside(second) });
        break;
      case "unlink":
      case "mkdir":
      case "rmdir":
        events.push({ name, path: inside(first) });
        break;
      case "mark":
        events.push({ name, text: fields.join("\t") });
        break;
      default:
        // What only looks changes nothing.
        break;
    }
  }
  return events;
}
