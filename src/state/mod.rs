//! The state of a store in memory: records in order, the operations since the last checkpoint, and a consistent
//! view of an earlier moment while a checkpoint writes it.
//!
//! Changes are applied when they are called and may be reversed later (undo, a failed write): an operation knows what
//! it replaced and where, so that reversing restores value and order exactly.

mod agent;
mod hidden;
mod loader;
mod moment;
mod records;

pub use agent::{Agent, Incoming, Merged, place};
pub use hidden::Hidden;
pub use loader::{Loader, Loads, Packer, Piece};
pub use moment::{Moment, Taken};
pub use records::{Position, Record, Records};

use crate::format::op::{OpKind, Origin, Parts, Prev, Text, Timestamp};
use std::collections::VecDeque;
use std::sync::Arc;

/// How an operation that was read from a log stood there, as far as it cannot be told from the values.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Its timestamp.
    pub ts: Timestamp,
    /// Its `prev`.
    pub prev: Prev,
    /// Its agent and clock.
    pub origin: Option<Origin>,
}

/// One operation: a change of one record.
#[derive(Debug, Clone)]
pub struct Op {
    /// Its place among all operations of this session.
    pub seq: u64,
    /// When it was made, milliseconds since 1970.
    pub ts: u64,
    /// Canonical JSON text of the id.
    pub id: Text,
    /// Where the record stands, or stood.
    pub position: Position,
    /// The record's value before; `None` for a create.
    pub before: Option<Text>,
    /// True if that value was stored and not visible: see [`Hidden`].
    pub unseen: bool,
    /// The record's value after; `None` for a delete.
    pub data: Option<Text>,
    /// What stood on the line, if it was read from a log.
    pub logged: Option<Box<Logged>>,
    /// Agent and clock, of an operation that an agent made in this session.
    pub made_by: Option<Box<Origin>>,
}

impl Op {
    /// Agent and clock, in a store of several agents.
    pub fn origin(&self) -> Option<&Origin> {
        self.made_by.as_deref().or_else(|| self.logged.as_ref().and_then(|logged| logged.origin.as_ref()))
    }

    /// What it does.
    pub fn kind(&self) -> OpKind {
        if self.data.is_some() { OpKind::Set } else { OpKind::Delete }
    }

    /// Calls `write` with the parts of its line.
    fn with_parts(&self, write: impl FnOnce(Parts<'_>)) {
        let (kind, id, data) = (self.kind(), &*self.id, self.data.as_deref());
        match &self.logged {
            Some(logged) => {
                write(Parts { ts: &logged.ts, kind, id, prev: &logged.prev, data, origin: logged.origin.as_ref() });
            }
            None => {
                let prev = Prev::of(self.before.as_ref(), self.data.as_ref());
                write(Parts {
                    ts: &Timestamp::Millis(self.ts),
                    kind,
                    id,
                    prev: &prev,
                    data,
                    origin: self.made_by.as_deref(),
                });
            }
        }
    }

    /// Appends its line to `out`; see [`Parts::push_line`].
    pub fn push_line(&self, batch: Option<u64>, write: Option<u64>, out: &mut Vec<u8>) {
        self.with_parts(|parts| parts.push_line(batch, write, out));
    }

    /// Appends it as callers see it; see [`Parts::push_shown`].
    pub fn push_shown(&self, out: &mut Vec<u8>) {
        self.with_parts(|parts| parts.push_shown(out));
    }
}

/// Records, history, and the moment that a checkpoint is writing.
#[derive(Debug, Default)]
pub struct State {
    /// The records.
    pub records: Records,
    /// Operations since the last checkpoint, those included that are not written yet.
    pub history: VecDeque<Arc<Op>>,
    /// The moment that is being written, if one is.
    pub moment: Option<Moment>,
    /// Who writes, in a store of several agents.
    pub agent: Option<Agent>,
    /// What else is stored, where the records were not loaded.
    hidden: Option<Hidden>,
    next_seq: u64,
}

impl State {
    /// An empty state, in a store of several agents with the one that writes.
    pub fn of(agent: Option<Agent>) -> Self {
        State { agent, ..State::default() }
    }

    /// The sequence number of the last operation.
    pub fn last_seq(&self) -> u64 {
        self.next_seq
    }

    /// Leaves out the sequence numbers up to one.
    pub fn skip_to(&mut self, seq: u64) {
        self.next_seq += seq;
    }

    /// The state of a store that is written without its records having been loaded.
    pub fn without_records() -> Self {
        State { hidden: Some(Hidden::default()), ..State::default() }
    }

    /// True if the stored value of a record is known without a look at the files.
    pub fn knows(&self, id: &[u8]) -> bool {
        self.hidden.as_ref().is_none_or(|hidden| hidden.knows(id) || self.records.position(id).is_some())
    }

    /// Notes the stored value of a record that is not known yet.
    pub fn remember(&mut self, id: &[u8], value: Text) {
        if !self.knows(id)
            && let Some(hidden) = &mut self.hidden
        {
            hidden.note(&id.into(), Some(value));
        }
    }

    /// Notes that a record is not visible any more.
    fn hide(&mut self, id: &Text, value: Option<Text>) {
        if let Some(hidden) = &mut self.hidden {
            hidden.note(id, value);
        }
    }

