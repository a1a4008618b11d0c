//! The agent that writes, in a store of several.

use super::{Op, State};
use crate::format::json;
use crate::format::op::{Origin, Text};
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

/// True if an operation comes after another in the order of (clock, agent). Others keep the order that they have.
fn is_later(op: &Op, than: &Op) -> bool {
    let (Some(op), Some(than)) = (op.origin(), than.origin()) else { return false };
    // By UTF-16 code units, as JavaScript compares strings.
    let agent = |origin: &Origin| -> Vec<u16> {
        origin.agent.as_ref().map(|id| json::unquote(id)).unwrap_or_default().encode_utf16().collect()
    };
    op.clock > than.clock || (op.clock == than.clock && agent(op) > agent(than))
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
        self.history.push_back(Arc::new(Op { position: at, before, ..op.clone() }));
    }
}
