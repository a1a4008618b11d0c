//! `manifest.json`: which snapshot and which log are current.
//!
//! Upstream's members in upstream's order, indented by two spaces; then ours: `previous`, the generation that the
//! next checkpoint removes, and the logs that readers may still be reading. Unknown members are kept.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Counts and times; only `created` is never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Records in the snapshot.
    pub active_records: u64,
    /// Records in all archive segments.
    pub archived_records: u64,
    /// Operations in the log when this was written.
    pub ops_count: u64,
    /// ISO timestamp of the store's creation.
    pub created: String,
    /// ISO timestamp of the last checkpoint.
    pub last_checkpoint: String,
    /// Members that we do not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Files of earlier generations that are still there on purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Previous {
    /// The snapshot before the current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Snapshots before that one, of a store that agents write who know no lock: they may write a manifest once more that
    /// names one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub older: Vec<Superseded>,
    /// The log before the current one, and those superseded less than a minute before, oldest first.
    pub ops: Vec<Superseded>,
}

/// A log that another one has taken the place of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Superseded {
    /// Its path.
    pub path: String,
    /// When that was, milliseconds since 1970.
    pub since: u64,
    /// How many of its last operations the next log began with.
    pub carried: u64,
    /// How many of its first operations the next log does not hold, where more may have been appended to both since
    /// `carried` were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered: Option<u64>,
    /// True if an archive call began the next log: records left the store without an operation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub archived: bool,
}

/// The manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Schema version of the records (upstream's first manifest always says 1).
    pub version: u64,
    /// Path of the snapshot.
    pub current_snapshot: String,
    /// Path of the log.
    pub active_ops: String,
    /// Path of each agent's log, in multi-writer mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_agent_ops: Option<Map<String, Value>>,
    /// Paths of the archive segments.
    pub archive_segments: Vec<String>,
    /// Counts and times.
    pub stats: Stats,
    /// Earlier generations.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub previous: Previous,
    /// Members that we do not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Superseded {
    /// Of so many operations that were read of it: how many the next log does not hold; `None` where they are too few.
    pub fn covered_of(&self, read: usize) -> Option<usize> {
        match self.covered {
            Some(covered) => usize::try_from(covered).ok().filter(|covered| *covered <= read),
            None => read.checked_sub(usize::try_from(self.carried).ok()?),
        }
    }
}

impl Previous {
    /// The next log has taken the place of these, which go together: no others have their time.
    pub fn supersede(&mut self, logs: impl IntoIterator<Item = String>, now: u64, carried: u64) {
        let since = self.ops.last().map_or(now, |last| now.max(last.since + 1));
        self.ops.extend(logs.into_iter().map(|path| Superseded {
            path,
            since,
            carried,
            covered: None,
            archived: false,
        }));
    }
}

fn is_empty(previous: &Previous) -> bool {
    previous.snapshot.is_none() && previous.ops.is_empty() && previous.older.is_empty()
}

