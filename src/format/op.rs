//! Operation lines of the log.
//!
//! `{"ts","op","id","prev","data"?,"agent"?,"clock"?,"encoding"?}` as upstream writes them, then our own members:
//! - `"boxed":true` where the old record is no object: upstream's readers accept only an object or null as `prev`,
//!   so it stands there as `{"value":OLD}`
//! - `"batch":N` on the lines of a batch of several operations: N more lines of it follow
//! - `"write":N` on the lines of a write of several lines: N bytes of it stand before this line. A power cut can lose a
//!   page inside of a write and keep what follows; that is no damage (see `log::recovery`)
//! - `"crc":"xxxxxxxx"`, always last: CRC-32C of the line up to this member, eight lower-case hex digits
//!
//! A line without `crc` is upstream's and holds only upstream's members.

use super::{delta, json};

pub use super::text::Text;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpKind {
    /// Creates or replaces a record.
    Set,
    /// Removes a record.
    Delete,
}

/// How `prev` stands on a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prev {
    /// A create: `null`.
    Null,
    /// The old record (or whatever stood there: another program may have written it).
    Full(Text),
    /// A reverse patch, see [`delta`].
    Delta(Text),
}

impl Prev {
    /// What a line holds for a change from `before` to `data`.
    pub fn of(before: Option<&Text>, data: Option<&Text>) -> Self {
        match (before, data) {
            (None, _) => Prev::Null,
            (Some(before), Some(data)) => match delta::create_if_smaller(before, data) {
                Some(patch) => Prev::Delta(patch.into()),
                None => Prev::Full(before.clone()),
            },
            (Some(before), None) => Prev::Full(before.clone()),
        }
    }
}

/// When an operation was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Timestamp {
    /// Milliseconds of the wall clock, written as an ISO timestamp.
    Millis(u64),
    /// JSON text of the string that stood on the line.
    Logged(Text),
}

/// Which agent wrote an operation, and its Lamport clock (multi-writer logs).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// JSON text of the agent id.
    pub agent: Option<Text>,
    /// Lamport clock.
    pub clock: Option<u64>,
}

/// An operation as it stands on a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// JSON text of the timestamp.
    pub ts: &'a [u8],
    /// What it does.
    pub kind: OpKind,
    /// Canonical JSON text of the id.
    pub id: std::borrow::Cow<'a, [u8]>,
    /// JSON text of `prev`, out of its box.
    pub prev: &'a [u8],
    /// True if `prev` is a reverse patch.
    pub delta: bool,
    /// JSON text of the new value, for `set`.
    pub data: Option<&'a [u8]>,
    /// JSON text of the agent id.
    pub agent: Option<&'a [u8]>,
    /// Lamport clock.
    pub clock: Option<u64>,
    /// How many more lines of its batch follow, on a line of a batch.
    pub batch: Option<u64>,
    /// How many bytes of its write stand before it, on a line of a write of several lines.
    pub write: Option<u64>,
    /// True if the line carries a (valid) checksum: it is ours.
    pub checked: bool,
}

const CRC_MEMBER: &[u8] = b",\"crc\":\"";
/// `,"crc":"xxxxxxxx"}`
const CRC_LEN: usize = CRC_MEMBER.len() + 8 + 2;

/// Splits the checksum member off the end of a line: the covered bytes, and what the member says.
fn split_crc(line: &[u8]) -> Option<(&[u8], u32)> {
    let (covered, tail) = line.split_at_checked(line.len().checked_sub(CRC_LEN)?)?;
    let hex = tail.strip_prefix(CRC_MEMBER)?.strip_suffix(b"\"}")?;
    Some((covered, parse_hex(hex)?))
}

/// True if a text ends as lines with a checksum do.
pub(crate) fn ends_with_crc(text: &[u8]) -> bool {
    split_crc(text).is_some()
}

/// Eight lower-case hex digits.
pub(crate) fn hex(crc: u32) -> [u8; 8] {
    let mut digits = [0; 8];
    for (shift, digit) in (0..8).rev().zip(&mut digits) {
        let nibble = (crc >> (4 * shift) & 0xf) as u8;
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    }
    digits
}

