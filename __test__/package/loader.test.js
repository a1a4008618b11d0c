/**
 * Which addon is loaded, and what is said where none can be. Each test lays out a package of its own and starts Node in
 * it: the loader runs once per process.
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { thisPlatform } from "../../platform.js";
import { temporaryDirectory } from "../support/directory.js";

const root = join(import.meta.dirname, "../..");
const { target, file } = thisPlatform();
const built = join(root, file);

/** @type {string} */
let home;
/** @type {string} */
let elsewhere;

beforeEach(() => {
  home = temporaryDirectory();
  elsewhere = join(home, "elsewhere");
  mkdirSync(elsewhere);
  mkdirSync(join(home, "scripts"));
  for (const name of ["loader.js", "platform.js", "package.json", "binding.js", "scripts/build-addon.js"]) copyFileSync(join(root, name), join(home, name));
});

/**
 * Loads the addon and says of which version it is, or the error.
 * @param {{ env?: Record<string, string>, cwd?: string, before?: string, load?: string }} [how] `before`: code that runs first
 */
function load({ env = {}, cwd = elsewhere, before = "", load: what = "loader.js" } = {}) {
  const code = `
    ${before}
    try {
      const { default: addon, engineVersion } = await import(${JSON.stringify(join(home, what))});
      console.log(JSON.stringify({ version: (addon?.engineVersion ?? engineVersion)() }));
    } catch ({ message, code, cause }) {
      console.log(JSON.stringify({ message, code, cause: cause?.message }));
    }`;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", code], {
    cwd,
    env: { ...process.env, ...env },
    encoding: "utf8",
  });
  expect(stderr).toBe("");
  return JSON.parse(stdout);
}

/**
 * @param {string} path below the package's folder
 * @param {string} [from]
 */
function put(path, from = built) {
  mkdirSync(dirname(join(home, path)), { recursive: true });
  copyFileSync(from, join(home, path));
}

const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const pretend = (/** @type {string} */ name, /** @type {string} */ value) => `Object.defineProperty(process, "${name}", { value: ${JSON.stringify(value)} });`;

describe("the addon is found", () => {
  it("in prebuilds/, whatever the current folder is", () => {
    put(`prebuilds/${file}`);
    expect(load()).toEqual({ version });
  });

  it("beside the loader first: what was built here is newer than what was delivered", () => {
    put(file);
    mkdirSync(join(home, "prebuilds"));
    writeFileSync(join(home, "prebuilds", file), "no addon");
    expect(load()).toEqual({ version });
  });

  it("in prebuilds/ where the one beside the loader cannot be loaded", () => {
    put(`prebuilds/${file}`);
    writeFileSync(join(home, file), "no addon");
    expect(load()).toEqual({ version });
  });

  it("where OPSLOG_NATIVE_BINDING says, absolute or from the current folder", () => {
    put("elsewhere/mine.node");
    const path = join(elsewhere, "mine.node");
    expect(load({ env: { OPSLOG_NATIVE_BINDING: path }, cwd: tmpdir() })).toEqual({ version });
    expect(load({ env: { OPSLOG_NATIVE_BINDING: relative(home, path) }, cwd: home })).toEqual({ version });
  });

  it("as if the variable were not set, if it is empty", () => {
    put(file);
    expect(load({ env: { OPSLOG_NATIVE_BINDING: "" } })).toEqual({ version });
  });
});

