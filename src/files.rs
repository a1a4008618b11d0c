//! The files of a store, one by one, for callers who keep the state themselves.
//!
//! The store's own formats and guarantees without the store: what a function wrote is durable when it returns, all of
//! it or nothing. Nothing is remembered between calls, so every call looks at the file first. Two calls on one file
//! must not run at the same time; the caller sees to that.

use crate::backend::{self, StorageBackend, StorageFile, create_temporary, discard, read_all};
use crate::clock;
use crate::error::{Error, Result};
use crate::format::archive::Segment;
use crate::format::op::{self, Text};
use crate::format::pages::Pages;
use crate::format::{json, names, snapshot};
use crate::log::recovery::create_numbered;
use crate::log::{AppendError, LineMark, Log, Report, scan, scan_beside_writer};

/// How much of a log's end is looked at before the whole log is read.
const TAIL: u64 = 64 * 1024;

/// Appends operations, as callers see them (JSON texts), in one piece. A log that does not exist is made. A damaged or
/// incomplete end is saved beside the log and cut first: the report says so.
///
/// # Errors
/// `Invalid` for what is no operation, `Io`; nothing is appended then.
pub fn append(backend: &dyn StorageBackend, path: &str, operations: &[&[u8]]) -> Result<Report> {
    let mut lines = Vec::new();
    for (operation, remaining) in operations.iter().zip((0..operations.len() as u64).rev()) {
        let batch = (operations.len() > 1).then_some(remaining);
        let write = batch.map(|_| lines.len() as u64);
        op::push_shown_line(operation, batch, write, &mut lines).map_err(|message| Error::Invalid { message })?;
    }
    let (mut file, created) = match backend.open(path) {
        Err(error) if error.is_not_found() => (backend.create(path)?, true),
        other => (other?, false),
    };
    let (end, report) = mended(backend, path, &*file)?;
    file.check(end)?;
    if let Err(error) = file.write(end, &lines).and_then(|()| file.sync()) {
        // Best effort: what stays is an incomplete end, which the next call cuts.
        let _ = file.truncate(end);
        return Err(error);
    }
    if created {
        backend.sync_dir(backend::folder_of(path))?;
    }
    Ok(report)
}

/// The length of a log that can be appended to; mends it where it must be.
fn mended(backend: &dyn StorageBackend, path: &str, file: &dyn StorageFile) -> Result<(u64, Report)> {
    let len = backend.stat(path)?.len;
    if len == 0 || ends_well(file, len)? {
        return Ok((len, Report::default()));
    }
    let mut scan = match scan(backend, path, false) {
        // What is damaged further up is no business of who appends.
        Err(Error::Corrupt { .. }) => scan(backend, path, true)?,
        other => other?,
    };
    scan.repair(backend)?;
    Ok((scan.end, scan.report))
}

/// True if the last line is an operation, whole, not one with others of its batch to follow, and nothing of its write is
/// missing. False also where that cannot be told from the last few kilobytes.
fn ends_well(file: &dyn StorageFile, len: u64) -> Result<bool> {
    let start = len.saturating_sub(TAIL);
    let mut tail = vec![0; usize::try_from(len - start).unwrap_or_default()];
    let read = file.read(start, &mut tail)?;
    let Some(lines) = tail.get(..read).and_then(|tail| tail.strip_suffix(b"\n")) else { return Ok(false) };
    let last = match memchr::memrchr(b'\n', lines) {
        Some(newline) => lines.get(newline + 1..).unwrap_or_default(),
        None if start == 0 => lines,
        None => return Ok(false),
    };
    let Ok(line) = op::parse(last) else { return Ok(false) };
    let before = lines.get(..lines.len() - last.len()).unwrap_or_default();
    let write = line.write.map_or(Some(0), |len| usize::try_from(len).ok());
    let write = write.and_then(|len| before.get(before.len().checked_sub(len)?..));
    let whole = write.is_some_and(|write| memchr::memchr(0, write).is_none());
    Ok(whole && line.batch.is_none_or(|remaining| remaining == 0))
}

/// The operations of a log as callers see them, as JSON texts of arrays of about `bytes` each; none where there is no
/// such file.
///
/// # Errors
/// As [`scan`].
pub fn read(backend: &dyn StorageBackend, path: &str, bytes: usize) -> Result<(Vec<Vec<u8>>, Report)> {
    let scan = match scan_beside_writer(backend, path, 0, false) {
        Err(error) if error.is_not_found() => return Ok((Vec::new(), Report::default())),
        other => other?,
    };
    let mut pages = Pages::new(bytes);
    for operation in &scan.ops {
        pages.push(|page| operation.push_shown(page));
    }
    Ok((pages.finish(), scan.report))
}

