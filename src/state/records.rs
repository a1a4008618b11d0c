//! Records in insertion order, as a JavaScript `Map` has them, found by id.
//!
//! Every record has a position that it keeps until it is deleted; positions only grow. A deleted record can be put
//! back at its position, which restores the order (undo). Slots live in small blocks; a block without records is
//! freed, so that a store that creates and deletes for ever stays small.

use crate::format::op::Text;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

/// Where a record stands in the order.
pub type Position = u64;

const BLOCK: u64 = 64;

#[derive(Debug)]
struct Block {
    slots: [Option<(Text, Text)>; BLOCK as usize],
    used: u32,
}

impl Block {
    fn new() -> Box<Self> {
        Box::new(Block { slots: [const { None }; BLOCK as usize], used: 0 })
    }
}

/// The records.
#[derive(Debug, Default)]
pub struct Records {
    blocks: Vec<Option<Box<Block>>>,
    positions: HashTable<Position>,
    hasher: DefaultHashBuilder,
    next: Position,
}

fn block_of(position: Position) -> usize {
    usize::try_from(position / BLOCK).unwrap_or(usize::MAX)
}

fn slot_of(position: Position) -> usize {
    (position % BLOCK) as usize
}

fn find(blocks: &[Option<Box<Block>>], position: Position) -> Option<&(Text, Text)> {
    blocks.get(block_of(position))?.as_ref()?.slots.get(slot_of(position))?.as_ref()
}

impl Records {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// The position that the next new record gets.
    pub fn next_position(&self) -> Position {
        self.next
    }

    /// Where the record with this id stands.
    pub fn position(&self, id: &[u8]) -> Option<Position> {
        let hash = self.hasher.hash_one(id);
        let same = |position: &Position| find(&self.blocks, *position).is_some_and(|(found, _)| **found == *id);
        self.positions.find(hash, same).copied()
    }

    /// The record at a position: id and value.
    pub fn at(&self, position: Position) -> Option<&(Text, Text)> {
        find(&self.blocks, position)
    }

    /// The value of a record.
    pub fn get(&self, id: &[u8]) -> Option<&Text> {
        self.at(self.position(id)?).map(|(_, value)| value)
    }

    /// Creates or replaces a record. Returns its id (shared) and the value that it had.
    pub fn set(&mut self, id: &[u8], value: Text) -> (Text, Option<Text>) {
        if let Some(position) = self.position(id)
            && let Some((id, old)) = self.slot(position)
        {
            return (id.clone(), Some(std::mem::replace(old, value)));
        }
        let id: Text = id.into();
        self.put(self.next, &id, value);
        (id, None)
    }

    fn slot(&mut self, position: Position) -> Option<&mut (Text, Text)> {
        self.blocks.get_mut(block_of(position))?.as_mut()?.slots.get_mut(slot_of(position))?.as_mut()
    }

    /// Puts a record at a position, over the one with the same id that may stand there.
    pub fn put(&mut self, position: Position, id: &Text, value: Text) {
        let block = block_of(position);
        if self.blocks.len() <= block {
            self.blocks.resize_with(block + 1, || None);
        }
        let Some(place) = self.blocks.get_mut(block) else {
            return;
        };
        let target = place.get_or_insert_with(Block::new);
        let Some(slot) = target.slots.get_mut(slot_of(position)) else {
            return;
        };
        let was_free = slot.replace((id.clone(), value)).is_none();
        self.next = self.next.max(position + 1);
        if was_free {
            target.used += 1;
            let (blocks, hasher) = (&self.blocks, &self.hasher);
            let hash = |position: &Position| find(blocks, *position).map_or(0, |(id, _)| hasher.hash_one(&**id));
            self.positions.insert_unique(hasher.hash_one(&**id), position, hash);
        }
    }

    /// Removes the record at a position and returns it.
    pub fn remove(&mut self, position: Position) -> Option<(Text, Text)> {
        let hash = self.hasher.hash_one(&*self.at(position)?.0);
        if let Ok(entry) = self.positions.find_entry(hash, |found| *found == position) {
            entry.remove();
        }
        let place = self.blocks.get_mut(block_of(position))?;
        let block = place.as_mut()?;
        let removed = block.slots.get_mut(slot_of(position))?.take();
        block.used -= 1;
        if block.used == 0 {
            *place = None;
        }
        removed
    }

    /// Records from a position on, in order.
    pub fn iter_from(&self, start: Position) -> impl Iterator<Item = (Position, &Text, &Text)> {
        let first = block_of(start);
        let blocks = self.blocks.get(first..).unwrap_or_default().iter().zip((first as u64)..);
        let slots = blocks.filter_map(|(block, number)| Some((block.as_ref()?, number))).flat_map(|(block, number)| {
            let numbered = block.slots.iter().zip(number * BLOCK..);
            numbered.filter_map(|(slot, position)| slot.as_ref().map(|(id, value)| (position, id, value)))
        });
        slots.filter(move |(position, ..)| *position >= start)
    }

    /// All records, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Text, &Text)> {
        self.iter_from(0).map(|(_, id, value)| (id, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Text {
        text.as_bytes().into()
    }

    #[test]
    fn deleting_for_ever_frees_blocks() {
        let mut records = Records::default();
        for n in 0..10_000 {
            records.set(format!("{n}").as_bytes(), text("1"));
            let position = records.position(format!("{n}").as_bytes()).unwrap();
            records.remove(position);
        }
        assert_eq!(records.blocks.iter().flatten().count(), 0);
    }

    #[test]
    fn a_record_put_back_stands_where_it_stood() {
        let mut records = Records::default();
        for id in ["a", "b", "c"] {
            records.set(id.as_bytes(), text(id));
        }
        let at = records.position(b"b").unwrap();
        let (id, value) = records.remove(at).unwrap();
        records.set(b"d", text("d"));
        records.put(at, &id, value);
        assert_eq!(records.iter().map(|(id, _)| id.to_vec()).collect::<Vec<_>>(), [b"a", b"b", b"c", b"d"]);
    }

    proptest! {
        #[test]
        fn behaves_as_a_plain_list(steps in prop::collection::vec((0u8..40, any::<bool>()), 0..400)) {
            let mut records = Records::default();
            let mut model: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
            for (n, (id, set)) in steps.into_iter().enumerate() {
                let id = vec![id];
                let place = model.iter().position(|(known, _)| *known == id);
                if set {
                    let value = n.to_string().into_bytes();
                    let before = records.set(&id, value.as_slice().into()).1;
                    match place {
                        Some(place) => prop_assert_eq!(before.unwrap().to_vec(), std::mem::replace(&mut model[place].1, value)),
                        None => model.push((id, value)),
                    }
                } else {
                    let removed = records.position(&id).and_then(|at| records.remove(at));
                    prop_assert_eq!(removed.map(|(_, value)| value.to_vec()), place.map(|place| model.remove(place).1));
                }
                prop_assert_eq!(records.len(), model.len());
            }
            let found: Vec<_> = records.iter().map(|(id, value)| (id.to_vec(), value.to_vec())).collect();
            prop_assert_eq!(found, model);
        }
    }
}
