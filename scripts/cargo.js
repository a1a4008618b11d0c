// Builds the addon with cargo alone and puts it in its place. Part of the package: build-addon.js uses it.

import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** Says in words that Rust is missing, before a build begins. */
export function needCargo() {
  const cargo = spawnSync("cargo", ["--version"], { encoding: "utf8" });
  if (cargo.error === undefined && cargo.status === 0) return;
  console.error(
    "Building opslog-native needs Rust: `cargo` was not found or does not run.\n" +
      "Install a stable toolchain with rustup (the minimum version is `rust-version` in Cargo.toml) and try again.",
  );
  process.exit(1);
}

/**
 * @param {object} what
 * @param {string[]} what.command `cargo build`, or what does its work
 * @param {string} what.target as in an addon's name: linux-x64-musl
 * @param {string} what.folder where cargo puts the library
 * @param {NodeJS.ProcessEnv} what.env
 * @param {string} what.addon where the addon goes
 */
export function buildAddon({ command, target, folder, env, addon }) {
  const [program = "cargo", ...args] = command;
  const all = { ...env, RUSTFLAGS: [env.RUSTFLAGS, ...rustFlags(target)].filter(Boolean).join(" ") };
  const { error, status } = spawnSync(program, [...args, "--release", "--lib", "--locked"], { cwd: root, env: all, stdio: "inherit" });
  if (error !== undefined) throw error;
  if (status !== 0) process.exit(status ?? 1);
  mkdirSync(dirname(addon), { recursive: true });
  // ORDER: copied beside, then renamed: a process that runs the old file keeps it whole
  copyFileSync(join(folder, libraryName(target)), `${addon}.new`);
  renameSync(`${addon}.new`, addon);
  console.log(`built ${addon}`);
}

/** @param {string} target */
function rustFlags(target) {
  // a library that is loaded cannot bring a C library of its own
  if (target.endsWith("-musl")) return ["-C target-feature=-crt-static"];
  // Windows machines without Visual Studio lack its runtime library
  if (target.endsWith("-msvc")) return ["-C target-feature=+crt-static"];
  return [];
}

/** @param {string} target */
function libraryName(target) {
  if (target.startsWith("win32")) return "opslog_native.dll";
  return target.startsWith("darwin") ? "libopslog_native.dylib" : "libopslog_native.so";
}
