// Is what the documents say to type really there? `node scripts/check-docs.js`
//
// Every `npm run NAME`, `npm test` and `node PATH` in a document must name a script or a file, and every relative link a
// file. Snippets of JavaScript stand where a test runs them: the README's in examples/ (`__test__/examples`), those of
// docs/migrating.md as programs of their own (`__test__/docs`).

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const pages = ["", "docs", "docs/api"].flatMap((folder) =>
  readdirSync(join(root, folder)).filter((name) => name.endsWith(".md")).map((name) => join(folder, name)),
);
// those of platforms.md are configuration of other tools: `npm run test:bundlers` has the like
const WITH_PROGRAMS = ["README.md", "docs/migrating.md", "docs/platforms.md"];
/** @type {{ scripts: Record<string, string> }} */
const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

let failures = 0;
const found = { commands: 0, files: 0, links: 0 };

/**
 * @param {string} page
 * @param {string} message
 */
function fail(page, message) {
  failures++;
  console.error(`${page}: ${message}`);
}

/** @param {string} page path in the repository */
function check(page) {
  const text = readFileSync(join(root, page), "utf8");
  const code = [...text.matchAll(/^ *```.*?^ *```$|`[^`\n]+`/gms)].map(([text]) => text).join("\n");
  const commands = [...code.matchAll(/\bnpm (?:run(?: --silent)? )?([a-z][a-z:-]*)/g)]
    .filter(([whole, name]) => whole.startsWith("npm run") || name === "test" || name === "start")
    .map(([, name = ""]) => name);
  for (const name of commands) if (!Object.hasOwn(scripts, name)) fail(page, `no script: npm run ${name}`);
  const files = [...code.matchAll(/\b(?:node|bash) ([\w./-]+)/g)].map(([, path = ""]) => path.replace(/^node_modules\/opslog-native\//, ""));
  // a program that the page itself shows
  const shown = new Set([...code.matchAll(/^ *\/\/ ([\w.-]+\.mjs)$/gm)].map(([, name]) => name));
  for (const path of files) if (!existsSync(join(root, path)) && !shown.has(path)) fail(page, `no file: ${path}`);
  const links = [...text.matchAll(/\]\((?![a-z]+:|#)([^)#\s]+)/g)].map(([, path = ""]) => path);
  for (const path of links) if (!existsSync(join(root, dirname(page), path))) fail(page, `dead link: ${path}`);
  if (!WITH_PROGRAMS.includes(page) && /^ *```(?:js|mjs|javascript)$/m.test(text)) fail(page, "a program that nothing runs");
  found.commands += commands.length;
  found.files += files.length;
  found.links += links.length;
}

pages.forEach(check);

// a pattern that finds nothing checks nothing
const readme = readFileSync(join(root, "README.md"), "utf8");
for (const promised of ["npm install && npm test", "npm install && npm run demo"]) {
  if (!readme.includes(promised)) fail("README.md", `does not say \`${promised}\``);
}
for (const page of pages) {
  if (page !== "README.md" && !readme.includes(`](${page})`)) fail("README.md", `does not lead to ${page}`);
}
if (failures > 0) process.exit(1);
console.log(`${pages.length} documents: ${found.commands} npm commands, ${found.files} files and ${found.links} links exist`);
