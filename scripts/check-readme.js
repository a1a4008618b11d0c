// Is what the README says to type really there? `node scripts/check-readme.js`
//
// Every `npm run NAME`, `npm test` and `node PATH` in the README must name a script or a file, and every relative
// link a file. The JavaScript blocks stand in examples/, which __test__/examples checks.

import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const readme = readFileSync(join(root, "README.md"), "utf8");
/** @type {{ scripts: Record<string, string> }} */
const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

const code = [...readme.matchAll(/^```.*?^```$|`[^`\n]+`/gms)].map(([text]) => text).join("\n");
const wanted = {
  scripts: [...code.matchAll(/\bnpm (?:run(?: --silent)? )?([a-z][a-z:-]*)/g)]
    .filter(([whole, name]) => whole.startsWith("npm run") || name === "test" || name === "start")
    .map(([, name = ""]) => name),
  files: [...code.matchAll(/\b(?:node|bash) ([\w./-]+)/g)].map(([, path = ""]) => path),
  links: [...readme.matchAll(/\]\((?![a-z]+:|#)([^)#\s]+)/g)].map(([, path = ""]) => path),
};

const missing = [
  ...wanted.scripts.filter((name) => !Object.hasOwn(scripts, name)).map((name) => `no script: npm run ${name}`),
  ...wanted.files.filter((path) => !existsSync(join(root, path))).map((path) => `no file: ${path}`),
  ...wanted.links.filter((path) => !existsSync(join(root, path))).map((path) => `dead link: ${path}`),
];
for (const line of missing) console.error(`README.md: ${line}`);

// a pattern that finds nothing checks nothing
for (const promised of ["npm install && npm test", "npm install && npm run demo"]) {
  if (code.includes(promised)) continue;
  missing.push(promised);
  console.error(`README.md: does not say \`${promised}\``);
}
if (missing.length > 0) process.exit(1);
console.log(`README.md: ${wanted.scripts.length} npm commands, ${wanted.files.length} files and ${wanted.links.length} links exist`);
