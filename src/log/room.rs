//! Room in a log that is synced line by line: tabs between the text of the last line and its newline.
//!
//! A file that grows costs its sync more than one that is written over: the file system has to store the new length as
//! well (on ext4 with a journal the sync of one line takes more than half as long again). So where line after line comes
//! by itself and is synced, space is written ahead, up to the end of the page: `{…}\t\t\t…\n`. The next line takes its
//! place there, `\n{…}` in one write that stays within the page, and the file keeps its length. A line that does not fit
//! begins the next page.
//!
//! Whatever process is killed when, each line stays what it was for every reader: white space behind a JSON text is skipped
//! (upstream's `JSON.parse`), and the last line with its room is the last line (upstream's `undo`). A JSON text holds no
//! tab itself, and lines of ours end with their checksum: what a power cut leaves of a line that was going over tabs is
//! told from the line before it ([`split`]).
//!
//! Room comes after a run of short lines only, and is small beside them. Whoever stores anything else leaves the tabs
//! where they are.

use crate::format::op;

/// Lines that must have come before there is room are of at least so many bytes on average.
const LINE: u64 = 256;
/// A longer line would leave too much of a page unused.
const LONGEST: usize = 1024;
/// What a file system writes at once.
const PAGE: u64 = 4096;
/// What upstream's `undo` reads at once.
const UPSTREAM_PIECE: u64 = 4096;

/// The room at the end of a log, and what it takes to have some.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// So many lines must have come one by one before there is any; `None`: there never is.
    after: Option<u64>,
    /// Tabs between the last line's text and its newline.
    tabs: u64,
    /// Lines that came one by one since anything else did, and their bytes.
    run: (u64, u64),
}

/// Where a line goes, and what is written there.
pub(super) struct Placed {
    /// Tabs in front of it that stay as they are.
    pub(super) left: u64,
    /// True if it takes the place of others: what is written begins with the newline of the line before, one byte ahead.
    pub(super) within: bool,
    pub(super) bytes: Vec<u8>,
    /// Tabs behind it then.
    tabs: u64,
}

impl Room {
    /// Room that is made once so many lines have come one by one.
    pub(super) fn after(lines: u64) -> Self {
        Room { after: Some(lines), ..Room::default() }
    }

    /// For a log that goes on with the lines of this one.
    pub(super) fn of_next(&self) -> Self {
        Room { after: self.after, tabs: 0, run: self.run }
    }

    /// Tabs at the end of the file, in front of the last newline.
    pub(super) fn tabs(&self) -> u64 {
        self.tabs
    }

    /// True for a line, with its newline, that may have room.
    pub(super) fn takes(&self, line: &[u8]) -> bool {
        self.after.is_some() && line.len() <= LONGEST
    }

    /// Where a line goes that comes by itself and is synced; `end`: where it begins if there is place for it. `None` if it
    /// is appended as any other.
    pub(super) fn place(&self, end: u64, line: &[u8]) -> Option<Placed> {
        let len = line.len() as u64;
        let text = line.strip_suffix(b"\n")?;
        if len <= self.tabs {
            return Some(Placed { left: 0, within: true, bytes: [b"\n", text].concat(), tabs: self.tabs - len });
        }
        let (lines, bytes) = self.run;
        if !self.after.is_some_and(|after| lines >= after && bytes >= after.saturating_mul(LINE)) {
            return None;
        }
        let end = end + self.tabs + len;
        let mut tabs = end.next_multiple_of(PAGE) - end;
        // COMPAT: upstream's `undo` looks for newlines 4096 bytes at a time, and misses one at the end of such a piece: of a
        // line of that length it would take the one before along (`__test__/durability/room.test.js`).
        if tabs > 0 && (len + tabs).is_multiple_of(UPSTREAM_PIECE) {
            tabs -= 1;
        }
        let mut bytes = Vec::with_capacity(line.len() + usize::try_from(tabs).ok()?);
        bytes.extend_from_slice(text);
        bytes.resize(text.len() + usize::try_from(tabs).ok()?, b'\t');
        bytes.push(b'\n');
        Some(Placed { left: self.tabs, within: false, bytes, tabs })
    }

