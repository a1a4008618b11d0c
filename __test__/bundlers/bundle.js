// Bundles program.js: `node bundle.js CASE FOLDER` leaves FOLDER/program.js or .cjs, and prints the file's name.
// Fails on a warning: programs would see it at every build.
import { join, resolve } from "node:path";
import { nodeResolve } from "@rollup/plugin-node-resolve";
import * as esbuild from "esbuild";
import { rollup } from "rollup";
import webpack from "webpack";

const [name = "", folder = ""] = process.argv.slice(2);
const entry = resolve("program.js");

/**
 * @param {import("esbuild").BuildOptions} options
 * @param {string} file
 */
async function withEsbuild(options, file) {
  const { warnings } = await esbuild.build({
    entryPoints: [entry],
    bundle: true,
    platform: "node",
    target: "node20",
    outfile: join(folder, file),
    logLevel: "silent",
    ...options,
  });
  refuse(warnings);
  return file;
}

/** @param {import("webpack").Configuration} options */
async function withWebpack(options) {
  const file = "program.cjs";
  const stats = await new Promise((done, failed) => {
    const output = { path: resolve(folder), filename: file };
    webpack({ mode: "production", target: "node20", entry, output, ...options }, (error, result) => (error ? failed(error) : done(result)));
  });
  refuse([...(stats.toJson().errors ?? []), ...(stats.toJson().warnings ?? [])]);
  return file;
}

/** @param {import("rollup").OutputOptions} output */
async function withRollup(output) {
  /** @type {unknown[]} */
  const warnings = [];
  const built = await rollup({
    input: entry,
    plugins: [nodeResolve({ preferBuiltins: true, exportConditions: ["node"] })],
    onwarn: (warning) => warnings.push(warning),
  });
  await built.write({ dir: folder, ...output });
  await built.close();
  refuse(warnings);
  return "program.js";
}

/** @param {unknown[]} warnings */
function refuse(warnings) {
  if (warnings.length > 0) throw new Error(JSON.stringify(warnings, null, 2));
}

/** @type {Record<string, () => Promise<string>>} */
const cases = {
  "esbuild-esm": () => withEsbuild({ format: "esm" }, "program.js"),
  "esbuild-cjs": () => withEsbuild({ format: "cjs" }, "program.cjs"),
  "esbuild-minified": () => withEsbuild({ format: "cjs", minify: true }, "program.cjs"),
  "esbuild-external": () => withEsbuild({ format: "esm", external: ["opslog-native"] }, "program.js"),
  "esbuild-external-binding": () => withEsbuild({ format: "esm", external: ["opslog-native/binding"] }, "program.js"),
  "esbuild-own-binding": () => withEsbuild({ format: "esm", alias: { "opslog-native/binding": resolve("own-binding.js") } }, "program.js"),
  webpack: () => withWebpack({}),
  "webpack-external": () => withWebpack({ externals: { "opslog-native": "node-commonjs opslog-native" } }),
  "webpack-own-binding": () => withWebpack({ resolve: { alias: { "opslog-native/binding": resolve("own-binding.js") } } }),
  rollup: () => withRollup({ format: "es" }),
};

if (name === "--list") console.log(Object.keys(cases).join("\n"));
else console.log(await cases[name]?.());
