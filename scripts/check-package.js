// Is the package what it is meant to be? `npm run pack:check`
//
// Packs the tree, which checks the addons (prepack.js), and looks at the list: everything that the manifest promises is
// there, nothing else is, and it is no larger than it has to be. With OPSLOG_PREBUILDS=collected the addons of all
// platforms must be there.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { mebibytes, packList } from "./pack.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** Each addon is 2.4 MB, the rest 0.8 MB. Twice that would be a mistake: symbols, test data, a second copy. */
const MOST = { addon: 4 * 2 ** 20, rest: 1.5 * 2 ** 20 };

const MUST = [
  "LICENSE", "README.md", "package.json", "index.d.ts", "dist/index.js", "loader.js", "loader.d.ts", "platform.js",
  "scripts/build-addon.js", "scripts/cargo.js", "Cargo.toml", "Cargo.lock", "build.rs", "src/lib.rs",
];
const MAY = /^(?:dist\/(?:cli\/)?[\w-]+\.js|docs\/(?:cli\/)?[\w-]+\.(?:md|schema\.json)|src\/(?:[\w-]+\/)*[\w-]+\.rs|prebuilds\/opslog-native\.[\w-]+\.node)$/;

const folder = mkdtempSync(join(tmpdir(), "opslog-pack-"));
try {
  const { files, size, unpackedSize } = packList(folder);
  const paths = files.map(({ path }) => path);
  const addons = files.filter(({ path }) => path.endsWith(".node"));
  const rest = unpackedSize - addons.reduce((sum, addon) => sum + addon.size, 0);
  const problems = [
    ...[...MUST, ...promised()].filter((path) => !paths.includes(path)).map((path) => `${path} is missing`),
    ...paths.filter((path) => !MUST.includes(path) && !MAY.test(path)).map((path) => `${path} does not belong there`),
    ...(addons.length === 0 ? ["there is no addon"] : []),
    ...addons.filter((addon) => addon.size > MOST.addon).map((addon) => `${addon.path} has ${mebibytes(addon.size)}`),
    ...(rest > MOST.rest ? [`everything but the addons has ${mebibytes(rest)}`] : []),
    ...versionProblems(),
  ];
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
  for (const addon of addons) console.log(`${addon.path}: ${mebibytes(addon.size)}`);
  console.log(`${files.length} files, tarball ${mebibytes(size)}, unpacked ${mebibytes(unpackedSize)}, ${mebibytes(rest)} without the addons`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** Files that the manifest sends programs to. */
function promised() {
  /** @type {(value: unknown) => string[]} */
  const pathsIn = (value) => (typeof value === "string" ? [value.replace(/^\.\//, "")] : Object.values(Object(value)).flatMap(pathsIn));
  const { main, types, exports, bin } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  return [main, types, exports, bin].flatMap(pathsIn);
}

/** The addon says the version in Cargo.toml, and is refused if that is not the package's. */
function versionProblems() {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const crate = /^version = "(.*)"$/m.exec(readFileSync(join(root, "Cargo.toml"), "utf8"))?.[1];
  return crate === version ? [] : [`package.json has version ${version}, Cargo.toml ${crate}`];
}
