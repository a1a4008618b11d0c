//! The end of the log: lines are appended, made durable and taken off again here.
//!
//! Guarantees: a failed append leaves the file as it was (or the log says that it must be cut back first, and does so
//! before anything else); a line is taken off so that no crash can take a neighbour with it.

use super::room::Room;
use crate::backend::{StorageBackend, StorageFile, Syncer};
use crate::error::{Error, Result};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Where a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineMark {
    /// Sequence number of its operation.
    pub seq: u64,
    /// Byte at which it begins.
    pub offset: u64,
    /// How many more lines of its batch were written after it, on a line of a batch.
    pub batch: Option<u64>,
}

/// How an append failed.
#[derive(Debug)]
pub enum AppendError {
    /// Nothing was stored; the log goes on.
    Write(Error),
    /// The storage's state is unknown; nothing more may be written.
    Sync(Error),
}

/// A sync of a log that may be written meanwhile.
pub struct Syncing {
    sync: Syncer,
    /// The changes that it stores.
    changes: u64,
    began: Instant,
}

impl Syncing {
    /// Makes durable what had been appended when it was begun.
    ///
    /// # Errors
    /// As [`Log::sync`].
    pub fn run(&self) -> Result<()> {
        (self.sync)()
    }

    /// When it was begun.
    pub fn began(&self) -> Instant {
        self.began
    }
}

/// The log that is being written.
pub struct Log {
    path: String,
    file: Box<dyn StorageFile>,
    /// Length up to which the file holds good lines; with room, the last one counts as if it ended where that begins.
    end: u64,
    /// What stands between the last line and its newline.
    room: Room,
    /// True where something was changed and not synced since.
    dirty: bool,
    /// Length up to which bytes may be durable because of a sync, or were there when the log was opened.
    covered: u64,
    /// Counts changes.
    changes: u64,
    /// True where bytes of a failed write may stand after `end`.
    ragged: bool,
    /// True if the last good line lacks its newline then: it had room.
    unended: bool,
    lines: VecDeque<LineMark>,
    last_sync: Option<Duration>,
}

impl Drop for Log {
    fn drop(&mut self) {
        // A rejected line that could not be cut off at once must not be read again.
        let _ = self.mend();
    }
}

impl Log {
    /// A log whose lines are known and durable up to `end`.
    pub fn new(path: String, file: Box<dyn StorageFile>, end: u64, lines: VecDeque<LineMark>) -> Self {
        Log {
            path,
            file,
            end,
            room: Room::default(),
            dirty: false,
            covered: end,
            changes: 0,
            ragged: false,
            unended: false,
            lines,
            last_sync: None,
        }
    }

    /// Lets it make room once so many lines have come one by one, each synced. Not for a log that others read under a lock
    /// and take for its length.
    pub fn make_room_after(&mut self, lines: u64) {
        self.room = Room::after(lines);
    }

    /// How long the file is.
    fn len_of_file(&self) -> u64 {
        self.end + self.room.tabs()
    }

