//! Taking calls back from memory that could not be written.
//!
//! Everything that was called after them is reversed first, in the opposite order, and applied again afterwards, so
//! that values, order and `prev` are what they would be had the failed calls never been made.

use super::Inner;
use super::queue::{Ack, Item, Ticket, Value, Write};
use crate::error::{Error, Result};
use crate::format::op::Text;
use crate::state::{Op, State};
use std::sync::Arc;

impl Inner {
    /// Takes the queued calls that `doomed` names (by place and item) back and tells them `error`.
    pub(super) fn take_back(&mut self, error: &Error, doomed: impl Fn(usize, &Item) -> bool) {
        let Some(first) =
            (0..self.queue.len()).find(|place| self.queue.get(*place).is_some_and(|item| doomed(*place, item)))
        else {
            return;
        };
        self.reverse_from(first);
        let later: Vec<Item> = self.queue.drain(first..).collect();
        let mut gone: Vec<Ticket> = Vec::new();
        let mut kept = Vec::with_capacity(later.len());
        for (place, item) in (first..).zip(later) {
            if doomed(place, &item) {
                let tickets = item.tickets();
                self.give_up(item, error, &gone);
                gone.extend(tickets);
            } else {
                kept.push(item);
            }
        }
        self.apply_again(kept, &gone);
    }

    /// Applies the whole queue again, after what stands before it has changed.
    pub(super) fn apply_queue_again(&mut self) {
        self.beneath_queue(|_| {});
    }

    /// Changes the state as it is without what is queued, which is applied again on top.
    pub(super) fn beneath_queue<R>(&mut self, change: impl FnOnce(&mut Inner) -> R) -> R {
        self.reverse_from(0);
        let items = self.queue.drain(..).collect();
        let result = change(self);
        self.apply_again(items, &[]);
        result
    }

    /// Tells a call that it failed; its effect has been reversed. `told` have been told already.
    fn give_up(&mut self, item: Item, error: &Error, told: &[Ticket]) {
        // A write that waits for an automatic checkpoint only is safe in the log: that it is not made is no failure.
        let harmless = matches!(item, Item::Checkpoint { asked: false, .. });
        for ticket in item.tickets().into_iter().filter(|ticket| !told.contains(ticket)) {
            self.settle(ticket, if harmless { Ok(Value::None) } else { Err(error.clone()) });
        }
        match item {
            Item::Write(write) => self.changed.extend(write.ops.iter().map(|op| op.id.clone())),
            Item::Undo { undone, .. } => self.changed.extend(undone.map(|op| op.id.clone())),
            Item::Archive { taken, .. } => self.changed.extend(taken.into_iter().map(|(_, id, _)| id)),
            Item::Close { .. } => self.phase = super::Phase::Open,
            Item::Checkpoint { .. } | Item::Flush { .. } => {}
        }
    }

    fn reverse_from(&mut self, first: usize) {
        for op in self.batch.iter().flat_map(|batch| batch.ops.iter().rev()) {
            self.state.take_back(op);
        }
        for item in self.queue.iter().skip(first).rev() {
            match item {
                Item::Write(write) => {
                    for op in write.ops.iter().rev() {
                        self.state.take_back(op);
                    }
                }
                Item::Undo { undone: Some(op), .. } => {
                    self.state.put_in(op);
                }
                Item::Archive { taken, .. } => self.state.put_back(taken),
                Item::Undo { undone: None, .. } | Item::Checkpoint { .. } | Item::Flush { .. } | Item::Close { .. } => {
                }
            }
        }
    }

