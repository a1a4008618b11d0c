//! A store: the calls that a program makes, and the writer thread that carries them out.
//!
//! A call changes the state in memory at once and queues what is to be written (`queue`). The writer thread takes
//! the queue in order: it appends and syncs, undoes, archives, starts checkpoints and publishes them. What it could
//! not write it takes back from memory (`rollback`) and reports. Results are collected ([`Outcome`]) and the caller
//! is woken once for all of them.
//!
//! Where somebody else keeps the files there is no such thread: see `external`.
//!
//! Two locks, always taken in this order: `disk` (files, held during I/O) and `inner` (state and queue, never held
//! during I/O or for longer than a small piece of work). The caller's thread takes only `inner`, and `disk` where
//! nobody holds it.

mod archive;
mod cancel;
mod checkpoint;
mod close;
mod commit;
mod enter;
mod external;
mod fold;
mod follow;
mod index;
mod intake;
mod metrics;
mod open;
mod options;
mod partial;
mod queue;
mod read;
mod relay;
mod rollback;
mod scan;
mod several;
mod undo;
mod write;
mod writer;

pub use archive::{load_archive, resolve_segment};
pub use external::{Left, Step};
pub use follow::Refreshed;
pub use intake::Intake;
pub use metrics::{Activity, Progress, Sizes, bytes_to_read};
pub use open::{Migration, Opening, RecoveryReport};
pub use options::{Durability, OnDamage, Options, WriteMode};
pub use partial::{LogStream, Streamed};
pub use queue::{Outcome, Ticket, Value};
pub use read::{Page, Stats};
pub use scan::Piece;
pub use write::Accepted;

use crate::backend::{StorageBackend, StoreLock, discard_superseded};
use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::format::op::Text;
use crate::log::Log;
use crate::state::State;
use checkpoint::{Job, Snapshot};
use commit::Encoded;
use external::External;
use follow::Follow;
use intake::Taking;
use metrics::{Gauge, Metrics};
use partial::Stored;
use queue::{Batch, Item, Parked};
use relay::Relay;
use scan::Ahead;
use several::Several;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// Something that no call is told: for stderr.
#[derive(Debug, Clone)]
pub struct Notice {
    /// What happened.
    pub message: Cow<'static, str>,
    /// Why, where there is more to say.
    pub error: Option<Error>,
}

/// Whether a store takes calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It does.
    Open,
    /// `close` was called and has not ended.
    Closing,
    /// It does not any more.
    Closed,
}

/// Files of a store; only who writes has them.
struct Disk {
    /// `None` in a store that is read-only.
    log: Option<Log>,
    manifest: Manifest,
    lock: Option<Box<dyn StoreLock>>,
    /// How far a reader has come.
    follow: Option<Follow>,
    encoded: Encoded,
    /// What gives the space of superseded files back.
    removing: Vec<JoinHandle<()>>,
    /// In a store of several agents.
    several: Option<Several>,
    /// In a store whose files somebody else keeps.
    external: Option<External>,
}

impl Disk {
    /// Removes files that a checkpoint has superseded. [`Disk::finish_removing`] waits for what that leaves to be done.
    fn remove_superseded(&mut self, backend: &dyn StorageBackend, paths: &[String]) {
        self.removing.retain(|thread| !thread.is_finished());
        self.removing.extend(discard_superseded(backend, paths));
    }

    fn finish_removing(&mut self) {
        for thread in self.removing.drain(..) {
            let _ = thread.join();
        }
    }
}

/// State, queue and results; see the module's description for the locks.
struct Inner {
    state: State,
    phase: Phase,
    /// Why nothing can be written any more.
    failed: Option<Error>,
    queue: VecDeque<Item>,
    /// The batch whose function is running.
    batch: Option<Batch>,
    last_ticket: Ticket,
    /// Operations up to this one belong to a checkpoint that is queued or running: undo does not reach them.
    barrier: u64,
    /// Operations since the last checkpoint that was queued.
    since_checkpoint: u64,
    /// The threshold that was given.
    threshold: Option<u64>,
    /// True if the write that reaches it waits for the checkpoint.
    holds: bool,
    /// Records at the last checkpoint.
    records_at_checkpoint: u64,
    /// Buffered operations that are not synced; where nothing has to be, those since the last time that they were as many
    /// as a group has.
    buffered: u64,
    /// When the oldest unsynced operation was written.
    unsynced_since: Option<Instant>,
    /// A checkpoint that is being written.
    job: Option<Job>,
    /// Checkpoints whose turn has come meanwhile.
    parked: VecDeque<Parked>,
    /// What the thread that writes it has to say.
    job_result: Option<Result<Snapshot>>,
    /// When a failed checkpoint may be tried again.
    checkpoint_retry_at: Option<Instant>,
    checkpoint_error: Option<Error>,
    /// A failure of buffered writes that no call has been told yet.
    background_error: Option<Error>,
    /// Writes that are stored and not told yet, while an agent makes sure that they count.
    untold_through: Option<Vec<queue::Write>>,
    /// Writes that are stored and not told yet, and calls of `flush`: until a sync has ended that was begun after them.
    unsynced: VecDeque<queue::Write>,
    /// Writes that fill a buffer were stored without a sync.
    sync_now: bool,
    /// The log is lent: see `relay`.
    lent: bool,
    /// Operations that have been appended since it was lent.
    relayed: u64,
    /// When buffered writes that failed are tried again.
    retry_at: Option<Instant>,
    /// The queue is to be taken now.
    kicked: bool,
    /// The queue is to be taken soon.
    armed: bool,
    /// Somebody waits for what is queued since the last kick.
    urgent: bool,
    taking: Taking,
    /// Messages for stderr.
    notices: Vec<Notice>,
    /// Writes up to this ticket have ended, unless an outcome says otherwise.
    through: Ticket,
    outcomes: Vec<Outcome>,
    /// Ids whose records changed other than by `set` and `delete` (undo, roll-back, archive).
    changed: Vec<Text>,
    manifest: Arc<Manifest>,
    metrics: Metrics,
}