    /// A line that came by itself was stored and is to be synced.
    pub(super) fn stored(&mut self, len: usize, placed: Option<&Placed>) {
        self.run = (self.run.0 + 1, self.run.1 + len as u64);
        self.tabs = placed.map_or(0, |placed| placed.tabs);
    }

    /// Something else comes: the tabs, as many as are returned, are a part of the last line.
    pub(super) fn leave(&mut self) -> u64 {
        self.run = (0, 0);
        std::mem::take(&mut self.tabs)
    }
}

/// The text of a line of a log in front of its room, and the length of that; `None` where it has none.
pub fn split(line: &[u8]) -> Option<(&[u8], usize)> {
    let (text, rest) = line.split_at_checked(memchr::memchr(b'\t', line)?)?;
    op::ends_with_crc(text).then(|| (text, rest.iter().take_while(|byte| **byte == b'\t').count()))
}

/// True for the room of a line that was not written any more, behind the newline that was to part it from the one before.
pub(super) fn is_loose(line: &[u8]) -> bool {
    !line.is_empty() && line.iter().all(|byte| *byte == b'\t')
}

#[cfg(test)]
mod tests {
    use super::super::reader::LogReader;
    use super::super::recovery::{Scan, scan, scan_beside_writer};
    use super::super::tail::scan_tail;
    use super::super::writer::{AppendError, LineMark, Log};
    use super::*;
    use crate::backend::memory::MemoryBackend;
    use crate::backend::{AgentPlace, Entry, Pinned, Stat, StorageBackend, StorageFile, StoreLock};
    use crate::error::Result;
    use crate::format::json::unquote;
    use crate::format::op::push_shown_line;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::io::Read;

    const LOG: &str = "ops/ops-1.jsonl";

