/** Arguments, help, exit codes, colours and pipes. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { COMMANDS } from "../../cli/commands.js";
import { temporaryDirectory } from "../support/directory.js";
import { PATIENCE_MS } from "../support/patience.js";
import { openStore } from "../support/stores.js";
import { json, MAIN, opslog, output, ROOT } from "./run.js";

const CLEAN = `${ROOT}__test__/fixtures/stores/0.8.1/clean`;
const NAMES = Object.keys(COMMANDS);

/** @param {string[]} command */
function works(...command) {
  const { status } = spawnSync(command[0], command.slice(1), { stdio: "ignore", timeout: PATIENCE_MS });
  return status === 0;
}
const canScript = works("script", "-qec", "true", "/dev/null");
const canTmux = works("tmux", "-V");

describe("help", () => {
  it("lists every command with its summary", () => {
    const text = output(["--help"]);
    for (const [name, { summary }] of Object.entries(COMMANDS)) expect(text).toContain(`${name.padEnd(10)}${summary}`);
    expect(output(["help"])).toBe(text);
    expect(output([])).toBe(text);
  });

  it.each(NAMES)("of %s has usage, options and examples, and its summary is the listed one", async (name) => {
    const text = output([name, "--help"]);
    expect(text).toMatch(new RegExp(`^Usage: opslog ${name} (DIR|BACKUP)`, "m"));
    expect(text).toMatch(/Options:\n {2}--[^]*Examples:\n.*opslog /);
    expect(output(["help", name])).toBe(text);
    const { usage } = await COMMANDS[name].load();
    expect([usage.name, usage.summary]).toEqual([name, COMMANDS[name].summary]);
  });

  it("has the version of the package", () => {
    expect(output(["--version"]).trim()).toBe(JSON.parse(readFileSync(`${ROOT}package.json`, "utf8")).version);
  });
});

describe("wrong usage ends with code 2 and says what to do", () => {
  it.each([
    [["nothing"], /Unknown command: "nothing"/],
    [["verfiy", "x"], /did you mean `opslog verify`/],
    [["get"], /DIR is missing\n {2}see `opslog get --help`/],
    [["get", "x"], /ID is missing/],
    [["info", ""], /DIR is empty/],
    [["info", "x", "y"], /Unexpected argument: "y"/],
    [["info", "x", "--nothing"], /'--nothing'/],
    [["list", "x", "--limit"], /--limit/],
    [["list", "x", "--limit", "0"], /--limit must be an integer from 1 on, got "0"/],
    [["list", "x", "--where", "status"], /--where takes PATH=VALUE, got "status"/],
    [["log", "x", "--since", "yesterday"], /--since must be a time, got "yesterday"/],
    [["constructor"], /Unknown command/],
  ])("%j", (args, message) => {
    const { status, stdout, stderr } = opslog(args);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\bat .*:\d+:\d+/);
  });

  it("what comes after -- is no option", () => {
    for (const id of ["-h", "--json", "--help"]) {
      expect(opslog(["get", CLEAN, "--", id])).toMatchObject({ status: 1, stdout: "", stderr: expect.stringMatching(`^opslog: Record "${id}" not found`) });
    }
  });

  it("in JSON, too", () => {
    expect(json(["get", "x"], { exit: 2 })).toEqual({ message: "ID is missing", remedy: "see `opslog get --help`", exit: 2 });
  });
});

