/**
 * Tells on stderr what recovery found in a log, in upstream's words where upstream has any.
 * @param {import("../binding.js").LogReport} log
 */
export function tellRecovery({ path, skipped, cut, cutLines, saved }) {
  // A reader leaves a bad tail where it is; the last line without its newline may be one that is being written.
  const ignored = saved === undefined ? skipped + cutLines : skipped;
  if (ignored > 0) console.error(`opslog: skipped ${ignored} malformed line(s) in ${path}`);
  if (saved !== undefined) {
    console.error(`opslog: cut ${cut} byte(s) of a damaged or incomplete write off the end of ${path}, kept in ${saved}`);
  }
}
