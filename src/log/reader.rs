//! Reads a log line by line, in bounded memory, up to a byte that is known to end it well.
//!
//! Invalid lines are judged as recovery judges them. Beside a writer a log may change while it is read, at its end only:
//! what looks damaged is read again, from the last line on that still stands.

use super::recovery::{Damage, Loaded, loaded, parse};
use super::tail::scan_tail;
use crate::backend::StorageBackend;
use crate::backend::lines::{Line, Lines};
use crate::error::{Error, Result};
use crate::format::op;
use std::io::Read;
use std::sync::Arc;

/// How often damage is read again beside a writer before it is taken for damage.
const ATTEMPTS: u32 = 20;

/// A log that is being read.
pub struct LogReader {
    lines: Lines,
    /// Its lines count from this one on.
    first: u64,
    end: u64,
    damage: Damage,
    skipped: u64,
    beside: Option<Beside>,
}

/// What it takes to read on where a writer has changed the log.
struct Beside {
    backend: Arc<dyn StorageBackend>,
    path: String,
    /// Offset, length and checksum of the last valid line, and its number.
    last: Option<(u64, u64, u32, u64)>,
    attempts: u32,
}

impl LogReader {
    /// Opens a log that nobody else writes for reading up to byte `end`. `skip`: skip invalid lines wherever they stand.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(backend: &dyn StorageBackend, path: &str, end: u64, skip: bool) -> Result<Self> {
        let lines = Lines::of_log(backend, path, 0)?;
        let damage = Damage::new(backend.full_path(path), skip);
        Ok(LogReader { lines, first: 0, end, damage, skipped: 0, beside: None })
    }

    /// Opens a log that another process may be writing, for reading up to its present end.
    ///
    /// # Errors
    /// As [`scan_tail`].
    pub fn beside_writer(backend: Arc<dyn StorageBackend>, path: &str, skip: bool) -> Result<Self> {
        let end = present_end(&*backend, path, skip)?;
        let reader = Self::open(&*backend, path, end, skip)?;
        let beside = Beside { backend, path: path.to_owned(), last: None, attempts: 0 };
        Ok(LogReader { beside: Some(beside), ..reader })
    }

    /// How many invalid lines have been skipped so far.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The next operation; `None` at the end.
    ///
    /// # Errors
    /// As [`LogReader::each`].
    #[allow(clippy::should_implement_trait, reason = "it can fail")]
    pub fn next(&mut self) -> Result<Option<Loaded>> {
        let mut found = None;
        self.each(|line, parsed| {
            found = Some(loaded(line, parsed, line.offset));
            false
        })?;
        Ok(found)
    }

    /// Calls `each` for the operations that follow, until it answers false or the log ends.
    ///
    /// # Errors
    /// `Corrupt` for an invalid line inside a log of ours, `Io` where it cannot be read.
    pub fn each(&mut self, mut each: impl FnMut(&Line<'_>, &op::Line<'_>) -> bool) -> Result<()> {
        loop {
            let Some(line) = self.lines.next()?.filter(|line| line.offset < self.end) else {
                // What ended well is not shorter now, unless a writer has undone the end.
                return if self.beside.is_some() { Ok(()) } else { self.damage.end() };
            };
            let line = Line { number: self.first + line.number, ..line };
            if line.is_blank() {
                continue;
            }
            let parsed = match parse(&line) {
                Ok(parsed) => parsed,
                Err(reason) => {
                    self.damage.bad(&line, reason);
                    if self.beside.as_ref().is_some_and(|beside| beside.attempts < ATTEMPTS) && !self.read_again()? {
                        return Ok(());
                    }
                    continue;
                }
            };
            self.skipped += self.damage.good(parsed.checked)?;
            if let Some(beside) = &mut self.beside {
                let len = line.bytes.len() as u64;
                beside.last = Some((line.offset, len, crc32c::crc32c(line.bytes), line.number));
            }
            if !each(&line, &parsed) {
                return Ok(());
            }
        }
    }

    /// Goes back behind the last valid line; false where that does not stand any more: what follows it is not a
    /// continuation of what was read.
    fn read_again(&mut self) -> Result<bool> {
        let Some(beside) = &mut self.beside else { return Ok(true) };
        beside.attempts += 1;
        std::thread::yield_now();
        let (mut start, mut number) = (0, 0);
        if let Some((offset, len, hash, at)) = beside.last {
            let mut bytes = Vec::new();
            let read = beside.backend.read(&beside.path, offset)?.take(len).read_to_end(&mut bytes);
            read.map_err(|source| Error::io("read", beside.backend.full_path(&beside.path), source))?;
            if bytes.len() as u64 != len || crc32c::crc32c(&bytes) != hash {
                return Ok(false);
            }
            (start, number) = (offset + len, at);
        }
        self.end = present_end(&*beside.backend, &beside.path, self.damage.skip)?;
        self.lines = Lines::of_log(&*beside.backend, &beside.path, start)?;
        // The rest of the last line is a blank one: it counts as none.
        self.first = number.saturating_sub(u64::from(start > 0));
        self.damage.forget();
        Ok(true)
    }
}

