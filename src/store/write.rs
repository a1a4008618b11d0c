//! `set`, `delete`, `batch`: applied in memory at the call, queued for the writer.

use super::options::LEAST_THRESHOLD;
use super::queue::{Ack, Batch, Item, Ops, Ticket, Write};
use super::{Durability, Inner, Shared, Store, WriteMode};
use crate::clock;
use crate::error::{Error, Result};
use crate::state::Op;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

/// How the end of a write is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It has ended: buffered, or part of a batch that is still open.
    Done,
    /// It has ended once [`Store::settled`] reaches this ticket.
    Through(Ticket),
    /// Its outcome is told by itself.
    Told(Ticket),
}

impl Store {
    /// Creates or replaces a record. `id` is the canonical JSON text of a string, `data` the JSON text of a value.
    ///
    /// # Errors
    /// `NotOpen`, `ReadOnly`, `Failed`, or an earlier failure of buffered writes that no call has been told yet; in a
    /// store without its records also `Corrupt` and `Io` of the files. Nothing is changed then.
    pub fn set(&self, id: &[u8], data: &[u8]) -> Result<Accepted> {
        let mut inner = self.shared.inner();
        self.take_all_in(&mut inner);
        let inner = self.check_change(inner)?;
        let mut inner = self.shared.with_stored(inner, id)?;
        let op = inner.state.set(id, data, clock::now_ms());
        let accepted = inner.take(op, &self.shared);
        self.allow_intake(&mut inner);
        self.end_change(inner);
        Ok(accepted)
    }

    /// Removes a record.
    ///
    /// # Errors
    /// As [`Store::set`], and `RecordNotFound`.
    pub fn delete(&self, id: &[u8]) -> Result<Accepted> {
        let inner = self.check_change(self.shared.inner())?;
        let mut inner = self.shared.with_stored(inner, id)?;
        let deleted = inner.state.delete(id, clock::now_ms());
        let op = deleted.ok_or_else(|| Error::RecordNotFound { id: id.into() })?;
        let accepted = inner.take(op, &self.shared);
        self.end_change(inner);
        Ok(accepted)
    }

    /// [`Store::set`] of several records in turn. `lines` holds JSON texts, each on a line of its own: an id, its value, the
    /// next id, and so on. They were called `age` milliseconds ago. Answers for each of them.
    ///
    /// # Errors
    /// As [`Store::set`], and `Invalid` where there is an id without a value. Nothing is changed then, unless the store was
    /// opened without its records: what had its turn before the failure is done.
    pub fn set_many(&self, lines: &[u8], age: u64) -> Result<Vec<Accepted>> {
        let mut inner = self.check_change(self.shared.inner())?;
        let newlines = memchr::memchr_iter(b'\n', lines).count();
        if newlines.is_multiple_of(2) {
            return Err(Error::Invalid { message: "There must be a value for each id".to_owned() });
        }
        let ts = clock::now_ms().saturating_sub(age);
        let mut accepted = Vec::with_capacity(newlines / 2 + 1);
        let mut texts = lines.split(|&byte| byte == b'\n');
        while let (Some(id), Some(data)) = (texts.next(), texts.next()) {
            inner = self.shared.with_stored(inner, id)?;
            let op = inner.state.set(id, data, ts);
            accepted.push(inner.take(op, &self.shared));
        }
        self.end_change(inner);
        Ok(accepted)
    }

