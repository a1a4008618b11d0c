//! Records in insertion order, as a JavaScript `Map` has them, found by id.
//!
//! Every record has a position that it keeps until it is deleted; positions only grow. A deleted record can be put
//! back at its position, which restores the order (undo). Slots live in small blocks; a block without records is
//! freed, so that a store that creates and deletes for ever stays small.

use crate::format::text::{Bytes, Text, length};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

/// Where a record stands in the order.
pub type Position = u64;

const BLOCK: u64 = 64;

/// A record: its id and, right behind it in the same memory, its value.
#[derive(Debug, Clone)]
pub struct Record {
    bytes: Bytes,
    place: Place,
}

/// Where a record's texts lie. In eight bytes, for records are many.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// They are all of the bytes; the value begins here.
    Alone { value: u32 },
    /// The bytes are shared by several records: the id begins at `from`, the value ends at `to`.
    Shared { from: u16, value: u16, to: u16 },
}

impl Record {
    /// A part of bytes that others may share: an id from `from` on, the value from `value` on up to `to`. Copied where
    /// the bytes are too many for that.
    pub(super) fn part(bytes: &Bytes, from: u32, value: u32, to: u32) -> Self {
        if from == 0 && to as usize == bytes.len() {
            return Record { bytes: bytes.clone(), place: Place::Alone { value } };
        }
        match (u16::try_from(from), u16::try_from(value), u16::try_from(to)) {
            (Ok(from), Ok(value), Ok(to)) => Record { bytes: bytes.clone(), place: Place::Shared { from, value, to } },
            _ => {
                let part = |from: u32, to: u32| bytes.get(from as usize..to as usize).unwrap_or_default();
                Record::new(part(from, value), part(value, to))
            }
        }
    }

    fn new(id: &[u8], value: &[u8]) -> Self {
        Record { bytes: Record::joined(id, value), place: Place::Alone { value: length(id.len()) } }
    }

    /// An id and a value, one behind the other.
    pub(super) fn joined(id: &[u8], value: &[u8]) -> Bytes {
        // As long as a text may be at most.
        let _ = length(id.len() + value.len());
        Bytes::joined(id, value)
    }

    /// A record of two texts; copied, unless they lie side by side already and nothing else beside them.
    fn join(id: &Text, value: &Text) -> Self {
        let ((bytes, id_part), (other, value_part)) = (id.whole(), value.whole());
        let whole = id_part.start == 0 && value_part.end as usize == bytes.len();
        if whole && bytes.is(other) && id_part.end == value_part.start {
            return Record { bytes: bytes.clone(), place: Place::Alone { value: id_part.end } };
        }
        Record::new(id, value)
    }

    /// Where the id begins, the value begins, and the value ends.
    fn bounds(&self) -> (u32, u32, u32) {
        match self.place {
            Place::Alone { value } => (0, value, length(self.bytes.len())),
            Place::Shared { from, value, to } => (from.into(), value.into(), to.into()),
        }
    }

    /// Id and value, shared.
    pub fn texts(&self) -> (Text, Text) {
        (self.id_text(), self.value_text())
    }

    /// Canonical JSON text of the id.
    pub fn id(&self) -> &[u8] {
        let (from, value, _) = self.bounds();
        self.bytes.get(from as usize..value as usize).unwrap_or_default()
    }

    /// JSON text of the value.
    pub fn value(&self) -> &[u8] {
        let (_, value, to) = self.bounds();
        self.bytes.get(value as usize..to as usize).unwrap_or_default()
    }

    /// The id, shared.
    pub fn id_text(&self) -> Text {
        let (from, value, _) = self.bounds();
        Text::part(&self.bytes, from..value)
    }

    /// The value, shared.
    pub fn value_text(&self) -> Text {
        let (_, value, to) = self.bounds();
        Text::part(&self.bytes, value..to)
    }

    fn len(&self) -> u32 {
        let (from, _, to) = self.bounds();
        to - from
    }

    /// True if other records lie in the same memory.
    fn is_shared(&self) -> bool {
        matches!(self.place, Place::Shared { .. })
    }
}

#[derive(Debug)]
struct Block {
    slots: Box<[Option<Record>; BLOCK as usize]>,
    used: u32,
    /// Bytes of records that share memory with each other, and what they were when they were loaded.
    shared: u32,
    loaded: u32,
}

impl Block {
    fn new() -> Self {
        Block { slots: Box::new([const { None }; BLOCK as usize]), used: 0, shared: 0, loaded: 0 }
    }

