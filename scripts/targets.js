// The platforms that a published package holds an addon for, by the names in the files.

/** @typedef {{ triple: string, zig?: string, format: "elf" | "mach-o" | "pe", machine: number }} Target */

// Numbers of machines: EM_X86_64 and EM_AARCH64 in ELF; CPU_TYPE_X86_64 and CPU_TYPE_ARM64 in Mach-O;
// IMAGE_FILE_MACHINE_AMD64 and _ARM64 in PE.
// `zig`: the target as cargo-zigbuild takes it. 2.17 is the oldest glibc of Rust's own library, and older than what any
// build of Node 20 runs on.
/** @type {Readonly<Record<string, Target>>} */
export const TARGETS = {
  "linux-x64-gnu": { triple: "x86_64-unknown-linux-gnu", zig: "x86_64-unknown-linux-gnu.2.17", format: "elf", machine: 62 },
  "linux-arm64-gnu": { triple: "aarch64-unknown-linux-gnu", zig: "aarch64-unknown-linux-gnu.2.17", format: "elf", machine: 183 },
  "linux-x64-musl": { triple: "x86_64-unknown-linux-musl", zig: "x86_64-unknown-linux-musl", format: "elf", machine: 62 },
  "linux-arm64-musl": { triple: "aarch64-unknown-linux-musl", zig: "aarch64-unknown-linux-musl", format: "elf", machine: 183 },
  "darwin-x64": { triple: "x86_64-apple-darwin", format: "mach-o", machine: 0x01000007 },
  "darwin-arm64": { triple: "aarch64-apple-darwin", format: "mach-o", machine: 0x0100000c },
  "win32-x64-msvc": { triple: "x86_64-pc-windows-msvc", format: "pe", machine: 0x8664 },
  "win32-arm64-msvc": { triple: "aarch64-pc-windows-msvc", format: "pe", machine: 0xaa64 },
};