/// Takes the last operation off a log, durably; false where there is none.
///
/// # Errors
/// As [`scan`], or `Io`.
pub fn take_last(backend: &dyn StorageBackend, path: &str) -> Result<bool> {
    let file = match backend.open(path) {
        Err(error) if error.is_not_found() => return Ok(false),
        other => other?,
    };
    let mut scan = scan(backend, path, true)?;
    scan.repair(backend)?;
    if scan.ops.is_empty() {
        return Ok(false);
    }
    let marks = scan.ops.iter().zip(1..).map(|(op, seq)| LineMark { seq, offset: op.from, batch: op.batch });
    let mut log = Log::new(path.to_owned(), file, scan.end, marks.collect());
    log.take_last(true).map_err(|failed| {
        let (AppendError::Write(error) | AppendError::Sync(error)) = failed;
        error
    })?;
    Ok(true)
}

/// Makes an empty log under a name that was free; `agent`: a log of that agent's.
///
/// # Errors
/// `Io`.
pub fn create_log(backend: &dyn StorageBackend, agent: Option<&str>) -> Result<String> {
    let (path, mut file) = create_numbered(backend, |number| match agent {
        Some(agent) => names::agent_ops(agent, number),
        None => names::ops(number),
    })?;
    file.sync()?;
    backend.sync_dir(names::OPS)?;
    Ok(path)
}

/// Splits pages (JSON texts of arrays `[id, value, …]`) into canonical ids and values.
fn records_of(pages: &[impl AsRef<[u8]>]) -> Vec<(Text, Text)> {
    let mut records = Vec::new();
    for page in pages {
        let items = json::elements(page.as_ref()).unwrap_or_default();
        for pair in items.chunks_exact(2) {
            if let [id, value] = pair {
                records.push((json::canonical_string(id).as_ref().into(), Text::from(*value)));
            }
        }
    }
    records
}

/// Writes a snapshot of records (JSON texts of arrays `[id, value, …]`) under a name that was free.
///
/// # Errors
/// `Io`; nothing stays then.
pub fn write_snapshot(backend: &dyn StorageBackend, version: u64, pages: &[impl AsRef<[u8]>]) -> Result<String> {
    let records = records_of(pages);
    // The name is taken first, by an empty file: another snapshot of this millisecond gets the next one.
    let (path, _) = create_numbered(backend, names::snapshot)?;
    let mut left = records.iter();
    let written = create_temporary(backend, &path).and_then(|(temporary, mut file)| {
        let timestamp = clock::iso(clock::now_ms());
        let header = snapshot::Header::new(version, records.len() as u64);
        snapshot::write(&mut *file, &header, &timestamp, |out| {
            let Some((id, value)) = left.next() else { return Ok(false) };
            snapshot::push_record(id, value, out);
            Ok(true)
        })
        .and_then(|()| backend.rename(&temporary, &path))
        .inspect_err(|_| discard(backend, &temporary))?;
        backend.sync_dir(names::SNAPSHOTS)
    });
    written.inspect_err(|_| discard(backend, &path)).map(|()| path)
}

/// Adds records (JSON texts of arrays `[id, value, …]`) to an archive segment, which need not exist.
///
/// # Errors
/// `Invalid` for a name that is no plain file name, `Corrupt` where the segment is damaged, `Io`; the segment is
/// unchanged then.
pub fn write_segment(backend: &dyn StorageBackend, period: &str, pages: &[impl AsRef<[u8]>]) -> Result<String> {
    if !names::is_plain(period) || period.len() > 200 {
        let shown = String::from_utf8_lossy(&json::quote(period)).into_owned();
        let message = format!("Argument 'period' must be a plain file name of at most 200 bytes, got {shown}");
        return Err(Error::Invalid { message });
    }
    let path = names::archive(period);
    let mut segment = match read_all(backend, &path) {
        Ok(bytes) => Segment::parse(&bytes, &backend.full_path(&path))?,
        Err(error) if error.is_not_found() => Segment { version: 1, period: period.to_owned(), records: Vec::new() },
        Err(error) => return Err(error),
    };
    segment.merge(records_of(pages));
    backend::replace(backend, &path, &segment.to_bytes(&clock::iso(clock::now_ms())))?;
    Ok(path)
}