    /// A record was replaced or removed. Once half of the memory that it shared is of no use, the others leave it.
    fn released(&mut self, record: &Record) {
        if !record.is_shared() {
            return;
        }
        self.shared = self.shared.saturating_sub(record.len());
        if self.shared < self.loaded / 2 {
            for record in self.slots.iter_mut().flatten().filter(|record| record.is_shared()) {
                *record = Record::new(record.id(), record.value());
            }
            (self.shared, self.loaded) = (0, 0);
        }
    }
}

/// The records.
#[derive(Debug, Default)]
pub struct Records {
    blocks: Vec<Option<Block>>,
    positions: HashTable<Packed>,
    hasher: DefaultHashBuilder,
    next: Position,
    /// Of ids and values.
    bytes: u64,
}

/// A position in six bytes, for the table has one for each record: a session cannot create as many records as they tell
/// apart, which at a million a second would take nine years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed([u8; 6]);

impl Packed {
    #[expect(clippy::panic, reason = "a record that would be found under another one's id otherwise")]
    fn of(position: Position) -> Self {
        match position.to_le_bytes() {
            [a, b, c, d, e, f, 0, 0] => Packed([a, b, c, d, e, f]),
            _ => panic!("position {position} is beyond what one session can create"),
        }
    }

    fn get(self) -> Position {
        let Packed([a, b, c, d, e, f]) = self;
        Position::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }
}

fn block_of(position: Position) -> usize {
    usize::try_from(position / BLOCK).unwrap_or(usize::MAX)
}

fn slot_of(position: Position) -> usize {
    (position % BLOCK) as usize
}

fn find(blocks: &[Option<Block>], position: Position) -> Option<&Record> {
    blocks.get(block_of(position))?.as_ref()?.slots.get(slot_of(position))?.as_ref()
}