    fn line(id: &str, length: usize, batch: Option<u64>, write: Option<u64>) -> Vec<u8> {
        let mut out = Vec::new();
        let text = "x".repeat(length);
        let shown = format!(r#"{{"ts":"t","op":"set","id":"{id}","prev":null,"data":"{text}"}}"#);
        push_shown_line(shown.as_bytes(), batch, write, &mut out).unwrap();
        out
    }

    fn ids(scan: &Scan) -> Vec<String> {
        scan.ops.iter().map(|op| unquote(&op.id)).collect()
    }

    /// What upstream's reader finds: it splits at newlines, and parses what is not empty.
    fn ids_for_upstream(bytes: &[u8]) -> Vec<String> {
        let text = std::str::from_utf8(bytes).unwrap().trim();
        let lines = text.split('\n').filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
            .collect()
    }

    fn log(disk: &MemoryBackend, after: u64) -> Log {
        disk.put(LOG, b"");
        let mut log = Log::new(LOG.into(), disk.open(LOG).unwrap(), 0, VecDeque::new());
        log.make_room_after(after);
        log
    }

    fn append(log: &mut Log, seq: u64, bytes: &[u8]) {
        log.append(bytes, &[LineMark { seq, offset: 0, batch: None }], true).unwrap();
    }

    #[test]
    fn lines_that_come_one_by_one_stop_growing_the_file() {
        let disk = MemoryBackend::new();
        let mut log = log(&disk, 2);
        let mut lengths = Vec::new();
        for n in 1..=20 {
            append(&mut log, n, &line("a", 200, None, None));
            lengths.push(disk.bytes(LOG).unwrap().len());
        }
        lengths.dedup();
        assert_eq!(lengths.len(), 2 + (20 * line("a", 200, None, None).len()).div_ceil(4096), "{lengths:?}");
        assert!(lengths[2..].iter().all(|length| [0, 4095].contains(&(length % 4096))), "{lengths:?}");
        assert_eq!(ids_for_upstream(&disk.bytes(LOG).unwrap()).len(), 20);
        let left: Vec<u8> = disk.bytes(LOG).unwrap().into_iter().filter(|byte| *byte != b'\t').collect();
        assert_eq!(left, line("a", 200, None, None).repeat(20));
        append(&mut log, 21, &line("a", 200, None, None));
        assert_eq!(scan(&disk, LOG, false).unwrap().ops.len(), 21);
    }

    #[test]
    fn what_else_comes_leaves_the_tabs_and_room_is_to_be_earned_again() {
        let disk = MemoryBackend::new();
        let mut log = log(&disk, 1);
        let one = line("a", 300, None, None);
        append(&mut log, 1, &one);
        append(&mut log, 2, &one);
        let len = disk.bytes(LOG).unwrap().len();
        log.append(&one, &[LineMark { seq: 3, offset: 0, batch: None }], false).unwrap();
        assert_eq!(disk.bytes(LOG).unwrap().len(), len + one.len());
        append(&mut log, 4, &one);
        assert_eq!(disk.bytes(LOG).unwrap().len(), len + 2 * one.len());
        assert_eq!(ids(&scan(&disk, LOG, false).unwrap()).len(), 4);
    }

    #[test]
    fn what_a_power_cut_leaves_of_a_line_takes_none_of_those_before_it() {
        let disk = MemoryBackend::new();
        let mut log = log(&disk, 0);
        append(&mut log, 1, &line("a", 700, None, None));
        append(&mut log, 2, &line("b", 700, None, None));
        let before = disk.bytes(LOG).unwrap();
        append(&mut log, 3, &line("c", 900, None, None));
        let after = disk.bytes(LOG).unwrap();
        assert_eq!(before.len(), after.len());
        let changed: Vec<usize> = (0..after.len()).filter(|at| before[*at] != after[*at]).collect();
        let (first, last) = (changed[0], changed[changed.len() - 1]);
        // From here to there on the disk, the rest not.
        for (from, to) in (first..=last).flat_map(|cut| [(first, cut), (cut, last + 1)]) {
            let mut bytes = before.clone();
            bytes[from..to].copy_from_slice(&after[from..to]);
            disk.put(LOG, &bytes);
            let mut found = scan(&disk, LOG, false).unwrap();
            let all = ids(&found);
            assert!(all == ["a", "b"] || (bytes == after && all == ["a", "b", "c"]), "{from}..{to}: {all:?}");
            found.repair(&disk).unwrap();
            assert_eq!(ids_for_upstream(&disk.bytes(LOG).unwrap()), all, "{from}..{to}");
            assert_eq!(found.end, disk.bytes(LOG).unwrap().len() as u64, "{from}..{to}");
        }
    }

    #[test]
    fn a_newline_without_the_line_after_it_leaves_room_that_is_taken_off_and_told_to_nobody() {
        let disk = MemoryBackend::new();
        let mut log = log(&disk, 0);
        append(&mut log, 1, &line("a", 300, None, None));
        append(&mut log, 2, &line("b", 300, None, None));
        let end = log.end() as usize;
        let mut bytes = disk.bytes(LOG).unwrap();
        bytes[end - 1] = b'\n';
        disk.put(LOG, &bytes);
        assert_eq!(ids_for_upstream(&bytes), ["a", "b"]);
        let mut found = scan(&disk, LOG, false).unwrap();
        assert!(found.needs_repair());
        found.repair(&disk).unwrap();
        assert_eq!((found.end, found.report.cut, found.report.saved), (end as u64, 0, None));
        assert_eq!(disk.bytes(LOG).unwrap(), &bytes[..end]);
        assert_eq!(disk.files(), [LOG]);
        // Others may have gone on behind it.
        disk.put(LOG, &[&bytes[..], &line("c", 1, None, None)].concat());
        let found = scan(&disk, LOG, false).unwrap();
        assert_eq!((ids(&found), found.needs_repair()), (vec!["a".into(), "b".into(), "c".into()], false));
    }

    #[test]
    fn no_line_is_as_long_as_what_upstreams_undo_reads_at_once() {
        for length in 0..900 {
            let disk = MemoryBackend::new();
            let mut log = log(&disk, 0);
            for n in 1..12 {
                append(&mut log, n, &line("a", length, None, None));
                let bytes = disk.bytes(LOG).unwrap();
                let long = bytes.split_inclusive(|byte| *byte == b'\n').find(|line| line.len() == 4096);
                assert!(long.is_none(), "{length} {n}");
            }
        }
    }

    #[test]
    fn a_log_that_could_not_be_mended_is_carried_over_whole() {
        for (first, count) in [(1, 2), (1, 3), (1, 4)] {
            let disk = MemoryBackend::new();
            let mut log = log(&disk, 0);
            append(&mut log, 1, &line("a", 300, None, None));
            append(&mut log, 2, &line("b", 300, None, None));
            disk.fail_from(first, count);
            disk.take_nothing(true);
            let mark = [LineMark { seq: 3, offset: 0, batch: None }];
            assert!(log.append(&line("x", 300, None, None), &mark, true).is_err());
            disk.fail_from(1 << 40, 1);
            let mut next = log.copy_after(1, &disk, "ops/ops-2.jsonl".into()).unwrap();
            append(&mut next, 3, &line("c", 300, None, None));
            assert_eq!(ids(&scan(&disk, "ops/ops-2.jsonl", false).unwrap()), ["b", "c"], "{first} {count}");
        }
    }

    #[test]
    fn what_is_undone_or_cut_behind_skipped_damage_leaves_that_with_its_newline() {
        let [a, b, c] = ["a", "b", "c"].map(|id| line(id, 9, None, None));
        let with_damage = [b.strip_suffix(b"\n").unwrap(), b"\t\t\tdamaged\t\t\n"].concat();
        let begun = line("begun", 9, Some(1), Some(0));
        for last in [&c, &begun] {
            let disk = MemoryBackend::new();
            disk.put(LOG, &[&a[..], &with_damage, last].concat());
            let mut found = scan(&disk, LOG, true).unwrap();
            found.repair(&disk).unwrap();
            let marks = found.ops.iter().zip(1..).map(|(op, seq)| LineMark { seq, offset: op.from, batch: op.batch });
            let mut log = Log::new(LOG.into(), disk.open(LOG).unwrap(), found.end, marks.collect());
            if found.ops.len() == 3 {
                log.take_last(true).unwrap();
            }
            append(&mut log, 4, &line("d", 9, None, None));
            assert_eq!(ids(&scan(&disk, LOG, true).unwrap()), ["a", "b", "d"]);
        }
    }

    #[test]
    fn every_reader_judges_a_torn_line_alike() {
        let [a, b, c] = ["a", "b", "c"].map(|id| line(id, 9, None, None));
        let disk = MemoryBackend::new();
        disk.put(LOG, &[&a[..], b.strip_suffix(b"\n").unwrap(), b"\t", &c].concat());
        let (whole, tail) = (scan(&disk, LOG, false).unwrap(), scan_tail(&disk, LOG, false).unwrap());
        assert_eq!(ids(&whole), ["a", "b"]);
        assert_eq!((tail.end, tail.newline_missing), (whole.end, true));
        let mut reader = LogReader::open(&disk, LOG, whole.end, false).unwrap();
        let mut read = Vec::new();
        while let Some(op) = reader.next().unwrap() {
            read.push(unquote(&op.id));
        }
        assert_eq!(read, ["a", "b"]);
    }

    /// Reads bytes as they were up to a boundary, and behind it as they are.
    struct Torn {
        disk: MemoryBackend,
        old: Vec<u8>,
        boundary: usize,
        readings: std::sync::atomic::AtomicU64,
    }

    impl StorageBackend for Torn {
        fn read(&self, path: &str, start: u64) -> Result<Box<dyn Read + Send>> {
            let now = self.disk.bytes(path).unwrap();
            let first = self.readings.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
            let bytes = if first { [&self.old[..self.boundary], &now[self.boundary..]].concat() } else { now };
            Ok(Box::new(std::io::Cursor::new(bytes[start as usize..].to_vec())))
        }
        fn full_path(&self, path: &str) -> String {
            self.disk.full_path(path)
        }
        fn stat(&self, path: &str) -> Result<Stat> {
            self.disk.stat(path)
        }
        fn create_dirs(&self) -> Result<()> {
            unreachable!("it reads")
        }
        fn list(&self, _: &str) -> Result<Vec<Entry>> {
            unreachable!("it reads")
        }
        fn create(&self, _: &str) -> Result<Box<dyn StorageFile>> {
            unreachable!("it reads")
        }
        fn open(&self, _: &str) -> Result<Box<dyn StorageFile>> {
            unreachable!("it reads")
        }
        fn rename(&self, _: &str, _: &str) -> Result<()> {
            unreachable!("it reads")
        }
        fn remove(&self, _: &str) -> Result<()> {
            unreachable!("it reads")
        }
        fn sync_dir(&self, _: &str) -> Result<()> {
            unreachable!("it reads")
        }
        fn lock(&self) -> Result<Box<dyn StoreLock>> {
            unreachable!("it reads")
        }
        fn join(&self, _: &str) -> Result<Box<dyn AgentPlace>> {
            unreachable!("it reads")
        }
        fn pin(&self, _: &str) -> Result<(Vec<u8>, Box<dyn Pinned>)> {
            unreachable!("it reads")
        }
        fn is_abandoned(&self, _: &str) -> bool {
            unreachable!("it reads")
        }
    }

    /// What it passed over would never be told: a reader goes on behind the last line that it knows.
    #[test]
    fn a_reader_whose_reading_was_torn_passes_over_no_line() {
        let disk = MemoryBackend::new();
        let mut log = log(&disk, 0);
        let lines = ["a", "b", "c", "d"].map(|id| line(id, 9, None, None));
        append(&mut log, 1, &lines[0]);
        append(&mut log, 2, &lines[1]);
        let old = disk.bytes(LOG).unwrap();
        append(&mut log, 3, &lines[2]);
        append(&mut log, 4, &lines[3]);
        assert_eq!(old.len(), disk.bytes(LOG).unwrap().len());
        for (boundary, skip) in (0..old.len()).flat_map(|boundary| [(boundary, false), (boundary, true)]) {
            let torn = Torn { disk: disk.clone(), old: old.clone(), boundary, readings: 0.into() };
            let found = ids(&scan_beside_writer(&torn, LOG, 0, skip).unwrap());
            assert!(["a", "b", "c", "d"].iter().zip(&found).all(|(id, found)| id == found), "{boundary}: {found:?}");
            assert!(found.len() >= 2, "{boundary}: {found:?}");
        }
    }

    #[test]
    fn damage_in_room_is_damage_and_skipping_it_skips_nothing_else() {
        let [a, b, c] = ["a", "b", "c"].map(|id| line(id, 9, None, None));
        let with_room = [b.strip_suffix(b"\n").unwrap(), b"\t\t\tdamaged\t\t\n"].concat();
        let disk = MemoryBackend::new();
        disk.put(LOG, &[&a[..], &with_room, &c].concat());
        let error = scan(&disk, LOG, false).unwrap_err();
        let byte = (a.len() + b.len() + 2) as u64;
        assert!(matches!(error, crate::Error::Corrupt { line: Some(2), byte: Some(at), .. } if at == byte), "{error}");
        let found = scan(&disk, LOG, true).unwrap();
        assert_eq!((ids(&found), found.report.skipped), (vec!["a".into(), "b".into(), "c".into()], 1));
        disk.put(LOG, &[&a[..], &with_room].concat());
        let found = scan(&disk, LOG, false).unwrap();
        assert_eq!((ids(&found), found.newline_missing), (vec!["a".into(), "b".into()], true));
    }

    #[test]
    fn tabs_of_others_are_theirs() {
        for text in
            [&b"{\"a\":\t1}"[..], b"\t", b"\t{}", b"{\"crc\":\"0\"}\t", b"", b"{\"data\":1,\"crc\":\"0000000g\"}\t"]
        {
            assert_eq!(split(text), None);
        }
        let text = &line("a", 3, None, None)[..];
        let text = text.strip_suffix(b"\n").unwrap();
        assert_eq!(split(&[text, b"\t\t"].concat()), Some((text, 2)));
        assert_eq!(split(&[text, b"\t\tx\ty"].concat()), Some((text, 2)));
    }

    #[derive(Debug, Clone)]
    enum Move {
        One(usize),
        Unsynced(usize),
        Several(usize),
        Undo,
        /// A changing call of the disk fails, so many calls from now.
        Failing(u64, usize),
        /// The log is followed by another one that begins with its last lines.
        Copy(usize),
        /// Its process is killed, and another one goes on.
        Reopen,
    }

    fn any_move() -> impl Strategy<Value = Move> {
        let length = || prop_oneof![8 => 0usize..400, 1 => 3000usize..9000];
        prop_oneof![
            12 => length().prop_map(Move::One),
            1 => length().prop_map(Move::Unsynced),
            1 => (2usize..5).prop_map(Move::Several),
            2 => Just(Move::Undo),
            2 => (1u64..4, length()).prop_map(|(call, length)| Move::Failing(call, length)),
            1 => (0usize..4).prop_map(Move::Copy),
            1 => Just(Move::Reopen),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
        #[test]
        fn a_log_with_room_holds_what_one_without_holds(moves in prop::collection::vec(any_move(), 1..60), after in 0u64..4) {
            let disk = MemoryBackend::new();
            let mut log = log(&disk, after);
            let (mut path, mut seq, mut number) = (LOG.to_owned(), 0, 1);
            let mut model: Vec<(u64, String)> = Vec::new();
            for step in moves {
                seq += 1;
                let id = format!("k{seq}");
                let mark = |seq, offset, batch| LineMark { seq, offset, batch };
                match step {
                    Move::One(length) => {
                        append(&mut log, seq, &line(&id, length, None, None));
                        model.push((seq, id));
                    }
                    Move::Unsynced(length) => {
                        log.append(&line(&id, length, None, None), &[mark(seq, 0, None)], false).unwrap();
                        model.push((seq, id));
                    }
                    Move::Several(count) => {
                        let (mut bytes, mut marks) = (Vec::new(), Vec::new());
                        for left in (0..count as u64).rev() {
                            let offset = bytes.len() as u64;
                            marks.push(mark(seq, offset, Some(left)));
                            bytes.extend(line(&format!("k{seq}"), 20, Some(left), Some(offset)));
                            model.push((seq, format!("k{seq}")));
                            seq += 1;
                        }
                        log.append(&bytes, &marks, true).unwrap();
                    }
                    Move::Undo => {
                        log.take_last(true).unwrap();
                        model.pop();
                    }
                    Move::Failing(call, length) => {
                        disk.fail_from(call, 1 + seq % 4);
                        disk.take_nothing(length % 2 == 0);
                        let appended = log.append(&line(&id, length, None, None), &[mark(seq, 0, None)], true);
                        disk.fail_from(1 << 40, 1);
                        match appended {
                            Ok(()) => model.push((seq, id)),
                            // Mended before anything else is written.
                            Err(AppendError::Write(_)) if log.is_ragged() => continue,
                            Err(AppendError::Write(_)) => {}
                            // Nothing is written to it any more.
                            Err(AppendError::Sync(_)) if log.is_ragged() => return Ok(()),
                            Err(AppendError::Sync(_)) => {
                                let found = scan(&disk, &path, false).unwrap();
                                let ids: Vec<_> = model.iter().map(|(_, id)| id.clone()).collect();
                                prop_assert!(self::ids(&found) == ids, "{:?} {:?}", self::ids(&found), ids);
                                return Ok(());
                            }
                        }
                    }
                    Move::Copy(keep) => {
                        let keep = model.len().saturating_sub(keep);
                        let through = keep.checked_sub(1).and_then(|at| model.get(at)).map_or(0, |(seq, _)| *seq);
                        // A batch is not parted here.
                        if model.get(keep).is_some_and(|(next, _)| *next == through) {
                            continue;
                        }
                        number += 1;
                        path = format!("ops/ops-{number}.jsonl");
                        log = log.copy_after(through, &disk, path.clone()).unwrap();
                        model.retain(|(seq, _)| *seq > through);
                    }
                    Move::Reopen => {
                        drop(log);
                        let mut found = scan(&disk, &path, false).unwrap();
                        found.repair(&disk).unwrap();
                        let lines = model.iter().zip(&found.ops);
                        let lines = lines.map(|((seq, _), op)| mark(*seq, op.offset, op.batch)).collect();
                        log = Log::new(path.clone(), disk.open(&path).unwrap(), found.end, lines);
                        log.make_room_after(after);
                    }
                }
                let found = scan(&disk, &path, false).unwrap();
                let expected: Vec<_> = model.iter().map(|(_, id)| id.clone()).collect();
                prop_assert_eq!(ids(&found), expected.clone());
                prop_assert_eq!(found.report.cut, 0);
                prop_assert_eq!(ids_for_upstream(&disk.bytes(&path).unwrap()), expected);
                log.check().unwrap();
            }
        }
    }
}