    fn check_change<'a>(&self, mut inner: MutexGuard<'a, Inner>) -> Result<MutexGuard<'a, Inner>> {
        inner.check_writable(self.shared.options.read_only)?;
        if inner.batch.is_none() {
            self.check_background(&mut inner)?;
        }
        Ok(inner)
    }

    /// A caller that never lets its turn end never kicks: what it was told is buffered must be written all the same.
    pub(super) fn end_change(&self, mut inner: MutexGuard<'_, Inner>) {
        let is_buffered = self.shared.options.write_mode != WriteMode::Immediate && inner.batch.is_none();
        if is_buffered && !inner.armed {
            inner.arm();
            let lent = inner.lent;
            drop(inner);
            self.shared.notify(lent);
        }
    }

    /// Hands on the failure of buffered writes, once, and lets them be tried again.
    pub(super) fn check_background(&self, inner: &mut Inner) -> Result<()> {
        match inner.background_error.take() {
            None => Ok(()),
            Some(error) => {
                inner.retry_at = None;
                inner.kicked = true;
                self.shared.work.notify_one();
                Err(error)
            }
        }
    }

    /// Begins a batch: what follows is appended together, all or nothing, by [`Store::end_batch`].
    ///
    /// # Errors
    /// As [`Store::set`].
    pub fn begin_batch(&self) -> Result<()> {
        let mut inner = self.shared.inner();
        inner.check_writable(self.shared.options.read_only)?;
        self.check_background(&mut inner)?;
        inner.batch = Some(Batch::default());
        Ok(())
    }

    /// Ends a batch: queues its operations, or takes them back if `keep` is false.
    ///
    /// # Errors
    /// What made one of its operations impossible meanwhile; the batch is taken back then.
    pub fn end_batch(&self, keep: bool) -> Result<Accepted> {
        let mut inner = self.shared.inner();
        let Some(batch) = inner.batch.take() else {
            return Ok(Accepted::Done);
        };
        let failed = batch.failed.or_else(|| inner.failed.clone());
        if !keep || failed.is_some() {
            for op in batch.ops.iter().rev() {
                inner.state.pop();
                inner.changed.push(op.id.clone());
            }
            return failed.filter(|_| keep).map_or(Ok(Accepted::Done), Err);
        }
        if batch.ops.is_empty() {
            return Ok(Accepted::Done);
        }
        Ok(inner.accept(batch.ops.into(), &self.shared))
    }

    /// [`Store::kick`] for a caller that looks at the results right afterwards and need not be woken for them.
    pub fn kick_and_look(&self) {
        self.shared.woken.store(true, std::sync::atomic::Ordering::Release);
        self.kick();
    }

    /// Lets the writer take what was queued. Calls queue only, so that those of one turn of the event loop share one
    /// write and one sync; their caller kicks once at the end of the turn.
    ///
    /// Under `durability: "os"` an idle writer is bypassed where somebody waits: one write from this thread is cheaper
    /// than any hand-off.
    pub fn kick(&self) {
        let options = &self.shared.options;
        let waited_for = || options.write_mode == WriteMode::Immediate || self.shared.inner().urgent;
        if options.durability == Durability::Os
            && waited_for()
            && let Ok(mut disk) = self.shared.disk.try_lock()
        {
            self.shared.commit_small(&mut disk);
        }
        let mut inner = self.shared.inner();
        if inner.queue.is_empty() {
            inner.urgent = false;
            return;
        }
        // What nobody waits for is taken a little later, much of it at a time: waking a thread costs more than a write.
        if std::mem::take(&mut inner.urgent) || options.write_mode == WriteMode::Immediate {
            inner.kicked = true;
        } else if inner.armed {
            return;
        } else {
            inner.arm();
        }
        let lent = inner.lent;
        drop(inner);
        self.shared.notify(lent);
    }
}

impl Inner {
    /// Takes an operation that has been applied into the batch that is open, or queues it.
    fn take(&mut self, op: Arc<Op>, shared: &Shared) -> Accepted {
        match &mut self.batch {
            Some(batch) => {
                batch.ops.push(op);
                Accepted::Done
            }
            None => self.accept(Ops::from_buf([op]), shared),
        }
    }

