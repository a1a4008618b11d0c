//! Snapshots: all records at one moment.
//!
//! `{"version","timestamp","count","clock"?,"crc"}`, then one `{"id","data"}` a line. `count` is the number of record
//! lines, `clock` the greatest Lamport clock that a store of several agents had seen.
//! `crc` is the CRC-32C of the whole file with the eight digits of `crc` taken as zeros; it is filled in before the
//! file gets its name. A header without `crc` is upstream's and holds `version` and `timestamp` only.
//! Before upstream 0.7 a snapshot was one JSON document, `{"version","timestamp","records":{…}}`, on one line or
//! indented: told apart by content and read only.

use super::json;
use super::op::{Text, hex, parse_hex};
use super::snapshot_output;
use crate::backend::lines::{Line, Lines};
use crate::backend::{StorageBackend, StorageFile, read_all};
use crate::error::{Error, Result};
use std::borrow::Cow;

const NO_CRC: &str = "00000000";

/// What a snapshot says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Schema version of the records.
    pub version: u64,
    /// Number of records, where the header says it.
    pub count: Option<u64>,
    /// The greatest Lamport clock that was seen, where the header says it.
    pub clock: Option<u64>,
}

impl Header {
    /// What is known before a snapshot is written.
    pub fn new(version: u64, count: u64) -> Self {
        Header { version, count: Some(count), clock: None }
    }
}

/// Writes a snapshot and makes its bytes durable.
///
/// `next` appends whole record lines ([`push_record`]) to the buffer and says whether there may be more.
///
/// # Errors
/// `Io` of the file, or what `next` fails with.
pub fn write(
    file: &mut dyn StorageFile,
    header: &Header,
    timestamp: &str,
    mut next: impl FnMut(&mut Vec<u8>) -> Result<bool>,
) -> Result<()> {
    let member = |name, value: Option<u64>| value.map(|value| format!(",\"{name}\":{value}")).unwrap_or_default();
    let (count, clock) = (member("count", header.count), member("clock", header.clock));
    let version = header.version;
    let head = format!("{{\"version\":{version},\"timestamp\":\"{timestamp}\"{count}{clock},\"crc\":\"");
    let (mut first, mut crc) = (format!("{head}{NO_CRC}\"}}\n").into_bytes(), 0);
    snapshot_output::write(file, |buffer| {
        let before = buffer.len();
        buffer.append(&mut first);
        let more = next(buffer)?;
        crc = crc32c::crc32c_append(crc, buffer.get(before..).unwrap_or_default());
        Ok(more)
    })?;
    file.write(head.len() as u64, &hex(crc))?;
    file.sync()
}

/// Appends one record line. `id` and `value` are JSON texts.
pub fn push_record(id: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(id);
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(value);
    out.extend_from_slice(b"}\n");
}

/// A snapshot of any format that is read record by record, in order, ids as canonical texts: in bounded memory, unless
/// it is a document of the format before 0.7.
pub struct Reader {
    header: Header,
    path: String,
    content: Content,
    found: u64,
    fallback: u64,
}

enum Content {
    Lines { lines: Lines, recorded: Option<u32>, crc: u32 },
    Document(std::vec::IntoIter<(Text, Text)>),
}

impl Reader {
    /// Opens a snapshot and reads its header. `fallback` is the least number of records that a snapshot without a count
    /// of its own must hold.
    ///
    /// # Errors
    /// `Corrupt` where a checksum, a line, the header or the number of records is wrong; `Io` where it cannot be read.
    /// What is wrong further on is told when it is reached: records may have been handed out by then.
    pub fn open(backend: &dyn StorageBackend, path: &str, fallback: u64) -> Result<Self> {
        let full = backend.full_path(path);
        let mut lines = Lines::open(backend, path, 0)?;
        let Some(line) = lines.next()? else { return Err(Error::corrupt(full, "Invalid snapshot: empty file")) };
        let (header, content) = match first_line(line.bytes) {
            FirstLine::Header(header) => {
                let crc = append(crc32c::crc32c(&without_crc(line.bytes)), b"\n", line.ended);
                let read = Header { version: header.version, count: header.count, clock: header.clock };
                (read, Content::Lines { lines, recorded: header.crc, crc })
            }
            FirstLine::Damaged(what) => return Err(at_line(&full, &what, &line)),
            FirstLine::Document => {
                let mut records = Vec::new();
                let document = read_all(backend, path)?;
                let header = read_document(&document, &full, |id, value| records.push((id, value)))?;
                (header, Content::Document(records.into_iter()))
            }
        };
        Ok(Reader { header, path: full, content, found: 0, fallback })
    }

