// Does a program that was written for the original compile against this package? `node scripts/check-consumer.js`
//
// Puts `__test__/types/consumer` into an empty project outside of the tree, with the package's declarations under the
// name of the original, and runs tsc there: strict, with and without a look into declarations, as a program of
// Node (nodenext) and of a bundler; ES modules and CommonJS. Then the same against the original itself, which shows
// that the program is one of the original's.

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const NAME = "@backloghq/opslog";

const RESOLUTIONS = {
  nodenext: { module: "nodenext", moduleResolution: "nodenext" },
  bundler: { module: "preserve", moduleResolution: "bundler" },
};

/** @type {Record<string, (target: string) => void>} */
const PACKAGES = {
  "this package": (target) => {
    for (const file of ["package.json", "index.js", "index.d.ts"]) cpSync(join(root, file), join(target, file));
  },
  "the original": (target) => cpSync(join(root, "node_modules", NAME), target, { recursive: true, dereference: true }),
};

for (const [name, install] of Object.entries(PACKAGES)) {
  const project = mkdtempSync(join(tmpdir(), "opslog-consumer-"));
  try {
    writeFileSync(join(project, "package.json"), JSON.stringify({ name: "consumer", private: true }));
    cpSync(join(root, "__test__/types/consumer"), project, { recursive: true });
    const modules = join(project, "node_modules");
    mkdirSync(join(modules, NAME), { recursive: true });
    install(join(modules, NAME));
    mkdirSync(join(modules, "@types"));
    for (const types of ["@types/node", "undici-types"]) symlinkSync(join(root, "node_modules", types), join(modules, types));
    for (const [resolution, options] of Object.entries(RESOLUTIONS)) {
      const compilerOptions = {
        ...options,
        target: "es2022",
        types: ["node"],
        strict: true,
        exactOptionalPropertyTypes: true,
        noUncheckedIndexedAccess: true,
        noImplicitOverride: true,
        skipLibCheck: false,
        noEmit: true,
      };
      const config = join(project, `tsconfig.${resolution}.json`);
      writeFileSync(config, JSON.stringify({ compilerOptions, include: ["*.mts", "*.cts"] }));
      compile(config);
      console.log(`ok: a consumer of ${name}, ${resolution}, ES modules and CommonJS`);
    }
  } finally {
    rmSync(project, { recursive: true, force: true });
  }
}

/** @param {string} config */
function compile(config) {
  const manifest = join(root, "node_modules/typescript/package.json");
  const tsc = join(dirname(manifest), JSON.parse(readFileSync(manifest, "utf8")).bin.tsc);
  execFileSync(process.execPath, [tsc, "-p", config], { stdio: "inherit" });
}