    /// Queues operations that have been applied, and the checkpoint that they may set off.
    fn accept(&mut self, ops: Ops, shared: &Shared) -> Accepted {
        let options = &shared.options;
        let ticket = self.next_ticket();
        let count = ops.len() as u64;
        let fills = self.buffer(count, shared);
        if options.write_mode == WriteMode::Group {
            // How many more the buffer takes was told before this one.
            self.close_intake();
        }
        let ack = match options.write_mode {
            WriteMode::Immediate => Ack::Waiting,
            WriteMode::Group if fills => Ack::Waiting,
            // A batch is all or nothing: its caller learns which.
            WriteMode::Group | WriteMode::Async if count > 1 => Ack::Waiting,
            WriteMode::Group | WriteMode::Async => Ack::Done,
        };
        let held = self.queue_write(Write { ticket, ops, ack, sync: fills, impossible: Ops::new() }, true);
        self.urgent |= ack != Ack::Done || fills || held;
        match ack {
            _ if held => Accepted::Told(ticket),
            Ack::Waiting | Ack::Held => Accepted::Through(ticket),
            Ack::Done => Accepted::Done,
        }
    }

    /// As [`Inner::accept`], of one operation that its caller was told is buffered.
    pub(super) fn accept_acknowledged(&mut self, ops: Ops, shared: &Shared) {
        let ticket = self.next_ticket();
        let sync = self.buffer(ops.len() as u64, shared);
        self.queue_write(Write { ticket, ops, ack: Ack::Done, sync, impossible: Ops::new() }, false);
        self.urgent |= sync;
    }

    /// Counts operations that are buffered. True if they fill the buffer.
    fn buffer(&mut self, count: u64, shared: &Shared) -> bool {
        let options = &shared.options;
        if options.write_mode == WriteMode::Immediate {
            return false;
        }
        self.buffered = self.buffered.saturating_add(count);
        let fills = self.buffered >= options.group_commit_size;
        // A power cut takes no more than a group of what was acknowledged: until the group is synced, callers wait.
        if fills && !(options.write_mode == WriteMode::Group && shared.syncs_buffers() && shared.lends()) {
            self.buffered = 0;
        }
        fills
    }

    /// Queues a write, and the checkpoint if it reaches the threshold. True if its end is told by itself then: a `new`
    /// one waits for the checkpoint that it sets off.
    pub(super) fn queue_write(&mut self, mut write: Write, new: bool) -> bool {
        self.since_checkpoint += write.ops.len() as u64;
        let due = !write.ops.is_empty() && self.is_checkpoint_due();
        if due && new && self.holds {
            write.ack = Ack::Held;
        }
        let (ticket, held) = (write.ticket, write.ack == Ack::Held);
        self.queue.push_back(Item::Write(write));
        if due {
            self.queue_checkpoint(if held { vec![ticket] } else { Vec::new() }, false);
        }
        held
    }

    fn is_checkpoint_due(&self) -> bool {
        let threshold = match self.threshold {
            Some(given) => given,
            // One checkpoint at a time: the operations that come meanwhile count for the next.
            None if self.is_checkpoint_pending() => return false,
            None => self.records_at_checkpoint.max(LEAST_THRESHOLD),
        };
        self.since_checkpoint >= threshold && self.checkpoint_retry_at.is_none_or(|at| Instant::now() >= at)
    }

    /// How many more set off a checkpoint.
    pub(super) fn operations_until_checkpoint(&self) -> u64 {
        let threshold = self.threshold.unwrap_or_else(|| self.records_at_checkpoint.max(LEAST_THRESHOLD));
        threshold.saturating_sub(self.since_checkpoint)
    }

    fn is_checkpoint_pending(&self) -> bool {
        self.job.is_some()
            || !self.parked.is_empty()
            || self.queue.iter().any(|item| matches!(item, Item::Checkpoint { .. }))
    }

    /// Queues a checkpoint of everything that was called so far.
    pub(super) fn queue_checkpoint(&mut self, waiting: Vec<Ticket>, asked: bool) {
        let through = self.state.last_seq();
        self.barrier = through;
        self.since_checkpoint = 0;
        self.queue.push_back(Item::Checkpoint { through, waiting, asked });
    }
}
