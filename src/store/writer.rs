//! The writer thread: takes the queue in order and does what is due.

use super::queue::{Item, Value};
use super::{Disk, Durability, Phase, Shared, Store};
use crate::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// How long buffered writes may wait before they are handed to the operating system.
const BUFFER: Duration = Duration::from_millis(4);

/// What the front of the queue asks for.
enum Step {
    Nothing,
    Write,
    Undo,
    Checkpoint,
    Archive,
    Flush { ticket: u64, sync: bool },
    Close { ticket: u64 },
}

impl Store {
    /// Starts the writer thread.
    pub(super) fn spawn_writer(shared: &Arc<Shared>) -> std::io::Result<std::thread::JoinHandle<()>> {
        let shared = shared.clone();
        std::thread::Builder::new().name("opslog-writer".to_owned()).spawn(move || shared.run())
    }
}

impl Shared {
    fn run(self: &Arc<Self>) {
        while self.wait_for_work() {
            let mut disk = self.disk();
            let worked = catch_unwind(AssertUnwindSafe(|| self.work(&mut disk)));
            if worked.is_err() {
                self.poison(Error::Failed { message: "The writer failed unexpectedly".to_owned(), cause: None });
            }
        }
    }

    /// Waits until something is due; false once the store is closed.
    fn wait_for_work(&self) -> bool {
        let mut inner = self.inner();
        loop {
            if inner.phase == Phase::Closed {
                return false;
            }
            if inner.queue.is_empty() {
                // What was asked for has been done, perhaps while it was asked: the next call asks anew.
                inner.kicked = false;
                inner.rest(self);
            }
            let now = Instant::now();
            let retry = inner.retry_at;
            let due = match (inner.queue.is_empty(), retry) {
                (true, _) => None,
                (false, Some(at)) => Some(at),
                (false, None) if inner.kicked => Some(now),
                (false, None) if inner.armed => Some(now + BUFFER),
                (false, None) => None,
            };
            self.park_checkpoints(&mut inner);
            let due = due.filter(|_| !inner.front_waits_for_job());
            let sync = inner
                .unsynced_since
                .and_then(|since| since.checked_add(Duration::from_millis(self.options.group_commit_ms)));
            let left = inner.has_left_over();
            if inner.job_result.is_some() || left || due.is_some_and(|at| at <= now) || sync.is_some_and(|at| at <= now)
            {
                inner.kicked = false;
                inner.disarm();
                return true;
            }
            let until = [due, sync].into_iter().flatten().min();
            inner = match until {
                // Long waits are cut: the clock may be adjusted, and a wait has a greatest length.
                Some(at) => {
                    let wait = (at - now).min(Duration::from_secs(3600));
                    let (mut inner, timeout) =
                        self.work.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner);
                    if timeout.timed_out() && inner.armed {
                        inner.kicked = true;
                    }
                    inner
                }
                None => self.work.wait(inner).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Does everything that can be done now.
    pub(super) fn work(self: &Arc<Self>, disk: &mut Disk) {
        loop {
            let result = self.inner().job_result.take();
            if let Some(result) = result {
                // What it covers leaves the history, and could not be taken back any more.
                self.sync_if_due(disk);
                self.finish_checkpoint(disk, result);
                continue;
            }
            self.sync_if_due(disk);
            // After the sync: the relay puts checkpoints aside as well.
            if self.start_parked(disk) {
                continue;
            }
            let step = self.next_step();
            // What was stored during that sync is synced and told before anything is taken off, archived or closed.
            if matches!(step, Step::Undo | Step::Archive | Step::Close { .. }) && !self.inner().unsynced.is_empty() {
                continue;
            }
            match step {
                Step::Nothing => {
                    if !self.inner().has_left_over() {
                        return;
                    }
                    // A failure poisons the store, which tells everybody.
                    let _ = self.sync_and_tell(disk);
                }
                Step::Write => {
                    if !self.commit_front(disk) {
                        return;
                    }
                }
                Step::Undo => self.commit_undo(disk),
                Step::Checkpoint => self.start_checkpoint(disk),
                Step::Archive => self.commit_archive(disk),
                Step::Flush { ticket, sync } => self.commit_flush(disk, ticket, sync),
                Step::Close { ticket } => self.commit_close(disk, ticket),
            }
        }
    }

    fn next_step(&self) -> Step {
        let mut inner = self.inner();
        self.park_checkpoints(&mut inner);
        if inner.waits_to_retry() || inner.front_waits_for_job() {
            return Step::Nothing;
        }
        match inner.queue.front() {
            None => Step::Nothing,
            Some(Item::Write(_)) => Step::Write,
            Some(Item::Undo { .. }) => Step::Undo,
            Some(Item::Checkpoint { .. }) => Step::Checkpoint,
            Some(Item::Archive { .. }) => Step::Archive,
            Some(Item::Flush { ticket, sync }) => Step::Flush { ticket: *ticket, sync: *sync },
            Some(Item::Close { ticket }) => Step::Close { ticket: *ticket },
        }
    }

    /// Not among agents: a checkpoint of theirs covers what is stored when it begins.
    fn park_checkpoints(&self, inner: &mut super::Inner) {
        if inner.job.is_some() && self.options.agent.is_none() {
            inner.park_checkpoints();
        }
    }

    fn sync_if_due(self: &Arc<Self>, disk: &mut Disk) {
        let (since, waiting) = {
            let inner = self.inner();
            (inner.unsynced_since, !inner.unsynced.is_empty())
        };
        let wait = Duration::from_millis(self.options.group_commit_ms);
        if waiting || since.and_then(|since| since.checked_add(wait)).is_some_and(|at| at <= Instant::now()) {
            // A failure poisons the store, which tells everybody.
            let _ = self.sync_and_tell(disk);
        }
    }

    fn commit_flush(self: &Arc<Self>, disk: &mut Disk, ticket: u64, sync: bool) {
        let syncs = sync || self.options.durability == Durability::Fsync;
        if syncs && self.lends() {
            return self.flush_lending(disk);
        }
        if syncs && self.sync_log(disk).is_err() {
            return;
        }
        let mut inner = self.inner();
        inner.queue.pop_front();
        inner.settle(ticket, Ok(Value::None));
        drop(inner);
        self.wake();
    }
}

impl super::Inner {
    /// True while what has failed is not to be tried again yet.
    pub(super) fn waits_to_retry(&self) -> bool {
        self.retry_at.is_some_and(|at| at > Instant::now())
    }

    /// True if there is something to do that does not stand in the queue.
    fn has_left_over(&self) -> bool {
        self.sync_now || !self.unsynced.is_empty() || (self.job.is_none() && !self.parked.is_empty())
    }

    /// True if the front of the queue has to wait for checkpoints that have begun.
    fn front_waits_for_job(&self) -> bool {
        (self.job.is_some() || !self.parked.is_empty())
            && match self.queue.front() {
                Some(Item::Undo { blocked, .. }) => *blocked,
                Some(Item::Checkpoint { .. } | Item::Archive { .. } | Item::Close { .. }) => true,
                Some(Item::Write(_) | Item::Flush { .. }) | None => false,
            }
    }
}
