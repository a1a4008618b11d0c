/** Writers that the regression tests run in child processes. */

/** Writes and undoes for `ms` milliseconds: p and q hold the same number at all times, q only where p is. */
export async function writeAndUndo({ Store, report, dir, ms, count, awaited }) {
  const store = new Store();
  await store.open(dir, { durability: "os", checkpointThreshold: Infinity, checkpointOnClose: false });
  await store.batch(() => {
    for (let n = 0; n < count; n++) store.set(`k${n}`, { n, text: "x".repeat(200) });
  });
  report("open");
  const end = Date.now() + ms;
  let n = 100_000;
  for (; Date.now() < end; n++) {
    // lines of equal length if awaited, of many lengths if not
    const text = awaited ? "" : "y".repeat((n * 37) % 900);
    const first = store.set("p", { n, text });
    const second = store.set("q", { n });
    if (awaited) await second;
    const undone = [store.undo(), store.undo()];
    await Promise.all([first, second, ...undone]);
    if (n % 50 === 0) await store.set(`keep${n % 5}`, { n });
  }
  await store.close();
  report({ rounds: n - 100_000 });
}