fn hash_at(blocks: &[Option<Block>], hasher: &DefaultHashBuilder, position: Packed) -> u64 {
    find(blocks, position.get()).map_or(0, |record| hasher.hash_one(record.id()))
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

    /// Bytes of all ids and values.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The position that the next new record gets.
    pub fn next_position(&self) -> Position {
        self.next
    }

    /// Where the record with this id stands.
    pub fn position(&self, id: &[u8]) -> Option<Position> {
        self.look_up(id).1
    }

    /// As [`Records::position`], with the id's hash for [`Records::set_at`].
    pub fn look_up(&self, id: &[u8]) -> (u64, Option<Position>) {
        let hash = self.hasher.hash_one(id);
        (hash, self.find(hash, id))
    }

    fn find(&self, hash: u64, id: &[u8]) -> Option<Position> {
        let same = |position: &Packed| find(&self.blocks, position.get()).is_some_and(|found| found.id() == id);
        self.positions.find(hash, same).map(|position| position.get())
    }

    /// The record at a position.
    pub fn at(&self, position: Position) -> Option<&Record> {
        find(&self.blocks, position)
    }

    /// The record with this id.
    pub fn get(&self, id: &[u8]) -> Option<&Record> {
        self.at(self.position(id)?)
    }

    /// Creates or replaces a record. Returns what it replaced.
    pub fn set(&mut self, id: &[u8], value: &[u8]) -> Option<Record> {
        let (hash, position) = self.look_up(id);
        self.insert(position.unwrap_or(self.next), hash, Record::new(id, value))
    }

    /// As [`Records::set`], after [`Records::look_up`] (a new record's position is the next). Returns the record, too.
    pub fn set_at(&mut self, position: Position, hash: u64, id: &[u8], value: &[u8]) -> (Record, Option<Record>) {
        let record = Record::new(id, value);
        let before = self.insert(position, hash, record.clone());
        (record, before)
    }

    /// Puts a record at a position, over the one with the same id that may stand there.
    pub fn put(&mut self, position: Position, id: &Text, value: &Text) -> Option<Record> {
        self.insert(position, self.hasher.hash_one(&**id), Record::join(id, value))
    }

    fn insert(&mut self, position: Position, hash: u64, record: Record) -> Option<Record> {
        let number = block_of(position);
        if self.blocks.len() <= number {
            self.blocks.resize_with(number + 1, || None);
        }
        let block = self.blocks.get_mut(number)?.get_or_insert_with(Block::new);
        let added = record.len();
        let before = block.slots.get_mut(slot_of(position))?.replace(record);
        self.bytes += u64::from(added);
        self.bytes -= before.as_ref().map_or(0, |before| u64::from(before.len()));
        self.next = self.next.max(position + 1);
        match &before {
            Some(before) => block.released(before),
            None => {
                block.used += 1;
                if self.positions.len() == self.positions.capacity() && self.is_dense() {
                    self.grow(position);
                }
                let Records { blocks, positions, hasher, .. } = self;
                positions.insert_unique(hash, Packed::of(position), |position| hash_at(blocks, hasher, *position));
            }
        }
        before
    }

    /// True unless most of what was created has been deleted.
    fn is_dense(&self) -> bool {
        self.blocks.len() <= self.len().saturating_mul(4) / BLOCK as usize
    }

    /// A table of twice the size, filled in the order in which the records lie in memory: a table that grows by itself
    /// reads them in its own order, which waits for memory with each. `but`: what is not in the table yet.
    fn grow(&mut self, but: Position) {
        let mut positions = HashTable::with_capacity(self.positions.len() * 2);
        for (position, record) in self.iter_from(0).filter(|(position, _)| *position != but) {
            let hash_of = |position: &Packed| hash_at(&self.blocks, &self.hasher, *position);
            positions.insert_unique(self.hasher.hash_one(record.id()), Packed::of(position), hash_of);
        }
        self.positions = positions;
    }

    /// Removes the record at a position and returns it.
    pub fn remove(&mut self, position: Position) -> Option<Record> {
        let (hash, packed) = (self.hasher.hash_one(self.at(position)?.id()), Packed::of(position));
        if let Ok(entry) = self.positions.find_entry(hash, |found| *found == packed) {
            entry.remove();
        }
        let place = self.blocks.get_mut(block_of(position))?;
        let block = place.as_mut()?;
        let removed = block.slots.get_mut(slot_of(position))?.take()?;
        self.bytes -= u64::from(removed.len());
        block.used -= 1;
        block.released(&removed);
        if block.used == 0 {
            *place = None;
        }
        Some(removed)
    }

    /// Records from a position on, in order.
    pub fn iter_from(&self, start: Position) -> impl Iterator<Item = (Position, &Record)> {
        let first = block_of(start);
        let blocks = self.blocks.get(first..).unwrap_or_default().iter().zip((first as u64)..);
        let slots = blocks.filter_map(|(block, number)| Some((block.as_ref()?, number))).flat_map(|(block, number)| {
            let numbered = block.slots.iter().zip(number * BLOCK..);
            numbered.filter_map(|(slot, position)| slot.as_ref().map(|record| (position, record)))
        });
        slots.filter(move |(position, _)| *position >= start)
    }

    /// All records, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.iter_from(0).map(|(_, record)| record)
    }
}

