// Bundles index.js and lib/ into dist/, which is what a program imports: a file that Node loads costs about half a
// millisecond each. What is imported on demand in lib/ stays a file of its own. Nothing is minified: stack traces and
// debuggers show the code as it is written.

import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

export async function bundle() {
  const dist = join(root, "dist");
  await rm(dist, { recursive: true, force: true });
  const built = await rolldown({
    input: join(root, "index.js"),
    platform: "node",
    // finds the addon beside itself, and can be replaced (loader.js)
    external: ["opslog-native/binding"],
  });
  await built.write({
    dir: dist,
    format: "esm",
    chunkFileNames: "[name].js",
    codeSplitting: { groups: [{ name: "store", tags: ["$initial"] }] },
  });
  await built.close();
}