impl Manifest {
    /// Reads and validates; `path` is for messages.
    ///
    /// # Errors
    /// `Corrupt` with upstream's words for the field that is wrong.
    pub fn parse(bytes: &[u8], path: &str) -> Result<Self> {
        let invalid = |what: &str| Error::corrupt(path, format!("Invalid manifest: {what}"));
        let document: Value = serde_json::from_slice(&without_lone_surrogates(bytes))
            .map_err(|error| invalid(&format!("not valid JSON: {error}")))?;
        if let Some(what) = fault(&document) {
            return Err(invalid(what));
        }
        serde_json::from_value(normalised(document)).map_err(|error| invalid(&error.to_string()))
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Serialising this type cannot fail: all keys are strings.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// Paths of all logs whose operations belong to the current state.
    pub fn logs(&self) -> Vec<String> {
        match &self.active_agent_ops {
            Some(agents) => agents.values().filter_map(Value::as_str).map(str::to_owned).collect(),
            None => vec![self.active_ops.clone()],
        }
    }
}

/// JSON text in which each lone surrogate (of an agent id; Rust has no such strings) is U+FFFF and its digits: ids stay
/// different ones.
fn without_lone_surrogates(bytes: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let mut out: Vec<u8> = Vec::new();
    let (mut at, mut copied) = (0, 0);
    while let Some(&byte) = bytes.get(at) {
        if byte != b'\\' {
            at += 1;
            continue;
        }
        match (surrogate(bytes, at), surrogate(bytes, at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 12,
            (Some(unit), _) => {
                out.extend_from_slice(bytes.get(copied..at).unwrap_or_default());
                out.extend_from_slice(format!("\\uffff{unit:04x}").as_bytes());
                at += 6;
                copied = at;
            }
            (None, _) => at += 2,
        }
    }
    if copied == 0 {
        return bytes.into();
    }
    out.extend_from_slice(bytes.get(copied..).unwrap_or_default());
    out.into()
}

/// The surrogate that is escaped at a place.
fn surrogate(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let unit = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (0xd800..=0xdfff).contains(&unit).then_some(unit)
}

/// The first field that upstream's validator objects to, in its words.
fn fault(document: &Value) -> Option<&'static str> {
    let Some(object) = document.as_object() else {
        return Some("not an object");
    };
    let text = |value: Option<&Value>| value.and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    let count = |value: Option<&Value>| value.and_then(as_count).is_some();
    if object.get("version").and_then(as_count).is_none_or(|version| version < 1) {
        return Some("version must be a positive finite integer");
    }
    if !text(object.get("currentSnapshot")) {
        return Some("missing currentSnapshot");
    }
    if !text(object.get("activeOps")) {
        return Some("missing activeOps");
    }
    match object.get("archiveSegments").and_then(Value::as_array) {
        None => return Some("archiveSegments must be an array"),
        Some(segments) if !segments.iter().all(|segment| text(Some(segment))) => {
            return Some("archiveSegments entries must be non-empty strings");
        }
        Some(_) => {}
    }
    let Some(stats) = object.get("stats").and_then(Value::as_object) else {
        return Some("missing stats");
    };
    if !count(stats.get("activeRecords")) {
        return Some("stats.activeRecords must be a non-negative integer");
    }
    if !count(stats.get("archivedRecords")) {
        return Some("stats.archivedRecords must be a non-negative integer");
    }
    if !count(stats.get("opsCount")) {
        return Some("stats.opsCount must be a non-negative integer");
    }
    if !text(stats.get("created")) {
        return Some("stats.created must be a non-empty string");
    }
    if !text(stats.get("lastCheckpoint")) {
        return Some("stats.lastCheckpoint must be a non-empty string");
    }
    match object.get("activeAgentOps") {
        None => None,
        Some(Value::Object(agents)) if agents.values().all(|path| text(Some(path))) => None,
        Some(Value::Object(_)) => Some("activeAgentOps values must be non-empty strings"),
        Some(_) => Some("activeAgentOps must be an object"),
    }
}

/// A non-negative integer, also where it is spelled `1.0` or `1e3`.
fn as_count(value: &Value) -> Option<u64> {
    if let Some(exact) = value.as_u64() {
        return Some(exact);
    }
    let number = value.as_f64()?;
    (number >= 0.0 && number.fract() == 0.0 && number < 18_446_744_073_709_551_615.0).then_some(number as u64)
}

/// Spells the counts as integers, so that they deserialise, and drops a `previous` that is not ours.
fn normalised(mut document: Value) -> Value {
    let spell = |object: &mut Map<String, Value>, key: &str| {
        if let Some(count) = object.get(key).and_then(as_count) {
            object.insert(key.to_owned(), count.into());
        }
    };
    if let Some(object) = document.as_object_mut() {
        spell(object, "version");
        if let Some(stats) = object.get_mut("stats").and_then(Value::as_object_mut) {
            for key in ["activeRecords", "archivedRecords", "opsCount"] {
                spell(stats, key);
            }
        }
        if object.get("previous").is_some_and(|previous| Previous::deserialize(previous).is_err()) {
            object.remove("previous");
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = r#"{
  "version": 1,
  "currentSnapshot": "snapshots/snap-1.jsonl",
  "activeOps": "ops/ops-1.jsonl",
  "archiveSegments": [],
  "stats": {
    "activeRecords": 11,
    "archivedRecords": 0,
    "opsCount": 0,
    "created": "c",
    "lastCheckpoint": "l"
  }
}"#;

    #[test]
    fn upstreams_text_is_reproduced_and_unknown_members_are_kept() {
        let manifest = Manifest::parse(SOUND.as_bytes(), "m").unwrap();
        assert_eq!(String::from_utf8(manifest.to_bytes()).unwrap(), SOUND);
        let extended = SOUND.replacen("\"version\": 1,", "\"version\": 1, \"mine\": [1],", 1);
        let text = String::from_utf8(Manifest::parse(extended.as_bytes(), "m").unwrap().to_bytes()).unwrap();
        assert!(text.contains("\"mine\""), "{text}");
    }

    /// Found by the fuzz target `manifest`: the reader rounded the last digit, so that each rewrite moved the number on.
    #[test]
    fn unknown_numbers_are_kept_to_the_last_digit() {
        let number = format!("{}e53", "2".repeat(40));
        let extended = SOUND.replacen("\"version\": 1,", &format!("\"version\": 1, \"mine\": {number},"), 1);
        let manifest = Manifest::parse(extended.as_bytes(), "m").unwrap();
        assert_eq!(manifest.other["mine"].as_f64(), Some(number.parse::<f64>().unwrap()));
        assert_eq!(Manifest::parse(&manifest.to_bytes(), "m").unwrap(), manifest);
    }

    #[test]
    fn faults_are_named_in_upstreams_words() {
        for (from, to, what) in [
            ("\"version\": 1", "\"version\": 0", "version must be a positive finite integer"),
            ("snapshots/snap-1.jsonl", "", "missing currentSnapshot"),
            ("ops/ops-1.jsonl", "", "missing activeOps"),
            ("[]", "1", "archiveSegments must be an array"),
            ("[]", "[1]", "archiveSegments entries must be non-empty strings"),
            ("\"activeRecords\": 11", "\"activeRecords\": -1", "stats.activeRecords must be a non-negative integer"),
            ("\"created\": \"c\"", "\"created\": \"\"", "stats.created must be a non-empty string"),
            ("{\n  \"version\"", "[{\n  \"version\"", "not valid JSON"),
        ] {
            let error = Manifest::parse(SOUND.replacen(from, to, 1).as_bytes(), "m.json").unwrap_err().to_string();
            assert!(error.starts_with(&format!("Invalid manifest: {what}")) && error.contains("m.json"), "{error}");
        }
    }

    #[test]
    fn counts_may_be_spelled_as_javascript_reads_them() {
        let manifest = Manifest::parse(SOUND.replacen("11", "1.1e1", 1).as_bytes(), "m").unwrap();
        assert_eq!(manifest.stats.active_records, 11);
    }
}