describe("what is not there", () => {
  it.each(NAMES.filter((name) => name !== "import"))("%s: a directory that is no store ends with code 3, and is left alone", (name) => {
    const dir = temporaryDirectory();
    const more = { get: ["id"], history: ["id"], backup: [join(dir, "../never")], restore: [join(dir, "../never")] }[name] ?? [];
    const missing = join(dir, "missing");
    mkdirSync(join(dir, "empty"));
    for (const place of [missing, join(dir, "empty")]) {
      const { status, stdout, stderr } = opslog([name, place, ...more]);
      expect([status, stdout]).toEqual([3, ""]);
      expect(stderr).toMatch(/^opslog: .*no existing store found\n {2}is .* the store's directory/);
    }
    expect(existsSync(missing)).toBe(false);
    expect(existsSync(join(dir, "../never"))).toBe(false);
  });

  it("a record ends with code 1", () => {
    for (const command of ["get", "history"]) {
      expect(json([command, CLEAN, "no such"], { exit: 1 })).toMatchObject({ code: "OPSLOG_NOT_FOUND", message: expect.stringContaining('"no such"') });
    }
  });

  it("a file that cannot be read ends with code 3", () => {
    const dir = temporaryDirectory();
    writeFileSync(join(dir, "file"), "");
    expect(opslog(["info", join(dir, "file")])).toMatchObject({ status: 3, stdout: "" });
    mkdirSync(join(dir, "store/manifest.json"), { recursive: true });
    for (const name of ["info", "list", "verify"]) expect(opslog([name, join(dir, "store")]).status, name).toBe(3);
  });
});

it("an addon that cannot be loaded ends with code 3, in as many lines as it takes to say why", () => {
  const missing = join(temporaryDirectory(), "missing.node");
  const { status, stderr } = opslog(["info", CLEAN], { env: { OPSLOG_NATIVE_BINDING: missing } });
  expect([status, stderr]).toEqual([3, expect.stringMatching(/^opslog: .*missing\.node\nThere is no such file\.\n$/)]);
});

describe("a pipe whose reader ends first", () => {
  it.each(["list", "log", "export"])("ends %s as well, without a word", async (command) => {
    const dir = join(temporaryDirectory(), "store");
    const store = await openStore(dir, { checkpointThreshold: Infinity, checkpointOnClose: false });
    await store.batch(() => {
      for (let i = 0; i < 20_000; i++) store.set(`record-${i}`, { text: "x".repeat(100) });
    });
    await store.close();
    const script = `"${process.execPath}" "${MAIN}" ${command} "${dir}" | head -1; echo "exit \${PIPESTATUS[0]}"`;
    const { stdout, stderr } = spawnSync("bash", ["-c", script], { encoding: "utf8", timeout: PATIENCE_MS });
    expect(stderr).toBe("");
    expect(stdout).toMatch(/^.*record-0.*\nexit 0\n$/);
  });
});

describe("output that cannot be written", () => {
  it.skipIf(!existsSync("/dev/full"))("(needs /dev/full) ends the command with code 3 and says so", () => {
    for (const command of ["info", "list", "export"]) {
      const script = `"${process.execPath}" "${MAIN}" ${command} "${CLEAN}" > /dev/full`;
      const { status, stderr } = spawnSync("bash", ["-c", script], { encoding: "utf8", timeout: PATIENCE_MS });
      expect([status, stderr], command).toEqual([3, expect.stringMatching(/^opslog: Output could not be written: ENOSPC.*\n {2}make room on the disk, and try again\n$/)]);
    }
  });
});

// eslint-disable-next-line no-control-regex -- colours are control characters
const COLOUR = /\x1b\[\d+m/;

describe("colours", () => {
  it("are off without a terminal", () => {
    for (const command of ["info", "list", "verify", "log"]) expect(output([command, CLEAN])).not.toMatch(COLOUR);
  });

  const atTerminal = (args, env = {}) => {
    const command = [process.execPath, MAIN, ...args].map((part) => `'${part}'`).join(" ");
    const { NO_COLOR: _, ...rest } = process.env;
    return execFileSync("script", ["-qec", command, "/dev/null"], { encoding: "utf8", env: { ...rest, TERM: "xterm", ...env } });
  };

  it.skipIf(!canScript)("(needs `script`) are on at a terminal, and off by NO_COLOR, --no-color, --json and a dumb one", () => {
    expect(atTerminal(["list", CLEAN])).toMatch(COLOUR);
    expect(atTerminal(["list", CLEAN], { NO_COLOR: "1" })).not.toMatch(COLOUR);
    expect(atTerminal(["list", CLEAN], { TERM: "dumb" })).not.toMatch(COLOUR);
    expect(atTerminal(["list", CLEAN, "--no-color"])).not.toMatch(COLOUR);
    expect(atTerminal(["list", CLEAN, "--json"])).not.toMatch(COLOUR);
  });
});

describe("progress bars", () => {
  it.skipIf(!canTmux)("(needs tmux) are drawn in a terminal and gone at the end", async () => {
    const dir = temporaryDirectory();
    const lines = Array.from({ length: 150_000 }, (_, i) => JSON.stringify({ id: `r${i}`, data: { text: "x".repeat(80) } }));
    writeFileSync(join(dir, "lines.jsonl"), `${lines.join("\n")}\n`);
    const socket = join(dir, "tmux");
    const tmux = (...args) => execFileSync("tmux", ["-S", socket, ...args], { encoding: "utf8" });
    const command = `'${process.execPath}' '${MAIN}' import '${join(dir, "store")}' '${join(dir, "lines.jsonl")}'; echo "exit $?"; sleep 60`;
    tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "20", command);
    try {
      let [drawn, screen] = [false, ""];
      for (let i = 0; i < 600 && !/exit \d/.test(screen); i++) {
        screen = tmux("capture-pane", "-p");
        drawn ||= /import {2}[█░]+ \d+% {2}[\d.]+ MiB {2}[\d.]+ MiB\/s/.test(screen);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      expect(drawn).toBe(true);
      expect(screen).not.toMatch(/[█░]/);
      expect(screen).toMatch(/150,000 records imported/);
      expect(screen).toMatch(/exit 0/);
    } finally {
      tmux("kill-server");
    }
  });

  it("are off without a terminal", () => {
    const dir = temporaryDirectory();
    const { stderr } = opslog(["import", join(dir, "store")], { input: '{"id":"a","data":1}\n' });
    expect(stderr).toBe("");
  });
});
