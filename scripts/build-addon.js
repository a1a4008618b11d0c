// Builds the addon from the sources in the package, where it has none for this platform: `node scripts/build-addon.js`.
// Needs Rust, and nothing that is not in the package: the loader names this command.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { thisPlatform } from "../platform.js";
import { buildAddon, needCargo } from "./cargo.js";

const { target, file } = thisPlatform();
needCargo();
// what cargo leaves is a hundred times the size of the package
const work = mkdtempSync(join(tmpdir(), "opslog-native-build-"));
process.on("exit", () => rmSync(work, { recursive: true, force: true }));
buildAddon({
  command: ["cargo", "build"],
  target,
  folder: join(work, "release"),
  env: { ...process.env, CARGO_TARGET_DIR: work },
  addon: join(dirname(fileURLToPath(import.meta.url)), "..", file),
});
