import js from "@eslint/js";
import { defineConfig, globalIgnores } from "eslint/config";
import tseslint from "typescript-eslint";

export default defineConfig(
  // binding.* is generated; the rest is not ours to lint
  globalIgnores(["binding.js", "binding.d.ts", "target/", "dist/", "coverage/", "benchmark/results/", "benchmark/.work/"]),
  js.configs.recommended,
  tseslint.configs.recommended,
  {
    files: ["**/*.{js,ts}"],
    languageOptions: {
      parserOptions: { project: "./tsconfig.json", tsconfigRootDir: import.meta.dirname },
    },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      // a promise that nobody awaits hides its failure: the commonest way for a test of a store to pass wrongly
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/await-thenable": "error",
      "@typescript-eslint/no-misused-promises": "error",
      "@typescript-eslint/only-throw-error": "error",
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      // StoreOptions and the like stay interfaces, type parameters stay as the replaced package spells them
      "@typescript-eslint/no-empty-object-type": "off",
      eqeqeq: ["error", "always"],
      "no-var": "error",
      "prefer-const": "error",
      "object-shorthand": "error",
    },
  },
  {
    // Node's globals are known to tsc, which checks these files (tsconfig.check.json)
    files: ["**/*.{js,mjs,cjs}"],
    rules: { "no-undef": "off" },
  },
  {
    files: ["**/*.cjs"],
    rules: { "@typescript-eslint/no-require-imports": "off" },
  },
  {
    // shown to people: `set` and `delete` return nothing inside a batch, where nobody writes `void` before them, and
    // promises elsewhere, where nobody tells a type checker so
    files: ["examples/*.{js,ts}"],
    ignores: ["examples/demo.js"],
    rules: { "@typescript-eslint/no-floating-promises": "off", "@typescript-eslint/await-thenable": "off" },
  },
  {
    files: ["__test__/**"],
    rules: {
      // tests hand over wrong types and call what returns nothing, on purpose
      "@typescript-eslint/await-thenable": "off",
      "@typescript-eslint/only-throw-error": "off",
      "@typescript-eslint/no-explicit-any": "off",
    },
  },
);