/// Eight lower-case hex digits, nothing else: a flipped bit in the case of a digit counts as damage, too.
pub(super) fn parse_hex(hex: &[u8]) -> Option<u32> {
    if hex.len() != 8 || !hex.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}

/// Reads one line (without its newline).
///
/// # Errors
/// What is wrong with it, in upstream's words where upstream has any. Format comes before checksum.
pub fn parse(line: &[u8]) -> Result<Line<'_>, String> {
    let invalid = |what: &str| Err(format!("Invalid operation: {what}"));
    if std::str::from_utf8(line).is_err() {
        return invalid("not valid UTF-8");
    }
    let Some(members) = json::members(line) else {
        return invalid(if json::is_valid(line) { "not an object" } else { "not valid JSON" });
    };
    let (mut ts, mut op, mut id, mut prev, mut data) = (None, None, None, None, None);
    let (mut agent, mut clock, mut encoding, mut batch, mut write, mut boxed) = (None, None, None, None, None, None);
    let mut foreign = false;
    let mut crc_member = false;
    for (key, value) in members {
        match key {
            b"\"ts\"" => ts = Some(value),
            b"\"op\"" => op = Some(value),
            b"\"id\"" => id = Some(value),
            b"\"prev\"" => prev = Some(value),
            b"\"data\"" => data = Some(value),
            b"\"agent\"" => agent = Some(value),
            b"\"clock\"" => clock = Some(value),
            b"\"encoding\"" => encoding = Some(value),
            b"\"batch\"" => batch = Some(value),
            b"\"write\"" => write = Some(value),
            b"\"boxed\"" => boxed = Some(value),
            b"\"crc\"" => crc_member = true,
            _ => foreign = true,
        }
    }
    let is_string = |value: &[u8]| value.len() > 2 && value.first() == Some(&b'"');
    let Some(ts) = ts.filter(|ts| is_string(ts)) else {
        return invalid("ts must be a non-empty string");
    };
    let kind = match op {
        Some(b"\"set\"") => OpKind::Set,
        Some(b"\"delete\"") => OpKind::Delete,
        _ => return invalid("op must be \"set\" or \"delete\""),
    };
    let Some(id) = id.filter(|id| is_string(id)) else {
        return invalid("id must be a non-empty string");
    };
    let Some(prev) = prev else {
        return invalid("missing prev");
    };
    if prev != b"null" && prev.first() != Some(&b'{') {
        return invalid("prev must be an object or null");
    }
    match kind {
        OpKind::Set if data.is_none_or(|data| data == b"null") => {
            return invalid("set op must have non-null data");
        }
        OpKind::Delete if prev == b"null" => return invalid("delete op must have non-null prev"),
        OpKind::Delete if data.is_some() => return invalid("delete op must not have data field"),
        OpKind::Set | OpKind::Delete => {}
    }
    let delta = match encoding {
        None | Some(b"\"full\"") => false,
        Some(b"\"delta\"") => true,
        Some(_) => return invalid("encoding must be \"full\" or \"delta\""),
    };
    if agent.is_some_and(|agent| !is_string(agent)) {
        return invalid("agent must be a non-empty string");
    }
    let clock = match clock.map(parse_count) {
        None => None,
        Some(Some(clock)) => Some(clock),
        Some(None) => return invalid("clock must be a non-negative integer"),
    };
    let checked = match split_crc(line) {
        Some((covered, crc)) if crc32c::crc32c(covered) == crc => true,
        Some(_) => return invalid("checksum mismatch"),
        None if crc_member => return invalid("checksum out of place"),
        None if foreign || batch.is_some() || write.is_some() || boxed.is_some() => {
            return invalid("members that need a checksum, and no checksum");
        }
        None => false,
    };
    let batch = match batch.map(parse_count) {
        Some(None) => return invalid("batch must be a non-negative integer"),
        other => other.flatten(),
    };
    let write = match write.map(parse_count) {
        Some(None) => return invalid("write must be a non-negative integer"),
        other => other.flatten(),
    };
    let prev = if boxed.is_some() { unbox(prev).ok_or("Invalid operation: empty box")? } else { prev };
    Ok(Line { ts, kind, id: json::canonical_string(id), prev, delta, data, agent, clock, batch, write, checked })
}

