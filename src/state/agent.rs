//! The agent that writes, in a store of several.

use super::{Logged, Op, State};
use crate::format::json;
use crate::format::op::{Origin, Prev, Text, Timestamp};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

/// One of several writers: its operations carry its id and its Lamport clock, and count in the order of (clock, id).
#[derive(Debug, Clone)]
pub struct Agent {
    /// JSON text of its id.
    pub id: Text,
    /// The greatest clock that was seen. Every operation of its own ticks it; reading does not.
    pub clock: u64,
    /// Operations up to this clock are no more in the agent's log (a checkpoint took them): undo does not reach them.
    pub floor: u64,
}

impl Agent {
    /// Stamps an operation of its own.
    pub(super) fn tick(&mut self) -> Box<Origin> {
        self.clock += 1;
        Box::new(Origin { agent: Some(self.id.clone()), clock: Some(self.clock) })
    }

    /// Has seen an operation of any agent's.
    pub(super) fn see(&mut self, origin: Option<&Origin>) {
        self.clock = self.clock.max(origin.and_then(|origin| origin.clock).unwrap_or_default());
    }

    /// An operation of its own that was not stored is taken back: its clock is free again, if nobody has come after it.
    fn take_back(&mut self, made_by: &Origin) {
        if made_by.clock == Some(self.clock) {
            self.clock -= 1;
        }
    }

    fn can_undo(&self, op: &Op) -> bool {
        op.origin().is_some_and(|origin| {
            origin.agent.as_ref() == Some(&self.id) && origin.clock.is_some_and(|clock| clock > self.floor)
        })
    }
}

/// The place of an operation in the order of all agents: by clock, then by agent, as JavaScript compares strings (by
/// UTF-16 code units). What has no clock comes first.
pub fn place(origin: Option<&Origin>) -> (u64, Vec<u16>) {
    let agent = origin.and_then(|origin| origin.agent.as_ref()).map(|id| json::unquote(id));
    (clock(origin), agent.unwrap_or_default().encode_utf16().collect())
}

fn clock(origin: Option<&Origin>) -> u64 {
    origin.and_then(|origin| origin.clock).unwrap_or_default()
}

fn compare(one: Option<&Origin>, other: Option<&Origin>) -> Ordering {
    clock(one).cmp(&clock(other)).then_with(|| place(one).cmp(&place(other)))
}

/// True if an operation comes after another. Others keep the order that they have.
fn is_later(op: &Op, than: &Op) -> bool {
    compare(op.origin(), than.origin()) == Ordering::Greater
}

/// An operation of another agent that is to be put where it belongs.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Canonical JSON text of its id.
    pub id: Text,
    /// The record's value after it; `None` for a delete.
    pub data: Option<Text>,
    /// How it stood in its log.
    pub logged: Logged,
}

impl Incoming {
    /// True if this is a copy of an operation: it stands in two logs.
    pub fn is_copy(&self, of: &Op) -> bool {
        let origin = self.logged.origin.as_ref();
        origin.is_some_and(|origin| origin.clock.is_some())
            && of.id == self.id
            && of.data == self.data
            && compare(of.origin(), origin) == Ordering::Equal
    }
}

/// What became of operations that were put where they belong.
#[derive(Debug, Default)]
pub struct Merged {
    /// Their sequence numbers, in the order in which they were given.
    pub seqs: Vec<u64>,
    /// Those that were not there before, in the order of all agents.
    pub new: Vec<Arc<Op>>,
    /// Ids of operations that were taken out, or that others came before.
    pub moved: Vec<Text>,
}

impl State {
    /// Takes back an operation that was not stored, the last one of the history.
    pub fn take_back(&mut self, op: &Op) {
        self.history.pop_back();
        self.reverse(op);
        if let (Some(agent), Some(made_by)) = (&mut self.agent, &op.made_by) {
            agent.take_back(made_by);
        }
    }

    /// The agent's operations up to sequence number `through` are in a snapshot: undo does not reach them.
    pub fn raise_floor(&mut self, through: u64) {
        let Some(agent) = &mut self.agent else { return };
        let own = self.history.iter().filter(|op| op.seq <= through && agent.can_undo(op));
        agent.floor = own.filter_map(|op| op.origin()?.clock).max().unwrap_or_default().max(agent.floor);
    }

    /// Where the last operation stands that undo may take back.
    pub fn last_own(&self) -> Option<usize> {
        match &self.agent {
            None => self.history.len().checked_sub(1),
            Some(agent) => self.history.iter().rposition(|op| agent.can_undo(op)),
        }
    }

    /// Takes an operation out of the history; those of others after it stay. Returns it, and the operations after it.
    pub fn take_out(&mut self, place: usize) -> Option<(Arc<Op>, Vec<Arc<Op>>)> {
        let mut later: Vec<Arc<Op>> = Vec::new();
        while self.history.len() > place + 1 {
            later.extend(self.pop());
        }
        let taken = self.pop()?;
        for op in later.iter().rev() {
            self.apply_again(op);
        }
        Some((taken, later))
    }

