/**
 * What can go wrong, in words for people and with an exit code for programs.
 */
import { relative, resolve } from "node:path";

/** Exit codes; `docs/cli.md` says what each means. */
export const EXIT = Object.freeze({ ok: 0, found: 1, usage: 2, failed: 3, locked: 4 });

/** An end of a command that was foreseen: what is wrong, what to do about it, and the exit code. */
export class CliError extends Error {
  /**
   * @param {number} exit
   * @param {string} message
   * @param {{ remedy?: string, code?: string, cause?: unknown }} [more]
   */
  constructor(exit, message, { remedy, code, cause } = {}) {
    super(message, { cause });
    this.exit = exit;
    this.remedy = remedy;
    this.code = code;
  }
}

/**
 * The end of a command by an error of the engine or of the system.
 * @param {unknown} error
 * @param {string | undefined} dir The store.
 * @returns {CliError}
 */
export function failureOf(error, dir) {
  if (error instanceof CliError) return error;
  const { code, message, path } = /** @type {NodeJS.ErrnoException} */ (Object(error));
  const text = message ?? String(error);
  const more = { code: code ?? "OPSLOG_FAILED", cause: error };
  const name = dir === undefined ? "DIR" : quoted(dir);
  const damaged = `\`opslog verify ${name}\` lists all damage, \`opslog repair --dry-run ${name}\` says what can be kept`;
  switch (code) {
    case "OPSLOG_CORRUPT":
      return new CliError(EXIT.found, text, { ...more, remedy: damaged });
    case "OPSLOG_LOCKED":
      return new CliError(EXIT.locked, text, { ...more, remedy: "close the store in the process that has it, and try again" });
    case "OPSLOG_NOT_FOUND":
      return new CliError(EXIT.failed, text, { ...more, remedy: `is ${name} the store's directory? It holds a manifest.json` });
    case "OPSLOG_INVALID":
      return new CliError(EXIT.failed, text, more);
    case "ENOENT":
      if (isNamed(dir, path)) return new CliError(EXIT.found, text, { ...more, remedy: damaged });
      return new CliError(EXIT.failed, text, { ...more, remedy: `is ${quoted(path ?? name)} spelled right?` });
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new CliError(EXIT.failed, text, { ...more, remedy: "run it as a user who may, or mend the permissions" });
    case "ENOSPC":
      return new CliError(EXIT.failed, text, { ...more, remedy: "make room on the disk, and try again" });
    default:
      return new CliError(EXIT.failed, text, more);
  }
}

/**
 * Names the file in the error of a call on its handle, which says none.
 * @template R
 * @param {string} path
 * @param {Promise<R>} call
 * @returns {Promise<R>}
 */
export async function naming(path, call) {
  try {
    return await call;
  } catch (error) {
    if (!(error instanceof Error) || !("syscall" in error) || "path" in error) throw error;
    throw Object.assign(error, { message: `${error.message} '${path}'`, path });
  }
}

/**
 * Whether a path is that of a file which a store's manifest names.
 * @param {string | undefined} dir
 * @param {string | undefined} path
 */
function isNamed(dir, path) {
  return dir !== undefined && path !== undefined && /^(snapshots|ops|archive)[/\\]./.test(relative(resolve(dir), resolve(path)));
}

/**
 * An argument as a shell takes it.
 * @param {string} text
 */
export function quoted(text) {
  return /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
