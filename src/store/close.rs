//! `flush`, `sync`, `close`, and the end of a process that did not close.

use super::checkpoint::{Job, Published, at_once};
use super::queue::{Item, Ticket, Value};
use super::{Disk, Phase, Shared, Store};
use crate::error::{Error, Result};
use std::sync::{Arc, PoisonError};

impl Store {
    /// Hands everything that was called before to the operating system and syncs it if `sync` or the store's
    /// durability says so.
    ///
    /// # Errors
    /// `NotOpen`, or an earlier failure that no call has been told yet. A read-only store has nothing to flush.
    pub fn flush(&self, sync: bool) -> Result<Ticket> {
        let mut inner = self.shared.inner();
        if inner.phase != Phase::Open {
            return Err(Error::NotOpen);
        }
        let ticket = inner.next_ticket();
        if self.shared.options.read_only {
            inner.settle(ticket, Ok(Value::None));
            drop(inner);
            self.shared.wake();
            return Ok(ticket);
        }
        inner.check_writable(false)?;
        self.check_background(&mut inner)?;
        inner.push(Item::Flush { ticket, sync });
        Ok(ticket)
    }

    /// Flushes, makes a checkpoint if that is wanted and there is anything to, and gives the lock back. The store
    /// takes no more changes from now on. If it fails, the store is open again and the call can be made again, except
    /// after a failed sync, or where another agent has migrated the records: then the store is closed all the same.
    ///
    /// # Errors
    /// `NotOpen`, or an earlier failure that no call has been told yet.
    pub fn close(&self) -> Result<Ticket> {
        let mut inner = self.shared.inner();
        if inner.phase != Phase::Open {
            return Err(Error::NotOpen);
        }
        self.check_background(&mut inner)?;
        let ticket = inner.next_ticket();
        if self.shared.options.read_only && !self.shared.external {
            inner.phase = Phase::Closed;
            inner.settle(ticket, Ok(Value::None));
            drop(inner);
            self.shared.wake();
            return Ok(ticket);
        }
        inner.phase = Phase::Closing;
        inner.push(Item::Close { ticket });
        Ok(ticket)
    }

    /// The process ends: writes what is queued, syncs, gives the lock back. Blocks; makes no checkpoint.
    pub fn finish(&self) {
        self.shared.finish();
        self.shared.work.notify_all();
        self.shared.relay.end();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.phase() != Phase::Closed {
            self.finish();
        }
        self.shared.relay.join();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // It ends at once, and a panic in it has been dealt with.
            let _ = writer.join();
        }
    }
}

impl Shared {
    /// Carries out the `close` at the front of the queue.
    pub(super) fn commit_close(self: &Arc<Self>, disk: &mut Disk, ticket: Ticket) {
        let failed = self.inner().failed.clone();
        let closed = match &failed {
            Some(error) => Err(error.clone()),
            None => {
                self.sync_log(disk).and_then(|()| self.leave_others(disk)).and_then(|()| self.checkpoint_on_close(disk))
            }
        };
        // Who looks at the directory of a closed store finds nothing in it that is still going.
        disk.finish_removing();
        // Outside of what callers wait for: giving the place back may take a moment.
        let mut several = None;
        let mut inner = self.inner();
        // After these there is nothing that another try could do better.
        let hopeless =
            inner.failed.is_some() || matches!(closed, Err(Error::Changed { .. } | Error::NewerVersion { .. }));
        if closed.is_ok() || hopeless {
            // ORDER: nothing is written after the lock is given back.
            disk.log = None;
            several = disk.several.take();
            if let Some(lock) = disk.lock.take() {
                lock.release();
            }
            inner.phase = Phase::Closed;
            self.relay.end();
        } else {
            inner.phase = Phase::Open;
        }
        inner.queue.retain(|item| !matches!(item, Item::Close { .. }));
        drop(inner);
        drop(several);
        self.inner().settle(ticket, closed.map(|()| Value::None));
        self.wake();
    }

