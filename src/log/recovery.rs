//! What a log holds after a crash, and what must be mended before anything is appended.
//!
//! Reads everything first and writes nothing: [`scan`] says which operations count, and [`Scan::repair`], called once
//! the whole store has been read, cuts and saves.
//!
//! - invalid lines up to the end of the file (cut off, wrong checksum, foreign text) are a bad tail: cut
//! - a batch whose last line is missing at the end of the file was cut off: cut as a whole; a blank line after it
//!   says that its last lines were undone, and it stays
//! - a whole valid last line without its newline is kept
//! - an invalid line with valid ones after it: in a log of upstream's it is skipped and counted, as upstream does;
//!   in a log of ours (lines with checksums around it) it is corruption

use super::room;
use crate::backend::StorageBackend;
use crate::backend::lines::{Line, read_lines};
use crate::error::{Error, Result};
use crate::format::names;
use crate::format::op::{self, OpKind, Origin, Parts, Prev, Text, Timestamp};
use crate::state::{Incoming, Logged, place};

/// An operation that was read from a log.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Canonical JSON text of the id.
    pub id: Text,
    /// The new value; `None` for a delete.
    pub data: Option<Text>,
    /// The rest of the line.
    pub logged: Logged,
    /// Byte at which its line begins.
    pub offset: u64,
    /// Byte at which what belongs to it begins: invalid lines that were skipped go with the line after them.
    pub from: u64,
    /// How many more lines of its batch should follow.
    pub batch: Option<u64>,
    /// Length of its line, without the newline.
    pub len: u64,
    /// CRC-32C of its line: tells whether another one stands there now.
    pub hash: u32,
    /// True if its line begins a batch, or is none of one.
    pub begins: bool,
    /// True if its line ends a batch, is none of one, or a blank line follows it.
    pub ends: bool,
}

impl Loaded {
    /// Reads an operation that stands in no file.
    ///
    /// # Errors
    /// As [`op::parse`].
    pub fn parse(line: &[u8]) -> std::result::Result<Self, String> {
        let parsed = op::parse(line)?;
        Ok(loaded(&Line { bytes: line, offset: 0, number: 1, ended: true, room: 0, torn: false }, &parsed, 0))
    }
}

/// What was found in a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Full path of the log.
    pub path: String,
    /// Invalid lines that were skipped.
    pub skipped: u64,
    /// Bytes at the end of the file that do not count.
    pub cut: u64,
    /// Whole lines among them that are invalid.
    pub cut_lines: u64,
    /// Where those bytes were saved, once they were.
    pub saved: Option<String>,
}

/// A log that has been read.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// Path in the store.
    pub path: String,
    /// The operations that count, in order.
    pub ops: Vec<Loaded>,
    /// Length of the file up to which it is good.
    pub end: u64,
    /// True if the last line counts and lacks its newline.
    pub newline_missing: bool,
    /// Bytes of room at the end, between the last line that counts and its newline; see [`super::room`].
    pub room: u64,
    /// Bytes behind the end that are the room of a line that was not written any more: tabs on a line of their own.
    pub loose: u64,
    /// What was found.
    pub report: Report,
}

/// How often a log that changes while it is read is read again before what was found is taken for its state.
const ATTEMPTS: u32 = 20;

/// [`scan_from`] for readers, beside a writer that may append and undo meanwhile.
///
/// Pieces of a file that are read one after the other need not be the file of any moment: a line may be taken off and
/// another one of the same length put there in between. So everything is read twice, and what was the same both times
/// counts: a log changes at its end only, so those lines stood there all the time.
///
/// # Errors
/// As [`scan_from`]; damage counts once it was found again.
pub fn scan_beside_writer(backend: &dyn StorageBackend, path: &str, start: u64, skip: bool) -> Result<Scan> {
    let mut attempt = 0;
    let mut scan = loop {
        attempt += 1;
        match scan_from(backend, path, start, skip) {
            Err(Error::Corrupt { .. }) if attempt < ATTEMPTS => std::thread::yield_now(),
            // Half a line, or two, may be what is being written.
            Ok(scan) if scan.report.cut_lines > 0 && attempt < ATTEMPTS => std::thread::yield_now(),
            other => break other?,
        }
    };
    scan.keep_what_stands(backend, start)?;
    Ok(scan)
}

