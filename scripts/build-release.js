// Builds the addon that is published, into prebuilds/: `npm run build:release [-- --target linux-arm64-musl]`.
//
// For Linux zig is the compiler and linker of what is C, so that the addon runs on any glibc from 2.17 on: a system's own
// would ask for that system's version. pip brings zig: scripts/zig.txt. Elsewhere cargo does it alone.

import { existsSync } from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { addonFile, thisPlatform } from "../platform.js";
import { buildAddon, needCargo } from "./cargo.js";
import { TARGETS } from "./targets.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const { values } = parseArgs({ options: { target: { type: "string", default: thisPlatform().target } } });
const { target } = values;
const known = TARGETS[target];
if (known === undefined) {
  console.error(`No addon is published for ${target}, only for: ${Object.keys(TARGETS).join(", ")}`);
  process.exit(1);
}

needCargo();
// A folder of its own. cargo does not notice another linker: it would take what the ordinary build left there.
const folder = resolve(root, process.env.CARGO_TARGET_DIR ?? "target", "published");
/** @type {NodeJS.ProcessEnv} */
const env = { ...process.env, CARGO_TARGET_DIR: folder };
if (known.zig !== undefined) {
  // where the command below puts it
  const installed = join(root, "target/zig/bin");
  if (existsSync(installed)) env.PATH = `${installed}${delimiter}${env.PATH}`;
  const { error, status } = spawnSync("cargo-zigbuild", ["--version"], { env, stdio: "ignore" });
  if (error !== undefined || status !== 0) {
    console.error(
      "A published addon for Linux is built with cargo-zigbuild, which was not found. To install it:\n" +
        "  python3 -m venv target/zig && target/zig/bin/pip install -r scripts/zig.txt",
    );
    process.exit(1);
  }
}
buildAddon({
  command: known.zig === undefined ? ["cargo", "build", "--target", known.triple] : ["cargo-zigbuild", "zigbuild", "--target", known.zig],
  target,
  folder: join(folder, known.triple, "release"),
  env,
  addon: join(root, "prebuilds", addonFile(target)),
});
