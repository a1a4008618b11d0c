/** Writers without the records, which run in child processes. */

/** Opens a store, does what `work` says, and ends as `end` says. */
export async function session({ Store, report, dir, options, work = [], end = "close" }) {
  const store = new Store();
  await store.open(dir, options);
  report({ opened: store.count() });
  for (const [name, ...args] of work) {
    const result = await store[name](...args);
    report({ done: name, result: result ?? null });
  }
  if (end === "close") await store.close();
  else if (end === "exit") process.exit(0);
  else process.kill(process.pid, "SIGKILL");
}

/** Opens a store twice as often as asked, and reports what the process holds in memory afterwards. */
export async function memory({ Store, report, dir, options, write }) {
  const store = new Store();
  await store.open(dir, options);
  if (write) await store.set("new", { n: 1 });
  report({ peak: process.resourceUsage().maxRSS });
  await store.close();
}
