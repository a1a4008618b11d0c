import { defineConfig } from "vitest/config";

/**
 * What a caller sees, whoever keeps the files. Tests in there that look at files, or at what only the engine's own writer
 * does, say so (`hasFiles`, `isNative`).
 */
const CONTRACT = ["api", "lifecycle", "streams", "readers", "differential"].map((name) => `__test__/${name}/*.test.js`);
const CHECKPOINTS = ["threshold", "compact"].map((name) => `__test__/checkpoint/${name}.test.js`);

/**
 * Tests on another backend, see `__test__/support/implementation.js`.
 * @param {string} backend
 * @param {string[]} include
 */
const onBackend = (backend, include) => ({
  extends: /** @type {const} */ (true),
  test: { name: backend, include, env: { OPSLOG_BACKEND: backend } },
});

export default defineConfig({
  test: {
    // a process per file: an addon that brings its process down fails one file, and no file sees another's globals
    pool: "forks",
    // A slow disk or a busy machine is no failure: only a test that hangs should time out. (`support/patience.js` for waits.)
    testTimeout: 240_000,
    hookTimeout: 240_000,
    reporters: ["default", "./scripts/plain-reporter.js"],
    projects: [
      // everything, on native files
      { extends: true, test: { name: "native", include: ["__test__/**/*.test.{js,ts}"] } },
      // an unmodified FsBackend is native files again: that it is recognised shows in a part
      onBackend("plain", ["__test__/api/{archive,batch,migrate,undo}.test.js", "__test__/lifecycle/*.test.js"]),
      onBackend("subclass", [...CONTRACT, ...CHECKPOINTS]),
      onBackend("memory", [...CONTRACT, ...CHECKPOINTS]),
    ],
  },
});
