//! What is stored of records that are not visible: in a store that was opened without its records, the value on disk
//! and the value that callers see differ until the record is written.
//!
//! The value of a visible record is in [`super::Records`]. Of any other, this holds what is stored where that is known:
//! it was looked up, or an operation of this session was the last to change it. Every change that makes a record
//! invisible (delete, reversal) notes it here, so taking back and applying again never needs the files.

use crate::format::op::Text;
use hashbrown::HashMap;

/// Stored values of records that are not visible, as far as they are known. `None`: there is no such record.
#[derive(Debug, Default)]
pub struct Hidden {
    known: HashMap<Text, Option<Text>>,
}

impl Hidden {
    /// The stored value of a record that is not visible.
    pub(super) fn get(&self, id: &[u8]) -> Option<&Text> {
        self.known.get(id)?.as_ref()
    }

    /// True if the files need not be asked.
    pub(super) fn knows(&self, id: &[u8]) -> bool {
        self.known.contains_key(id)
    }

    /// A record that is not visible has this value, or does not exist.
    pub(super) fn note(&mut self, id: &Text, value: Option<Text>) {
        self.known.insert(id.clone(), value);
    }

    /// A record has become visible.
    pub(super) fn forget(&mut self, id: &[u8]) {
        self.known.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Op, State};
    use crate::format::op::Text;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    /// What is stored, and what is seen.
    type Values = BTreeMap<u8, u16>;

    fn text(n: u16) -> Text {
        n.to_string().into_bytes().into()
    }

    fn seen(state: &State) -> Values {
        let number = |text: &[u8]| std::str::from_utf8(text).unwrap().parse().unwrap();
        state.records.iter().map(|record| (record.id()[0], number(record.value()))).collect()
    }

    fn expected(before: Option<u16>) -> Option<Text> {
        before.map(text)
    }

    proptest! {
        #[test]
        fn operations_know_what_was_stored_and_what_was_seen_whatever_is_taken_back_and_applied_again(
            base in prop::collection::btree_map(0u8..8, 0u16..1000, 0..8),
            steps in prop::collection::vec((0u8..8, 0u8..12, 1000u16..2000), 0..60),
        ) {
            let mut state = State::without_records();
            // What is stored and seen before each operation that stands.
            let mut past: Vec<(Values, Values)> = Vec::new();
            let (mut stored, mut visible) = (base.clone(), Values::new());
            let mut taken_back: Vec<Arc<Op>> = Vec::new();
            for (id, what, value) in steps {
                if what < 8 && !state.knows(&[id]) && let Some(value) = base.get(&id) {
                    state.remember(&[id], text(*value));
                }
                match what {
                    0..=4 => {
                        past.push((stored.clone(), visible.clone()));
                        let op = state.set(&[id], &text(value), 0);
                        prop_assert_eq!(&op.before, &expected(stored.insert(id, value)));
                        visible.insert(id, value);
                        taken_back.clear();
                    }
                    5..=7 => match (state.delete(&[id], 0), stored.get(&id).copied()) {
                        (Some(op), before) => {
                            past.push((stored.clone(), visible.clone()));
                            prop_assert_eq!(&op.before, &expected(before));
                            stored.remove(&id);
                            visible.remove(&id);
                            taken_back.clear();
                        }
                        (None, before) => prop_assert_eq!(before, None),
                    },
                    8..=10 => {
                        if let Some(op) = state.pop() {
                            taken_back.push(op);
                            (stored, visible) = past.pop().unwrap();
                        }
                    }
                    _ => {
                        for op in taken_back.drain(..).rev() {
                            past.push((stored.clone(), visible.clone()));
                            state.redo(&op);
                            state.history.push_back(op.clone());
                            match &op.data {
                                Some(data) => {
                                    let number = std::str::from_utf8(data).unwrap().parse().unwrap();
                                    stored.insert(op.id[0], number);
                                    visible.insert(op.id[0], number);
                                }
                                None => {
                                    stored.remove(&op.id[0]);
                                    visible.remove(&op.id[0]);
                                }
                            }
                        }
                    }
                }
                prop_assert_eq!(seen(&state), visible.clone());
            }
        }
    }
}
