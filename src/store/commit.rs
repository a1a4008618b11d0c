//! The writer's commit: appends what is at the front of the queue, syncs it where that is asked for, and sorts out
//! what could not be written.

use super::enter::Turn;
use super::queue::{Ack, Item, Value, Write};
use super::several::Several;
use super::{Disk, Durability, Inner, Notice, Shared, WriteMode};
use crate::error::{Error, Result};
use crate::format::op::Text;
use crate::log::{AppendError, LineMark};
use crate::state::Op;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Writes of about this many bytes go together.
pub(super) const GROUP_BYTES: usize = 8 << 20;
/// The caller's thread writes no more than this by itself.
const SMALL_BYTES: usize = 256 << 10;
/// How long buffered writes that failed wait before they are tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Writes from the front of the queue, to be appended together.
#[derive(Default)]
pub(super) struct Group {
    items: usize,
    ops: Vec<(Arc<Op>, Option<u64>)>,
    bytes: usize,
    sync: bool,
    /// True if any was acknowledged before: those are never taken back.
    acknowledged: bool,
}

impl Group {
    pub(super) fn collect(inner: &Inner, limit: usize, most: usize) -> Self {
        let mut group = Group::default();
        for item in &inner.queue {
            let Item::Write(write) = item else { break };
            if group.items == most || (group.items > 0 && group.bytes >= limit) {
                break;
            }
            group.add(write);
        }
        group
    }

    /// How many writes.
    pub(super) fn items(&self) -> usize {
        self.items
    }

    /// How many operations.
    pub(super) fn operations(&self) -> u64 {
        self.ops.len() as u64
    }

    /// True if any of them fills a buffer.
    pub(super) fn syncs(&self) -> bool {
        self.sync
    }

    fn add(&mut self, write: &Write) {
        let last = (write.ops.len() as u64).saturating_sub(1);
        self.items += 1;
        self.sync |= write.sync;
        self.acknowledged |= write.ack == Ack::Done;
        for (op, remaining) in write.ops.iter().zip((0..=last).rev()) {
            let len = |text: &Option<Text>| text.as_ref().map_or(0, |text| text.len());
            self.bytes += 200 + op.id.len() + len(&op.data) + len(&op.before);
            self.ops.push((op.clone(), (last > 0).then_some(remaining)));
        }
    }

    pub(super) fn encode(&self, encoded: &mut Encoded) {
        let Encoded { bytes, marks } = encoded;
        bytes.clear();
        bytes.reserve(self.bytes);
        marks.clear();
        for (op, batch) in &self.ops {
            let before = bytes.len() as u64;
            marks.push(LineMark { seq: op.seq, offset: before, batch: *batch });
            op.push_line(*batch, (self.ops.len() > 1).then_some(before), bytes);
        }
    }
}

/// Lines that are about to be written. Used again from commit to commit.
#[derive(Default)]
pub(super) struct Encoded {
    bytes: Vec<u8>,
    marks: Vec<LineMark>,
}

impl Encoded {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn marks(&self) -> &[LineMark] {
        &self.marks
    }

    /// Gives memory back after a large commit.
    pub(super) fn shrink(&mut self) {
        if self.bytes.capacity() > SMALL_BYTES {
            *self = Encoded::default();
        }
    }
}

impl Shared {
    /// Commits from the caller's thread where that is cheap: the queue holds small writes only.
    pub(super) fn commit_small(self: &Arc<Self>, disk: &mut Disk) {
        let group = {
            let inner = self.inner();
            // What has failed is tried again by the writer, when its time has come.
            if inner.waits_to_retry()
                || inner.failed.is_some()
                || !inner.queue.iter().all(|item| matches!(item, Item::Write(_)))
            {
                return;
            }
            let group = Group::collect(&inner, SMALL_BYTES, usize::MAX);
            if group.bytes >= SMALL_BYTES {
                return;
            }
            group
        };
        if group.items == 0 {
            return;
        }
        if disk.several.is_none() {
            self.commit(disk, &group);
            return;
        }
        // Waiting is the writer's.
        if let Ok(Some(turn)) = self.begin_append(disk, false) {
            let group = Group::collect(&self.inner(), SMALL_BYTES, usize::MAX);
            self.commit_in_turn(disk, &group, turn);
        }
    }

    /// Commits the writes at the front of the queue. False where they must wait for another try.
    pub(super) fn commit_front(self: &Arc<Self>, disk: &mut Disk) -> bool {
        let turn = match self.begin_append(disk, true) {
            Ok(turn) => turn.flatten(),
            Err(error) => return self.write_failed(error),
        };
        // Only now: an agent may have had to apply the queue again on what others have done.
        let group = {
            let mut inner = self.inner();
            inner.take_in(self);
            Group::collect(&inner, GROUP_BYTES, usize::MAX)
        };
        self.commit_in_turn(disk, &group, turn)
    }

