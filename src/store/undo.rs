//! `undo`: takes the last operation back, in memory at the call and in the log in its turn.

use super::queue::{Item, Ticket, Value};
use super::{Disk, Durability, Inner, Shared, Store, WriteMode};
use crate::error::Result;
use crate::log::AppendError;
use crate::state::Op;
use std::sync::Arc;

impl Store {
    /// Takes back the last operation since the last checkpoint. The ticket ends with [`Value::Bool`]: false where
    /// there is none.
    ///
    /// # Errors
    /// As [`Store::set`].
    pub fn undo(&self) -> Result<Ticket> {
        let mut inner = self.shared.inner();
        inner.check_writable(self.shared.options.read_only)?;
        self.check_background(&mut inner)?;
        let ticket = inner.next_ticket();
        let item = inner.undo_in_memory(ticket);
        inner.push(item);
        Ok(ticket)
    }
}

impl Inner {
    pub(super) fn undo_in_memory(&mut self, ticket: Ticket) -> Item {
        let place = self.state.last_own();
        let last = place.and_then(|place| self.state.history.get(place));
        let blocked = last.is_some_and(|op| op.seq <= self.barrier);
        let undone = place.filter(|_| !blocked).and_then(|place| self.state.take_out(place));
        if let Some((op, later)) = &undone {
            self.changed.push(op.id.clone());
            self.changed.extend(later.iter().map(|op| op.id.clone()));
            self.since_checkpoint = self.since_checkpoint.saturating_sub(1);
        }
        Item::Undo { ticket, undone: undone.map(|(op, _)| op), blocked }
    }
}

impl Shared {
    /// Carries out the undo at the front of the queue.
    pub(super) fn commit_undo(&self, disk: &mut Disk) {
        let turn = match self.begin_undo(disk) {
            Ok(turn) => turn,
            Err(error) => {
                self.inner().take_back(&error, |place, _| place == 0);
                return self.wake();
            }
        };
        // Only now: what others have done may have changed what there is to take back.
        let front = self.inner().queue.front().and_then(|item| match item {
            Item::Undo { ticket, undone, .. } => Some((*ticket, undone.clone())),
            _ => None,
        });
        if let Some((ticket, undone)) = front {
            self.take_off(disk, ticket, undone.as_ref());
        }
        drop(turn);
    }

    fn take_off(&self, disk: &mut Disk, ticket: Ticket, undone: Option<&Arc<Op>>) {
        let sync = self.options.durability == Durability::Fsync && self.options.write_mode == WriteMode::Immediate;
        let taken = match (&mut disk.log, undone) {
            (Some(log), Some(op)) => {
                debug_assert_eq!(log.last_seq(), op.seq);
                log.take_last(sync)
            }
            _ => Ok(()),
        };
        let unsynced =
            self.options.durability == Durability::Fsync && disk.log.as_ref().is_some_and(|log| !log.is_synced());
        match taken {
            Ok(()) => {
                let mut inner = self.inner();
                inner.queue.pop_front();
                inner.settle(ticket, Ok(Value::Bool(undone.is_some())));
                inner.note_unsynced(unsynced);
            }
            Err(AppendError::Write(error)) => self.inner().take_back(&error, |place, _| place == 0),
            Err(AppendError::Sync(error)) => self.poison(error),
        }
        self.wake();
    }
}
