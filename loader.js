/**
 * Finds the addon of this platform and loads it. This is the entry point `opslog-native/binding`; the addon is its
 * default export, and the rest of the package imports it by that name. A program whose files are elsewhere (a bundle, a
 * single executable, Electron) names the addon in OPSLOG_NATIVE_BINDING, or puts a module of its own in this one's place.
 *
 * What could go wrong if: the variable were only one more place to look. A program would run with an addon that it
 * did not name, and nobody would notice.
 */
import Module from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { thisPlatform } from "./platform.js";

const VARIABLE = "OPSLOG_NATIVE_BINDING";
const BUILD = "scripts/build-addon.js";

/** What the package is called where it is installed: under its name, or in place of the original. */
const INSTALLED_AS = ["opslog-native", "@backloghq/opslog"];

/** A path that was tried, and why it did not do. @typedef {{ path: string, why: string, cause?: unknown }} Attempt */

// A bundle in CommonJS has no import.meta.url.
const here = dirname(import.meta.url === undefined ? __filename : fileURLToPath(import.meta.url));
// Spelled out for tools that trace which files a program needs (Next.js, Vercel): they follow no function.
const prebuilds = join(here, "prebuilds");
// Not imported by name: webpack would take the paths, which it cannot know, for modules to bundle.
const requireAddon = Module.createRequire(join(here, "loader.js"));
// Importing it would load all that it has getters for, streams among them: a millisecond.
const { existsSync, readdirSync } = /** @type {typeof import("node:fs")} */ (requireAddon("node:fs"));

export default find();

function find() {
  const named = process.env[VARIABLE];
  if (named !== undefined && named !== "") return loadNamed(resolve(named));
  const found = thisPlatform();
  /** @type {Attempt[]} */
  const attempts = [];
  for (const path of candidates(found.file)) {
    if (!existsSync(path)) {
      attempts.push({ path, why: "no such file" });
      continue;
    }
    try {
      return requireAddon(path);
    } catch (cause) {
      attempts.push({ path, why: `cannot be loaded: ${wordsOf(cause)}`, cause });
    }
  }
  throw failure(notFound(found, attempts), attempts.find(({ cause }) => cause !== undefined)?.cause);
}

/** @param {string} path */
function loadNamed(path) {
  const what = `opslog-native cannot load the addon that ${VARIABLE} names: ${path}`;
  // anything else would be run as JavaScript
  if (!path.endsWith(".node")) throw failure(`${what}\nThe name of an addon ends in .node.`);
  if (!existsSync(path)) throw failure(`${what}\nThere is no such file.`);
  try {
    return requireAddon(path);
  } catch (cause) {
    throw failure(`${what}\n${wordsOf(cause)}`, cause);
  }
}

/**
 * Where the addon may be, best first.
 * @param {string} file
 */
function candidates(file) {
  const others = otherFolders().flatMap((folder) => [join(folder, file), join(folder, "prebuilds", file)]);
  return [join(here, file), join(prebuilds, file), ...others];
}

/** A bundle no longer lies in the package: then beside the program, and in the package if it is installed. */
function otherFolders() {
  if (isPackage(here)) return [];
  const program = process.argv[1];
  const bases = program === undefined ? [here] : [here, dirname(resolve(program))];
  const installed = bases.flatMap((base) => INSTALLED_AS.flatMap((name) => installedIn(base, name)));
  return [...new Set([...bases, ...installed])].filter((folder) => folder !== here);
}

/** True where this file was not bundled into another one. @param {string} folder */
function isPackage(folder) {
  return existsSync(join(folder, "platform.js")) && existsSync(join(folder, BUILD));
}

/**
 * @param {string} base
 * @param {string} name
 * @returns {string[]}
 */
function installedIn(base, name) {
  try {
    return [dirname(Module.createRequire(join(base, "loader.js")).resolve(`${name}/package.json`))];
  } catch {
    return [];
  }
}

/**
 * @param {import("./platform.js").Platform} found
 * @param {Attempt[]} attempts
 */
function notFound({ platform, arch, libc, target, file }, attempts) {
  const system = platform === "linux" ? `, libc ${libc ?? "unknown (taken for gnu)"}` : "";
  const home = [here, ...otherFolders()].find(isPackage) ?? join("node_modules", "opslog-native");
  const shipped = shippedIn(join(home, "prebuilds"));
  return [
    `opslog-native has no addon for ${target} (platform ${platform}, architecture ${arch}${system}, Node.js ${process.versions.node}).`,
    "Looked for:",
    ...attempts.map(({ path, why }) => `  ${path} (${why})`),
    ...(shipped.length > 0 ? [`The package has addons for: ${shipped.join(", ")}`] : []),
    "To build one (needs Rust, see https://rustup.rs):",
    `  node ${JSON.stringify(join(home, BUILD))}`,
    `To use one that is elsewhere: ${VARIABLE}=/path/to/${file}`,
  ].join("\n");
}

/**
 * @param {string} folder
 * @returns {string[]}
 */
function shippedIn(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((name) => /^opslog-native\.(.+)\.node$/.exec(name)?.[1] ?? []);
}

/**
 * @param {string} message
 * @param {unknown} [cause]
 */
function failure(message, cause) {
  return Object.assign(new Error(message, cause === undefined ? {} : { cause }), { code: "OPSLOG_BINDING" });
}

/** @param {unknown} thrown */
function wordsOf(thrown) {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
