/** What is refused as an addon to be published. The addons themselves are checked whenever the package is packed. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { thisPlatform } from "../../platform.js";
import { addonProblems } from "../../scripts/addon-checks.js";
import { needsOf } from "../../scripts/elf.js";
import { TARGETS } from "../../scripts/targets.js";

const { target, file } = thisPlatform();
const path = join(import.meta.dirname, "../..", file);
const addon = readFileSync(path);
/** @param {string} from @param {string} to as long */
const replaced = (from, to) => Buffer.from(addon.toString("latin1").replaceAll(from, to), "latin1");

describe.runIf(process.platform === "linux")("on Linux", () => {
  it("the needs that are read are those that objdump reads", () => {
    const said = execFileSync("objdump", ["-p", path], { encoding: "utf8" });
    const { libraries, versions } = needsOf(addon);
    expect(libraries).toEqual([...said.matchAll(/^ +NEEDED +(\S+)$/gm)].map(([, name]) => name));
    const references = said.slice(said.indexOf("Version References:"));
    expect([...versions.values()].flat()).toEqual([...references.matchAll(/^ +0x\w+ 0x\w+ \d+ (\S+)$/gm)].map(([, name]) => name));
    expect([...versions.keys()]).toEqual([...references.matchAll(/^ +required from (\S+):$/gm)].map(([, name]) => name));
  });

  it("a glibc after 2.28 is refused, one before is not", () => {
    const newest = [...needsOf(addon).versions.values()].flat().filter((name) => /^GLIBC_2\.\d\d$/.test(name));
    for (const [version, refused] of [["GLIBC_2.28", false], ["GLIBC_2.29", true], ["GLIBC_3.01", true], ["GLIBC_ABIX", true]]) {
      const changed = newest.reduce((bytes, name) => Buffer.from(bytes.toString("latin1").replaceAll(name, String(version)), "latin1"), addon);
      const problems = addonProblems(target, changed).filter((problem) => problem.includes(String(version)));
      expect(problems.length > 0, String(version)).toBe(refused);
    }
  });

  it("a library that not every machine has is refused", () => {
    expect(addonProblems(target, replaced("libm.so.6", "libz.so.1"))).toContain("needs the library libz.so.1");
  });
});

it("an addon for another architecture or system is refused", () => {
  for (const other of Object.keys(TARGETS).filter((name) => TARGETS[name]?.machine !== TARGETS[target]?.machine)) {
    expect(addonProblems(other, addon)).toEqual([expect.stringMatching(/^is for another system or architecture: /)]);
  }
  expect(addonProblems("plan9-mips", addon)).toEqual(["no addon is published for this platform"]);
  expect(addonProblems(target, Buffer.alloc(1000))).toEqual([expect.stringMatching(/^is for another system or architecture: unknown/)]);
});

it("the addon needs no Node-API after version 8, and one that did would be noticed", () => {
  const aboutNodeApi = (/** @type {Buffer} */ bytes) => addonProblems(target, bytes).filter((problem) => problem.includes("Node-API"));
  expect(aboutNodeApi(addon)).toEqual([]);
  expect(aboutNodeApi(Buffer.concat([addon, Buffer.from("node_api_get_module_file_name\0")]))).toEqual([
    "needs node_api_get_module_file_name, newer than Node-API 8",
  ]);
  expect(aboutNodeApi(replaced("napi_", "xapi_"))).toEqual(["names no function of Node-API"]);
});