    /// An agent that goes has looked once more whether what it has written counts.
    fn leave_others(&self, disk: &mut Disk) -> Result<()> {
        match &disk.several {
            Some(several) if !several.is_current()? => {}
            _ => return Ok(()),
        }
        self.meet_from_outside(disk)?;
        self.keep_left_over(disk).map(drop)
    }

    fn checkpoint_on_close(self: &Arc<Self>, disk: &mut Disk) -> Result<()> {
        let mut tries = 0;
        let done = loop {
            match self.try_checkpoint_on_close(disk, tries) {
                Ok(Published::Stale) => tries += 1,
                other => break other.map(drop),
            }
        };
        self.end_tries(disk);
        let mut inner = self.inner();
        inner.state.moment = None;
        if let Err(error) = &done {
            inner.checkpoint_error = Some(error.clone());
        }
        done
    }

    fn try_checkpoint_on_close(self: &Arc<Self>, disk: &mut Disk, tries: u32) -> Result<Published> {
        let wanted = self.options.checkpoint_on_close && !self.options.skip_load;
        if !wanted || self.inner().state.history.is_empty() {
            return Ok(Published::LeftOut);
        }
        self.begin_try(disk, tries)?;
        let (through, count) = {
            let mut inner = self.inner();
            (self.stored_through(disk, &inner), inner.begin_moment(1))
        };
        let job = Job { through, count, waiting: Vec::new(), asked: true, tries, base: String::new() };
        self.write_snapshot(count).and_then(|snapshot| self.publish(disk, &job, snapshot, false, |_| {}, at_once))
    }

    /// Ends a checkpoint that is being written, at its next piece, and removes its file.
    fn give_up_checkpoint(&self) {
        let mut inner = self.inner();
        while !self.inline && inner.job.is_some() && inner.job_result.is_none() {
            // The thread that writes takes the moment out for each piece and puts it back.
            inner.state.moment = None;
            let wait = self.ended.wait_timeout(inner, std::time::Duration::from_millis(1));
            inner = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.job = None;
        let written = inner.job_result.take();
        drop(inner);
        if let Some(Ok(snapshot)) = written {
            crate::backend::discard(&*self.backend, &snapshot.path);
        }
    }

    fn finish(self: &Arc<Self>) {
        if self.external {
            // What is queued needs its caller's event loop, which has ended.
            self.inner().phase = Phase::Closed;
            return;
        }
        let mut disk = self.disk();
        {
            let mut inner = self.inner();
            inner.take_in(self);
            inner.close_intake();
        }
        while disk.log.is_some() {
            let is_undo = {
                let mut inner = self.inner();
                inner.retry_at = None;
                match inner.queue.front() {
                    None => break,
                    Some(Item::Write(_)) => false,
                    Some(Item::Undo { .. }) => true,
                    // No time for these: the log has everything. An archive call that has not begun never was.
                    Some(Item::Checkpoint { .. } | Item::Flush { .. } | Item::Close { .. }) => {
                        inner.queue.pop_front();
                        continue;
                    }
                    Some(Item::Archive { .. }) => {
                        let error = Error::Failed { message: "The process ended".to_owned(), cause: None };
                        inner.take_back(&error, |place, _| place == 0);
                        continue;
                    }
                }
            };
            if is_undo {
                self.commit_undo(&mut disk);
            } else if !self.commit_front(&mut disk) {
                // It cannot be written now, and there is no later.
                break;
            }
        }
        let synced = self.sync_log(&mut disk);
        self.give_up_checkpoint();
        let mut inner = self.inner();
        if let Some(error) = inner.background_error.take().or(synced.err()) {
            // Nobody is left who could be told otherwise.
            eprintln!("opslog: the process ends with writes that could not be stored: {error}");
        }
        inner.phase = Phase::Closed;
        drop(inner);
        disk.log = None;
        disk.several = None;
        if let Some(lock) = disk.lock.take() {
            lock.release();
        }
    }
}