    fn commit_in_turn(self: &Arc<Self>, disk: &mut Disk, group: &Group, turn: Turn) -> bool {
        if disk.several.is_none() {
            return self.commit(disk, group);
        }
        // Told once it is certain that a manifest names what was written.
        self.inner().untold_through = Some(Vec::new());
        let committed = group.items == 0 || self.commit(disk, group);
        let settled = self.confirm(disk, turn);
        let untold = self.inner().untold_through.take().unwrap_or_default();
        match settled {
            Ok(()) => drop(self.inner().tell(untold)),
            Err(error) => {
                let mut inner = self.inner();
                untold.iter().for_each(|write| inner.settle(write.ticket, Err(error.clone())));
                drop(inner);
                self.poison(error);
            }
        }
        self.wake();
        committed
    }

    /// Something was appended: sees to it that it stands in a log that the manifest names, or is part of its snapshot.
    fn confirm(&self, disk: &mut Disk, turn: Turn) -> Result<()> {
        match once_more(|| disk.several.as_ref().map_or(Ok(true), Several::is_current)) {
            Ok(true) => Ok(()),
            Ok(false) => {
                drop(turn);
                match once_more(|| self.enter(disk)) {
                    // It counts; the next append enters first.
                    Err(_) if self.is_named(disk) => Ok(()),
                    other => other,
                }
            }
            Err(error) => {
                // Before the lock is given back: nobody has read it.
                self.take_untold_back(disk);
                Err(error)
            }
        }
    }

    /// Takes off the log what was appended and nobody was told of, and puts it back at the front of the queue. What was
    /// acknowledged before stays, and what stands before it.
    fn take_untold_back(&self, disk: &mut Disk) {
        let mut inner = self.inner();
        let Some(untold) = &mut inner.untold_through else { return };
        let keep = untold.iter().rposition(|write| write.ack == Ack::Done).map_or(0, |last| last + 1);
        let back = untold.split_off(keep);
        if let (Some(log), Some(first)) = (&mut disk.log, first_op(&back)) {
            log.abandon_after(first - 1);
            // It may have been durable.
            let _ = log.sync();
        }
        back.into_iter().rev().for_each(|write| inner.queue.push_front(Item::Write(write)));
    }

    fn commit(self: &Arc<Self>, disk: &mut Disk, group: &Group) -> bool {
        let Some(log) = &mut disk.log else { return false };
        let fsync = self.options.durability == Durability::Fsync;
        let lends = self.lends();
        let sync = fsync && (self.options.write_mode == WriteMode::Immediate || (group.sync && !lends));
        group.encode(&mut disk.encoded);
        let appended = log.append(&disk.encoded.bytes, &disk.encoded.marks, sync && !group.acknowledged);
        let bytes = disk.encoded.bytes.len();
        disk.encoded.shrink();
        match appended {
            Ok(()) => {
                if sync
                    && group.acknowledged
                    && let Err(error) = log.sync()
                {
                    self.sync_failed(disk, group.items, error);
                    return true;
                }
                self.gauge.note(log, bytes);
                let unsynced = fsync && !log.is_synced();
                self.written(group.items, unsynced);
                // Where nobody waits for it, what is queued is stored before.
                self.inner().sync_now |= fsync && group.sync && lends;
                true
            }
            Err(AppendError::Sync(error)) => {
                self.poison(error);
                true
            }
            Err(AppendError::Write(_)) if group.items > 1 => self.commit_one_by_one(disk, group.items),
            Err(AppendError::Write(error)) => self.write_failed(error),
        }
    }

    /// One caller's failure is not another's: each write that shared a failed append is tried on its own.
    fn commit_one_by_one(self: &Arc<Self>, disk: &mut Disk, items: usize) -> bool {
        for _ in 0..items {
            let group = Group::collect(&self.inner(), usize::MAX, 1);
            // A roll-back may have dropped writes that depended on a failed one.
            if group.items == 0 {
                break;
            }
            if !self.commit(disk, &group) {
                return false;
            }
        }
        true
    }

    /// The first `items` of the queue are written.
    pub(super) fn written(&self, items: usize, unsynced: bool) {
        let mut inner = self.inner();
        let mut writes = Vec::with_capacity(items);
        let mut operations = 0;
        for _ in 0..items {
            if let Some(Item::Write(write)) = inner.queue.pop_front() {
                operations += write.ops.len() as u64;
                writes.push(write);
            }
        }
        inner.metrics.committed(operations);
        inner.retry_at = None;
        inner.note_unsynced(unsynced);
        if let Some(untold) = &mut inner.untold_through {
            untold.extend(writes);
            return;
        }
        let told = inner.tell_or_hold(writes, self.lends() && self.syncs_buffers());
        let idle = inner.queue.is_empty();
        drop(inner);
        if told || idle {
            self.wake();
        }
    }