/// The records of an archive segment, as JSON texts of arrays `[id, value, …]` of about `bytes` each.
///
/// # Errors
/// `Corrupt`, `Io`.
pub fn read_segment(backend: &dyn StorageBackend, path: &str, bytes: usize) -> Result<Vec<Vec<u8>>> {
    let segment = Segment::parse(&read_all(backend, path)?, &backend.full_path(path))?;
    let mut pages = Pages::new(bytes);
    for (id, value) in &segment.records {
        pages.push_record(id, value);
    }
    Ok(pages.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::memory::MemoryBackend;

    const LOG: &str = "ops/ops-1.jsonl";

    fn set(id: &str) -> String {
        format!(r#"{{"ts":"t","op":"set","id":"{id}","prev":null,"data":1}}"#)
    }

    fn add(disk: &MemoryBackend, ids: &[&str]) -> Result<Report> {
        let operations: Vec<_> = ids.iter().map(|id| set(id)).collect();
        append(disk, LOG, &operations.iter().map(|text| text.as_bytes()).collect::<Vec<_>>())
    }

    fn ids(disk: &MemoryBackend) -> Vec<String> {
        let scan = scan(disk, LOG, false).unwrap();
        scan.ops.iter().map(|op| json::unquote(&op.id)).collect()
    }

    #[test]
    fn a_crash_leaves_all_operations_of_a_call_or_none() {
        for freeze in 1..=2 {
            let disk = MemoryBackend::new();
            add(&disk, &["a"]).unwrap();
            disk.freeze_at_sync(freeze);
            let appended = add(&disk, &["b", "c", "d"]);
            for disk in [disk.after_kill(), disk.after_power_cut()] {
                let found = ids(&disk);
                assert!(found == ["a"] || found == ["a", "b", "c", "d"], "{found:?}");
                assert!(appended.is_err() || found.len() == 4);
            }
        }
    }

    #[test]
    fn what_is_cut_off_at_the_end_is_mended_before_anything_is_appended() {
        let disk = MemoryBackend::new();
        add(&disk, &["a"]).unwrap();
        add(&disk, &["b", "c"]).unwrap();
        let whole = disk.bytes(LOG).unwrap();
        let one = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for cut in one..whole.len() - 1 {
            let disk = MemoryBackend::new();
            disk.put(LOG, &whole[..cut]);
            let report = add(&disk, &["z"]).unwrap();
            assert_eq!(ids(&disk), ["a", "z"], "{cut}");
            assert_eq!(report.cut, (cut - one) as u64);
        }
    }

    #[test]
    fn operations_are_taken_off_one_by_one_also_those_of_a_batch() {
        let disk = MemoryBackend::new();
        add(&disk, &["a"]).unwrap();
        add(&disk, &["b", "c", "d"]).unwrap();
        for left in [&["a", "b", "c"][..], &["a", "b"], &["a"], &[]] {
            assert!(take_last(&disk, LOG).unwrap());
            assert_eq!(ids(&disk), left);
        }
        assert!(!take_last(&disk, LOG).unwrap());
        assert!(!take_last(&disk, "ops/none").unwrap());
        add(&disk, &["b", "c"]).unwrap();
        assert!(take_last(&disk, LOG).unwrap());
        add(&disk, &["e"]).unwrap();
        assert_eq!(ids(&disk), ["b", "e"]);
    }

    #[test]
    fn a_failed_write_leaves_the_log_as_it_was() {
        for call in 1..8 {
            let disk = MemoryBackend::new();
            add(&disk, &["a"]).unwrap();
            disk.fail_at(call);
            if add(&disk, &["b", "c"]).is_err() {
                assert_eq!(ids(&disk), ["a"], "{call}");
                add(&disk, &["z"]).unwrap();
                assert_eq!(ids(&disk), ["a", "z"], "{call}");
            }
        }
    }

    #[test]
    fn snapshots_and_segments_get_names_of_their_own_and_are_read_back() {
        let disk = MemoryBackend::new();
        let pages = [r#"["a",1,"b",{"x":[1,2]}]"#, r#"["c","text"]"#];
        let one = write_snapshot(&disk, 3, &pages).unwrap();
        let other = write_snapshot(&disk, 3, &pages).unwrap();
        assert_ne!(one, other);
        let mut found = Vec::new();
        let snapshot = snapshot::Reader::open(&disk, &other, 0).unwrap();
        assert_eq!(*snapshot.header(), snapshot::Header::new(3, 3));
        snapshot.each(|_, id, _| found.push(json::unquote(id))).unwrap();
        assert_eq!(found, ["a", "b", "c"]);
        let path = write_segment(&disk, "s", &pages).unwrap();
        write_segment(&disk, "s", &[r#"["b",2]"#]).unwrap();
        assert_eq!(read_segment(&disk, &path, 1 << 20).unwrap(), [br#"["a",1,"b",2,"c","text"]"#]);
        assert!(matches!(write_segment(&disk, "../s", &pages), Err(Error::Invalid { .. })));
    }
}