/// Lines that are not valid, until it is known what follows them.
#[derive(Debug)]
struct BadRun {
    offset: u64,
    number: u64,
    lines: u64,
    ended: u64,
    reason: String,
    /// True if any of them shows a checksum member.
    ours: bool,
    /// True if bytes are missing in it that were to be written: nothing but zeros stands there.
    lost: bool,
}

/// Zeros that no line holds, and no flipped bits make.
const LOST: &[u8] = &[0; 128];
/// Where they begin with a write there may be fewer, up to the end of the disk's sector.
const SECTOR: u64 = 512;

/// True where bytes are missing in a line that were to be written: nothing but zeros stands there.
pub(crate) fn is_lost(line: &Line<'_>) -> bool {
    let zeros = line.bytes.iter().take_while(|byte| **byte == 0).count() as u64;
    zeros > 0 && (line.offset + zeros).is_multiple_of(SECTOR) || memchr::memmem::find(line.bytes, LOST).is_some()
}

/// Decides about invalid lines inside a log, as it is read from its beginning.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// Full path of the log.
    pub(super) path: String,
    /// Skip them wherever they stand.
    pub(super) skip: bool,
    /// True once a line with a checksum was seen.
    checked: bool,
    bad: Option<BadRun>,
}

impl Damage {
    pub(super) fn new(path: String, skip: bool) -> Self {
        Damage { path, skip, ..Damage::default() }
    }

    /// True where the last line was not valid.
    pub(super) fn is_open(&self) -> bool {
        self.bad.is_some()
    }

    /// An invalid line.
    pub(super) fn bad(&mut self, line: &Line<'_>, reason: String) {
        let ours = line.bytes.windows(7).any(|part| part == b"\"crc\":\"");
        let run = self.bad.get_or_insert(BadRun {
            offset: line.offset,
            number: line.number,
            lines: 0,
            ended: 0,
            reason,
            ours: false,
            lost: false,
        });
        run.lines += 1;
        run.ended += u64::from(line.ended);
        run.ours |= ours;
        run.lost |= is_lost(line);
    }

    /// The invalid lines in front of a valid one, if a part of the write that it belongs to is missing there and nothing
    /// else.
    fn lost(&mut self, start: Option<u64>) -> Option<Unfinished> {
        let start = start.filter(|_| !self.skip)?;
        let run = self.bad.take_if(|run| run.lost && run.offset >= start)?;
        Some(Unfinished { run, start })
    }

    /// A valid line: how many invalid ones before it are skipped.
    ///
    /// # Errors
    /// `Corrupt` where they stand inside a log of ours.
    pub(super) fn good(&mut self, checked: bool) -> Result<u64> {
        let skipped = match self.bad.take() {
            Some(run) if !self.skip && (self.checked || checked || run.ours) => return Err(corrupt(&self.path, &run)),
            run => run.map_or(0, |run| run.lines),
        };
        self.checked |= checked;
        Ok(skipped)
    }

    /// Invalid lines stand where valid ones were: the error that says so.
    ///
    /// # Errors
    /// `Corrupt` if there are any.
    pub(super) fn end(&mut self) -> Result<()> {
        self.bad.take().map_or(Ok(()), |run| Err(corrupt(&self.path, &run)))
    }

    /// Forgets the invalid lines that were seen last: they are read again.
    pub(super) fn forget(&mut self) {
        self.bad = None;
    }
}

/// A write at the end of a log of which the disk has a later part and not an earlier one: a power cut came before it
/// was synced, for pages go to the disk in any order until then. It was not acknowledged, and what is there of it from
/// the missing part on is cut like any bad tail. A log that is read anywhere else than at its end is damaged there.
struct Unfinished {
    run: BadRun,
    /// Where it begins.
    start: u64,
}