fn unbox(prev: &[u8]) -> Option<&[u8]> {
    json::members(prev)?.into_iter().find(|(key, _)| *key == b"\"value\"").map(|(_, value)| value)
}

/// A non-negative integer as JSON numbers spell it; `1e3` and `1.0` count as upstream counts them.
fn parse_count(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(exact) = text.parse::<u64>() {
        return Some(exact);
    }
    let number: f64 = text.parse().ok()?;
    // Lossless: an integral value in the range of u64.
    (number >= 0.0 && number.fract() == 0.0 && number < 18_446_744_073_709_551_615.0).then_some(number as u64)
}

/// The parts of an operation that is written or shown.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// When it was made.
    pub ts: &'a Timestamp,
    /// What it does.
    pub kind: OpKind,
    /// Canonical JSON text of the id.
    pub id: &'a [u8],
    /// How the old record stands on the line.
    pub prev: &'a Prev,
    /// The new value, for `set`.
    pub data: Option<&'a [u8]>,
    /// Agent and clock, in multi-writer logs.
    pub origin: Option<&'a Origin>,
}

impl Parts<'_> {
    /// Appends upstream's members, with the closing brace left out. `boxed` puts a `prev` that is no object in a box.
    fn push_members(&self, boxed: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"ts\":");
        match self.ts {
            Timestamp::Millis(ms) => {
                out.push(b'"');
                out.extend_from_slice(&crate::clock::iso_bytes(*ms));
                out.push(b'"');
            }
            Timestamp::Logged(text) => out.extend_from_slice(text),
        }
        out.extend_from_slice(match self.kind {
            OpKind::Set => b",\"op\":\"set\",\"id\":",
            OpKind::Delete => b",\"op\":\"delete\",\"id\":",
        });
        out.extend_from_slice(self.id);
        out.extend_from_slice(b",\"prev\":");
        match self.prev {
            Prev::Null => out.extend_from_slice(b"null"),
            Prev::Full(text) if boxed => {
                out.extend_from_slice(b"{\"value\":");
                out.extend_from_slice(text);
                out.push(b'}');
            }
            Prev::Full(text) | Prev::Delta(text) => out.extend_from_slice(text),
        }
        if let Some(data) = self.data {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(data);
        }
        if let Some(origin) = self.origin {
            if let Some(agent) = &origin.agent {
                out.extend_from_slice(b",\"agent\":");
                out.extend_from_slice(agent);
            }
            if let Some(clock) = origin.clock {
                out.extend_from_slice(b",\"clock\":");
                out.extend_from_slice(clock.to_string().as_bytes());
            }
        }
        if matches!(self.prev, Prev::Delta(_)) {
            out.extend_from_slice(b",\"encoding\":\"delta\"");
        }
    }

    /// Appends the line, newline included. `batch`: how many more lines of the same batch follow; `write`: how many
    /// bytes of the same write stand before it, where there are several lines.
    pub fn push_line(&self, batch: Option<u64>, write: Option<u64>, out: &mut Vec<u8>) {
        let start = out.len();
        let boxed = matches!(self.prev, Prev::Full(text) if text.first() != Some(&b'{'));
        self.push_members(boxed, out);
        push_end(start, boxed, batch, write, out);
    }

    /// Appends the operation as callers see it: upstream's members only, no newline.
    pub fn push_shown(&self, out: &mut Vec<u8>) {
        self.push_members(false, out);
        out.push(b'}');
    }
}

/// Appends the line of an operation that a caller wrote out (upstream's members, as [`Parts::push_shown`] gives them;
/// members that nobody knows are kept), newline included. `batch`: as for [`Parts::push_line`].
///
/// # Errors
/// What is wrong with it, as [`parse`]; then nothing is appended.
pub fn push_shown_line(
    operation: &[u8],
    batch: Option<u64>,
    write: Option<u64>,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let Some(members) = json::members(operation) else {
        return Err("Invalid operation: not an object".to_owned());
    };
    let start = out.len();
    let mut boxed = false;
    for (key, value) in members {
        if matches!(key, b"\"crc\"" | b"\"batch\"" | b"\"write\"" | b"\"boxed\"") {
            continue;
        }
        out.push(if out.len() == start { b'{' } else { b',' });
        out.extend_from_slice(key);
        out.push(b':');
        if key == b"\"prev\"" && value != b"null" && value.first() != Some(&b'{') {
            boxed = true;
            out.extend_from_slice(b"{\"value\":");
            out.extend_from_slice(value);
            out.push(b'}');
        } else {
            out.extend_from_slice(value);
        }
    }
    if out.len() == start {
        return Err("Invalid operation: ts must be a non-empty string".to_owned());
    }
    push_end(start, boxed, batch, write, out);
    let line = out.get(start..out.len() - 1).unwrap_or_default();
    if let Err(what) = parse(line) {
        out.truncate(start);
        return Err(what);
    }
    Ok(())
}