describe("without an addon", () => {
  it("the error says for what, what was looked for, what there is, and how to build one", () => {
    put("prebuilds/opslog-native.plan9-mips.node");
    const { message, code } = load();
    const libc = process.platform === "linux" ? `, libc ${thisPlatform().libc}` : "";
    expect(message.split("\n")).toEqual([
      `opslog-native has no addon for ${target} (platform ${process.platform}, architecture ${process.arch}${libc}, Node.js ${process.versions.node}).`,
      "Looked for:",
      `  ${join(home, file)} (no such file)`,
      `  ${join(home, "prebuilds", file)} (no such file)`,
      "The package has addons for: plan9-mips",
      "To build one (needs Rust, see https://rustup.rs):",
      `  node ${JSON.stringify(join(home, "scripts/build-addon.js"))}`,
      `To use one that is elsewhere: OPSLOG_NATIVE_BINDING=/path/to/${file}`,
    ]);
    expect(code).toBe("OPSLOG_BINDING");
  });

  it("a file that cannot be loaded is told apart from one that is not there", () => {
    put(`prebuilds/${file}`, join(root, "package.json"));
    const { message, code, cause } = load();
    expect(message).toContain(`  ${join(home, file)} (no such file)\n  ${join(home, "prebuilds", file)} (cannot be loaded: ${cause})\n`);
    expect(cause).toMatch(/\S/);
    expect(code).toBe("OPSLOG_BINDING");
  });

  it("another system and architecture are named", () => {
    const { message } = load({ before: pretend("platform", "sunos") + pretend("arch", "mips") });
    expect(message).toMatch(/^opslog-native has no addon for sunos-mips \(platform sunos, architecture mips, Node\.js /);
    expect(message).toContain("opslog-native.sunos-mips.node (no such file)");
  });
});

describe("OPSLOG_NATIVE_BINDING is the only place looked at", () => {
  beforeEach(() => put(file));
  const refused = (/** @type {string} */ path) => {
    const { message, code } = load({ env: { OPSLOG_NATIVE_BINDING: path } });
    expect(code).toBe("OPSLOG_BINDING");
    return message;
  };

  it("a path where nothing is", () => {
    const path = join(home, "nothing.node");
    expect(refused(path)).toBe(`opslog-native cannot load the addon that OPSLOG_NATIVE_BINDING names: ${path}\nThere is no such file.`);
  });

  it("a file that is no addon", () => {
    const path = join(home, "text.node");
    writeFileSync(path, "not an addon");
    expect(refused(path)).toMatch(/^opslog-native cannot load the addon that OPSLOG_NATIVE_BINDING names: .*\/text\.node\n.*\S/);
  });

  it("a file that would be run as JavaScript", () => {
    const path = join(home, "program.js");
    writeFileSync(path, `require("node:fs").writeFileSync(${JSON.stringify(join(home, "was-run"))}, "")`);
    expect(refused(path)).toContain("The name of an addon ends in .node.");
    expect(existsSync(join(home, "was-run"))).toBe(false);
  });
});

describe("the face refuses what is not its addon", () => {
  /** @param {string} text of a module in the loader's place */
  const inPlace = (text) => {
    writeFileSync(join(home, "loader.js"), text);
    const { message, code } = load({ load: "binding.js" });
    expect(code).toBe("OPSLOG_BINDING");
    return message;
  };

  it("of another version", () => {
    expect(inPlace('export default { engineVersion: () => "0.0.1" };')).toBe(`opslog-native ${version} was given the addon of version 0.0.1`);
  });

  it("of another package, or nothing", () => {
    expect(inPlace("export default { set() {} };")).toBe(`opslog-native ${version} was given not one of its addons`);
    expect(inPlace("export default undefined;")).toBe(`opslog-native ${version} was given not one of its addons`);
  });

  it("and takes its own", () => {
    put(file);
    expect(load({ load: "binding.js" })).toEqual({ version });
  });
});

describe.runIf(process.platform === "linux")("the C library is that of the running executable", () => {
  /**
   * The head of an executable that asks for a dynamic loader: an ELF header, and one entry of type PT_INTERP.
   * @param {string} interpreter
   */
  function executable(interpreter) {
    const bytes = Buffer.alloc(256);
    bytes.write("\x7fELF\x02\x01", "latin1");
    bytes.writeBigUInt64LE(64n, 32);
    bytes.writeUInt16LE(56, 54);
    bytes.writeUInt16LE(1, 56);
    bytes.writeUInt32LE(3, 64);
    bytes.writeBigUInt64LE(128n, 64 + 8);
    bytes.writeBigUInt64LE(BigInt(interpreter.length + 1), 64 + 32);
    bytes.write(interpreter, 128);
    const path = join(home, "node");
    writeFileSync(path, bytes);
    return pretend("execPath", path);
  }
  const of = (/** @type {string} */ before) => /^.* has no addon for (\S+) .* libc (.*), Node/.exec(load({ before }).message)?.slice(1);
  const { arch } = process;

  it.each([
    ["/lib/ld-musl-x86_64.so.1", "musl"],
    ["/lib/ld-musl-aarch64.so.1", "musl"],
    ["/lib64/ld-linux-x86-64.so.2", "gnu"],
    ["/lib/ld-linux-aarch64.so.1", "gnu"],
    ["/nix/store/0123456789-glibc-2.40/lib/ld-linux-x86-64.so.2", "gnu"],
  ])("%s is %s", (interpreter, libc) => {
    expect(of(executable(interpreter))).toEqual([`linux-${arch}-${libc}`, libc]);
  });

  const noExecutable = pretend("execPath", "/nowhere/node");
  const report = (/** @type {object} */ what) => `${noExecutable} process.report.getReport = () => (${JSON.stringify(what)});`;

  it("or as Node's report says, where the executable is gone", () => {
    expect(of(noExecutable)).toEqual([target, thisPlatform().libc]);
    expect(of(report({ header: { glibcVersionRuntime: "2.36" } }))).toEqual([`linux-${arch}-gnu`, "gnu"]);
    expect(of(report({ header: {}, sharedObjects: ["/usr/lib/libz.so", "/lib/ld-musl-x86_64.so.1"] }))).toEqual([`linux-${arch}-musl`, "musl"]);
  });

  it("or taken for glibc, and the error says so", () => {
    expect(of(report({ header: {}, sharedObjects: [] }))).toEqual([`linux-${arch}-gnu`, "unknown (taken for gnu)"]);
  });
});
