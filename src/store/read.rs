//! Reading: no I/O, and every call sees what was called before it.

use super::Store;
use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::format::op::Text;
use crate::format::snapshot;
use crate::state::{Op, Position, Record, State};
use std::sync::Arc;

/// A part of the records, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// JSON text of an array: the ids.
    pub ids: Vec<u8>,
    /// JSON text of an array: their values. Apart from the ids, for a JavaScript engine that has just read a record of
    /// the same members reads the next one faster.
    pub values: Vec<u8>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Position>,
}

/// Counts of a store.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Records.
    pub active_records: u64,
    /// Operations since the last checkpoint.
    pub ops_count: u64,
    /// Archive segments.
    pub archive_segments: u64,
    /// Why the last automatic checkpoint failed, until one succeeds.
    pub checkpoint_error: Option<Error>,
}

impl Store {
    /// The value of a record.
    pub fn get(&self, id: &[u8]) -> Option<Text> {
        self.shared.inner().state.records.get(id).map(Record::value_text)
    }

    /// True if there is such a record.
    pub fn has(&self, id: &[u8]) -> bool {
        self.shared.inner().state.records.position(id).is_some()
    }

    /// Number of records.
    pub fn count(&self) -> u64 {
        self.shared.inner().state.records.len() as u64
    }

    /// Records from a position on, about `bytes` of them.
    pub fn page(&self, start: Position, bytes: usize) -> Page {
        page(&self.shared.inner().state, start, bytes)
    }

    /// Operations since the last checkpoint, from the `start`th on, as a JSON array of about `bytes`, with the index
    /// of the one that follows; of one record, if `id` is given.
    pub fn operations(&self, id: Option<&[u8]>, start: u64, bytes: usize) -> (Vec<u8>, Option<u64>) {
        let inner = self.shared.inner();
        let mut json = vec![b'['];
        let first = usize::try_from(start).unwrap_or(usize::MAX);
        for (index, op) in (start..).zip(inner.state.history.iter().skip(first)) {
            if id.is_some_and(|id| *id != *op.id) {
                continue;
            }
            if json.len() > 1 {
                if json.len() > bytes {
                    json.push(b']');
                    return (json, Some(index));
                }
                json.push(b',');
            }
            op.push_shown(&mut json);
        }
        json.push(b']');
        (json, None)
    }

    /// The operations since the last checkpoint.
    pub fn history(&self) -> Vec<Arc<Op>> {
        self.shared.inner().state.history.iter().cloned().collect()
    }

    /// Opens the current snapshot for reading record by record.
    ///
    /// # Errors
    /// As [`snapshot::Reader::open`].
    pub fn snapshot_reader(&self) -> Result<snapshot::Reader> {
        loop {
            let manifest = self.manifest();
            match snapshot::Reader::open(&*self.shared.backend, &manifest.current_snapshot, 0) {
                // Another checkpoint has removed it since.
                Err(error) if error.is_not_found() && self.manifest().current_snapshot != manifest.current_snapshot => {
                }
                other => return other,
            }
        }
    }

    /// Counts.
    pub fn stats(&self) -> Stats {
        let inner = self.shared.inner();
        Stats {
            active_records: inner.state.records.len() as u64,
            ops_count: inner.state.history.len() as u64,
            archive_segments: inner.manifest.archive_segments.len() as u64,
            checkpoint_error: inner.checkpoint_error.clone(),
        }
    }

    /// The manifest that is current on disk.
    pub fn manifest(&self) -> Arc<Manifest> {
        self.shared.inner().manifest.clone()
    }
}

/// Records from a position on, about `bytes` of them.
pub(super) fn page(state: &State, start: Position, bytes: usize) -> Page {
    let (mut ids, mut values, mut next) = (vec![b'['], Vec::with_capacity(bytes.min(1 << 20)), None);
    values.push(b'[');
    for (position, record) in state.records.iter_from(start) {
        let (id, value) = (record.id(), record.value());
        if values.len() > 1 {
            if ids.len() + values.len() + id.len() + value.len() > bytes {
                next = Some(position);
                break;
            }
            ids.push(b',');
            values.push(b',');
        }
        ids.extend_from_slice(id);
        values.extend_from_slice(value);
    }
    ids.push(b']');
    values.push(b']');
    Page { ids, values, next }
}
