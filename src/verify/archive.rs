//! Archive segments. They carry no checksum: what can be told is whether they can be read.
//!
//! Ours hold one record a line and are read line by line; upstream's, indented or on one line, are read whole. From a
//! damaged document records are taken as far as they can be told apart: those before the damage, and in an indented one
//! those after it.

use super::{Counts, Desk, Severity};
use crate::backend::lines::{Line, Lines};
use crate::backend::{StorageBackend, read_all};
use crate::error::{Error, Result};
use crate::format::archive::Segment;
use crate::format::json;

/// A part of a document with records, sound or not.
pub(crate) enum SegmentPart<'a> {
    /// Schema version of the records.
    Version(u64),
    /// A record: its id and its value.
    Record(&'a [u8], &'a [u8]),
    /// A place that cannot be read, and what is wrong.
    Bad(Line<'a>, String),
    /// What is wrong with the file as a whole.
    Broken(String),
}

type Each<'a> = dyn FnMut(SegmentPart<'_>) -> Result<()> + 'a;

pub(super) fn look(backend: &dyn StorageBackend, path: &str, desk: &mut Desk<'_, '_>) -> Result<Counts> {
    let mut counts = Counts::default();
    segment_parts(backend, path, &mut |part| match part {
        SegmentPart::Version(_) => Ok(()),
        SegmentPart::Record(..) => {
            counts.entries += 1;
            Ok(())
        }
        SegmentPart::Bad(line, what) => desk.damage(&line, &what),
        SegmentPart::Broken(what) => desk.find(Severity::Damage, None, &what),
    })?;
    Ok(counts)
}

/// Reads an archive segment to its end, whatever is wrong with it.
///
/// # Errors
/// `Io` where it cannot be read; what `each` fails with.
pub(crate) fn segment_parts(backend: &dyn StorageBackend, path: &str, each: &mut Each<'_>) -> Result<()> {
    let mut lines = Lines::open(backend, path, 0)?;
    let ours = lines.next()?.is_some_and(|first| first.bytes == b"{" && first.ended)
        && lines.next()?.is_some_and(|second| !second.bytes.starts_with(b" "));
    if ours { by_line(backend, path, each) } else { whole(&read_all(backend, path)?, each) }
}

/// Where a segment of ours is expected to go on.
#[derive(PartialEq)]
enum Next {
    Head(usize),
    Record,
    End,
    Nothing,
}

/// The lines before the records.
const HEAD: [&[u8]; 5] = [b"{", b"\"version\":", b"\"period\":", b"\"timestamp\":", b"\"records\":{"];

fn by_line(backend: &dyn StorageBackend, path: &str, each: &mut Each<'_>) -> Result<()> {
    let mut lines = Lines::open(backend, path, 0)?;
    let mut next = Next::Head(0);
    while let Some(line) = lines.next()? {
        let bytes = if std::str::from_utf8(line.bytes).is_ok() { line.bytes } else { b"" };
        next = match next {
            Next::Head(at) => {
                match head_line(at, bytes) {
                    Some(Some(version)) => each(SegmentPart::Version(version))?,
                    Some(None) => {}
                    None => each(SegmentPart::Bad(line, "the head of the segment is damaged".to_owned()))?,
                }
                match at + 1 {
                    end if end < HEAD.len() => Next::Head(end),
                    _ if bytes == b"\"records\":{}" => Next::End,
                    _ => Next::Record,
                }
            }
            Next::Record => match record_line(bytes) {
                Some((id, value, last)) => {
                    each(SegmentPart::Record(&json::canonical_string(id), value))?;
                    if last { Next::End } else { Next::Record }
                }
                None => {
                    let last = bytes == b"}";
                    each(SegmentPart::Bad(line, "this is no record".to_owned()))?;
                    if last { Next::Nothing } else { Next::Record }
                }
            },
            Next::End if bytes == b"}" => Next::Nothing,
            // A comma that became a brace: what follows are records all the same.
            Next::End => match record_line(bytes) {
                Some((id, value, last)) => {
                    each(SegmentPart::Bad(line, "the line before this one does not go on to it".to_owned()))?;
                    each(SegmentPart::Record(&json::canonical_string(id), value))?;
                    if last { Next::End } else { Next::Record }
                }
                None => {
                    each(SegmentPart::Bad(line, "the segment does not end here".to_owned()))?;
                    Next::Record
                }
            },
            Next::Nothing if line.is_blank() => Next::Nothing,
            Next::Nothing => {
                each(SegmentPart::Bad(line, "there is text behind the end of the segment".to_owned()))?;
                Next::Nothing
            }
        };
    }
    if next == Next::Nothing {
        Ok(())
    } else {
        each(SegmentPart::Broken("the end of the segment is missing".to_owned()))
    }
}

