/**
 * The commands: what each does, in a line, and where it is. Only the one that runs is loaded.
 */

/** @typedef {{ usage: import("./arguments.js").Usage, run: (call: Call) => Promise<number> }} Command */

/**
 * @typedef {object} Call
 * @property {string[]} positionals
 * @property {import("./arguments.js").Values} values
 * @property {import("./terminal.js").Terminal} terminal
 */

/** @type {Record<string, { summary: string, load: () => Promise<Command> }>} */
export const COMMANDS = {
  info: { summary: "what is in a store, and who has it", load: () => import("./commands/info.js") },
  get: { summary: "a record", load: () => import("./commands/get.js") },
  list: { summary: "the records, or those with certain values", load: () => import("./commands/list.js") },
  history: { summary: "what happened to a record since the last checkpoint", load: () => import("./commands/history.js") },
  log: { summary: "the operations since the last checkpoint, and those that come", load: () => import("./commands/log.js") },
  verify: { summary: "look at every checksum and line, and tell all damage", load: () => import("./commands/verify.js") },
  repair: { summary: "make a damaged store sound, with all that can be read", load: () => import("./commands/repair.js") },
  compact: { summary: "make a checkpoint", load: () => import("./commands/compact.js") },
  backup: { summary: "a consistent copy of a store, also while it is written", load: () => import("./commands/backup.js") },
  restore: { summary: "a store out of a backup", load: () => import("./commands/restore.js") },
  export: { summary: "the records as lines of JSON", load: () => import("./commands/export.js") },
  import: { summary: "records out of lines of JSON", load: () => import("./commands/import.js") },
  upgrade: { summary: "rewrite a store of an older format in the present one", load: () => import("./commands/upgrade.js") },
};
