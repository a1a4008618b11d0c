//! Calls that are taken back before they have begun.

use super::queue::{Item, Ticket};
use super::{Inner, Store};
use crate::error::Error;

impl Store {
    /// Takes a checkpoint or archive call back that has not begun: it ends with `error`, and nothing has happened.
    /// False where it has begun or ended: then it goes its way.
    pub fn cancel(&self, ticket: Ticket, error: &Error) -> bool {
        // Whoever carries out the front of the queue holds the disk, or has taken a step.
        let idle = self
            .shared
            .disk
            .try_lock()
            .ok()
            .filter(|disk| !disk.external.as_ref().is_some_and(super::External::is_busy));
        let mut inner = self.shared.inner();
        if inner.cancel_parked(ticket, error, idle.is_some()) {
            drop(inner);
            self.shared.wake();
            return true;
        }
        let place = inner.queue.iter().position(|item| match item {
            Item::Archive { ticket: own, .. } => *own == ticket,
            Item::Checkpoint { waiting, asked, .. } => *asked && waiting.contains(&ticket),
            Item::Write(_) | Item::Undo { .. } | Item::Flush { .. } | Item::Close { .. } => false,
        });
        let Some(place) = place.filter(|place| *place > 0 || idle.is_some()) else { return false };
        inner.take_back(error, |at, _| at == place);
        drop(inner);
        self.shared.wake();
        true
    }
}

impl Inner {
    /// Takes a checkpoint back that was put aside and that a caller asked for.
    fn cancel_parked(&mut self, ticket: Ticket, error: &Error, idle: bool) -> bool {
        let asked = self.parked.iter().position(|parked| parked.asked && parked.waiting.contains(&ticket));
        if asked.and_then(|place| self.parked.remove(place)).is_none() {
            return false;
        }
        self.settle(ticket, Err(error.clone()));
        // What it was to cover can be undone again.
        if idle {
            self.apply_queue_again();
        } else {
            // What is queued is being written: it stays as it is.
            self.find_barrier();
        }
        true
    }
}