    /// Path in the store.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Length up to which the file holds good lines; without the room at its end.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Checks that nobody else writes this log. That it was deleted or protected does not matter here: a checkpoint
    /// takes its place.
    ///
    /// # Errors
    /// `Changed`.
    pub fn check(&self) -> Result<()> {
        match if self.ragged { Ok(()) } else { self.file.check(self.len_of_file()) } {
            Err(error @ Error::Changed { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    /// Sequence number of the last line's operation; 0 where there is no line.
    pub fn last_seq(&self) -> u64 {
        self.lines.back().map_or(0, |line| line.seq)
    }

    /// Number of operation lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// True if there is no line.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Takes lines after operation `seq` off again, as far as that is possible: their fate is reported as failed.
    pub fn abandon_after(&mut self, seq: u64) {
        let keep = self.lines.partition_point(|line| line.seq <= seq);
        if let Some(first) = self.lines.get(keep) {
            self.end = first.offset;
            self.lines.truncate(keep);
            self.touch();
            self.cut_back(false);
        }
    }

    /// True if everything that was appended is durable.
    pub fn is_synced(&self) -> bool {
        !self.dirty
    }

    /// Appends encoded operation lines.
    ///
    /// `bytes` holds whole lines, each ended by `\n`; `marks` tells them apart, with offsets from the start of
    /// `bytes`. With `sync` the call returns once they are durable.
    ///
    /// # Errors
    /// `Write`: nothing stored, the file is cut back, the log goes on. `Sync`: the lines are cut off again as far as
    /// that is possible, and nothing more may be written.
    pub fn append(&mut self, bytes: &[u8], marks: &[LineMark], sync: bool) -> std::result::Result<(), AppendError> {
        self.mend().map_err(AppendError::Write)?;
        self.file.check(self.len_of_file()).map_err(AppendError::Write)?;
        let alone = sync && matches!(marks, [LineMark { batch: None, .. }]) && self.room.takes(bytes);
        let placed = if alone { self.room.place(self.end, bytes) } else { None };
        self.end += match &placed {
            Some(placed) => placed.left,
            None if alone => self.room.tabs(),
            None => self.room.leave(),
        };
        let start = self.end;
        let within = placed.as_ref().is_some_and(|placed| placed.within);
        let stored = placed.as_ref().map_or(bytes, |placed| &placed.bytes);
        if let Err(error) = self.file.write(start - u64::from(within), stored) {
            self.cut_back(within);
            return Err(AppendError::Write(error));
        }
        if alone {
            self.room.stored(bytes.len(), placed.as_ref());
        }
        self.end += bytes.len() as u64;
        self.touch();
        self.lines.extend(marks.iter().map(|mark| LineMark { offset: start + mark.offset, ..*mark }));
        if sync && let Err(error) = self.sync() {
            self.lines.truncate(self.lines.len() - marks.len());
            self.end = start;
            self.cut_back(within);
            return Err(AppendError::Sync(error));
        }
        Ok(())
    }

    /// True where something of a failed write may stand behind the end.
    #[cfg(test)]
    pub(super) fn is_ragged(&self) -> bool {
        self.ragged
    }

    /// Cuts the file back to the good lines, of which the last one is `unended` where it had room. If that fails, the next
    /// append tries again before it writes.
    fn cut_back(&mut self, unended: bool) {
        self.room.leave();
        (self.ragged, self.unended) = (true, unended);
        let _ = self.mend();
    }

    /// Cuts off what a failed write may have left.
    fn mend(&mut self) -> Result<()> {
        if self.ragged {
            if self.unended {
                // ORDER: before the cut. A line without its newline would take along what upstream appends behind it.
                self.file.write(self.end.saturating_sub(1), b"\n")?;
                self.unended = false;
            }
            self.file.truncate(self.end)?;
            self.ragged = false;
        }
        Ok(())
    }

    /// Makes everything durable that was appended.
    ///
    /// # Errors
    /// `Io`; the storage's state is unknown then.
    pub fn sync(&mut self) -> Result<()> {
        if self.dirty {
            let began = Instant::now();
            self.file.sync()?;
            self.dirty = false;
            self.covered = self.end;
            self.last_sync = Some(began.elapsed());
        }
        Ok(())
    }

    fn touch(&mut self) {
        self.dirty = true;
        self.changes += 1;
    }

    /// Begins a sync that another thread may carry out, or this one while another one appends; `None` where there is
    /// nothing to sync, or the storage cannot do that.
    pub fn begin_sync(&self) -> Option<Syncing> {
        let sync = self.file.syncer().filter(|_| self.dirty)?;
        Some(Syncing { sync, changes: self.changes, began: Instant::now() })
    }

    /// A sync has been carried out without an error.
    pub fn end_sync(&mut self, syncing: &Syncing) {
        self.dirty &= self.changes != syncing.changes;
        // What was appended meanwhile may be durable as well.
        self.covered = self.end;
        self.last_sync = Some(syncing.began.elapsed());
    }

    /// How long the last sync took.
    pub fn last_sync(&self) -> Option<Duration> {
        self.last_sync
    }

    /// Takes the last line off; with `sync` durably, and in any case where a sync has covered it: what is appended next
    /// goes over its bytes, and a power cut could leave a part of that with good lines of before after it.
    ///
    /// If the lines before it belong to the same batch, a blank line seals them: without it they would be taken for
    /// the rest of a batch that was cut off.
    ///
    /// # Errors
    /// `Write`: the line still stands. `Sync`: unknown whether it does; nothing more may be written.
    pub fn take_last(&mut self, sync: bool) -> std::result::Result<(), AppendError> {
        let write = AppendError::Write;
        self.mend().map_err(write)?;
        self.file.check(self.len_of_file()).map_err(write)?;
        let Some(last) = self.lines.back().copied() else {
            return Ok(());
        };
        let before = self.lines.len().checked_sub(2).and_then(|at| self.lines.get(at).copied());
        let seal = before.filter(|before| before.batch.is_some_and(|remaining| remaining > 0));
        // What is rejected has not happened: the line is put back where it could not be taken off.
        let mut line = vec![0; usize::try_from(self.end - last.offset).unwrap_or(usize::MAX)];
        if self.file.read(last.offset, &mut line).map_err(write)? != line.len() {
            let missing = Error::corrupt(self.path.clone(), "The operation log is shorter than it was");
            return Err(AppendError::Write(missing));
        }
        if let Some(before) = seal {
            // ORDER: the seal goes over the first byte of the line, and is durable before the rest of the line goes:
            // at no moment do the lines before it stand unsealed. Also where the undo itself is not synced: the file may
            // be cut on the disk before the seal is there, and a batch that a sync has covered would go with it. (A
            // batch is covered as a whole: it is one append.)
            self.file.write(last.offset, b"\n").map_err(write)?;
            self.touch();
            if (sync || before.offset < self.covered)
                && let Err(error) = self.sync()
            {
                let _ = self.file.write(last.offset, &line);
                return Err(AppendError::Sync(error));
            }
        }
        let end = last.offset + u64::from(seal.is_some());
        let sync = sync || last.offset < self.covered;
        if let Err(error) = self.file.truncate(end) {
            if seal.is_some()
                && let Err(error) = self.file.write(last.offset, &line)
            {
                return Err(AppendError::Sync(error));
            }
            return Err(AppendError::Write(error));
        }
        self.touch();
        let had_room = self.room.leave() > 0;
        if sync && let Err(error) = self.sync() {
            if let Some(newline) = line.last_mut().filter(|_| had_room) {
                *newline = b'\n';
            }
            let _ = self.file.write(last.offset, &line);
            return Err(AppendError::Sync(error));
        }
        self.lines.pop_back();
        self.end = end;
        Ok(())
    }

    /// How many lines there are up to operation `seq`.
    pub fn count_through(&self, seq: u64) -> u64 {
        self.lines.partition_point(|line| line.seq <= seq) as u64
    }

    /// Copies the lines after operation `seq` to a new log, which is to be synced. It takes over when the caller says so;
    /// what is appended to both until then stands in both at the same distance from what was copied.
    ///
    /// # Errors
    /// `Io`; the new file is removed then.
    pub fn copy_after(&self, seq: u64, backend: &dyn StorageBackend, path: String) -> Result<Log> {
        let keep = self.lines.partition_point(|line| line.seq <= seq);
        let start = self.lines.get(keep).map_or(self.end, |line| line.offset);
        let mut file = backend.create(&path)?;
        let copied = self.copy_bytes(start, &mut *file);
        if let Err(error) = copied {
            let _ = backend.remove(&path);
            return Err(error);
        }
        let moved = self.lines.iter().skip(keep).map(|line| LineMark { offset: line.offset - start, ..*line });
        let mut copy = Log::new(path, file, self.end - start, moved.collect());
        copy.room = self.room.of_next();
        copy.touch();
        Ok(copy)
    }

    fn copy_bytes(&self, start: u64, target: &mut dyn StorageFile) -> Result<()> {
        let mut buffer = vec![0; 256 * 1024];
        let mut at = start;
        while at < self.end {
            let want = usize::try_from(self.end - at).unwrap_or(usize::MAX).min(buffer.len());
            let read = self.file.read(at, buffer.get_mut(..want).unwrap_or_default())?;
            if read == 0 {
                return Err(Error::corrupt(self.path.clone(), "The operation log is shorter than it was"));
            }
            target.write(at - start, buffer.get(..read).unwrap_or_default())?;
            at += read as u64;
        }
        if (self.room.tabs() > 0 || self.unended) && self.end > start {
            target.write(self.end - start - 1, b"\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::memory::MemoryBackend;

    fn log(disk: &MemoryBackend) -> Log {
        disk.put("ops/ops-1.jsonl", b"");
        Log::new("ops/ops-1.jsonl".into(), disk.open("ops/ops-1.jsonl").unwrap(), 0, VecDeque::new())
    }

    fn mark(seq: u64, offset: u64, batch: Option<u64>) -> LineMark {
        LineMark { seq, offset, batch }
    }

    #[test]
    fn a_failed_write_leaves_the_file_as_it_was() {
        let disk = MemoryBackend::new();
        let mut log = log(&disk);
        log.append(b"one\n", &[mark(1, 0, None)], true).unwrap();
        disk.fail_at(1);
        assert!(matches!(log.append(b"second\n", &[mark(2, 0, None)], true), Err(AppendError::Write(_))));
        assert_eq!(disk.bytes("ops/ops-1.jsonl").unwrap(), b"one\n");
        log.append(b"3\n", &[mark(3, 0, None)], true).unwrap();
        assert_eq!(disk.bytes("ops/ops-1.jsonl").unwrap(), b"one\n3\n");
    }

    #[test]
    fn a_failed_sync_takes_the_lines_off() {
        let disk = MemoryBackend::new();
        let mut log = log(&disk);
        disk.fail_at(2);
        assert!(matches!(log.append(b"one\n", &[mark(1, 0, None)], true), Err(AppendError::Sync(_))));
        assert_eq!(disk.bytes("ops/ops-1.jsonl").unwrap(), b"");
    }

    #[test]
    fn undoing_into_a_batch_seals_what_remains_at_every_moment() {
        for freeze in 1..=3 {
            let disk = MemoryBackend::new();
            let mut log = log(&disk);
            let marks = [mark(1, 0, Some(2)), mark(2, 3, Some(1)), mark(3, 6, Some(0))];
            log.append(b"a2\nb1\nc0\n", &marks, true).unwrap();
            disk.freeze_at_sync(freeze);
            let undone = log.take_last(true);
            for disk in [disk.after_kill(), disk.after_power_cut()] {
                let text = String::from_utf8(disk.bytes("ops/ops-1.jsonl").unwrap()).unwrap();
                assert!(text == "a2\nb1\nc0\n" || text.starts_with("a2\nb1\n\n"), "{text:?}");
                assert!(freeze == 1 || undone.is_err() || text == "a2\nb1\n\n", "{text:?}");
            }
        }
    }

    #[test]
    fn what_a_sync_has_covered_is_taken_off_durably() {
        let disk = MemoryBackend::new();
        let mut log = log(&disk);
        log.append(b"one\n", &[mark(1, 0, None)], true).unwrap();
        log.append(b"two\n", &[mark(2, 0, None)], false).unwrap();
        let syncs = disk.syncs();
        log.take_last(false).unwrap();
        assert_eq!(disk.syncs(), syncs, "nothing of it had to be durable");
        log.take_last(false).unwrap();
        assert_eq!(disk.after_power_cut().bytes("ops/ops-1.jsonl").unwrap(), b"");
        log.append(b"1\n", &[mark(1, 0, None)], false).unwrap();
        let syncing = log.begin_sync().unwrap();
        log.append(b"2\n", &[mark(2, 0, None)], false).unwrap();
        syncing.run().unwrap();
        log.end_sync(&syncing);
        log.take_last(false).unwrap();
        assert_eq!(disk.after_power_cut().bytes("ops/ops-1.jsonl").unwrap(), b"1\n", "it was appended during a sync");
    }

    #[test]
    fn the_seal_of_a_batch_that_no_sync_has_covered_waits_for_none() {
        let disk = MemoryBackend::new();
        let mut log = log(&disk);
        let marks = [mark(1, 0, Some(2)), mark(2, 3, Some(1)), mark(3, 6, Some(0))];
        log.append(b"a2\nb1\nc0\n", &marks, false).unwrap();
        let syncs = disk.syncs();
        log.take_last(false).unwrap();
        assert_eq!(disk.syncs(), syncs);
        assert_eq!(disk.bytes("ops/ops-1.jsonl").unwrap(), b"a2\nb1\n\n");
    }

    #[test]
    fn undoing_a_whole_batch_leaves_nothing_of_it() {
        let disk = MemoryBackend::new();
        let mut log = log(&disk);
        log.append(b"a1\nb0\n", &[mark(1, 0, Some(1)), mark(2, 3, Some(0))], true).unwrap();
        log.take_last(true).unwrap();
        log.take_last(true).unwrap();
        assert_eq!(disk.bytes("ops/ops-1.jsonl").unwrap(), b"");
    }

    #[test]
    fn the_lines_after_an_operation_move_to_a_new_log() {
        let disk = MemoryBackend::new();
        let mut log = log(&disk);
        log.append(b"one\ntwo\nthree\n", &[mark(1, 0, None), mark(2, 4, None), mark(3, 8, None)], true).unwrap();
        let mut next = log.copy_after(1, &disk, "ops/ops-2.jsonl".into()).unwrap();
        assert_eq!(disk.bytes("ops/ops-2.jsonl").unwrap(), b"two\nthree\n");
        next.take_last(true).unwrap();
        assert_eq!(disk.bytes("ops/ops-2.jsonl").unwrap(), b"two\n");
    }
}