    /// The write at the front could not be stored. Its caller is told and it is taken back; if it was acknowledged
    /// before, it stays, is tried again, and the error goes to whoever waits and to the next call.
    pub(super) fn write_failed(&self, error: Error) -> bool {
        let mut inner = self.inner();
        let keep = inner.queue.front().is_some_and(Item::is_acknowledged);
        if !keep {
            inner.take_back(&error, |place, _| place == 0);
        } else {
            let waiting = |_: usize, item: &Item| !item.tickets().is_empty() && !is_automatic(item);
            let told = inner.queue.iter().enumerate().any(|(place, item)| waiting(place, item));
            inner.take_back(&error, waiting);
            if !told && inner.retry_at.is_none() {
                inner.metrics.fails_quietly(&error);
            }
            inner.background_error = (!told).then_some(error);
            inner.close_intake();
            inner.retry_at = Some(Instant::now() + RETRY);
        }
        drop(inner);
        self.wake();
        !keep
    }

    /// A sync failed after writes, some of them acknowledged before, were appended. Those at the end that somebody
    /// waits for are cut off again; nothing more is written.
    pub(super) fn sync_failed(&self, disk: &mut Disk, items: usize, error: Error) {
        let first = {
            let inner = self.inner();
            let writes: Vec<&Write> = inner
                .queue
                .iter()
                .take(items)
                .filter_map(|item| if let Item::Write(write) = item { Some(write) } else { None })
                .collect();
            let keep = writes.iter().rposition(|write| write.ack == Ack::Done).map_or(0, |last| last + 1);
            first_op(writes.get(keep..).unwrap_or_default().iter().copied())
        };
        if let (Some(log), Some(first)) = (&mut disk.log, first) {
            log.abandon_after(first - 1);
        }
        self.poison(error);
    }

    /// Nothing more may be written: everybody who waits is told.
    pub(super) fn poison(&self, error: Error) {
        let mut inner = self.inner();
        inner.failed = Some(error.clone());
        inner.close_intake();
        inner.queue_unsynced_again();
        inner.sync_now = false;
        // `close` is carried out all the same: it rejects, and frees the lock.
        inner.take_back(&error, |_, item| !item.is_acknowledged() && !matches!(item, Item::Close { .. }));
        inner.give_up_parked(&error);
        // The next call is told of this failure, not of the one before.
        if let Some(error) = inner.background_error.take() {
            let message = "buffered writes could not be stored".into();
            inner.notices.push(Notice { message, error: Some(error) });
        }
        // What was acknowledged stays in memory; there is no more that could be done for it.
        inner.queue.retain(|item| matches!(item, Item::Close { .. }));
        inner.unsynced_since = None;
        inner.retry_at = None;
        inner
            .notices
            .push(Notice { message: "the store takes no more writes after a failure".into(), error: Some(error) });
        drop(inner);
        self.wake();
    }

    /// Syncs the log now, for buffered writes whose time has come, `flush` and `sync`.
    ///
    /// # Errors
    /// `Io`; the store is poisoned then.
    pub(super) fn sync_log(&self, disk: &mut Disk) -> Result<()> {
        let Some(log) = &mut disk.log else {
            return Ok(());
        };
        if let Err(error) = log.sync() {
            self.poison(error.clone());
            return Err(error);
        }
        self.gauge.note(log, 0);
        let mut inner = self.inner();
        inner.relayed = 0;
        inner.note_unsynced(false);
        Ok(())
    }
}

/// Sequence number of the first operation of some writes.
fn first_op<'a>(writes: impl IntoIterator<Item = &'a Write>) -> Option<u64> {
    writes.into_iter().find_map(|write| write.ops.first()).map(|op| op.seq)
}

/// Makes a call a second time where the storage let it down: what was done before it cannot simply be taken back.
fn once_more<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    match call() {
        Err(Error::Io { .. }) => call(),
        other => other,
    }
}

/// A checkpoint that nobody asked for is not given up because a write failed.
fn is_automatic(item: &Item) -> bool {
    matches!(item, Item::Checkpoint { asked: false, .. })
}

impl Inner {
    /// Tells the callers of writes that they have ended. True if anybody waited.
    pub(super) fn tell(&mut self, writes: Vec<Write>) -> bool {
        let mut told = false;
        for write in writes {
            // A call of `sync` is told later than writes that came after it and wait for none.
            self.through = self.through.max(write.ticket);
            told |= write.ack == Ack::Waiting;
            // The checkpoint that it waited for is not due any more.
            if write.ack == Ack::Held && !self.is_pending(write.ticket) {
                self.settle(write.ticket, Ok(Value::None));
                told = true;
            }
            if let Some(op) = write.impossible.first() {
                self.background_error = Some(Error::RecordNotFound { id: op.id.clone() });
                self.close_intake();
            }
        }
        told
    }

    /// Keeps track of how long written operations have been waiting for a sync.
    pub(super) fn note_unsynced(&mut self, unsynced: bool) {
        if !unsynced {
            self.unsynced_since = None;
            self.buffered = self.buffered.min(self.pending_writes() + self.relayed);
        } else if self.unsynced_since.is_none() {
            self.unsynced_since = Some(Instant::now());
        }
    }
}