    /// Puts an operation back that was taken out, where it belongs in the order of all agents.
    pub fn put_in(&mut self, op: &Arc<Op>) {
        let mut later: Vec<Arc<Op>> = Vec::new();
        while self.history.back().is_some_and(|last| is_later(last, op)) {
            later.extend(self.pop());
        }
        self.redo(op);
        self.history.push_back(op.clone());
        for op in later.iter().rev() {
            self.apply_again(op);
        }
    }

    /// Takes operations out of the history, by their sequence numbers, and puts others where they belong in the order of
    /// all agents. Everything in the history must be in that order.
    pub fn merge(&mut self, gone: &[u64], incoming: Vec<Incoming>) -> Merged {
        let mut sorted: Vec<_> = incoming.into_iter().enumerate().collect();
        sorted.sort_by_cached_key(|(_, op)| place(op.logged.origin.as_ref()));
        let first = sorted.first().and_then(|(_, op)| op.logged.origin.clone());
        let mut merged = Merged { seqs: vec![0; sorted.len()], ..Merged::default() };
        let (mut later, mut missing) = (Vec::new(), gone.len());
        while let Some(last) = self.history.back() {
            let comes_before = !sorted.is_empty() && compare(last.origin(), first.as_ref()) == Ordering::Greater;
            if missing == 0 && !comes_before {
                break;
            }
            let Some(op) = self.pop() else { break };
            merged.moved.push(op.id.clone());
            if gone.contains(&op.seq) {
                missing -= 1;
            } else {
                later.push(op);
            }
        }
        for (given, op) in sorted {
            let origin = op.logged.origin.as_ref();
            while let Some(next) = later.pop_if(|next| compare(next.origin(), origin) != Ordering::Greater) {
                self.apply_again(&next);
            }
            let same = |known: &&Arc<Op>| compare(known.origin(), origin) == Ordering::Equal;
            let copy = self.history.iter().rev().take_while(same).find(|known| op.is_copy(known));
            let seq = match copy.map(|known| known.seq) {
                Some(known) => {
                    if let Some(agent) = &mut self.agent {
                        agent.see(origin);
                    }
                    known
                }
                None => {
                    self.replay(&op.id, op.data, op.logged);
                    merged.new.extend(self.history.back().cloned());
                    self.last_seq()
                }
            };
            if let Some(place) = merged.seqs.get_mut(given) {
                *place = seq;
            }
        }
        while let Some(next) = later.pop() {
            self.apply_again(&next);
        }
        merged
    }

    /// Operations that a snapshot of those up to sequence number `through` does not hold, and those that it does hold and
    /// that belong after one of them: without these, older values would come back.
    pub fn carried(&self, through: u64) -> Vec<Arc<Op>> {
        let mut ids = HashSet::<&[u8]>::new();
        let carried = self.history.iter().filter(|op| {
            let carried = op.seq > through || ids.contains(&op.id[..]);
            if carried {
                ids.insert(&op.id);
            }
            carried
        });
        carried.cloned().collect()
    }

    /// The operations up to sequence number `through` are in a snapshot now; the history begins anew with those that are
    /// [carried](State::carried). Everything is as if that snapshot and that history had just been read. Returns the ids
    /// of records that this may have moved.
    pub fn begin_after(&mut self, through: u64) -> Vec<Text> {
        let carried = self.carried(through);
        let first = self.history.iter().position(|op| op.seq > through).unwrap_or(self.history.len());
        let mut later = Vec::new();
        while self.history.len() > first {
            later.extend(self.pop());
        }
        for op in later.iter().rev().filter(|op| op.seq <= through) {
            self.apply_again(op);
        }
        self.history.clear();
        for op in &carried {
            self.apply_again(op);
        }
        later.into_iter().map(|op| op.id.clone()).collect()
    }

    /// Gives an operation its effect on what the records are now, at the end of the history.
    fn apply_again(&mut self, op: &Op) {
        let position = self.records.position(&op.id);
        let at = position.unwrap_or(self.records.next_position());
        self.touch(at);
        let before = match &op.data {
            Some(data) => self.records.put(at, &op.id, data),
            None => position.and_then(|at| self.records.remove(at)),
        };
        let before = before.map(|record| record.value_text());
        let mut again = Op { position: at, before, ..op.clone() };
        // A removal that comes after somebody else's has nothing left to remove. Its line says what it removed when it
        // was made: one without that is no line that anybody reads.
        if let (None, None, None, Some(removed)) = (&again.logged, &again.data, &again.before, &op.before) {
            let (ts, prev) = (Timestamp::Millis(op.ts), Prev::Full(removed.clone()));
            again.logged = Some(Box::new(Logged { ts, prev, origin: op.made_by.as_deref().cloned() }));
        }
        self.history.push_back(Arc::new(again));
    }
}