/// Reads a line of a log.
///
/// # Errors
/// As [`op::parse`]; a line that was going over the room of another one counts only with the newline that parts them.
pub(crate) fn parse<'a>(line: &Line<'a>) -> std::result::Result<op::Line<'a>, String> {
    if line.torn {
        return Err("Invalid operation: no newline before it".to_owned());
    }
    op::parse(line.bytes)
}

/// Where the write begins that a line belongs to, one of several lines. `None` also where it began in another log.
pub(crate) fn start_of_write(line: &Line<'_>, parsed: &op::Line<'_>) -> Option<u64> {
    line.offset.checked_sub(parsed.write?)
}

impl Unfinished {
    /// Takes in a line that follows.
    ///
    /// # Errors
    /// The damage, where the line does not belong to the write.
    fn with(self, start: Option<u64>) -> std::result::Result<Self, BadRun> {
        if start == Some(self.start) { Ok(self) } else { Err(self.run) }
    }
}

/// Reads a log. `skip`: skip invalid lines wherever they stand.
///
/// # Errors
/// As [`scan_from`].
pub fn scan(backend: &dyn StorageBackend, path: &str, skip: bool) -> Result<Scan> {
    scan_from(backend, path, 0, skip)
}

/// Reads a log from byte `start` on, where a line begins.
///
/// # Errors
/// `Corrupt` with line and byte for an invalid line inside a log of ours, `Io` where it cannot be read.
pub fn scan_from(backend: &dyn StorageBackend, path: &str, start: u64, skip: bool) -> Result<Scan> {
    let mut scan = Scan { path: path.to_owned(), end: start, ..Scan::default() };
    scan.report.path = backend.full_path(path);
    let mut damage = Damage::new(scan.report.path.clone(), skip);
    let mut unfinished: Option<Unfinished> = None;
    let (mut loose_end, mut single) = (None, None);
    let len = read_lines(backend, path, start, |line| {
        // Behind a line that may have had room.
        let is_loose = (single == Some(line.offset) || loose_end == Some(line.offset)) && room::is_loose(line.bytes);
        loose_end = is_loose.then_some(line.end());
        if is_loose {
            return Ok(());
        }
        if line.is_blank() {
            // Between invalid lines it is a part of them; after a valid one it seals.
            if !damage.is_open() && unfinished.is_none() && line.ended {
                if let Some(last) = scan.ops.last_mut() {
                    last.ends = true;
                }
                scan.end = line.end();
                scan.newline_missing = false;
                scan.room = 0;
            }
            return Ok(());
        }
        match parse(&line) {
            Err(reason) => damage.bad(&line, reason),
            Ok(parsed) => {
                let start = start_of_write(&line, &parsed);
                unfinished = match unfinished.take() {
                    Some(write) => Some(write.with(start).map_err(|run| corrupt(&damage.path, &run))?),
                    None => damage.lost(start),
                };
                if unfinished.is_some() {
                    damage.forget();
                    return Ok(());
                }
                scan.report.skipped += damage.good(parsed.checked)?;
                let before = scan.ops.last().filter(|before| !before.ends).and_then(|before| before.batch);
                let begins = before.is_none() || before != parsed.batch.map(|remaining| remaining + 1);
                // What is skipped stays where it goes on behind the room of a line, as does its newline.
                let from = if scan.newline_missing { line.offset } else { scan.end };
                scan.ops.push(Loaded { begins, ..loaded(&line, &parsed, from) });
                single = (parsed.checked && parsed.batch.is_none()).then_some(line.end());
                scan.end = line.end();
                scan.newline_missing = !line.ended;
                scan.room = line.room;
            }
        }
        Ok(())
    })?;
    let end = scan.end;
    scan.drop_incomplete_batch();
    if scan.end == end && loose_end == Some(len) {
        scan.loose = len - end;
    }
    scan.report.cut = len - scan.end - scan.loose;
    let invalid = unfinished.map(|write| write.run).or(damage.bad);
    scan.report.cut_lines = invalid.map_or(0, |run| run.ended);
    Ok(scan)
}

fn corrupt(path: &str, run: &BadRun) -> Error {
    Error::Corrupt {
        message: format!(
            "The operation log is damaged: {}. Open with `recovery: \"skip\"` to keep the valid lines",
            run.reason
        ),
        path: path.to_owned(),
        line: Some(run.number),
        byte: Some(run.offset),
    }
}

