//! What waits to be written, in the order of the calls, and what has ended.

use super::Phase;
use crate::error::{Error, Result};
use crate::format::op::Text;
use crate::state::{Op, Position};
use smallvec::SmallVec;
use std::sync::Arc;

/// Names a call that has not ended; grows by one from call to call.
pub type Ticket = u64;

/// What a call ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// Nothing to tell.
    None,
    /// `undo`: whether there was an operation.
    Bool(bool),
    /// `archive`: how many records.
    Count(u64),
}

/// The end of a call that is told by itself.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The call.
    pub ticket: Ticket,
    /// What it ended with.
    pub result: Result<Value>,
}

/// Who waits for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ack {
    /// Its caller.
    Waiting,
    /// Its caller, for the checkpoint that it set off; told by itself.
    Held,
    /// Nobody: it was acknowledged when it was buffered.
    Done,
}

/// The operations of a write: mostly one, which then lies within.
pub(super) type Ops = SmallVec<[Arc<Op>; 1]>;

/// Operations that are appended together: one, or a batch.
#[derive(Debug)]
pub(super) struct Write {
    pub ticket: Ticket,
    pub ops: Ops,
    pub ack: Ack,
    /// Must be synced before it counts as written.
    pub sync: bool,
    /// Operations of an acknowledged write that a roll-back made impossible, for now: `ops` is empty then.
    pub impossible: Ops,
}

impl Write {
    /// Nothing to write: a call that ends with a sync.
    pub(super) fn of_sync(ticket: Ticket) -> Self {
        Write { ticket, ops: Ops::new(), ack: Ack::Held, sync: true, impossible: Ops::new() }
    }
}

/// A batch whose function is running.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub ops: Vec<Arc<Op>>,
    /// Set where a roll-back took away what one of its operations needs.
    pub failed: Option<Error>,
}

/// A checkpoint whose turn came while another one was being written.
#[derive(Debug)]
pub(super) struct Parked {
    /// The last operation that it covers. Everything up to it is stored, and more may be.
    pub through: u64,
    /// Calls that end with it.
    pub waiting: Vec<Ticket>,
    /// True if a caller asked for it.
    pub asked: bool,
}

/// One thing to do.
#[derive(Debug)]
pub(super) enum Item {
    Write(Write),
    Undo {
        ticket: Ticket,
        /// The operation that was taken back in memory.
        undone: Option<Arc<Op>>,
        /// True where there was one that a checkpoint before this call covers.
        blocked: bool,
    },
    Checkpoint {
        /// The last operation that it covers.
        through: u64,
        /// Calls that end with it.
        waiting: Vec<Ticket>,
        /// True if a caller asked for it (its failure is theirs).
        asked: bool,
    },
    Archive {
        ticket: Ticket,
        segment: String,
        ids: Vec<Text>,
        taken: Vec<(Position, Text, Text)>,
    },
    Flush {
        ticket: Ticket,
        sync: bool,
    },
    Close {
        ticket: Ticket,
    },
}

impl Item {
    /// Calls that end with this item.
    pub(super) fn tickets(&self) -> Vec<Ticket> {
        match self {
            Item::Write(Write { ack: Ack::Done, .. }) => Vec::new(),
            Item::Write(Write { ticket, .. })
            | Item::Undo { ticket, .. }
            | Item::Archive { ticket, .. }
            | Item::Flush { ticket, .. }
            | Item::Close { ticket } => vec![*ticket],
            Item::Checkpoint { waiting, .. } => waiting.clone(),
        }
    }

    /// True for a write that nobody waits for and that must not be lost.
    pub(super) fn is_acknowledged(&self) -> bool {
        matches!(self, Item::Write(Write { ack: Ack::Done, .. }))
    }
}

impl super::Inner {
    pub(super) fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// Queues a call that somebody waits for.
    pub(super) fn push(&mut self, item: Item) {
        self.urgent = true;
        self.queue.push_back(item);
    }

    /// True if a call has not ended, among those that are told by themselves or still queued, or not confirmed.
    pub(super) fn is_pending(&self, ticket: Ticket) -> bool {
        let begun = self.job.iter().map(|job| &job.waiting).chain(self.parked.iter().map(|parked| &parked.waiting));
        let running = begun.into_iter().any(|waiting| waiting.contains(&ticket));
        let untold = self.untold_through.iter().flatten().any(|write| write.ticket == ticket);
        let unsynced = self.unsynced.iter().any(|write| write.ticket == ticket);
        running || untold || unsynced || self.queue.iter().any(|item| item.tickets().contains(&ticket))
    }

    /// Puts checkpoints at the front of the queue aside that cannot begin now, so that what comes after them is stored
    /// meanwhile. Those that nobody asked for become one.
    pub(super) fn park_checkpoints(&mut self) {
        while matches!(self.queue.front(), Some(Item::Checkpoint { .. })) {
            let Some(Item::Checkpoint { through, waiting, asked }) = self.queue.pop_front() else { return };
            match self.parked.back_mut() {
                Some(last) if !last.asked && !asked => {
                    last.through = through;
                    last.waiting.extend(waiting);
                }
                _ => self.parked.push_back(Parked { through, waiting, asked }),
            }
        }
    }

    /// Tells the calls that wait for checkpoints that were put aside that these are not made. What waits for one that nobody
    /// asked for is stored: that it is not made is no failure.
    pub(super) fn give_up_parked(&mut self, error: &Error) {
        for Parked { waiting, asked, .. } in std::mem::take(&mut self.parked) {
            for ticket in self.not_unsynced(waiting) {
                self.settle(ticket, if asked { Err(error.clone()) } else { Ok(Value::None) });
            }
        }
    }

    /// Those of some calls that do not wait for a sync as well: others are told when that has ended.
    pub(super) fn not_unsynced(&self, mut waiting: Vec<Ticket>) -> Vec<Ticket> {
        waiting.retain(|ticket| !self.unsynced.iter().any(|write| write.ticket == *ticket));
        waiting
    }

    /// Operations up to this one belong to a checkpoint that is being written, or put aside.
    pub(super) fn begun_through(&self) -> u64 {
        let parked = self.parked.back().map(|parked| parked.through);
        parked.or(self.job.as_ref().map(|job| job.through)).unwrap_or_default()
    }

    /// Tells the end of a call.
    pub(super) fn settle(&mut self, ticket: Ticket, result: Result<Value>) {
        self.outcomes.push(Outcome { ticket, result });
    }

    /// Refuses calls that change something, in the state that the store is in.
    pub(super) fn check_writable(&self, read_only: bool) -> Result<()> {
        match (self.phase, &self.failed) {
            (Phase::Closing | Phase::Closed, _) => Err(Error::NotOpen),
            (Phase::Open, _) if read_only => Err(Error::ReadOnly),
            (Phase::Open, Some(cause)) => Err(Error::Failed {
                message: format!(
                    "The store takes no more writes since an earlier failure ({cause}). Close it and open it again."
                ),
                cause: Some(Box::new(cause.clone())),
            }),
            (Phase::Open, None) => Ok(()),
        }
    }
}
