//! Buffered writes while the writer waits for the disk.
//!
//! Whoever buffers is promised that the operating system has its writes soon, and a sync may take long. So the writer lends
//! the log, for as long as it syncs or publishes a checkpoint, to a thread of its own, which appends what comes in
//! meanwhile. It only appends, and puts calls of `flush` aside until they are synced: what must be undone or moved waits until
//! the writer is back. A new log that is about
//! to take the place of the one that is lent gets the same lines (its twin).
//!
//! A third lock, `lent`, comes between `disk` and `inner` (see `store`): whoever has `disk` lends and takes back, the relay
//! takes `lent` and `inner` only.
//!
//! What could go wrong if: the log takes a line and its twin does not (the checkpoint is given up); the writer syncs while
//! lines come (a sync stores what was appended before it was begun: who waits for more is told after the next one).

use super::commit::{Encoded, Group};
use super::queue::{Ack, Item, Value, Write};
use super::{Disk, Durability, Inner, Phase, Shared, WriteMode};
use crate::error::{Error, Result};
use crate::log::{AppendError, Log};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The writer mostly is back before that.
const PATIENCE: Duration = Duration::from_millis(3);

/// A log that is lent.
struct Lent {
    log: Log,
    /// What is to take its place.
    twin: Option<Log>,
    /// Why the twin does not hold all that was appended.
    twin_failed: Option<Error>,
    encoded: Encoded,
}

impl Write {
    /// True if its caller waits until it is synced.
    fn waits_for_sync(&self) -> bool {
        self.sync && self.ack != Ack::Done
    }

    /// True if nothing that came after it may be told before it: if the sync fails it is taken back, and what is taken
    /// back are the last operations. A `flush` has none.
    fn holds_up(&self) -> bool {
        self.waits_for_sync() && !self.ops.is_empty()
    }
}

/// What the writer and the relay share.
#[derive(Default)]
pub(super) struct Relay {
    /// The store has been opened.
    running: AtomicBool,
    lent: Mutex<Option<Lent>>,
    /// Something to do for the relay.
    work: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Relay {
    fn lent(&self) -> std::sync::MutexGuard<'_, Option<Lent>> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store has been opened: from now on there is somebody who ends the relay.
    pub(super) fn begin(&self) {
        self.running.store(true, Ordering::Release);
    }

    /// The store is closed.
    pub(super) fn end(&self) {
        self.work.notify_all();
    }

    /// Waits for the thread of a store that is closed.
    pub(super) fn join(&self) {
        self.end();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic in it has been dealt with.
            let _ = thread.join();
        }
    }
}

impl Lent {
    fn append(&mut self, group: &Group) -> std::result::Result<(), AppendError> {
        group.encode(&mut self.encoded);
        self.log.append(self.encoded.bytes(), self.encoded.marks(), false)?;
        if let Some(twin) = self.twin.as_mut().filter(|_| self.twin_failed.is_none())
            && let Err(AppendError::Write(error) | AppendError::Sync(error)) =
                twin.append(self.encoded.bytes(), self.encoded.marks(), false)
        {
            self.twin_failed = Some(error);
        }
        Ok(())
    }
}

impl Inner {
    fn can_relay(&self) -> bool {
        let waits = self.waits_to_retry() || self.failed.is_some();
        let front = self.queue.front();
        self.lent && !waits && matches!(front, Some(Item::Write(_) | Item::Checkpoint { .. } | Item::Flush { .. }))
    }

    /// Takes what is not to be appended from the front of the queue: checkpoints, and calls of `flush`. Those that wait for
    /// a sync (`fsync`: all of them) are told after the next one that begins, the others have ended. True if there were
    /// any of these.
    fn make_way(&mut self, fsync: bool) -> bool {
        let mut ended = false;
        loop {
            match self.queue.front() {
                Some(Item::Checkpoint { .. }) => self.park_checkpoints(),
                Some(&Item::Flush { ticket, sync }) => {
                    self.queue.pop_front();
                    if sync || fsync {
                        self.unsynced.push_back(Write::of_sync(ticket));
                    } else {
                        self.settle(ticket, Ok(Value::None));
                        ended = true;
                    }
                }
                _ => return ended,
            }
        }
    }

    /// Tells the callers of stored writes, apart from those that wait for a sync and whoever comes after them. True if
    /// anybody waited. Without `fsync` only calls of `sync` wait for one.
    pub(super) fn tell_or_hold(&mut self, writes: impl IntoIterator<Item = Write>, fsync: bool) -> bool {
        let mut behind = fsync && self.unsynced.iter().any(Write::holds_up);
        let mut told = Vec::new();
        for write in writes {
            behind |= fsync && write.holds_up();
            if behind || (write.waits_for_sync() && (fsync || write.ops.is_empty())) {
                self.unsynced.push_back(write);
            } else {
                told.push(write);
            }
        }
        self.tell(told)
    }