pub(super) fn loaded(line: &Line<'_>, parsed: &op::Line<'_>, from: u64) -> Loaded {
    let prev = match (parsed.prev, parsed.delta) {
        (b"null", _) => Prev::Null,
        (text, true) => Prev::Delta(text.into()),
        (text, false) => Prev::Full(text.into()),
    };
    let origin = (parsed.agent.is_some() || parsed.clock.is_some())
        .then(|| Origin { agent: parsed.agent.map(Text::from), clock: parsed.clock });
    // Side by side, as records keep them.
    let (id, data) = match parsed.data.filter(|_| parsed.kind == OpKind::Set) {
        Some(data) => {
            let (id, data) = Text::pair(&parsed.id, data);
            (id, Some(data))
        }
        None => (parsed.id.as_ref().into(), None),
    };
    Loaded {
        id,
        data,
        logged: Logged { ts: Timestamp::Logged(parsed.ts.into()), prev, origin },
        offset: line.offset,
        from,
        batch: parsed.batch,
        len: line.bytes.len() as u64,
        hash: crc32c::crc32c(line.bytes),
        begins: true,
        ends: parsed.batch.is_none_or(|remaining| remaining == 0),
    }
}

impl From<Loaded> for Incoming {
    fn from(Loaded { id, data, logged, .. }: Loaded) -> Self {
        Incoming { id, data, logged }
    }
}

impl Loaded {
    /// True if this comes after another operation in the order of all agents.
    pub fn comes_after(&self, other: &Loaded) -> bool {
        place(self.logged.origin.as_ref()) > place(other.logged.origin.as_ref())
    }

    /// True if this is a copy of an operation that stands in another log.
    pub fn is_copy(&self, of: &Loaded) -> bool {
        let origin = self.logged.origin.as_ref();
        origin.is_some_and(|origin| origin.clock.is_some())
            && origin == of.logged.origin.as_ref()
            && self.id == of.id
            && self.data == of.data
    }

    /// Appends it as callers see it; see [`Parts::push_shown`].
    pub fn push_shown(&self, out: &mut Vec<u8>) {
        let parts = Parts {
            ts: &self.logged.ts,
            kind: if self.data.is_some() { OpKind::Set } else { OpKind::Delete },
            id: &self.id,
            prev: &self.logged.prev,
            data: self.data.as_deref(),
            origin: self.logged.origin.as_ref(),
        };
        parts.push_shown(out);
    }
}

impl Scan {
    /// Drops the lines of the batch at the end of the file if its last lines are missing. Invalid lines in front of it, which
    /// `skip` lets stand, reach the end of the file then and go as well.
    fn drop_incomplete_batch(&mut self) {
        // Another one may end there then, where `skip` lets a damaged line of it stand.
        while self.ops.last().is_some_and(|last| !last.ends) {
            self.newline_missing = false;
            self.room = 0;
            while let Some(last) = self.ops.pop() {
                self.end = last.from;
                if last.begins {
                    break;
                }
            }
        }
    }

    /// Drops everything but the first `count` operations, and a batch that this leaves incomplete.
    fn keep(&mut self, count: usize) {
        if let Some(first) = self.ops.get(count) {
            self.end = first.offset;
            self.room = 0;
            self.ops.truncate(count);
            self.drop_incomplete_batch();
        }
    }