/// Appends our own members to the members of a line that begins at `start`, and ends it.
fn push_end(start: usize, boxed: bool, batch: Option<u64>, write: Option<u64>, out: &mut Vec<u8>) {
    if boxed {
        out.extend_from_slice(b",\"boxed\":true");
    }
    if let Some(remaining) = batch {
        out.extend_from_slice(b",\"batch\":");
        out.extend_from_slice(remaining.to_string().as_bytes());
    }
    if let Some(before) = write {
        out.extend_from_slice(b",\"write\":");
        out.extend_from_slice(before.to_string().as_bytes());
    }
    let crc = crc32c::crc32c(out.get(start..).unwrap_or_default());
    out.extend_from_slice(CRC_MEMBER);
    out.extend_from_slice(&hex(crc));
    out.extend_from_slice(b"\"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Text {
        text.as_bytes().into()
    }

    fn line(before: Option<&str>, data: Option<&str>, batch: Option<u64>) -> Vec<u8> {
        let (before, data) = (before.map(text), data.map(text));
        let parts = Parts {
            ts: &Timestamp::Millis(1_795_358_034_125),
            kind: if data.is_some() { OpKind::Set } else { OpKind::Delete },
            id: b"\"a\"",
            prev: &Prev::of(before.as_ref(), data.as_ref()),
            data: data.as_deref(),
            origin: None,
        };
        let mut out = Vec::new();
        parts.push_line(batch, None, &mut out);
        out
    }

    #[test]
    fn members_stand_in_upstreams_order() {
        let made = String::from_utf8(line(
            Some(r#"{"n":1,"text":"long enough"}"#),
            Some(r#"{"n":2,"text":"long enough"}"#),
            None,
        ))
        .unwrap();
        assert!(
            made.starts_with(
                r#"{"ts":"2026-11-22T14:33:54.125Z","op":"set","id":"a","prev":{"$set":{"n":1}},"data":{"n":2,"text":"long enough"},"encoding":"delta","crc":""#
            ),
            "{made}"
        );
        assert!(made.ends_with("\"}\n"));
    }

    #[test]
    fn what_was_written_is_read_back() {
        for (before, data, batch) in [
            (None, Some("{}"), None),
            (Some("[1,2]"), Some("3"), Some(7)),
            (Some("\"text\""), None, Some(0)),
            (Some(r#"{"crc":"00000000"}"#), None, None),
        ] {
            let made = line(before, data, batch);
            let read = parse(made.strip_suffix(b"\n").unwrap()).unwrap();
            assert!(read.checked);
            assert_eq!(read.batch, batch);
            assert_eq!(read.data, data.map(str::as_bytes));
            assert_eq!(read.prev, before.unwrap_or("null").as_bytes());
        }
    }

    #[test]
    fn what_is_shown_makes_the_same_line() {
        for (before, data, batch) in
            [(None, Some("{}"), None), (Some("[1,2]"), Some("3"), Some(7)), (Some("{}"), None, Some(0))]
        {
            let (old, new) = (before.map(text), data.map(text));
            let parts = Parts {
                ts: &Timestamp::Millis(1_795_358_034_125),
                kind: if data.is_some() { OpKind::Set } else { OpKind::Delete },
                id: b"\"a\"",
                prev: &Prev::of(old.as_ref(), new.as_ref()),
                data: new.as_deref(),
                origin: None,
            };
            let (mut shown, mut made) = (Vec::new(), Vec::new());
            parts.push_shown(&mut shown);
            push_shown_line(&shown, batch, None, &mut made).unwrap();
            assert_eq!(made, line(before, data, batch));
        }
        for bad in ["[]", "{}", r#"{"ts":"t","op":"set","id":"a","prev":null}"#] {
            let mut made = b"before".to_vec();
            assert!(push_shown_line(bad.as_bytes(), None, None, &mut made).is_err());
            assert_eq!(made, b"before");
        }
        let mut made = Vec::new();
        let foreign = br#"{"ts":"t","op":"set","id":"a","prev":null,"data":1,"x":2,"crc":"0","batch":9,"boxed":true}"#;
        push_shown_line(foreign, None, None, &mut made).unwrap();
        assert!(made.starts_with(br#"{"ts":"t","op":"set","id":"a","prev":null,"data":1,"x":2,"crc":""#));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for made in [line(Some("[1]"), Some(r#"{"crc":"12345678"}"#), Some(3)), line(None, Some("{\"a\":\"é\"}"), None)]
        {
            let made = made.strip_suffix(b"\n").unwrap();
            for at in 0..made.len() {
                for bit in 0..8 {
                    let mut damaged = made.to_vec();
                    damaged[at] ^= 1 << bit;
                    // A newline in the middle makes two lines of it, each of which must be invalid.
                    assert!(
                        damaged.split(|byte| *byte == b'\n').all(|part| parse(part).is_err()),
                        "byte {at} bit {bit}"
                    );
                }
            }
        }
    }

    #[test]
    fn lines_of_upstream_need_no_checksum_but_may_hold_nothing_else() {
        let plain = br#"{"ts":"t","op":"set","id":"a","prev":null,"data":1}"#;
        assert!(!parse(plain).unwrap().checked);
        for (bad, what) in [
            (&br#"{"ts":"t","op":"set","id":"a","prev":null,"data":1,"x":1}"#[..], "checksum"),
            (br#"{"ts":"t","op":"set","id":"a","prev":null,"data":1,"batch":1}"#, "checksum"),
            (br#"{"ts":"t","op":"set","id":"a","prev":null,"data":1,"crc":"0"}"#, "checksum"),
            (br#"{"ts":"t","op":"put","id":"a","prev":null}"#, "op must be"),
            (br#"{"ts":"","op":"set","id":"a","prev":null,"data":1}"#, "ts must be"),
            (br#"{"ts":"t","op":"set","id":"","prev":null,"data":1}"#, "id must be"),
            (br#"{"ts":"t","op":"set","id":"a","data":1}"#, "missing prev"),
            (br#"{"ts":"t","op":"set","id":"a","prev":[],"data":1}"#, "prev must be"),
            (br#"{"ts":"t","op":"set","id":"a","prev":null,"data":null}"#, "non-null data"),
            (br#"{"ts":"t","op":"delete","id":"a","prev":null}"#, "non-null prev"),
            (br#"{"ts":"t","op":"delete","id":"a","prev":{},"data":1}"#, "must not have data"),
            (br#"{"ts":"t","op":"set","id":"a","prev":null,"data":1,"clock":-1}"#, "clock"),
            (br#"{"ts":"t","op":"set","id":"a","prev":null,"data":1,"agent":""}"#, "agent"),
            (br#"{"ts":"t","op":"set","id":"a","prev":null,"data":1,"encoding":"x"}"#, "encoding"),
            (b"[]", "not an object"),
            (b"{\"ts\":", "not valid JSON"),
            (b"{\"ts\":\"\xff\"}", "UTF-8"),
        ] {
            let message = parse(bad).unwrap_err();
            assert!(message.starts_with("Invalid operation: ") && message.contains(what), "{message}");
        }
    }

    #[test]
    fn clocks_may_be_spelled_as_javascript_reads_them() {
        let with = |clock: &str| format!(r#"{{"ts":"t","op":"set","id":"a","prev":null,"data":1,"clock":{clock}}}"#);
        assert_eq!(parse(with("1e3").as_bytes()).unwrap().clock, Some(1000));
        assert!(parse(with("1.5").as_bytes()).is_err());
        assert!(parse(with("\"1\"").as_bytes()).is_err());
    }
}
