//! Archive segments: `{"version","period","timestamp","records":{id: value}}`, one document a segment.
//!
//! Ours holds one record a line; upstream reads either. `version` is the schema version of the records.

use super::{json, op::Text, snapshot};
use crate::error::{Error, Result};
use hashbrown::HashMap;

/// A segment's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Segment {
    /// Schema version of the records; upstream always says 1.
    pub version: u64,
    /// Name of the segment.
    pub period: String,
    /// Canonical id and value text, in order.
    pub records: Vec<(Text, Text)>,
}

impl Segment {
    /// Reads and validates; `path` is for messages.
    ///
    /// # Errors
    /// `Corrupt` with upstream's words for the member that is wrong.
    pub fn parse(bytes: &[u8], path: &str) -> Result<Self> {
        let invalid = |what: &str| Error::corrupt(path, format!("Invalid archive segment: {what}"));
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
        let text = |name: &[u8]| member(name).filter(|text| text.first() == Some(&b'"') && text.len() > 2);
        let Some(period) = text(b"\"period\"") else {
            return Err(invalid("period must be a non-empty string"));
        };
        if text(b"\"timestamp\"").is_none() {
            return Err(invalid("timestamp must be a non-empty string"));
        }
        let Some(records) = member(b"\"records\"").and_then(json::members) else {
            return Err(invalid("records must be an object"));
        };
        let mut segment = Segment { version, period: json::unquote(period), records: Vec::new() };
        segment.merge(snapshot::in_javascript_order(records).into_iter().map(|(id, value)| {
            let mut compact = Vec::with_capacity(value.len());
            json::push_compact(value, &mut compact);
            (json::canonical_string(id).as_ref().into(), compact.into())
        }));
        Ok(segment)
    }

    /// Adds records; one that is there already keeps its place and gets the new value.
    pub fn merge(&mut self, records: impl IntoIterator<Item = (Text, Text)>) {
        let mut places: HashMap<Text, usize> =
            self.records.iter().enumerate().map(|(place, (id, _))| (id.clone(), place)).collect();
        for (id, value) in records {
            match places.get(&id).and_then(|place| self.records.get_mut(*place)) {
                Some(record) => record.1 = value,
                None => {
                    places.insert(id.clone(), self.records.len());
                    self.records.push((id, value));
                }
            }
        }
    }

    /// The bytes of the file.
    pub fn to_bytes(&self, timestamp: &str) -> Vec<u8> {
        let mut out = format!("{{\n\"version\":{},\n\"period\":", self.version).into_bytes();
        out.extend_from_slice(&json::quote(&self.period));
        out.extend_from_slice(format!(",\n\"timestamp\":\"{timestamp}\",\n\"records\":").as_bytes());
        self.push_records(&mut out);
        out.extend_from_slice(b"\n}\n");
        out
    }

    /// Appends the records as one JSON object.
    pub fn push_records(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (place, (id, value)) in self.records.iter().enumerate() {
            out.extend_from_slice(if place == 0 { b"\n" } else { b",\n" });
            out.extend_from_slice(id);
            out.push(b':');
            out.extend_from_slice(value);
        }
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Text {
        text.as_bytes().into()
    }

    #[test]
    fn what_was_written_is_read_back_and_merging_keeps_places() {
        let mut segment = Segment { version: 2, period: "a\"b".to_owned(), records: Vec::new() };
        segment.merge([(text("\"__proto__\""), text("1")), (text("\"b\""), text("{\"x\":1e21}"))]);
        segment.merge([(text("\"__proto__\""), text("2")), (text("\"c\""), text("3"))]);
        let read = Segment::parse(&segment.to_bytes("t"), "a").unwrap();
        assert_eq!(read, segment);
        assert_eq!(
            read.records.iter().map(|(_, value)| &**value).collect::<Vec<_>>(),
            [&b"2"[..], b"{\"x\":1e21}", b"3"]
        );
    }

    #[test]
    fn faults_are_named_in_upstreams_words() {
        for (bad, what) in [
            ("[]", "not an object"),
            ("{", "not valid JSON"),
            (r#"{"version":0}"#, "version must be a positive finite integer"),
            (r#"{"version":1,"period":""}"#, "period must be a non-empty string"),
            (r#"{"version":1,"period":"p"}"#, "timestamp must be a non-empty string"),
            (r#"{"version":1,"period":"p","timestamp":"t","records":[]}"#, "records must be an object"),
        ] {
            let error = Segment::parse(bad.as_bytes(), "a").unwrap_err().to_string();
            assert!(error.starts_with(&format!("Invalid archive segment: {what}")), "{error}");
        }
    }
}
