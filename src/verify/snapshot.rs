//! Snapshots: the checksum over the file, and every line of it.

use super::{Counts, Desk, Severity};
use crate::backend::lines::{Line, Lines};
use crate::backend::{StorageBackend, read_all};
use crate::error::{Error, Result};
use crate::format::op::Text;
use crate::format::snapshot::{self, FirstLine, append, first_line, parse_record, without_crc};

/// A part of a snapshot, sound or not.
pub(crate) enum SnapshotPart<'a> {
    /// Schema version of the records, and whether a checksum vouches for it.
    Version(u64, bool),
    /// A record: its id and its value.
    Record(&'a [u8], &'a [u8]),
    /// A line that is neither, and what is wrong.
    Bad(Line<'a>, String),
    /// What is wrong with the file as a whole.
    Broken(String),
    /// All of the file agrees with its checksum.
    Checked,
}

pub(super) fn look(backend: &dyn StorageBackend, path: &str, least: u64, desk: &mut Desk<'_, '_>) -> Result<Counts> {
    let mut counts = Counts::default();
    snapshot_parts(backend, path, least, &mut |part| {
        match part {
            SnapshotPart::Version(..) => {}
            SnapshotPart::Record(..) => counts.entries += 1,
            SnapshotPart::Bad(line, what) => {
                desk.at(line.offset)?;
                desk.damage(&line, &what)?;
            }
            SnapshotPart::Broken(what) => desk.find(Severity::Damage, None, &what)?,
            SnapshotPart::Checked => counts.checked = counts.entries,
        }
        Ok(())
    })?;
    Ok(counts)
}

/// Reads a snapshot to its end, whatever is wrong with it. `least`: the number of records that one without a count of
/// its own must hold.
///
/// # Errors
/// `Io` where it cannot be read; what `each` fails with.
pub(crate) fn snapshot_parts(
    backend: &dyn StorageBackend,
    path: &str,
    least: u64,
    each: &mut dyn FnMut(SnapshotPart<'_>) -> Result<()>,
) -> Result<()> {
    let mut lines = Lines::open(backend, path, 0)?;
    let Some(line) = lines.next()? else { return each(SnapshotPart::Broken("the file is empty".to_owned())) };
    let (mut crc, mut found, mut bad) = (0, 0, 0);
    let (mut recorded, mut expected) = (None, least);
    match first_line(line.bytes) {
        FirstLine::Header(header) => {
            each(SnapshotPart::Version(header.version, header.crc.is_some()))?;
            crc = append(crc32c::crc32c(&without_crc(line.bytes)), b"\n", line.ended);
            recorded = header.crc;
            expected = header.count.unwrap_or(least);
        }
        FirstLine::Damaged(what) => {
            bad += 1;
            each(SnapshotPart::Bad(line, what))?;
        }
        FirstLine::Document if is_document(backend, path)? => return document(backend, path, least, each),
        FirstLine::Document => {
            bad += 1;
            each(SnapshotPart::Bad(line, "the header is damaged".to_owned()))?;
        }
    }
    while let Some(line) = lines.next()? {
        crc = append(crc32c::crc32c_append(crc, line.bytes), b"\n", line.ended);
        match parse_record(line.bytes) {
            Some((id, value)) => {
                found += 1;
                each(SnapshotPart::Record(&id, value))?;
            }
            None if line.is_blank() => {}
            None => {
                bad += 1;
                each(SnapshotPart::Bad(line, "this is no record".to_owned()))?;
            }
        }
    }
    if found + bad < expected {
        each(SnapshotPart::Broken(format!("{} of {expected} records are there", found + bad)))?;
    }
    match recorded {
        Some(recorded) if recorded == crc && bad == 0 => each(SnapshotPart::Checked),
        Some(_) if bad == 0 => {
            let what = "the checksum does not match: every line can be read, and at least one byte is another";
            each(SnapshotPart::Broken(what.to_owned()))
        }
        _ => Ok(()),
    }
}

/// True for the format before 0.7. Damage may make the first line of any file look like no header: records on the
/// second line tell.
fn is_document(backend: &dyn StorageBackend, path: &str) -> Result<bool> {
    let mut lines = Lines::open(backend, path, 0)?;
    lines.next()?;
    Ok(lines.next()?.is_none_or(|second| parse_record(second.bytes).is_none()))
}

fn document(
    backend: &dyn StorageBackend,
    path: &str,
    least: u64,
    each: &mut dyn FnMut(SnapshotPart<'_>) -> Result<()>,
) -> Result<()> {
    let bytes = read_all(backend, path)?;
    let mut records: Vec<(Text, Text)> = Vec::new();
    match snapshot::read_document(&bytes, "", |id, value| records.push((id, value))) {
        Ok(header) => {
            each(SnapshotPart::Version(header.version, false))?;
            for (id, value) in &records {
                each(SnapshotPart::Record(id, value))?;
            }
            let found = records.len() as u64;
            if found < least {
                each(SnapshotPart::Broken(format!("{found} of {least} records are there")))?;
            }
            Ok(())
        }
        Err(Error::Corrupt { message, .. }) => super::archive::salvage(&bytes, &message, &mut |part| match part {
            super::SegmentPart::Record(id, value) => each(SnapshotPart::Record(id, value)),
            super::SegmentPart::Bad(line, what) => each(SnapshotPart::Bad(line, what)),
            super::SegmentPart::Broken(what) => each(SnapshotPart::Broken(what)),
            super::SegmentPart::Version(version) => each(SnapshotPart::Version(version, false)),
        }),
        Err(error) => Err(error),
    }
}
