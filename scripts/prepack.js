// Before `npm pack` and `npm publish`: what is packed must be of these sources, and what is promised.
//
// Builds the addon of this platform, which is then the only one in the package. OPSLOG_PREBUILDS says otherwise:
// `collected` (a release) packs what lies in prebuilds/, where the addons of all platforms must be; `local` packs the
// ordinary build, for trying a tarball where zig is not installed, and such a package is not for others.

import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { addonFile, thisPlatform } from "../platform.js";
import { addonProblems } from "./addon-checks.js";
import { bundle } from "./bundle.js";
import { TARGETS } from "./targets.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const prebuilds = join(root, "prebuilds");
const mode = process.env.OPSLOG_PREBUILDS;
const { target, file } = thisPlatform();

await bundle();
if (mode === "local") {
  empty();
  copyFileSync(join(root, file), join(prebuilds, file));
  console.error(`packing the ordinary build for ${target}: not for other machines`);
} else {
  if (mode !== "collected") buildOwn();
  const wanted = mode === "collected" ? Object.keys(TARGETS) : [target];
  const problems = [
    ...wanted.filter((name) => !existsSync(join(prebuilds, addonFile(name)))).map((name) => `${addonFile(name)}: missing`),
    ...(existsSync(prebuilds) ? readdirSync(prebuilds) : []).flatMap(problemsOf),
  ];
  for (const problem of problems) console.error(`prebuilds/${problem}`);
  if (problems.length > 0) process.exit(1);
}

function buildOwn() {
  empty();
  // stdout is npm's: `npm pack --json`
  const { status } = spawnSync(process.execPath, [join(root, "scripts/build-release.js")], { stdio: ["ignore", 2, 2] });
  if (status !== 0) process.exit(status ?? 1);
}

function empty() {
  rmSync(prebuilds, { recursive: true, force: true });
  mkdirSync(prebuilds);
}

/** @param {string} name */
function problemsOf(name) {
  const found = Object.keys(TARGETS).find((known) => addonFile(known) === name);
  if (found === undefined) return [`${name}: is no addon of a platform that the package is for`];
  return addonProblems(found, readFileSync(join(prebuilds, name))).map((problem) => `${name}: ${problem}`);
}