/// Where a log that may be being written ends well at present.
fn present_end(backend: &dyn StorageBackend, path: &str, skip: bool) -> Result<u64> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match scan_tail(backend, path, skip) {
            Err(Error::Corrupt { .. }) if attempt < ATTEMPTS => std::thread::yield_now(),
            // What comes to stand in the room of the last line comes after it.
            other => return other.map(|scan| scan.end - scan.room),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::recovery::scan;
    use super::*;
    use crate::backend::StorageFile;
    use crate::backend::memory::MemoryBackend;
    use crate::format::json::unquote;
    use crate::format::op::push_shown_line;

    const LOG: &str = "ops/ops-1.jsonl";

    fn line(id: &str, batch: Option<u64>) -> Vec<u8> {
        let mut out = Vec::new();
        let shown = format!(r#"{{"ts":"t","op":"set","id":"{id}","prev":null,"data":1}}"#);
        push_shown_line(shown.as_bytes(), batch, None, &mut out).unwrap();
        out
    }

    fn plain(id: &str) -> Vec<u8> {
        format!("{{\"ts\":\"t\",\"op\":\"set\",\"id\":\"{id}\",\"prev\":null,\"data\":1}}\n").into_bytes()
    }

    fn rest(reader: &mut LogReader) -> Result<Vec<String>> {
        let mut found = Vec::new();
        while let Some(operation) = reader.next()? {
            found.push(unquote(&operation.id));
        }
        Ok(found)
    }

    fn read(bytes: &[u8], skip: bool) -> Result<(Vec<String>, u64)> {
        let disk = MemoryBackend::new();
        disk.put(LOG, bytes);
        let mut reader = LogReader::open(&disk, LOG, bytes.len() as u64, skip)?;
        let found = rest(&mut reader)?;
        Ok((found, reader.skipped()))
    }

    #[test]
    fn invalid_lines_are_judged_as_recovery_judges_them() {
        let (bad, ours) = (b"foreign\n".to_vec(), line("z", None));
        assert_eq!(
            read(&[plain("a"), bad.clone(), plain("b")].concat(), false).unwrap(),
            (vec!["a".into(), "b".into()], 1)
        );
        for bytes in [
            [line("a", None), bad.clone(), ours.clone()].concat(),
            [line("a", None), bad.clone(), plain("b")].concat(),
            [plain("a"), bad.clone(), ours.clone()].concat(),
            [plain("a"), b"{\"crc\":\"0\"}\n".to_vec(), plain("b")].concat(),
        ] {
            let at = bytes.iter().position(|byte| *byte == b'\n').unwrap() as u64 + 1;
            let error = read(&bytes, false).unwrap_err();
            assert!(matches!(error, Error::Corrupt { line: Some(2), byte: Some(byte), .. } if byte == at), "{error}");
            assert_eq!(read(&bytes, true).unwrap().1, 1);
        }
    }

    #[test]
    fn what_stands_behind_the_end_is_not_read_and_what_is_gone_before_it_is_missed() {
        let disk = MemoryBackend::new();
        let end = line("a", None).len() as u64;
        disk.put(LOG, &[line("a", None), line("b", None)].concat());
        assert_eq!(rest(&mut LogReader::open(&disk, LOG, end, false).unwrap()).unwrap(), ["a"]);
        disk.put(LOG, b"damaged\n");
        assert!(matches!(rest(&mut LogReader::open(&disk, LOG, end, false).unwrap()), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn an_incomplete_batch_beside_a_writer_is_not_read() {
        let disk = MemoryBackend::new();
        disk.put(LOG, &[line("a", None), line("b", Some(1))].concat());
        let mut reader = LogReader::beside_writer(Arc::new(disk), LOG, false).unwrap();
        assert_eq!(rest(&mut reader).unwrap(), ["a"]);
    }

    #[test]
    fn what_remains_of_a_batch_of_which_the_last_line_is_undone_meanwhile_is_read() {
        let disk = MemoryBackend::new();
        let [before, last] = [[line("a", None), line("b", Some(2)), line("c", Some(1))].concat(), line("d", None)];
        disk.put(LOG, &[&before[..], &last].concat());
        // Sealed; sealed, and the rest is not cut yet; cut without a seal, which nobody does.
        for (now, expected) in [(&b"\n"[..], 3), (&[b"\n", &last[1..]].concat(), 3), (b"", 1)] {
            let mut found = scan(&disk, LOG, false).unwrap();
            assert_eq!(found.ops.len(), 4);
            disk.put(LOG, &[&before[..], now].concat());
            found.keep_what_stands(&disk, 0).unwrap();
            assert_eq!(found.ops.len(), expected);
            disk.put(LOG, &[&before[..], &last].concat());
        }
    }

    /// A log longer than one piece of reading, whose end changes while it is read.
    #[test]
    fn a_writer_that_undoes_and_writes_meanwhile_makes_no_damage() {
        let disk = MemoryBackend::new();
        let long = |id: &str| {
            let mut out = Vec::new();
            let text = "x".repeat(700_000);
            let shown = format!(r#"{{"ts":"t","op":"set","id":"{id}","prev":null,"data":"{text}"}}"#);
            push_shown_line(shown.as_bytes(), None, None, &mut out).unwrap();
            out
        };
        disk.put(LOG, &[long("a"), long("b"), long("c")].concat());
        let shared = Arc::new(Changing { disk: disk.clone() });
        let mut reader = LogReader::beside_writer(shared, LOG, false).unwrap();
        assert_eq!(unquote(&reader.next().unwrap().unwrap().id), "a");
        // The first piece ends in the middle of "b"; the writer puts other lines where it stood.
        let mut file: Box<dyn StorageFile> = disk.open(LOG).unwrap();
        file.truncate(long("a").len() as u64).unwrap();
        let new = [line("d", None), line("e", None), long("f"), long("g")].concat();
        file.write(long("a").len() as u64, &new).unwrap();
        assert_eq!(rest(&mut reader).unwrap(), ["d", "e", "f", "g"]);
    }

    /// Reads the file as it is at each read, as a file system does; the memory disk's readers see it as it was.
    struct Changing {
        disk: MemoryBackend,
    }

    struct Position {
        disk: MemoryBackend,
        path: String,
        at: u64,
    }

    impl Read for Position {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let bytes = self.disk.bytes(&self.path).unwrap();
            let from = usize::try_from(self.at).unwrap().min(bytes.len());
            let read = (&bytes[from..]).read(buffer)?;
            self.at += read as u64;
            Ok(read)
        }
    }

    impl StorageBackend for Changing {
        fn full_path(&self, path: &str) -> String {
            self.disk.full_path(path)
        }
        fn create_dirs(&self) -> Result<()> {
            self.disk.create_dirs()
        }
        fn read(&self, path: &str, start: u64) -> Result<Box<dyn Read + Send>> {
            Ok(Box::new(Position { disk: self.disk.clone(), path: path.to_owned(), at: start }))
        }
        fn stat(&self, path: &str) -> Result<crate::backend::Stat> {
            self.disk.stat(path)
        }
        fn list(&self, folder: &str) -> Result<Vec<crate::backend::Entry>> {
            self.disk.list(folder)
        }
        fn create(&self, path: &str) -> Result<Box<dyn StorageFile>> {
            self.disk.create(path)
        }
        fn open(&self, path: &str) -> Result<Box<dyn StorageFile>> {
            self.disk.open(path)
        }
        fn rename(&self, from: &str, to: &str) -> Result<()> {
            self.disk.rename(from, to)
        }
        fn remove(&self, path: &str) -> Result<()> {
            self.disk.remove(path)
        }
        fn sync_dir(&self, folder: &str) -> Result<()> {
            self.disk.sync_dir(folder)
        }
        fn lock(&self) -> Result<Box<dyn crate::backend::StoreLock>> {
            self.disk.lock()
        }
        fn join(&self, agent: &str) -> Result<Box<dyn crate::backend::AgentPlace>> {
            self.disk.join(agent)
        }
        fn pin(&self, path: &str) -> Result<(Vec<u8>, Box<dyn crate::backend::Pinned>)> {
            self.disk.pin(path)
        }
        fn is_abandoned(&self, path: &str) -> bool {
            self.disk.is_abandoned(path)
        }
    }
}
