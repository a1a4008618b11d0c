// Builds the addon for this machine, writes binding.d.ts and binding.js, and bundles dist/: `node scripts/build.js [--release]`.
// The flags stand here and nowhere else. cargo decides what has to be compiled: a second run takes about a second.
// What is published is built by build-release.js.

import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { needCargo } from "./cargo.js";
import { writeBinding } from "./write-binding.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const release = process.argv.includes("--release");

needCargo();

const flags = ["build", "--platform", "--no-js", "--dts", "binding.d.ts"];
if (release) flags.push("--release");

const require = createRequire(import.meta.url);
const manifest = require.resolve("@napi-rs/cli/package.json");
const napi = join(dirname(manifest), require(manifest).bin.napi);
const built = spawnSync(process.execPath, [napi, ...flags], { cwd: root, stdio: "inherit" });
if (built.error !== undefined) throw built.error;
if (built.status !== 0) process.exit(built.status ?? 1);
writeBinding();
const { bundle } = await import("./bundle.js");
await bundle();
