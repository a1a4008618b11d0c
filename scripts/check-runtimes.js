// Does the packed tree run on what else runs JavaScript? `npm run test:runtimes` (Linux x64)
//
// Installs the first Node 20, Node 22 and 24, Bun and Deno (`__test__/runtimes/package.json`). Each Node does all that
// smoke.js does; Bun and Deno run its programs: docs/platforms.md says what that means.

import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { pack, run } from "./pack.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const work = mkdtempSync(join(tmpdir(), "opslog-runtimes-"));
const quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"];

try {
  const runtimes = join(work, "runtimes");
  cpSync(join(root, "__test__/runtimes"), runtimes, { recursive: true, filter: (path) => !path.includes("node_modules") });
  run("npm", ["ci", ...quiet], runtimes);
  const tarball = pack(work);
  const modules = join(runtimes, "node_modules");
  for (const name of readdirSync(modules).filter((folder) => folder.startsWith("node-"))) {
    process.stdout.write(run(join(modules, name, "bin/node"), [join(root, "scripts/smoke.js"), tarball], work));
  }

  const project = join(work, "project");
  cpSync(join(root, "__test__/package/programs"), project, { recursive: true });
  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "runtimes", private: true, type: "module" }));
  run("npm", ["install", ...quiet, tarball], project);
  const others = { bun: ["@oven/bun-linux-x64/bin/bun"], deno: ["@deno/linux-x64-glibc/deno", "run", "--allow-all", "--quiet"] };
  for (const [name, [path = "", ...args]] of Object.entries(others)) {
    for (const program of ["esm.mjs", "cjs.cjs", "workers.mjs", "process-end.mjs"]) {
      run(join(modules, path), [...args, program], project);
      rmSync(join(project, "data"), { recursive: true, force: true });
      console.log(`ok: ${program}, ${name}`);
    }
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
