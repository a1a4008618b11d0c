/** docs/compatibility.md: every difference is linked to tests that exist, by words of their titles. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const PAGE = fileURLToPath(new URL("../../docs/compatibility.md", import.meta.url));
const TEST = /\[([^\]]+)\]\((\.\.\/(?:__test__|tests)\/[^)]+)\)/g;
const text = readFileSync(PAGE, "utf8");

/**
 * Titles of the tests in a file: the first argument of `it(…)`, `describe(…)`, `it.each(…)(…)`; of what runs beside packages
 * that depend on this one, `title`; in Rust, names of functions behind `#[test]`.
 *
 * @param {string} path
 */
function titlesOf(path) {
  const code = readFileSync(join(dirname(PAGE), path), "utf8");
  if (path.endsWith(".rs")) return [...code.matchAll(/#\[test\]\s+fn (\w+)/g)].map(([, name = ""]) => name.replaceAll("_", " "));
  const titles = /(?:\b(?:it|describe)[.\w]*\(|\)\(|^ *title:)\s*(?:"((?:\\.|[^"\\])*)"|`((?:\\.|[^`\\])*)`)/gm;
  return [...code.matchAll(titles)].map(([, quoted, template]) => quoted ?? template ?? "");
}

/** What the page lists: rows of its tables and points of its lists. */
const entries = text
  .split(/\n(?=- |\| |\n)/)
  .map((entry) => entry.trim())
  .filter((entry) => /^- |^\| /.test(entry) && !/\| test \|$/m.test(entry));

describe("docs/compatibility.md", () => {
  it("lists differences in all of its sections", () => {
    const sections = text.split(/^## /m).slice(1);
    expect(sections.map((section) => section.split(/[:,\n]/)[0])).toEqual(["Mended", "Different", "Added", "Kept", "Open"]);
    for (const section of sections) expect(section.match(TEST)?.length ?? 0, section.slice(0, 20)).toBeGreaterThan(2);
  });

  it.each(entries)("has a test for each: %s", (entry) => {
    expect([...entry.matchAll(TEST)]).not.toEqual([]);
  });

  it.each([...text.matchAll(TEST)].map(([, words = "", path = ""]) => ({ words, path })))("$path has a test \"$words\"", ({ words, path }) => {
    expect(titlesOf(path).filter((title) => title.includes(words))).not.toEqual([]);
  });
});