    /// Reads the log from byte `start` on once more, and keeps the operations that it still begins with.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn keep_what_stands(&mut self, backend: &dyn StorageBackend, start: u64) -> Result<()> {
        let (mut same, mut parted) = (0_usize, false);
        let path = self.path.clone();
        read_lines(backend, &path, start, |line| {
            if parted {
                return Ok(());
            }
            if line.is_blank() {
                // The line after it was taken off in between: what remains of its batch is sealed now.
                if let Some(last) = same.checked_sub(1).and_then(|at| self.ops.get_mut(at))
                    && line.ended
                    && last.offset + last.len + 1 == line.offset
                {
                    last.ends = true;
                }
            } else if let Some(op) = self.ops.get(same)
                && op.offset == line.offset
                && op.hash == crc32c::crc32c(line.bytes)
                && op.len == line.bytes.len() as u64
            {
                same += 1;
            } else {
                // The first reading passed over it: what it found behind it came later.
                parted = parse(&line).is_ok();
            }
            Ok(())
        })?;
        self.keep(same);
        Ok(())
    }

    /// True if the file must be changed before anything is appended.
    pub fn needs_repair(&self) -> bool {
        self.report.cut > 0 || self.newline_missing || self.loose > 0
    }

    /// Mends the file: saves what is cut beside it, cuts, ends the last line. Durable when it returns.
    ///
    /// # Errors
    /// `Io`; the log is unchanged, or cut with the saved part beside it.
    pub fn repair(&mut self, backend: &dyn StorageBackend) -> Result<()> {
        if !self.needs_repair() {
            return Ok(());
        }
        if self.report.cut > 0 {
            let saved = copy_range(backend, &self.path, self.end, |number| names::cut(&self.path, number))?;
            self.report.saved = Some(backend.full_path(&saved));
        }
        let mut file = backend.open(&self.path)?;
        if self.report.cut > 0 || self.loose > 0 {
            file.truncate(self.end)?;
            self.loose = 0;
        }
        if self.newline_missing {
            file.write(self.end, b"\n")?;
            self.end += 1;
            self.newline_missing = false;
        }
        file.sync()
    }

    /// Keeps a copy of the whole log, for one in which lines were skipped, unless there is one already.
    ///
    /// # Errors
    /// `Io`.
    pub fn save_copy(&self, backend: &dyn StorageBackend) -> Result<()> {
        let len = backend.stat(&self.path)?.len;
        let stem = names::damaged(&self.path, 0);
        let stem = stem.trim_end_matches('0');
        let folder = crate::backend::folder_of(&self.path);
        let is_copy = |entry: &crate::backend::Entry| {
            entry.stat.len == len && format!("{folder}/{}", entry.name).starts_with(stem)
        };
        if backend.list(folder)?.iter().any(is_copy) {
            return Ok(());
        }
        copy_range(backend, &self.path, 0, |number| names::damaged(&self.path, number)).map(drop)
    }
}

/// Copies a file from `start` on to the first free name that `name` gives for a time; returns it.
///
/// # Errors
/// `Io`.
pub fn copy_range(
    backend: &dyn StorageBackend,
    path: &str,
    start: u64,
    name: impl Fn(u64) -> String,
) -> Result<String> {
    let source = backend.open(path)?;
    let (target, mut file) = create_numbered(backend, name)?;
    let mut buffer = vec![0; 256 * 1024];
    let mut at = start;
    loop {
        let read = source.read(at, &mut buffer)?;
        if read == 0 {
            break;
        }
        file.write(at - start, buffer.get(..read).unwrap_or_default())?;
        at += read as u64;
    }
    file.sync()?;
    // ORDER: the saved part is there for good before the original goes.
    backend.sync_dir(crate::backend::folder_of(&target))?;
    Ok(target)
}

/// Creates a file under the first free name, beginning with the present time.
///
/// # Errors
/// `Io`, other than that a name is taken.
pub fn create_numbered(
    backend: &dyn StorageBackend,
    name: impl Fn(u64) -> String,
) -> Result<(String, Box<dyn crate::backend::StorageFile>)> {
    create_after(backend, None, name)
}

/// Creates a file under the first free name, beginning with the present time, or after the number of another file's
/// name: one that was removed may still stand in somebody's manifest.
///
/// # Errors
/// As [`create_numbered`].
pub fn create_after(
    backend: &dyn StorageBackend,
    other: Option<&str>,
    name: impl Fn(u64) -> String,
) -> Result<(String, Box<dyn crate::backend::StorageFile>)> {
    let after = other.and_then(names::number).map_or(0, |number| number + 1);
    let mut number = backend.now_ms().max(after);
    loop {
        let path = name(number);
        match backend.create(&path) {
            Ok(file) => return Ok((path, file)),
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}
