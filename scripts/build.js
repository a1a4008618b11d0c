// Builds the addon, writes binding.js and binding.d.ts, and bundles dist/: `node scripts/build.js [--release]`.
// The flags stand here and nowhere else. cargo decides what has to be compiled: a second run takes about a second.

import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const release = process.argv.includes("--release");

const cargo = spawnSync("cargo", ["--version"], { encoding: "utf8" });
if (cargo.error !== undefined || cargo.status !== 0) {
  console.error(
    "Building opslog-native needs Rust: `cargo` was not found or does not run.\n" +
      "Install a stable toolchain with rustup (the minimum version is `rust-version` in Cargo.toml) and try again.",
  );
  process.exit(1);
}

const flags = ["build", "--platform", "--esm", "--js", "binding.js", "--dts", "binding.d.ts"];
if (release) flags.push("--release");

const require = createRequire(import.meta.url);
const manifest = require.resolve("@napi-rs/cli/package.json");
const napi = join(dirname(manifest), require(manifest).bin.napi);
const built = spawnSync(process.execPath, [napi, ...flags], { cwd: root, stdio: "inherit" });
if (built.error !== undefined) throw built.error;
if (built.status !== 0) process.exit(built.status ?? 1);
const { bundle } = await import("./bundle.js");
await bundle();