/// A line of the head: `None` where it is damaged, and the version where it is the one that says it.
fn head_line(at: usize, line: &[u8]) -> Option<Option<u64>> {
    let rest = line.strip_prefix(*HEAD.get(at)?)?;
    let text = |rest: &[u8]| rest.len() > 3 && json::string_end(rest, 0) == rest.len().checked_sub(1);
    let value = rest.strip_suffix(b",").unwrap_or_default();
    match at {
        0 => rest.is_empty().then_some(None),
        1 => std::str::from_utf8(value).ok()?.parse().ok().filter(|version| *version > 0).map(Some),
        4 => (rest.is_empty() || rest == b"}").then_some(None),
        _ => (rest.ends_with(b",") && text(rest)).then_some(None),
    }
}

/// Id and value of a record, and whether it is the last one.
fn record_line(line: &[u8]) -> Option<(&[u8], &[u8], bool)> {
    let (id, rest) = line.split_at_checked(json::string_end(line, 0)?)?;
    let rest = rest.strip_prefix(b":")?;
    let (value, end) = rest.split_at_checked(json::value_end(rest, 0)?)?;
    match end {
        b"," => Some((id, value, false)),
        b"}" => Some((id, value, true)),
        _ => None,
    }
}

fn whole(bytes: &[u8], each: &mut Each<'_>) -> Result<()> {
    match Segment::parse(bytes, "") {
        Ok(segment) => {
            each(SegmentPart::Version(segment.version))?;
            for (id, value) in &segment.records {
                each(SegmentPart::Record(id, value))?;
            }
            Ok(())
        }
        Err(Error::Corrupt { message, .. }) => salvage(bytes, &message, each),
        Err(error) => Err(error),
    }
}

/// Takes the records out of a damaged document `{…, "records": {…}}`. `message` says what is wrong where no place can be
/// told.
pub(super) fn salvage(bytes: &[u8], message: &str, each: &mut Each<'_>) -> Result<()> {
    let version = memchr::memmem::find(bytes, b"\"version\":").and_then(|at| {
        let rest = bytes.get(at + b"\"version\":".len()..)?.trim_ascii_start();
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()
    });
    if let Some(version) = version {
        each(SegmentPart::Version(version))?;
    }
    let Some(records) = memchr::memmem::find(bytes, b"\"records\":") else {
        return each(SegmentPart::Broken(format!("{}; no records can be told apart", plain(message))));
    };
    let start = json::skip_space(bytes, records + b"\"records\":".len());
    let mut at = json::skip_space(bytes, start + 1);
    let mut told = false;
    while bytes.get(at).is_some_and(|byte| *byte != b'}') {
        if let Some((id, value, end)) = member(bytes, at) {
            each(SegmentPart::Record(&json::canonical_string(id), value))?;
            at = end;
            continue;
        }
        told = true;
        each(SegmentPart::Bad(line_at(bytes, at), "this record cannot be read".to_owned()))?;
        // Records of an indented document begin with four spaces, and no line within one does.
        match memchr::memmem::find(bytes.get(at..).unwrap_or_default(), b"\n    \"") {
            Some(next) => at += next + b"\n    ".len(),
            None => break,
        }
    }
    if told { Ok(()) } else { each(SegmentPart::Broken(plain(message).to_owned())) }
}

fn plain(message: &str) -> &str {
    message.split_once(": ").map_or(message, |(_, what)| what)
}

/// The member that begins at a place, and where the next one does.
fn member(bytes: &[u8], at: usize) -> Option<(&[u8], &[u8], usize)> {
    let key_end = json::string_end(bytes, at)?;
    let colon = json::skip_space(bytes, key_end);
    let from = json::skip_space(bytes, colon + 1);
    let end = json::value_end(bytes, from)?;
    let (key, value) = (bytes.get(at..key_end)?, bytes.get(from..end)?);
    let sound =
        bytes.get(colon) == Some(&b':') && std::str::from_utf8(key).is_ok() && std::str::from_utf8(value).is_ok();
    let after = json::skip_space(bytes, end);
    let next = match bytes.get(after)? {
        b',' => json::skip_space(bytes, after + 1),
        b'}' => after,
        _ => return None,
    };
    sound.then_some((key, value, next))
}

/// The line in which a place lies.
fn line_at(bytes: &[u8], at: usize) -> Line<'_> {
    let before = bytes.get(..at).unwrap_or(bytes);
    let start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
    let rest = bytes.get(start..).unwrap_or_default();
    let len = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    let number = memchr::memchr_iter(b'\n', before).count() as u64 + 1;
    Line {
        bytes: rest.get(..len).unwrap_or_default(),
        offset: start as u64,
        number,
        ended: len < rest.len(),
        room: 0,
        torn: false,
    }
}
