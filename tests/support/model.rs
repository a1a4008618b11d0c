//! A store as plainly as it can be written: a list of records, and a list of operations that each remember the whole
//! list before them.

use super::quoted;
use opslog_native::store::Value;
use std::collections::BTreeMap;

/// A change of one record: its id and, unless it is deleted, its new value; both JSON texts.
pub type Change = (String, Option<String>);
pub type Records = Vec<(String, String)>;
/// Records of each archive segment, by its path.
pub type Archives = BTreeMap<String, Records>;

/// A call.
#[derive(Debug, Clone)]
pub enum Step {
    Change(Change),
    /// A batch, kept or given up.
    Batch(Vec<Change>, bool),
    Undo,
    Compact,
    Archive(Vec<String>, String),
    Flush(bool),
    Close,
}

pub fn set(id: &str, value: &str) -> Step {
    Step::Change(put(id, value))
}

pub fn delete(id: &str) -> Step {
    Step::Change(gone(id))
}

pub fn put(id: &str, value: &str) -> Change {
    (quoted(id), Some(value.to_owned()))
}

pub fn gone(id: &str) -> Change {
    (quoted(id), None)
}

pub fn archive(ids: &[&str], segment: &str) -> Step {
    Step::Archive(ids.iter().map(|id| quoted(id)).collect(), segment.to_owned())
}

/// An operation, and the records before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    pub shown: String,
    before: Records,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    pub records: Records,
    /// All operations since the records were last changed otherwise.
    pub log: Vec<Operation>,
    /// Where in `log` the operations since the last checkpoint begin.
    pub start: usize,
    pub archives: Archives,
    /// Checkpoint after so many operations.
    pub threshold: Option<u64>,
    /// Records at the last checkpoint.
    pub checkpointed: u64,
}

impl Model {
    pub fn new(threshold: Option<u64>) -> Self {
        Model { threshold, ..Model::default() }
    }

    pub fn get(&self, id: &str) -> Option<&String> {
        self.records.iter().find(|(known, _)| known == id).map(|(_, value)| value)
    }

    /// Operations since the last checkpoint, as callers see them.
    pub fn history(&self) -> Vec<String> {
        self.log[self.start..].iter().map(|op| op.shown.clone()).collect()
    }

    /// What a step does and answers; `None` where it is refused and does nothing.
    pub fn apply(&mut self, step: &Step) -> Option<Value> {
        match step {
            Step::Change(change) => {
                self.change(change)?;
                self.checkpoint_if_due();
                Some(Value::None)
            }
            Step::Batch(changes, keep) => {
                let before = self.clone();
                let possible = changes.iter().all(|change| self.change(change).is_some());
                if !possible || !keep {
                    *self = before;
                } else if !changes.is_empty() {
                    self.checkpoint_if_due();
                }
                possible.then_some(Value::None)
            }
            Step::Undo if self.start == self.log.len() => Some(Value::Bool(false)),
            Step::Undo => {
                self.records = self.log.pop()?.before;
                Some(Value::Bool(true))
            }
            Step::Compact => {
                self.checkpoint();
                Some(Value::None)
            }
            Step::Archive(ids, segment) => {
                let mut count = 0;
                let target = self.archives.entry(format!("archive/archive-{segment}.json")).or_default();
                for id in ids {
                    let Some(at) = self.records.iter().position(|(known, _)| known == id) else { continue };
                    let (id, value) = self.records.remove(at);
                    match target.iter_mut().find(|(known, _)| *known == id) {
                        Some(record) => record.1 = value,
                        None => target.push((id, value)),
                    }
                    count += 1;
                }
                self.log.clear();
                self.checkpoint();
                Some(Value::Count(count))
            }
            Step::Flush(_) => Some(Value::None),
            Step::Close => {
                if self.start < self.log.len() {
                    self.checkpoint();
                }
                Some(Value::None)
            }
        }
    }

    pub fn checkpoint(&mut self) {
        self.start = self.log.len();
        self.checkpointed = self.records.len() as u64;
    }

    /// Goes on with what a restart left of the history: its checkpoints need not all have been made. `None` if these
    /// are not the last operations.
    pub fn restarted(mut self, history: &[String], checkpointed: u64) -> Option<Self> {
        self.log.drain(..self.log.len().checked_sub(history.len())?);
        self.start = 0;
        self.checkpointed = checkpointed;
        (self.history() == history).then_some(self)
    }

    pub fn since_checkpoint(&self) -> u64 {
        (self.log.len() - self.start) as u64
    }

    fn checkpoint_if_due(&mut self) {
        if self.threshold.is_some_and(|threshold| self.since_checkpoint() >= threshold) {
            self.checkpoint();
        }
    }

    fn change(&mut self, (id, value): &Change) -> Option<()> {
        let before = self.records.clone();
        let at = self.records.iter().position(|(known, _)| known == id);
        let old = at.map(|at| self.records[at].1.clone());
        match (at, value) {
            (Some(at), Some(value)) => self.records[at].1.clone_from(value),
            (None, Some(value)) => self.records.push((id.clone(), value.clone())),
            (Some(at), None) => drop(self.records.remove(at)),
            (None, None) => return None,
        }
        self.log.push(Operation { shown: shown(id, old.as_deref(), value.as_deref()), before });
        Some(())
    }
}

/// An operation as upstream shows it, without its timestamp.
fn shown(id: &str, old: Option<&str>, new: Option<&str>) -> String {
    let patch = old.zip(new).and_then(|(old, new)| smaller_patch(old, new));
    let prev = patch.as_deref().or(old).unwrap_or("null");
    let (op, data) = match new {
        Some(new) => ("set", format!(",\"data\":{new}")),
        None => ("delete", String::new()),
    };
    let encoding = if patch.is_some() { ",\"encoding\":\"delta\"" } else { "" };
    format!("{{\"op\":\"{op}\",\"id\":{id},\"prev\":{prev}{data}{encoding}}}")
}

/// Upstream's rule: a reverse patch over top-level members, where its text is shorter (in UTF-16 units) than the old
/// record's.
fn smaller_patch(old: &str, new: &str) -> Option<String> {
    let (before, after) = (members(old)?, members(new)?);
    let mut patch = serde_json::Map::new();
    let set: serde_json::Map<_, _> = before
        .iter()
        .filter(|(key, value)| after.get(*key) != Some(value))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let unset: Vec<_> = after.keys().filter(|key| !before.contains_key(*key)).cloned().collect();
    if !set.is_empty() {
        patch.insert("$set".into(), set.into());
    }
    if !unset.is_empty() {
        patch.insert("$unset".into(), unset.into());
    }
    let text = serde_json::to_string(&patch).unwrap();
    (!patch.is_empty() && text.encode_utf16().count() < old.encode_utf16().count()).then_some(text)
}

fn members(text: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    match serde_json::from_str(text).unwrap() {
        serde_json::Value::Object(members) => Some(members),
        serde_json::Value::Array(values) => {
            Some(values.into_iter().enumerate().map(|(i, value)| (i.to_string(), value)).collect())
        }
        _ => None,
    }
}