    /// A sync has ended that was begun after the first `synced` of the writes that wait for one: they are told, and what
    /// comes after them as far as it waits for nothing else.
    fn tell_synced(&mut self, synced: usize, fsync: bool) -> bool {
        let rest = self.unsynced.split_off(synced.min(self.unsynced.len()));
        let done: Vec<_> = std::mem::take(&mut self.unsynced).into();
        let told = self.tell(done);
        self.tell_or_hold(rest, fsync) || told
    }
}

impl Shared {
    /// True for a store whose writes are buffered, and whose log this process writes alone.
    pub(super) fn lends(&self) -> bool {
        let options = &self.options;
        let alone = options.agent.is_none() && !options.read_only && !self.external;
        options.write_mode != WriteMode::Immediate && alone && !self.inline
    }

    /// True if writes that fill a buffer are synced.
    pub(super) fn syncs_buffers(&self) -> bool {
        self.options.durability == Durability::Fsync && self.options.write_mode != WriteMode::Immediate
    }

    /// Tells who is to take the queue next that there is something to do: the relay where the log is `lent`.
    pub(super) fn notify(&self, lent: bool) {
        if lent { self.relay.work.notify_one() } else { self.work.notify_one() }
    }

    /// Does something slow that needs neither the log nor its twin, while what comes in is appended to both. The error, if
    /// there is one, is why the twin is of no use any more.
    pub(super) fn lend<R>(
        self: &Arc<Self>,
        disk: &mut Disk,
        twin: &mut Option<Log>,
        slow: impl FnOnce() -> R,
    ) -> (R, Option<Error>) {
        let running = self.relay.running.load(Ordering::Acquire);
        if !running || !self.lends() || self.inner().phase != Phase::Open || !self.start_relay() {
            return (slow(), None);
        }
        let Some(log) = disk.log.take() else { return (slow(), None) };
        *self.relay.lent() =
            Some(Lent { log, twin: twin.take(), twin_failed: None, encoded: std::mem::take(&mut disk.encoded) });
        let mut inner = self.inner();
        inner.lent = true;
        // Whoever was going to look is the writer.
        inner.rest(self);
        let waits = inner.can_relay();
        drop(inner);
        if waits {
            self.notify(true);
        }
        let done = catch_unwind(AssertUnwindSafe(slow));
        self.inner().lent = false;
        let mut failed = None;
        if let Some(lent) = self.relay.lent().take() {
            disk.log = Some(lent.log);
            disk.encoded = lent.encoded;
            *twin = lent.twin;
            failed = lent.twin_failed;
        }
        (done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), failed)
    }

    /// True if there is a thread to lend to.
    fn start_relay(self: &Arc<Self>) -> bool {
        let mut thread = self.relay.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = self.clone();
            let run = move || shared.run_relay();
            *thread = std::thread::Builder::new().name("opslog-relay".to_owned()).spawn(run).ok();
        }
        thread.is_some()
    }

    fn run_relay(&self) {
        let wait = |inner, timeout: Duration| {
            let waited = self.relay.work.wait_timeout(inner, timeout);
            waited.unwrap_or_else(PoisonError::into_inner).0
        };
        let mut inner = self.inner();
        while inner.phase != Phase::Closed {
            if !inner.can_relay() {
                inner = self.relay.work.wait(inner).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let until = Instant::now() + PATIENCE;
            while let Some(left) = until.checked_duration_since(Instant::now()).filter(|_| inner.lent) {
                inner = wait(inner, left);
            }
            drop(inner);
            if let Some(lent) = &mut *self.relay.lent()
                && catch_unwind(AssertUnwindSafe(|| self.relay_writes(lent))).is_err()
            {
                self.poison(Error::Failed { message: "The relay failed unexpectedly".to_owned(), cause: None });
            }
            inner = self.inner();
            if inner.queue.is_empty() {
                // As the writer does: the next call asks anew.
                inner.kicked = false;
                if inner.rest(self) {
                    self.notify(inner.lent);
                }
            }
        }
    }

    /// Appends the writes at the front of the queue.
    fn relay_writes(&self, lent: &mut Lent) {
        let fsync = self.options.durability == Durability::Fsync;
        while self.inner().can_relay() {
            if self.inner().make_way(fsync) {
                self.wake();
            }
            let group = {
                let mut inner = self.inner();
                inner.take_in(self);
                Group::collect(&inner, super::commit::GROUP_BYTES, usize::MAX)
            };
            if group.items() == 0 {
                return;
            }
            match lent.append(&group) {
                Ok(()) => self.relayed(lent, &group),
                // One caller's failure is not another's.
                Err(_) if group.items() > 1 => {
                    for _ in 0..group.items() {
                        let group = Group::collect(&self.inner(), usize::MAX, 1);
                        // A roll-back may have dropped writes that depended on a failed one.
                        if group.items() == 0 {
                            break;
                        }
                        match lent.append(&group) {
                            Ok(()) => self.relayed(lent, &group),
                            Err(AppendError::Write(error) | AppendError::Sync(error)) => {
                                if !self.write_failed(error) {
                                    return;
                                }
                            }
                        }
                    }
                }
                Err(AppendError::Write(error) | AppendError::Sync(error)) => {
                    if !self.write_failed(error) {
                        return;
                    }
                }
            }
        }
    }

    fn relayed(&self, lent: &mut Lent, group: &Group) {
        self.gauge.note(&lent.log, lent.encoded.bytes().len());
        lent.encoded.shrink();
        let fsync = self.options.durability == Durability::Fsync;
        {
            let mut inner = self.inner();
            inner.sync_now |= fsync && group.syncs();
            inner.relayed += group.operations();
        }
        self.written(group.items(), fsync);
    }

    /// Syncs the log, and tells who waited for that. What comes in meanwhile is appended; who waits for that to be synced
    /// is told after another sync.
    ///
    /// # Errors
    /// `Io`; the store is poisoned then.
    pub(super) fn sync_and_tell(self: &Arc<Self>, disk: &mut Disk) -> Result<()> {
        let waiting = self.inner().unsynced.len();
        if let Err(error) = self.sync_lending(disk) {
            self.lending_failed(disk, error.clone());
            return Err(error);
        }
        if self.inner().tell_synced(waiting, self.syncs_buffers()) {
            self.wake();
        }
        Ok(())
    }

    /// A sync has failed while the log was lent: as [`Shared::sync_failed`].
    pub(super) fn lending_failed(&self, disk: &mut Disk, error: Error) {
        let items = self.inner().queue_unsynced_again();
        self.sync_failed(disk, items, error);
    }

    fn sync_lending(self: &Arc<Self>, disk: &mut Disk) -> Result<()> {
        {
            let mut inner = self.inner();
            inner.sync_now = false;
            inner.relayed = 0;
        }
        let Some(log) = &mut disk.log else { return Ok(()) };
        let Some(syncing) = log.begin_sync() else {
            log.sync()?;
            self.gauge.note(log, 0);
            self.inner().note_unsynced(false);
            return Ok(());
        };
        self.lend(disk, &mut None, || syncing.run()).0?;
        let Some(log) = &mut disk.log else { return Ok(()) };
        log.end_sync(&syncing);
        self.gauge.note(log, 0);
        let unsynced = self.options.durability == Durability::Fsync && !log.is_synced();
        self.inner().note_synced_until(unsynced.then(|| syncing.began()));
        Ok(())
    }

    /// Carries out the `flush` at the front of the queue, which is not in the way of what comes after it.
    pub(super) fn flush_lending(self: &Arc<Self>, disk: &mut Disk) {
        {
            let mut inner = self.inner();
            if let Some(&Item::Flush { ticket, .. }) = inner.queue.front() {
                inner.queue.pop_front();
                inner.unsynced.push_back(Write::of_sync(ticket));
            }
        }
        // A failure poisons the store, which tells everybody.
        let _ = self.sync_and_tell(disk);
    }
}

impl Inner {
    /// Everything is synced that was stored before the log was lent. `since`: when that was, where more has been appended
    /// and is to be synced.
    pub(super) fn note_synced_until(&mut self, since: Option<Instant>) {
        self.note_unsynced(false);
        self.unsynced_since = since;
    }

    /// Puts writes back at the front of the queue that are stored and wait for a sync. Returns their number.
    pub(super) fn queue_unsynced_again(&mut self) -> usize {
        let back = std::mem::take(&mut self.unsynced);
        let items = back.len();
        // What is taken back is told once: by no checkpoint that it waits for as well.
        let held: Vec<_> = back.iter().filter(|write| write.ack == Ack::Held).map(|write| write.ticket).collect();
        let waiting = self.job.iter_mut().map(|job| &mut job.waiting);
        for waiting in waiting.chain(self.parked.iter_mut().map(|parked| &mut parked.waiting)) {
            waiting.retain(|ticket| !held.contains(ticket));
        }
        back.into_iter().rev().for_each(|write| self.queue.push_front(Item::Write(write)));
        items
    }
}
