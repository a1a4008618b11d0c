import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["__test__/**/*.test.{js,ts}"],
    // a process per file: an addon that brings its process down fails one file, and no file sees another's globals
    pool: "forks",
    // tests that fork children or replay thousands of operations, on a busy two-core machine
    testTimeout: 30_000,
    hookTimeout: 30_000,
    reporters: ["default", "./scripts/plain-reporter.js"],
  },
});