impl Records {
    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, count: usize) {
        let Records { blocks, positions, hasher, .. } = self;
        positions.reserve(count, |position| hash_at(blocks, hasher, *position));
    }

    /// What hashes the ids.
    pub(super) fn hasher(&self) -> &DefaultHashBuilder {
        &self.hasher
    }

    /// Puts in a record that was loaded and may share its memory; `hash` is its id's.
    pub(super) fn load(&mut self, hash: u64, record: Record) {
        // Another of the same id: it must not count for a block in which it does not lie.
        if let Some(position) = self.find(hash, record.id()) {
            drop(self.insert(position, hash, Record::new(record.id(), record.value())));
            return;
        }
        let (position, len) = (self.next, if record.is_shared() { record.len() } else { 0 });
        self.insert(position, hash, record);
        if let Some(Some(block)) = self.blocks.get_mut(block_of(position)) {
            block.shared += len;
            block.loaded += len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::loader::{Loader, SHARED};
    use super::*;
    use proptest::prelude::*;

    fn listed(records: &Records) -> Vec<(Vec<u8>, Vec<u8>)> {
        records.iter().map(|record| (record.id().to_vec(), record.value().to_vec())).collect()
    }

    #[test]
    fn a_packed_position_is_the_same_one() {
        for position in [0, 1, 255, 256, 1 << 32, (1 << 40) + 7, (1 << 48) - 1] {
            assert_eq!(Packed::of(position).get(), position);
        }
    }

    #[test]
    fn deleting_for_ever_frees_blocks() {
        let mut records = Records::default();
        for n in 0..10_000 {
            records.set(format!("{n}").as_bytes(), b"1");
            records.remove(n);
        }
        assert_eq!(records.len(), 0);
        assert!(records.blocks.iter().all(Option::is_none));
    }

    #[test]
    fn a_record_goes_back_to_its_place() {
        let mut records = Records::default();
        for id in [b"a", b"b", b"c"] {
            records.set(id, id);
        }
        let at = records.position(b"b").unwrap();
        let (id, value) = records.remove(at).unwrap().texts();
        records.set(b"d", b"d");
        records.put(at, &id, &value);
        assert_eq!(records.iter().map(Record::id).collect::<Vec<_>>(), [b"a", b"b", b"c", b"d"]);
    }

    #[test]
    fn a_text_is_copied_where_it_does_not_lie_beside_its_id() {
        let (id, value) = Text::pair(b"id", b"value");
        let joined = Record::join(&id, &value);
        assert!(joined.bytes.is(id.whole().0));
        for (id, value) in [(id.clone(), Text::from(b"other")), (Text::pair(b"id", b"x").0, value)] {
            let copied = Record::join(&id, &value);
            assert_eq!((copied.id(), copied.value()), (&*id, &*value));
        }
    }

    #[test]
    fn loaded_records_leave_memory_of_which_little_is_used() {
        let mut records = Records::default();
        let mut loader = Loader::new(&mut records, 640);
        let mut packer = loader.packer();
        for n in 0..640 {
            packer.push(format!("{n}").as_bytes(), &[b'x'; 100], |piece| loader.take_in(piece));
        }
        packer.finish().into_iter().for_each(|piece| loader.take_in(piece));
        let shared = |records: &Records| records.iter().filter(|record| record.is_shared()).count();
        assert_eq!(shared(&records), 640);
        let memory = records.at(0).unwrap().bytes.clone();
        // All but each fourth are replaced or removed.
        for n in (0..640).filter(|n| n % 4 != 0) {
            if n % 2 == 0 {
                records.set(format!("{n}").as_bytes(), b"new");
            } else {
                records.remove(n);
            }
        }
        assert_eq!(shared(&records), 0);
        assert_eq!(memory.sharers(), 1);
        let kept: Vec<_> = records.iter().filter(|record| record.value() == [b'x'; 100]).collect();
        assert_eq!(kept.len(), 160);
        assert_eq!(records.get(b"4").unwrap().value(), [b'x'; 100]);
    }

    proptest! {
        #[test]
        fn as_a_list(
            loaded in prop::collection::vec((0u16..300, 0..3usize), 0..300),
            steps in prop::collection::vec((0u16..300, 0..4usize), 1..200),
        ) {
            let mut records = Records::default();
            let mut model: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
            let id = |n: u16| format!("\"{n}\"").into_bytes();
            let set = |model: &mut Vec<(Vec<u8>, Vec<u8>)>, id: &[u8], value: &[u8]| {
                match model.iter_mut().find(|(known, _)| known == id) {
                    Some((_, old)) => Some(std::mem::replace(old, value.to_vec())),
                    None => {
                        model.push((id.to_vec(), value.to_vec()));
                        None
                    }
                }
            };
            let mut loader = Loader::new(&mut records, loaded.len());
            let mut packer = loader.packer();
            for (n, size) in loaded {
                let value = vec![b'0'; [1, 20, SHARED][size]];
                packer.push(&id(n), &value, |piece| loader.take_in(piece));
                set(&mut model, &id(n), &value);
            }
            packer.finish().into_iter().for_each(|piece| loader.take_in(piece));
            prop_assert_eq!(listed(&records), model.clone());
            for (step, (n, value)) in steps.into_iter().enumerate() {
                let (id, place) = (id(n), model.iter().position(|(known, _)| *known == id(n)));
                if value > 0 {
                    let value = vec![b'1' + (step % 9) as u8; value];
                    let before = records.set(&id, &value).map(|record| record.value().to_vec());
                    prop_assert_eq!(before, set(&mut model, &id, &value));
                } else {
                    let removed = records.position(&id).and_then(|at| records.remove(at));
                    let removed = removed.map(|record| record.value().to_vec());
                    prop_assert_eq!(removed, place.map(|place| model.remove(place).1));
                }
                prop_assert_eq!(records.len(), model.len());
                prop_assert_eq!(records.bytes(), model.iter().map(|(id, value)| (id.len() + value.len()) as u64).sum::<u64>());
            }
            prop_assert_eq!(listed(&records), model);
        }
    }
}