    /// What the snapshot says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next record; `None` at the end, once everything has been found sound.
    ///
    /// # Errors
    /// As [`Reader::open`].
    #[allow(clippy::should_implement_trait, reason = "it can fail")]
    pub fn next(&mut self) -> Result<Option<(Text, Text)>> {
        let record = match &mut self.content {
            Content::Document(records) => records.next(),
            Content::Lines { lines, recorded, crc } => loop {
                let Some(line) = lines.next()? else { break None };
                if let Some((id, value)) = record_of(&line, *recorded, crc, &self.path)? {
                    break Some((id.as_ref().into(), value.into()));
                }
            },
        };
        if record.is_some() {
            self.found += 1;
        } else {
            self.check_end()?;
        }
        Ok(record)
    }

    /// Calls `each` for the records that follow, with the place of each: offset and length of its line. Records of a
    /// document of the format before 0.7 have none.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn each(mut self, mut each: impl FnMut(Option<(u64, u64)>, &[u8], &[u8])) -> Result<()> {
        match &mut self.content {
            Content::Document(records) => {
                for (id, value) in records {
                    self.found += 1;
                    each(None, &id, &value);
                }
            }
            Content::Lines { lines, recorded, crc } => {
                while let Some(line) = lines.next()? {
                    if let Some((id, value)) = record_of(&line, *recorded, crc, &self.path)? {
                        self.found += 1;
                        each(Some((line.offset, line.bytes.len() as u64)), &id, value);
                    }
                }
            }
        }
        self.check_end()
    }

    fn check_end(&self) -> Result<()> {
        if let Content::Lines { recorded: Some(recorded), crc, .. } = &self.content
            && recorded != crc
        {
            return Err(Error::corrupt(&*self.path, "Invalid snapshot: checksum mismatch"));
        }
        let expected = self.header.count.unwrap_or(self.fallback);
        if self.found < expected {
            let message = format!("Invalid snapshot: {} of {expected} records", self.found);
            return Err(Error::corrupt(&*self.path, message));
        }
        Ok(())
    }
}

/// A record's id and value.
pub type RecordOf<'a> = (Cow<'a, [u8]>, &'a [u8]);

/// The record on a line, which is added to the checksum; `None` on a blank one.
fn record_of<'a>(line: &Line<'a>, recorded: Option<u32>, crc: &mut u32, path: &str) -> Result<Option<RecordOf<'a>>> {
    // With a checksum over everything a record is split only; without one every byte is looked at.
    let record = if recorded.is_some() {
        *crc = append(crc32c::crc32c_append(*crc, line.bytes), b"\n", line.ended);
        split_record(line.bytes)
    } else {
        parse_record(line.bytes)
    };
    match record {
        None if !line.is_blank() => Err(at_line(path, "Invalid snapshot: damaged record", line)),
        record => Ok(record),
    }
}

/// A checksum over a line's end as well, where it has one.
pub(crate) fn append(crc: u32, newline: &[u8], ended: bool) -> u32 {
    if ended { crc32c::crc32c_append(crc, newline) } else { crc }
}

fn at_line(path: &str, message: &str, line: &Line<'_>) -> Error {
    Error::Corrupt {
        message: message.to_owned(),
        path: path.to_owned(),
        line: Some(line.number),
        byte: Some(line.offset),
    }
}

/// The header on the first line of a snapshot.
#[derive(Debug)]
pub(crate) struct LineHeader {
    /// Schema version of the records.
    pub(crate) version: u64,
    /// Number of records, where the header says it.
    pub(crate) count: Option<u64>,
    /// The greatest Lamport clock that was seen, where the header says it.
    pub(crate) clock: Option<u64>,
    /// Checksum of the file, where the header has one.
    pub(crate) crc: Option<u32>,
}

/// What the first line of a snapshot is.
pub(crate) enum FirstLine {
    /// The header of one record a line.
    Header(LineHeader),
    /// Not a header: the file is one document, or damaged.
    Document,
    /// A header that cannot be one that was written, and why.
    Damaged(String),
}

