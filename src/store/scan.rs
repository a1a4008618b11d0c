//! Handing out all records, in pieces: while the caller reads one, the next is made by a thread of its own.
//!
//! A piece shows the records as they are when it is made. What is taken back later is told later, as for records that
//! the caller read itself.

use super::{Shared, Store};
use crate::format::shapes::{Apart, Shapes};
use crate::state::{Position, Record};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A piece of the records, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Piece {
    /// JSON text of an array: the ids.
    pub ids: Vec<u8>,
    /// Their values.
    pub values: Apart,
    /// Where the next piece begins; `None` after the last.
    pub next: Option<Position>,
    /// The position that the next new record would get when the piece was made. Where it is another one at the end of a
    /// scan than at its beginning, a record may have been removed and created again meanwhile: it stands in two pieces.
    pub end: Position,
}

/// The piece that is being made.
#[derive(Debug, Default)]
pub(super) struct Ahead(Mutex<Option<(Position, usize, JoinHandle<Piece>)>>);

impl Store {
    /// Records from a position on, about `bytes` of them. Who begins at 0 goes on until there is no next one.
    pub fn piece(&self, start: Position, bytes: usize) -> Piece {
        let mut ahead = self.ahead.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What somebody else left is old.
        let made = ahead.take().filter(|(from, size, _)| start > 0 && (*from, *size) == (start, bytes));
        let made = made.and_then(|(.., thread)| thread.join().ok());
        let piece = made.unwrap_or_else(|| make(&self.shared, start, bytes));
        if let Some(next) = piece.next.filter(|_| !self.shared.inline) {
            let shared = self.shared.clone();
            let thread = std::thread::Builder::new().name("opslog-scan".to_owned());
            // Where there is no thread to be had it is made when it is asked for.
            let thread = thread.spawn(move || make(&shared, next, bytes));
            *ahead = thread.ok().map(|thread| (next, bytes, thread));
        }
        piece
    }
}

fn make(shared: &Arc<Shared>, start: Position, bytes: usize) -> Piece {
    let (mut records, mut size, mut next): (Vec<Record>, _, _) = (Vec::new(), 0, None);
    // Only taken hold of under the lock: the writer does not wait for the rest.
    let inner = shared.inner();
    let end = inner.state.records.next_position();
    for (position, record) in inner.state.records.iter_from(start) {
        size += record.id().len() + record.value().len() + 2;
        if size > bytes && !records.is_empty() {
            next = Some(position);
            break;
        }
        records.push(record.clone());
    }
    drop(inner);
    let (mut ids, mut values) = (vec![b'['], Shapes::with_capacity(size.min(bytes)));
    for record in &records {
        if ids.len() > 1 {
            ids.push(b',');
        }
        ids.extend_from_slice(record.id());
        values.push(record.value());
    }
    ids.push(b']');
    Piece { ids, values: values.finish(), next, end }
}
