// The deliberate faults of `npm run check:mutations`: what is broken, where, and which part of the suite notices.
//
// `find` must stand exactly once in `file`: a fault whose place has moved fails loudly and is to be put where it went.

const cargo = (/** @type {string[]} */ ...args) => ["cargo", "test", "--quiet", "--no-default-features", ...args];
const CRASH = cargo("--test", "crash");
const BUFFERED = cargo("--test", "buffered");
const TOLD = cargo("--test", "told_in_order");
const RECOVERY = cargo("--test", "recovery");
const UNIT = cargo("--lib");
const READERS = cargo("--test", "readers");
const FUZZED = cargo("--test", "damaged_manifest");
const js = (/** @type {string} */ path) => ["node_modules/vitest/vitest.mjs", "run", "--project", "native", path];

/**
 * @typedef {object} Mutation
 * @property {string} name what is broken
 * @property {string} file path in the repository
 * @property {string} find
 * @property {string} replace
 * @property {string[]} caughtBy the command that must fail; a path to a script is run by node
 */

/** @type {readonly Mutation[]} */
export const MUTATIONS = [
  {
    name: "an append is acknowledged without a sync",
    file: "src/log/writer.rs",
    find: "if sync && let Err(error) = self.sync() {\n            self.lines.truncate(",
    replace: "if sync && false && let Err(error) = self.sync() {\n            self.lines.truncate(",
    caughtBy: CRASH,
  },
  {
    name: "sync() takes note of it and does nothing",
    file: "src/log/writer.rs",
    find: "            self.file.sync()?;\n            self.dirty = false;",
    replace: "            self.dirty = false;",
    caughtBy: CRASH,
  },
  {
    name: "the name of a new log is not synced",
    file: "src/store/checkpoint.rs",
    find: "            backend.sync_dir(names::OPS)?;\n",
    replace: "",
    caughtBy: CRASH,
  },
  {
    name: "the lines that a new log begins with are not synced",
    file: "src/store/checkpoint.rs",
    find: "            syncing.as_ref().map_or(Ok(()), Syncing::run)?;\n",
    replace: "",
    caughtBy: CRASH,
  },
  {
    name: "the directory is not synced after the manifest was replaced",
    file: "src/store/checkpoint.rs",
    find: 'if let (Err(error), _) = self.lend(disk, &mut None, || backend.sync_dir("")) {',
    replace: "if let Err(error) = Ok::<(), Error>(()) {",
    caughtBy: CRASH,
  },
  {
    name: "a write that waits for a sync is told before it",
    file: "src/store/relay.rs",
    find: "if behind || (write.waits_for_sync() && (fsync || write.ops.is_empty())) {",
    replace: "if write.waits_for_sync() && write.ops.is_empty() {",
    caughtBy: BUFFERED,
  },
  {
    name: "calls that come while a full group is being synced are acknowledged as a new one",
    file: "src/store/write.rs",
    find: "if fills && !(options.write_mode == WriteMode::Group && shared.syncs_buffers() && shared.lends()) {",
    replace: "if fills {",
    caughtBy: BUFFERED,
  },
  {
    name: "undo, archive and close do not wait until what was stored before them has been told",
    file: "src/store/writer.rs",
    find: "matches!(step, Step::Undo | Step::Archive | Step::Close { .. }) && !self.inner().unsynced.is_empty()",
    replace: "matches!(step, Step::Nothing) && false",
    caughtBy: TOLD,
  },
  {
    name: "a flush that comes during a sync waits for none",
    file: "src/store/relay.rs",
    find: "if sync || fsync {",
    replace: "if sync && !fsync {",
    caughtBy: BUFFERED,
  },
  {
    name: "what comes while a checkpoint is published is appended to the current log only",
    file: "src/store/relay.rs",
    find: "self.twin.as_mut().filter(|_| self.twin_failed.is_none())",
    replace: "self.twin.as_mut().filter(|_| false)",
    caughtBy: BUFFERED,
  },
  {
    name: "a checkpoint that was put aside covers what has been stored since",
    file: "src/store/checkpoint.rs",
    find: "{ stored } else { stored.min(job.through) }",
    replace: "{ stored } else { stored }",
    caughtBy: BUFFERED,
  },
  {
    name: "the moment of a checkpoint that was put aside holds what has been stored since",
    file: "src/store/checkpoint.rs",
    find: "for op in self.stored_after(through).iter().rev() {",
    replace: "for op in self.stored_after(u64::MAX).iter().rev() {",
    caughtBy: BUFFERED,
  },
  {
    name: "a reader is told again what stands in both logs",
    file: "src/format/manifest.rs",
    find: "match self.covered {",
    replace: "match None::<u64>.filter(|_| self.covered.is_some()) {",
    caughtBy: BUFFERED,
  },
  {
    name: "a snapshot is renamed before its bytes are synced",
    file: "src/format/snapshot.rs",
    find: "    file.write(head.len() as u64, &hex(crc))?;\n    file.sync()\n",
    replace: "    file.write(head.len() as u64, &hex(crc))\n",
    caughtBy: CRASH,
  },
  {
    name: "a snapshot counts of which a part could not be written",
    file: "src/format/snapshot_output.rs",
    find: "writing.join().unwrap_or_else(panicked).and(filled)",
    replace: "writing.join().unwrap_or_else(panicked).or(Ok(())).and(filled)",
    caughtBy: UNIT,
  },
  {
    name: "a snapshot's name is not synced",
    file: "src/store/checkpoint.rs",
    find: "backend.sync_dir(names::SNAPSHOTS).inspect_err(|_| discard(backend, &path))?;",
    replace: "",
    caughtBy: CRASH,
  },
  {
    name: "the manifest is renamed before its bytes are synced",
    file: "src/backend/mod.rs",
    find: "file.write(0, bytes).and_then(|()| file.sync());",
    replace: "file.write(0, bytes);",
    caughtBy: CRASH,
  },
  {
    name: "an archive segment's name is not synced before its records leave the store",
    file: "src/store/archive.rs",
    find: "let counts = backend.sync_dir(names::ARCHIVE).and_then(|()| count());",
    replace: "let counts = count();",
    caughtBy: CRASH,
  },
  {
    name: "the manifest is published before the archive segment",
    file: "src/store/archive.rs",
    find: "            backend.rename(&temporary, &path)?;\n",
    replace: "",
    caughtBy: CRASH,
  },
  {
    name: "the old generation is removed before the manifest is replaced",
    file: "src/store/checkpoint.rs",
    find: "let rename = || self.check_ours(disk).and_then(|()| backend.rename(&temporary.0, names::MANIFEST));",
    replace: "let rename = || {\n            discard(backend, &disk.manifest.current_snapshot);\n            backend.rename(&temporary.0, names::MANIFEST)\n        };",
    caughtBy: CRASH,
  },
  {
    name: "a failed write is acknowledged",
    file: "src/store/commit.rs",
    find: "            Err(AppendError::Write(error)) => self.write_failed(error),",
    replace: "            Err(AppendError::Write(_)) => {\n                self.written(group.items, false);\n                true\n            }",
    caughtBy: CRASH,
  },
  {
    name: "a failed write is not taken back from memory",
    file: "src/store/commit.rs",
    find: "        if !keep {\n            inner.take_back(&error, |place, _| place == 0);",
    replace:
      "        if !keep {\n            if let Some(item) = inner.queue.pop_front() {\n                for ticket in item.tickets() {\n                    inner.settle(ticket, Err(error.clone()));\n                }\n            }",
    caughtBy: CRASH,
  },
  {
    name: "what a failed write left is not cut off the log",
    file: "src/log/writer.rs",
    find: "            self.cut_back(within);\n            return Err(AppendError::Write(error));",
    replace: "            return Err(AppendError::Write(error));",
    caughtBy: CRASH,
  },
  {
    name: "what remains of a batch after undo is not sealed",
    file: "src/log/writer.rs",
    find: "let seal = before.filter(",
    replace: "let seal = before.filter(|_| false).filter(",
    caughtBy: RECOVERY,
  },
  {
    name: "an undo that is not synced cuts before its seal lasts",
    file: "src/log/writer.rs",
    find: "(sync || before.offset < self.covered)",
    replace: "sync",
    caughtBy: TOLD,
  },
  {
    name: "what is written after an undo goes over what a sync has covered",
    file: "src/log/writer.rs",
    find: "let sync = sync || last.offset < self.covered;",
    replace: "",
    caughtBy: UNIT,
  },
  {
    name: "what a power cut leaves of a line in room takes the line before it along",
    file: "src/backend/lines.rs",
    find: "room::split(whole).filter(|_| self.of_log)",
    replace: "room::split(whole).filter(|(text, tabs)| self.of_log && text.len() + tabs == whole.len())",
    caughtBy: UNIT,
  },
  {
    name: "a line in room is not parted from the one before",
    file: "src/log/room.rs",
    find: 'bytes: [b"\\n", text].concat()',
    replace: 'bytes: [b"\\t", text].concat()',
    caughtBy: UNIT,
  },
  {
    name: "what a failed write in room left is cut off with the newline of the line before",
    file: "src/log/writer.rs",
    find: "            if self.unended {",
    replace: "            if self.unended && self.path.is_empty() {",
    caughtBy: UNIT,
  },
  {
    name: "room makes lines as long as what upstream's undo reads at once",
    file: "src/log/room.rs",
    find: "(len + tabs).is_multiple_of(UPSTREAM_PIECE)",
    replace: "false",
    caughtBy: UNIT,
  },
  {
    name: "a torn tail is not cut",
    file: "src/log/recovery.rs",
    find: "            file.truncate(self.end)?;\n",
    replace: "",
    caughtBy: RECOVERY,
  },
  {
    name: "a torn tail is not saved",
    file: "src/log/recovery.rs",
    find: "        if self.report.cut > 0 {\n            let saved =",
    replace: "        if self.report.cut > 0 && self.path.is_empty() {\n            let saved =",
    caughtBy: RECOVERY,
  },
  {
    name: "a missing last newline is not added",
    file: "src/log/recovery.rs",
    find: '            file.write(self.end, b"\\n")?;\n            self.end += 1;\n',
    replace: "",
    caughtBy: RECOVERY,
  },
  {
    name: "half a batch counts",
    file: "src/log/recovery.rs",
    find: "    scan.drop_incomplete_batch();\n    if scan.end == end",
    replace: "    if scan.end == end",
    caughtBy: RECOVERY,
  },
  {
    name: "the checksum of a line is not looked at",
    file: "src/format/op.rs",
    find: "if crc32c::crc32c(covered) == crc => true,",
    replace: "if crc32c::crc32c(covered) == crc || !covered.is_empty() => true,",
    caughtBy: RECOVERY,
  },
  {
    name: "a damaged line inside a log of ours is skipped",
    file: "src/log/recovery.rs",
    find: "if !self.skip && (self.checked || checked || run.ours) =>",
    replace: "if !self.skip && self.path.is_empty() && (self.checked || checked || run.ours) =>",
    caughtBy: RECOVERY,
  },
  {
    name: "the checksum of a snapshot is not looked at",
    file: "src/format/snapshot.rs",
    find: "            && recorded != crc\n",
    replace: "            && recorded != crc\n            && self.path.is_empty()\n",
    caughtBy: UNIT,
  },
  {
    name: "the number of records in a snapshot is not looked at",
    file: "src/format/snapshot.rs",
    find: "if self.found < expected {",
    replace: "if self.found < expected && self.path.is_empty() {",
    caughtBy: UNIT,
  },
  {
    name: "a superseded file may be the current one",
    file: "src/store/open.rs",
    find: "if let Some(path) = superseded {",
    replace: 'if let Some(path) = superseded.filter(|path| path.is_empty()) {',
    caughtBy: FUZZED,
  },
  {
    name: "an update drops what it replaces",
    file: "src/state/mod.rs",
    find: "let prev = Prev::of(self.before.as_ref(), self.data.as_ref());",
    replace: "let prev = Prev::of(self.before.as_ref().filter(|_| self.data.is_none()), self.data.as_ref());",
    caughtBy: cargo("--test", "model"),
  },
  {
    name: "the kernel's lock is not asked",
    file: "src/lock.rs",
    find: "        Err(TryLockError::WouldBlock) => return Err(locked(path, &holder(&mut old, path), true)),\n",
    replace: "        Err(TryLockError::WouldBlock) => {}\n",
    caughtBy: UNIT,
  },
  {
    name: "a live upstream holder is not respected",
    file: "src/lock.rs",
    find: "        && is_alive_since(pid, &old)\n",
    replace: "        && is_alive_since(pid, &old)\n        && pid == 0\n",
    caughtBy: UNIT,
  },
  {
    name: "refresh delivers operations twice",
    file: "src/store/follow.rs",
    find: "                let mut applied = self.apply(steps);\n                disk.follow = Some(follow);\n",
    replace: "                let mut applied = self.apply(steps);\n                drop(follow);\n",
    caughtBy: READERS,
  },
  {
    name: "a write is acknowledged before it is written",
    file: "lib/store.js",
    find: "return code > 0 ? this.#calls.write(code) :",
    replace: "return code > 0 ? DONE :",
    caughtBy: js("__test__/durability/failing-write.test.js"),
  },
  {
    name: "reads do not see what was set",
    file: "lib/store.js",
    find: "    this.#view.changed(id);\n    return this.#accepted(code);\n",
    replace: "    return this.#accepted(code);\n",
    caughtBy: js("__test__/api/reads.test.js"),
  },
  {
    name: "reads do not see what is held",
    file: "lib/store.js",
    find: "    this.#view.changed(id);\n    return promise;\n",
    replace: "    return promise;\n",
    caughtBy: js("__test__/api/held-sets.test.js"),
  },
  {
    name: "a read does not wait for the sets that are held",
    file: "lib/store.js",
    find: "  #ensureReadable() {\n    if (!this.#held.isEmpty) this.#handOver();\n",
    replace: "  #ensureReadable() {\n",
    caughtBy: js("__test__/api/held-sets.test.js"),
  },
  {
    name: "sets that are held at the end of a process are forgotten",
    file: "lib/environment.js",
    find: "    for (const store of stores.values()) store.deref()?.[HAND_OVER]();\n",
    replace: "",
    caughtBy: js("__test__/durability/exit.test.js"),
  },
  {
    name: "sets that were held carry the time when they went over",
    file: "src/store/write.rs",
    find: "let op = inner.state.set(id, data, ts);",
    replace: "let op = inner.state.set(id, data, ts.saturating_add(age));",
    caughtBy: cargo("--test", "set_many"),
  },
  {
    name: "a value that closes the store while it is read is written all the same",
    file: "lib/store.js",
    find: "    // Reading the value may have run code of the caller's.\n    this.#ensureSettable();\n",
    replace: "",
    caughtBy: js("__test__/hostile/reentry.test.js"),
  },
  {
    name: "a failed batch stays in memory",
    file: "lib/store.js",
    find: "      native.endBatch(this.#handle, false);\n",
    replace: "      native.endBatch(this.#handle, true);\n",
    caughtBy: js("__test__/api/batch.test.js"),
  },
  {
    name: "a blob path may lead out of the store",
    file: "lib/paths.js",
    find: "if (below === \"..\" || below.startsWith(`..${sep}`) || isAbsolute(below)) {",
    replace: "if (isAbsolute(below)) {",
    caughtBy: js("__test__/hostile/names.test.js"),
  },
];
