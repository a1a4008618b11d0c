// Bundles index.js and lib/ into dist/, which is what a program imports: a file that Node loads costs about half a
// millisecond each. What is imported on demand in lib/ stays a file of its own. Comments are left out, which Node would
// read at each import; nothing else is minified: stack traces and debuggers show the code as it is written.
//
// The command line (cli/) goes to dist/cli/: what every command needs in one file, and a file for each command. It
// imports the package like any program.

import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

export async function bundle() {
  const dist = join(root, "dist");
  await rm(dist, { recursive: true, force: true });
  await write(join(root, "index.js"), dist, "store", {});
  await write(join(root, "cli/opslog.js"), join(dist, "cli"), "main", { "../index.js": "../index.js" });
}

/**
 * @param {string} input
 * @param {string} dir
 * @param {string} initial Name of the file with all that is loaded at once.
 * @param {Record<string, string>} elsewhere Ends of imports that stay what they are, and what they are from there.
 */
async function write(input, dir, initial, elsewhere) {
  const built = await rolldown({
    input,
    platform: "node",
    // finds the addon beside itself, and can be replaced (loader.js)
    external: ["opslog-native/binding"],
    plugins: [
      {
        name: "elsewhere",
        resolveId: (id) => {
          const end = Object.keys(elsewhere).find((end) => id.endsWith(end));
          return end === undefined ? undefined : { id: /** @type {string} */ (elsewhere[end]), external: true };
        },
      },
    ],
  });
  await built.write({
    dir,
    format: "esm",
    chunkFileNames: "[name].js",
    comments: false,
    codeSplitting: { groups: [{ name: initial, tags: ["$initial"] }] },
  });
  await built.close();
}
