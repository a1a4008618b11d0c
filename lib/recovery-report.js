import { channel } from "node:diagnostics_channel";

const RECOVERY = channel("opslog-native:recovery");

/**
 * Tells on stderr what recovery found in a log, in upstream's words where upstream has any, and on the channel.
 * @param {import("../binding.js").LogReport} log
 */
export function tellRecovery({ path, skipped, cut, cutLines, saved }) {
  if (RECOVERY.hasSubscribers) RECOVERY.publish({ path, skipped, cut, saved });
  // A reader leaves a bad tail where it is; the last line without its newline may be one that is being written.
  const ignored = saved === undefined ? skipped + cutLines : skipped;
  if (ignored > 0) console.error(`opslog: skipped ${ignored} malformed line(s) in ${path}`);
  if (saved !== undefined) {
    console.error(`opslog: cut ${cut} byte(s) of a damaged or incomplete write off the end of ${path}, kept in ${saved}`);
  }
}
