// A vitest reporter that closes the run with one plain line: `vitest: N passed, N failed, N skipped`.

/** @typedef {import("vitest/node").TestModule} TestModule */

export default class PlainReporter {
  /**
   * @param {ReadonlyArray<TestModule>} modules
   * @param {ReadonlyArray<unknown>} errors outside of any test; each counts as a failure
   */
  onTestRunEnd(modules, errors) {
    const counts = { passed: 0, failed: errors.length, skipped: 0, pending: 0 };
    for (const module of modules) {
      // a file that could not be loaded has errors of its own and no tests
      counts.failed += module.errors().length;
      for (const test of module.children.allTests()) counts[test.result().state] += 1;
    }
    const { passed, failed, skipped, pending } = counts;
    process.stdout.write(`vitest: ${passed} passed, ${failed} failed, ${skipped + pending} skipped\n`);
  }
}