    /// Notes that a record has become visible; returns the value that was stored until then.
    fn show(&mut self, id: &[u8]) -> Option<Text> {
        let hidden = self.hidden.as_mut()?;
        let stored = hidden.get(id).cloned();
        hidden.forget(id);
        stored
    }

    fn touch(&mut self, position: Position) {
        if let Some(moment) = &mut self.moment {
            moment.keep(position, || self.records.at(position).map(Record::texts));
        }
    }

    /// Creates or replaces a record and appends the operation to the history.
    pub fn set(&mut self, id: &[u8], data: &[u8], ts: u64) -> Arc<Op> {
        let (hash, visible) = self.records.look_up(id);
        let stored = if visible.is_none() { self.show(id) } else { None };
        let position = visible.unwrap_or(self.records.next_position());
        self.touch(position);
        let (record, before) = self.records.set_at(position, hash, id, data);
        let unseen = stored.is_some();
        let before = before.map(|before| before.value_text()).or(stored);
        let (id, data) = record.texts();
        let made_by = self.agent.as_mut().map(Agent::tick);
        self.push(Op { seq: 0, ts, id, position, before, unseen, data: Some(data), logged: None, made_by })
    }

    /// Removes a record and appends the operation to the history; `None` where there is no such record.
    pub fn delete(&mut self, id: &[u8], ts: u64) -> Option<Arc<Op>> {
        let Some(position) = self.records.position(id) else { return self.delete_unseen(id, ts) };
        self.touch(position);
        let (id, before) = self.records.remove(position)?.texts();
        self.hide(&id, None);
        let (before, made_by) = (Some(before), self.agent.as_mut().map(Agent::tick));
        Some(self.push(Op { seq: 0, ts, id, position, before, unseen: false, data: None, logged: None, made_by }))
    }

    fn delete_unseen(&mut self, id: &[u8], ts: u64) -> Option<Arc<Op>> {
        let before = Some(self.hidden.as_ref()?.get(id)?.clone());
        // Nothing stands there, and nothing does whenever this is reversed.
        let position = self.records.next_position();
        let id: Text = id.into();
        self.hide(&id, None);
        let made_by = self.agent.as_mut().map(Agent::tick);
        Some(self.push(Op { seq: 0, ts, id, position, before, unseen: true, data: None, logged: None, made_by }))
    }

    fn push(&mut self, op: Op) -> Arc<Op> {
        self.next_seq += 1;
        let op = Arc::new(Op { seq: self.next_seq, ..op });
        self.history.push_back(op.clone());
        op
    }

    /// Applies an operation that was read from a log.
    pub fn replay(&mut self, id: &Text, data: Option<Text>, logged: Logged) {
        let ts = 0;
        if let Some(agent) = &mut self.agent {
            agent.see(logged.origin.as_ref());
        }
        let made_by = None;
        let logged = Some(Box::new(logged));
        let op = match data {
            Some(data) => {
                let position = self.records.position(id).unwrap_or(self.records.next_position());
                self.touch(position);
                let before = self.records.put(position, id, &data).map(|before| before.value_text());
                let id = id.clone();
                Op { seq: 0, ts, id, position, before, unseen: false, data: Some(data), logged, made_by }
            }
            None => {
                let at = self.records.position(id);
                at.into_iter().for_each(|at| self.touch(at));
                let removed = at.and_then(|at| Some((at, self.records.remove(at)?)));
                let position = removed.as_ref().map_or(self.records.next_position(), |(at, _)| *at);
                Op {
                    seq: 0,
                    ts,
                    id: id.clone(),
                    position,
                    before: removed.map(|(_, record)| record.value_text()),
                    unseen: false,
                    data: None,
                    logged,
                    made_by,
                }
            }
        };
        self.push(op);
    }

    /// Takes an operation's effect back. It must be the last one whose effect stands.
    pub fn reverse(&mut self, op: &Op) {
        self.touch(op.position);
        match &op.before {
            Some(before) if !op.unseen => {
                self.records.put(op.position, &op.id, before);
                self.show(&op.id);
            }
            stored => {
                self.records.remove(op.position);
                self.hide(&op.id, stored.clone());
            }
        }
    }

    /// Gives a reversed operation its effect again.
    pub fn redo(&mut self, op: &Op) {
        self.touch(op.position);
        match &op.data {
            Some(data) => {
                self.records.put(op.position, &op.id, data);
                self.show(&op.id);
            }
            None => {
                self.records.remove(op.position);
                self.hide(&op.id, None);
            }
        }
    }

    /// Reverses the last operation of the history and takes it off.
    pub fn pop(&mut self) -> Option<Arc<Op>> {
        let op = self.history.pop_back()?;
        self.reverse(&op);
        Some(op)
    }

    /// Takes records out without an operation (they go to an archive). Returns what was there, in the given order.
    pub fn take(&mut self, ids: &[Text]) -> Vec<(Position, Text, Text)> {
        let mut taken = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(position) = self.records.position(id) {
                self.touch(position);
                if let Some((id, value)) = self.records.remove(position).map(|record| record.texts()) {
                    taken.push((position, id, value));
                }
            }
        }
        taken
    }

    /// Puts records back that were taken out.
    pub fn put_back(&mut self, taken: &[(Position, Text, Text)]) {
        for (position, id, value) in taken {
            self.touch(*position);
            self.records.put(*position, id, value);
        }
    }
}