type Wake = Box<dyn Fn() + Send + Sync>;

struct Shared {
    backend: Arc<dyn StorageBackend>,
    options: Options,
    /// What is stored, in a store that was opened for writing without its records.
    stored: Option<Stored>,
    disk: Mutex<Disk>,
    inner: Mutex<Inner>,
    /// Something to do for the writer.
    work: Condvar,
    /// Something ended.
    ended: Condvar,
    wake: Wake,
    /// Threads in [`Store::wait`].
    waiting: AtomicUsize,
    /// The caller has been woken and has not looked yet.
    woken: AtomicBool,
    /// Somebody else keeps the files; see `external`.
    external: bool,
    /// There are no other threads: what is due is done when somebody waits for it.
    inline: bool,
    relay: Relay,
    /// Where sets come in without a call.
    intake: OnceLock<Arc<Intake>>,
    gauge: Gauge,
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic in one call does not take the records of all others away: the writer's guard refuses further
        // writes after one (see `writer`), and reading is safe.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the caller that there are results; once until it has looked.
    fn wake(&self) {
        // A condition variable without waiters still costs a system call.
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.ended.notify_all();
        }
        if !self.woken.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }
}

/// An open store. Dropping it without [`Store::close`] keeps what was acknowledged and frees the lock.
pub struct Store {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    ahead: Ahead,
}

impl Store {
    /// What the store was opened with.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// Whether it takes calls.
    pub fn phase(&self) -> Phase {
        self.shared.inner().phase
    }

    /// Results since the last look: writes up to the returned ticket have ended, unless an outcome says otherwise.
    pub fn settled(&self) -> (Ticket, Vec<Outcome>) {
        self.shared.woken.store(false, Ordering::Release);
        let mut inner = self.shared.inner();
        (inner.through, std::mem::take(&mut inner.outcomes))
    }

    /// The ticket up to which writes have ended, if nothing else is to be told.
    pub fn settled_through(&self) -> Option<Ticket> {
        self.shared.woken.store(false, Ordering::Release);
        let inner = self.shared.inner();
        let nothing = inner.outcomes.is_empty() && inner.changed.is_empty() && inner.notices.is_empty();
        (nothing && inner.metrics.is_quiet()).then_some(inner.through)
    }

    /// Ids whose records changed other than by `set` and `delete` since the last look.
    pub fn take_changed(&self) -> Vec<Text> {
        std::mem::take(&mut self.shared.inner().changed)
    }

    /// Messages for stderr since the last look.
    pub fn take_notices(&self) -> Vec<Notice> {
        std::mem::take(&mut self.shared.inner().notices)
    }

    /// True while writes wait to be handed to the operating system.
    pub fn is_writing(&self) -> bool {
        self.shared.inner().queue.iter().any(|item| matches!(item, Item::Write(_)))
    }

    /// Waits until a call has ended. Not for threads that must not block.
    ///
    /// # Errors
    /// What the call ended with.
    pub fn wait(&self, ticket: Ticket) -> Result<Value> {
        self.shared.waiting.fetch_add(1, Ordering::AcqRel);
        self.kick();
        if self.shared.inline {
            self.work_for(ticket);
        }
        let result = self.wait_for(ticket);
        self.shared.waiting.fetch_sub(1, Ordering::AcqRel);
        result
    }

    /// Does what is due until a call has ended, and no more.
    fn work_for(&self, ticket: Ticket) {
        loop {
            let mut disk = self.shared.disk();
            self.shared.work(&mut disk);
            drop(disk);
            let inner = self.shared.inner();
            let told = inner.outcomes.iter().any(|outcome| outcome.ticket == ticket);
            let ended = told || (inner.through >= ticket && !inner.is_pending(ticket));
            drop(inner);
            if ended || !self.shared.write_inline() {
                return;
            }
        }
    }

    fn wait_for(&self, ticket: Ticket) -> Result<Value> {
        let mut inner = self.shared.inner();
        loop {
            if let Some(at) = inner.outcomes.iter().position(|outcome| outcome.ticket == ticket) {
                return inner.outcomes.swap_remove(at).result;
            }
            if inner.through >= ticket && !inner.is_pending(ticket) {
                return Ok(Value::None);
            }
            if self.shared.inline {
                let message = "The call waits for what no other thread does".to_owned();
                return Err(Error::Failed { message, cause: None });
            }
            inner = self.shared.ended.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