/// Reads the first line of a snapshot.
pub(crate) fn first_line(line: &[u8]) -> FirstLine {
    if std::str::from_utf8(line).is_err() {
        return FirstLine::Document;
    }
    let Some(members) = json::members(line) else {
        return FirstLine::Document;
    };
    let damaged = |what: &str| FirstLine::Damaged(format!("Invalid snapshot: {what}"));
    let (mut version, mut timestamp, mut count, mut clock, mut crc, mut foreign) =
        (None, None, None, None, None, false);
    for (key, value) in members {
        match key {
            b"\"records\"" => return FirstLine::Document,
            b"\"version\"" => version = Some(value),
            b"\"timestamp\"" => timestamp = Some(value),
            b"\"count\"" => count = Some(value),
            b"\"clock\"" => clock = Some(value),
            b"\"crc\"" => crc = Some(value),
            _ => foreign = true,
        }
    }
    let integer = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<u64>().ok();
    let Some(version) = version.and_then(integer).filter(|version| *version > 0) else {
        return damaged("version must be a positive finite integer");
    };
    if timestamp.is_none_or(|timestamp| timestamp.first() != Some(&b'"') || timestamp.len() < 3) {
        return damaged("timestamp must be a non-empty string");
    }
    let crc = match crc {
        None if foreign || count.is_some() || clock.is_some() => {
            return damaged("members that need a checksum, and no checksum");
        }
        None => None,
        Some(text) => match text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).and_then(parse_hex) {
            Some(crc) => Some(crc),
            None => return damaged("checksum is not eight hex digits"),
        },
    };
    FirstLine::Header(LineHeader { version, count: count.and_then(integer), clock: clock.and_then(integer), crc })
}

/// The header line with the digits of its checksum as zeros, as they were when the checksum was computed.
pub(crate) fn without_crc(line: &[u8]) -> Cow<'_, [u8]> {
    let digits_end = line.len().saturating_sub(b"\"}".len());
    let Some(start) = digits_end.checked_sub(NO_CRC.len()) else {
        return line.into();
    };
    if line.get(..start).is_none_or(|head| !head.ends_with(b"\"crc\":\"")) {
        return line.into();
    }
    let mut line = line.to_vec();
    if let Some(digits) = line.get_mut(start..digits_end) {
        digits.copy_from_slice(NO_CRC.as_bytes());
    }
    line.into()
}

/// Splits a line of the form that we write, in a file whose checksum says that we wrote it; any other is parsed.
fn split_record(line: &[u8]) -> Option<RecordOf<'_>> {
    let split = (|| {
        let rest = line.strip_prefix(b"{\"id\":")?;
        let (id, rest) = rest.split_at_checked(json::string_end(rest, 0)?)?;
        Some((id.into(), rest.strip_prefix(b",\"data\":")?.strip_suffix(b"}")?))
    })();
    split.or_else(|| parse_record(line))
}

/// Reads a record line, whoever wrote it: members may stand in any order, twice, or beside others.
pub fn parse_record(line: &[u8]) -> Option<RecordOf<'_>> {
    std::str::from_utf8(line).ok()?;
    let (mut id, mut data) = (None, None);
    let end = json::for_each_member(line, |key, value| match key {
        b"\"id\"" => id = Some(value),
        b"\"data\"" => data = Some(value),
        _ => {}
    })?;
    if json::skip_space(line, end) != line.len() {
        return None;
    }
    let id = id.filter(|id| id.first() == Some(&b'"'))?;
    // Upstream writes no `data` for a record that was set to undefined; it counts it and answers undefined.
    Some((json::canonical_string(id), data.unwrap_or(b"null")))
}

/// Reads a document of the format before 0.7.
pub(crate) fn read_document(bytes: &[u8], path: &str, mut each: impl FnMut(Text, Text)) -> Result<Header> {
    let invalid = |what: &str| Error::corrupt(path, format!("Invalid snapshot: {what}"));
    if bytes.is_empty() {
        return Err(invalid("empty file"));
    }
    if std::str::from_utf8(bytes).is_err() {
        return Err(invalid("not valid UTF-8"));
    }
    let Some(members) = json::members(bytes) else {
        return Err(invalid(if json::is_valid(bytes) { "not an object" } else { "not valid JSON" }));
    };
    let member = |name: &[u8]| members.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let version = member(b"\"version\"").and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
    let Some(version) = version.filter(|version| *version > 0) else {
        return Err(invalid("version must be a positive finite integer"));
    };
    if member(b"\"timestamp\"").is_none_or(|text| text.first() != Some(&b'"') || text.len() < 3) {
        return Err(invalid("timestamp must be a non-empty string"));
    }
    let Some(records) = member(b"\"records\"").and_then(json::members) else {
        return Err(invalid("records must be an object"));
    };
    for (id, value) in in_javascript_order(records) {
        let mut compact = Vec::with_capacity(value.len());
        json::push_compact(value, &mut compact);
        each(json::canonical_string(id).as_ref().into(), compact.into());
    }
    Ok(Header { version, count: None, clock: None })
}