    /// Finds out anew which operations belong to checkpoints that have begun or are queued, and how many came after them.
    pub(super) fn find_barrier(&mut self) {
        self.barrier = self.begun_through();
        for (place, item) in self.queue.iter().enumerate() {
            match item {
                Item::Checkpoint { through, .. } => self.barrier = *through,
                Item::Archive { .. } => {
                    let mut later = self.queue.iter().skip(place + 1);
                    let next = later.find_map(|item| match item {
                        Item::Write(write) => write.ops.first(),
                        _ => None,
                    });
                    self.barrier = next.map_or(self.state.last_seq(), |op| op.seq - 1);
                }
                Item::Write(_) | Item::Undo { .. } | Item::Flush { .. } | Item::Close { .. } => {}
            }
        }
        let barrier = self.barrier;
        self.since_checkpoint = self.state.history.iter().rev().take_while(|op| op.seq > barrier).count() as u64;
    }

    fn apply_again(&mut self, items: Vec<Item>, gone: &[Ticket]) {
        let mut gone = gone.to_vec();
        self.find_barrier();
        for item in items {
            let again = match item {
                Item::Write(write) => {
                    let ticket = write.ticket;
                    match self.write_again(write) {
                        Some(write) => drop(self.queue_write(write, false)),
                        // Its caller has been told: no checkpoint tells it again.
                        None => gone.push(ticket),
                    }
                    None
                }
                Item::Undo { ticket, undone, .. } => {
                    self.changed.extend(undone.map(|op| op.id.clone()));
                    Some(self.undo_in_memory(ticket))
                }
                Item::Checkpoint { mut waiting, asked, .. } => {
                    if asked {
                        self.queue_checkpoint(waiting, true);
                    } else {
                        // Whether one is due, and where, has just been decided again. Who waited for this one and is
                        // not queued any more has been written.
                        waiting.retain(|ticket| !gone.contains(ticket) && !self.is_pending(*ticket));
                        for ticket in waiting {
                            self.settle(ticket, Ok(Value::None));
                        }
                    }
                    None
                }
                Item::Archive { ticket, segment, ids, .. } => {
                    let taken = self.state.take(&ids);
                    self.barrier = self.state.last_seq();
                    Some(Item::Archive { ticket, segment, ids, taken })
                }
                other @ (Item::Flush { .. } | Item::Close { .. }) => Some(other),
            };
            self.queue.extend(again);
        }
        if let Some(batch) = self.batch.take() {
            let (ops, failed) = match again_all(&mut self.state, &batch.ops) {
                Ok(ops) => (ops, batch.failed),
                Err(error) => {
                    self.changed.extend(batch.ops.iter().map(|op| op.id.clone()));
                    (Vec::new(), Some(error))
                }
            };
            self.batch = Some(super::Batch { ops, failed });
        }
    }

    /// Applies a write again. If one of its operations has become impossible its caller is told; a write that was
    /// acknowledged stays, and is tried again whenever something before it changes.
    fn write_again(&mut self, mut write: Write) -> Option<Write> {
        let wanted = if write.impossible.is_empty() { &write.ops } else { &write.impossible };
        match again_all(&mut self.state, wanted) {
            Ok(ops) => {
                self.changed.extend(write.impossible.drain(..).map(|op| op.id.clone()));
                Some(Write { ops: ops.into(), ..write })
            }
            Err(_) if write.ack == Ack::Done => {
                self.changed.extend(write.ops.iter().map(|op| op.id.clone()));
                if write.impossible.is_empty() {
                    write.impossible = std::mem::take(&mut write.ops);
                }
                Some(write)
            }
            Err(error) => {
                self.give_up(Item::Write(write), &error, &[]);
                None
            }
        }
    }
}

fn again_all(state: &mut State, ops: &[Arc<Op>]) -> Result<Vec<Arc<Op>>> {
    let mut done = Vec::with_capacity(ops.len());
    for op in ops {
        match again(state, &op.id, op.data.as_ref(), op.ts) {
            Some(op) => done.push(op),
            None => {
                for _ in done {
                    state.pop();
                }
                return Err(Error::RecordNotFound { id: op.id.clone() });
            }
        }
    }
    Ok(done)
}

fn again(state: &mut State, id: &Text, data: Option<&Text>, ts: u64) -> Option<Arc<Op>> {
    match data {
        Some(data) => Some(state.set(id, data, ts)),
        None => state.delete(id, ts),
    }
}
