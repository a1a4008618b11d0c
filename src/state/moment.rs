//! The records as they stood at one moment, while later changes go on.
//!
//! A checkpoint takes them in pieces, a short lock at a time. A change of a record that has not been taken yet keeps
//! what stood there first, so that the pieces together are the state of the moment, at the cost of what changed
//! meanwhile and not of the whole store.

use super::{Op, Position, Record, Records};
use crate::format::op::Text;
use std::collections::BTreeMap;

/// A record, or that there was none.
type Kept = Option<(Text, Text)>;

/// A record that is taken.
pub enum Taken<'a> {
    /// It stands in the state.
    Standing(&'a Record),
    /// It has changed since.
    Kept(Text, Text),
}

impl Taken<'_> {
    /// Its id and its value.
    pub fn parts(&self) -> (&[u8], &[u8]) {
        match self {
            Taken::Standing(record) => (record.id(), record.value()),
            Taken::Kept(id, value) => (id, value),
        }
    }

    /// The same, to keep.
    pub fn texts(self) -> (Text, Text) {
        match self {
            Taken::Standing(record) => record.texts(),
            Taken::Kept(id, value) => (id, value),
        }
    }
}

/// A moment that is being taken.
#[derive(Debug, Default)]
pub struct Moment {
    /// The next position to take.
    next: Position,
    /// Positions from here on were given later.
    end: Position,
    /// What stood at positions that changed since, where they are still to be taken.
    kept: BTreeMap<Position, Kept>,
}

impl Moment {
    /// The present moment.
    pub fn now(records: &Records) -> Self {
        Moment { next: 0, end: records.next_position(), kept: BTreeMap::new() }
    }

    /// Goes back before an operation. To be called with the later operations first.
    pub fn before_op(&mut self, op: &Op) {
        self.kept.insert(op.position, op.before.clone().map(|value| (op.id.clone(), value)));
    }

    /// Goes back before the undo of an operation.
    pub fn before_undo(&mut self, op: &Op) {
        self.kept.insert(op.position, op.data.clone().map(|value| (op.id.clone(), value)));
    }

    /// Goes back before records were taken out.
    pub fn before_take(&mut self, taken: &[(Position, Text, Text)]) {
        for (position, id, value) in taken {
            self.kept.insert(*position, Some((id.clone(), value.clone())));
        }
    }

    /// Number of records at the moment. To be called before the first piece is taken and before anything changes.
    pub fn count(&self, records: &Records) -> u64 {
        let (mut count, mut gone) = (records.len() as u64, 0);
        for (position, kept) in &self.kept {
            count += u64::from(kept.is_some());
            gone += u64::from(records.at(*position).is_some());
        }
        count - gone
    }

    /// Keeps what stands at a position that is about to change.
    pub(super) fn keep(&mut self, position: Position, current: impl FnOnce() -> Kept) {
        if position >= self.next && position < self.end {
            self.kept.entry(position).or_insert_with(current);
        }
    }

    /// Takes the next records, at most `limit` of them; `false` once there are no more. `each` is called with each, and says
    /// whether it takes another one now.
    pub fn take(&mut self, records: &Records, limit: usize, mut each: impl FnMut(Taken<'_>) -> bool) -> bool {
        let mut present = records.iter_from(self.next).take_while(|(position, ..)| *position < self.end).peekable();
        for _ in 0..limit {
            let kept =
                self.kept.first_key_value().map(|(position, _)| *position).filter(|position| *position < self.end);
            let taken = match (present.peek().map(|(position, ..)| *position), kept) {
                (None, None) => {
                    self.next = self.end;
                    return false;
                }
                (Some(at), kept) if kept.is_none_or(|kept| at < kept) => {
                    self.next = at + 1;
                    present.next().map(|(_, record)| Taken::Standing(record))
                }
                (at, kept) => {
                    if at == kept {
                        present.next();
                    }
                    self.next = kept.map_or(self.next, |kept| kept + 1);
                    self.kept.pop_first().and_then(|(_, record)| record).map(|(id, value)| Taken::Kept(id, value))
                }
            };
            if !taken.is_none_or(&mut each) {
                break;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use proptest::prelude::*;

    type Listed = Vec<(Vec<u8>, Vec<u8>)>;

    fn listed(records: &Records) -> Listed {
        records.iter().map(|record| (record.id().to_vec(), record.value().to_vec())).collect()
    }

    /// One random change: set, delete or undo.
    fn change(state: &mut State, step: (u8, u8), n: usize) {
        let id = [step.0];
        match step.1 {
            0..=4 => drop(state.set(&id, n.to_string().as_bytes(), 0)),
            5..=7 => drop(state.delete(&id, 0)),
            _ => drop(state.pop()),
        }
    }

    proptest! {
        #[test]
        fn pieces_are_the_state_of_the_moment_whatever_happens_meanwhile(
            before in prop::collection::vec((0u8..30, 0u8..10), 0..200),
            after in prop::collection::vec((0u8..30, 0u8..8), 0..40),
            meanwhile in prop::collection::vec((0u8..30, 0u8..10), 0..200),
            limit in 1usize..9,
        ) {
            let mut state = State::default();
            for (n, step) in before.into_iter().enumerate() {
                change(&mut state, step, n);
            }
            state.history.clear();
            let expected = listed(&state.records);
            // The moment is chosen when some operations have already followed.
            for (n, step) in after.into_iter().enumerate() {
                change(&mut state, step, 1_000 + n);
            }
            let mut moment = Moment::now(&state.records);
            for op in state.history.iter().rev() {
                moment.before_op(op);
            }
            prop_assert_eq!(moment.count(&state.records), expected.len() as u64);
            state.moment = Some(moment);
            let mut taken = Vec::new();
            let mut meanwhile = meanwhile.into_iter().enumerate();
            loop {
                let mut moment = state.moment.take().unwrap();
                let mut bytes = 0;
                let more = moment.take(&state.records, limit, |record| {
                    let (id, value) = record.parts();
                    bytes += id.len() + value.len();
                    let pair = (id.to_vec(), value.to_vec());
                    let (id, value) = record.texts();
                    assert_eq!((&*id, &*value), (&*pair.0, &*pair.1));
                    taken.push(pair);
                    bytes < 20
                });
                state.moment = Some(moment);
                if !more {
                    break;
                }
                for (n, step) in meanwhile.by_ref().take(3) {
                    change(&mut state, step, 2_000 + n);
                }
            }
            prop_assert_eq!(taken, expected);
        }
    }
}