/// Members as JavaScript enumerates them: array indices first, ascending, then the others as they stand.
pub(super) fn in_javascript_order(mut members: Vec<json::Member<'_>>) -> Vec<json::Member<'_>> {
    members.sort_by_key(|(key, _)| array_index(key).map_or(u64::MAX, u64::from));
    members
}

/// The array index that a key is (`"0"`, `"17"`; not `"01"`, not 2^32 - 1).
fn array_index(key: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(key.get(1..key.len().checked_sub(1)?)?).ok()?;
    let index: u32 = text.parse().ok()?;
    (index != u32::MAX && index.to_string() == text).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::memory::MemoryBackend;

    type Records = Vec<(String, String)>;

    fn read_text(bytes: &[u8], fallback: u64) -> Result<(Header, Records)> {
        let disk = MemoryBackend::new();
        disk.put("s", bytes);
        let mut records = Vec::new();
        let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        let reader = Reader::open(&disk, "s", fallback)?;
        let header = reader.header().clone();
        reader.each(|_, id, value| records.push((text(id), text(value))))?;
        Ok((header, records))
    }

    fn written(count: u64) -> Vec<u8> {
        let disk = MemoryBackend::new();
        let mut n = 0;
        let mut file = disk.create("s").unwrap();
        write(&mut *file, &Header::new(3, count), "2026-11-22T14:33:54.125Z", |out| {
            n += 1;
            push_record(format!("\"r{n}\"").as_bytes(), format!("{{\"n\":{n}}}").as_bytes(), out);
            Ok(n < count)
        })
        .unwrap();
        disk.bytes("s").unwrap()
    }

    #[test]
    fn what_was_written_is_read_back() {
        let (header, records) = read_text(&written(3), 0).unwrap();
        assert_eq!(header, Header::new(3, 3));
        assert_eq!(records.last().unwrap(), &("\"r3\"".to_owned(), "{\"n\":3}".to_owned()));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let sound = written(3);
        for at in 0..sound.len() {
            for bit in 0..8 {
                let mut damaged = sound.clone();
                damaged[at] ^= 1 << bit;
                assert!(matches!(read_text(&damaged, 0), Err(Error::Corrupt { .. })), "byte {at} bit {bit}");
            }
            assert!(matches!(read_text(&sound[..at], 0), Err(Error::Corrupt { .. })), "cut at {at}");
        }
    }

    #[test]
    fn all_formats_of_upstream_are_told_apart_by_content() {
        let lines = b"{\"version\":1,\"timestamp\":\"t\"}\n{\"id\":\"a\",\"data\":{\"x\":1}}\n{\"id\":\"\\u0062\",\"data\":2}\n";
        let single = br#"{"version":1,"timestamp":"t","records":{"b":2,"10":1,"9":0}}"#;
        let indented = b"{\n  \"version\": 1,\n  \"timestamp\": \"t\",\n  \"records\": {\n    \"a\": {\n      \"x\": 1\n    }\n  }\n}";
        let pair = |id: &str, value: &str| (format!("\"{id}\""), value.to_owned());
        assert_eq!(read_text(lines, 2).unwrap().1, [pair("a", "{\"x\":1}"), pair("b", "2")]);
        assert_eq!(read_text(single, 3).unwrap().1, [pair("9", "0"), pair("10", "1"), pair("b", "2")]);
        assert_eq!(read_text(indented, 1).unwrap().1, [pair("a", "{\"x\":1}")]);
    }

    #[test]
    fn fewer_records_than_promised_are_damage_and_more_are_not() {
        let lines = b"{\"version\":1,\"timestamp\":\"t\"}\n{\"id\":\"a\",\"data\":1}\n";
        assert!(read_text(lines, 1).is_ok());
        assert!(read_text(lines, 0).is_ok());
        assert!(matches!(read_text(lines, 2), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn a_missing_or_foreign_header_is_damage() {
        for bad in [
            &b""[..],
            b"\n",
            b"{\"id\":\"a\",\"data\":1}\n",
            b"{\"version\":1}\n",
            b"{\"version\":0,\"timestamp\":\"t\"}\n",
            b"{\"version\":1,\"timestamp\":\"t\",\"count\":0}\n",
            b"{\"version\":1,\"timestamp\":\"t\",\"x\":0}\n",
            b"{\"version\":1,\"timest",
            b"[]",
            b"{\"version\":1,\"timestamp\":\"t\"}\n{\"id\":\"a\",\"data\":",
        ] {
            let refused = read_text(bad, 0);
            assert!(matches!(refused, Err(Error::Corrupt { .. })), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
