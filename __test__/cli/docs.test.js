/** docs/cli.md: its examples run, and it tells every command, option and schema. */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { COMMANDS } from "../../cli/commands.js";
import { temporaryDirectory } from "../support/directory.js";
import { PATIENCE_MS } from "../support/patience.js";
import { openStore } from "../support/stores.js";
import { MAIN, ROOT } from "./run.js";

const TEXT = readFileSync(`${ROOT}docs/cli.md`, "utf8");
const LINES = [...TEXT.matchAll(/^```sh\n(.*?)^```$/gms)].flatMap(([, block]) => block.trim().split("\n"));

/** A folder with a store in `data`, and `opslog` and `npx opslog` in its PATH. */
async function makeFolder() {
  const folder = temporaryDirectory();
  const store = await openStore(join(folder, "data"));
  await store.set("task-1", { status: "active", owner: { name: "Ana" } });
  await store.close();
  mkdirSync(join(folder, "bin"));
  const command = (name, text) => {
    writeFileSync(join(folder, "bin", name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(folder, "bin", name), 0o755);
  };
  command("opslog", `exec "${process.execPath}" "${MAIN}" "$@"`);
  command("npx", 'exec "$@"');
  return folder;
}

it("every example runs, one after the other", async () => {
  const cwd = await makeFolder();
  const env = { ...process.env, PATH: `${join(cwd, "bin")}:${process.env.PATH}` };
  for (const line of LINES) {
    const { status, stderr } = spawnSync("bash", ["-o", "pipefail", "-c", line], { cwd, env, encoding: "utf8", timeout: PATIENCE_MS });
    expect([line, status, stderr]).toEqual([line, 0, ""]);
  }
  expect(LINES.length).toBeGreaterThan(15);
  for (const made of ["backups/monday", "restored", "imported", "records.jsonl.gz"]) expect(existsSync(join(cwd, made)), made).toBe(true);
});

describe("every command is told", () => {
  it.each(Object.keys(COMMANDS))("%s, with its summary, its options, an example and its schema", async (name) => {
    const { usage } = await COMMANDS[name].load();
    const call = ["opslog", name, ...usage.positionals].join(" ").replace("opslog ", "");
    expect(TEXT).toContain(`| [\`${call}\`](#${name}) | ${usage.summary} |`);
    const section = new RegExp(`^## ${name}\n(.*?)(?=^## |$(?![^]))`, "ms").exec(TEXT)[1];
    for (const [option, { value }] of Object.entries(usage.options ?? {})) {
      expect(section).toContain(`| \`--${option}${value === undefined ? "" : ` ${value}`}\` |`);
    }
    expect(section).toContain(`\nopslog ${name} `);
    expect(TEXT).toContain(`[${name}](cli/${name}.schema.json)`);
  });

  it("and every link leads to a file", () => {
    const links = [...TEXT.matchAll(/\]\((cli\/[^)]+)\)/g)].map(([, path]) => path);
    expect(links.map((path) => path.slice(4)).sort()).toEqual(readdirSync(`${ROOT}docs/cli`).sort());
  });
});
