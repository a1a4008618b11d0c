//! Stores whose files somebody else keeps, through calls that this engine cannot make itself.
//!
//! The engine keeps state, order and roll-back as for any store. What is to be stored it hands out as steps, in the
//! order of the calls, one at a time ([`Store::next_step`]); its caller carries a step out and says how it ended
//! ([`Store::step_done`], [`Store::step_failed`]). There is no writer thread and no I/O here.
//!
//! A step is what the interface of such a backend can do at once: an immediate write is one append, a batch is one, a
//! group commit is one; a checkpoint is a snapshot, a new log and a manifest, and nothing is appended meanwhile.

use super::checkpoint::Job;
use super::follow::{self, Refreshed, operation_pages};
use super::open::Opening;
use super::queue::{Item, Ticket, Value, Write};
use super::scan::Ahead;
use super::{Inner, Migration, Options, Phase, Shared, Store, WriteMode};
use crate::backend::memory::MemoryBackend;
use crate::error::{Error, Result};
use crate::format::json;
use crate::format::manifest::Manifest;
use crate::format::op::{self, Text};
use crate::format::pages::{PAGE, Pages};
use crate::log::Loaded;
use crate::state::{Agent, Op, State};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Operations between two checkpoints where no threshold is given: upstream's default. What a checkpoint costs on
/// somebody else's storage is not known here.
const THRESHOLD: u64 = 100;

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing now.
    Idle {
        /// True if writes wait for a group commit.
        buffered: bool,
        /// How long until a failed write is to be tried again.
        retry: Option<Duration>,
    },
    /// Append these operations to the log, in one call: JSON texts of arrays.
    Append(Vec<Vec<u8>>),
    /// Take this operation (the last one) off the log.
    TakeLast(Vec<u8>),
    /// Make a checkpoint: so many records, see [`Store::moment_page`].
    Checkpoint(u64),
    /// Add records to an archive segment, and make a checkpoint of so many others.
    Archive {
        /// Name of the segment.
        segment: String,
        /// JSON texts of arrays `[id, value, …]`.
        records: Vec<Vec<u8>>,
        /// Records of the checkpoint.
        count: u64,
    },
    /// Make a checkpoint, where a count is given, and give everything back.
    Close(Option<u64>),
}

/// What a `close` that failed may have given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing: the store is open as before.
    Nothing,
    /// The lock: the store takes no more writes, and may be closed again.
    Lock,
    /// Everything: the store is closed.
    Store,
}

/// The step that is being carried out.
#[derive(Debug)]
enum Running {
    Append { ticket: Ticket, items: usize, last: u64 },
    TakeLast { ticket: Ticket, before: u64 },
    Checkpoint,
    Archive { ticket: Ticket, archived: u64, count: u64 },
    Close { ticket: Ticket, count: u64 },
}

/// What is kept for a store with somebody else's files.
#[derive(Debug, Default)]
pub(super) struct External {
    running: Option<Running>,
    /// The last operation that is stored.
    written: u64,
}

impl External {
    /// True while a step is being carried out.
    pub(super) fn is_busy(&self) -> bool {
        self.running.is_some()
    }
}

impl Opening {
    /// A store that is read by the caller: hand it over with [`Opening::push_records`] and [`Opening::push_operations`].
    /// `agent`: JSON text of the writer's id, in a store of several.
    ///
    /// # Errors
    /// `NewerVersion`.
    pub fn external(
        mut options: Options,
        manifest: Manifest,
        stored_version: u64,
        agent: Option<&[u8]>,
    ) -> Result<Self> {
        if stored_version > options.version {
            let path = manifest.current_snapshot;
            return Err(Error::NewerVersion { stored: stored_version, requested: options.version, path });
        }
        options.checkpoint_threshold.get_or_insert(THRESHOLD);
        // What earlier checkpoints took out of the logs had clocks as well.
        let clock = manifest.other.get("clock").and_then(serde_json::Value::as_u64).unwrap_or_default();
        let agent = agent.map(|id| Agent { id: (*json::canonical_string(id)).into(), clock, floor: 0 });
        Ok(Opening {
            // Nothing is read or written through it.
            backend: Arc::new(MemoryBackend::new()),
            options,
            lock: None,
            manifest: Some(manifest),
            stored_version,
            state: State::of(agent),
            scans: Vec::new(),
            several: None,
            inline: false,
        })
    }

    /// Adds records of the snapshot: ids and values in turn, as JSON texts.
    pub fn push_records(&mut self, items: &[&[u8]]) {
        for pair in items.chunks_exact(2) {
            if let [id, value] = pair {
                self.state.records.set(&json::canonical_string(id), value);
            }
        }
    }

    /// Adds operations of the log, as callers see them.
    ///
    /// # Errors
    /// `Corrupt` for what is no operation; `path` is for the message.
    pub fn push_operations(&mut self, operations: &[&[u8]], path: &str) -> Result<()> {
        for operation in operations {
            let Loaded { id, data, logged, .. } = parse(operation, path)?;
            self.state.replay(&id, data, logged);
        }
        Ok(())
    }

    /// Starts the store.
    ///
    /// # Errors
    /// `Invalid` for a migration of another number of records, or of a store that was not read.
    pub fn start_external(mut self, migration: &Migration) -> Result<Store> {
        self.take_migrated(&migration.values)?;
        let Some(manifest) = self.manifest.take() else {
            return Err(Error::NoStore { path: String::new() });
        };
        let written = self.state.last_seq();
        // Whoever takes the steps looks at the results right afterwards.
        let shared = Shared { external: true, ..self.into_shared(manifest, None, Box::new(|| {})) };
        shared.disk().external = Some(External { running: None, written });
        Ok(Store { shared: Arc::new(shared), writer: Mutex::new(None), ahead: Ahead::default() })
    }
}

fn parse(operation: &[u8], path: &str) -> Result<Loaded> {
    let mut line = Vec::with_capacity(operation.len() + 40);
    let parsed = op::push_shown_line(operation, None, None, &mut line)
        .and_then(|()| Loaded::parse(line.strip_suffix(b"\n").unwrap_or(&line)));
    parsed.map_err(|message| Error::corrupt(path, message))
}

impl Store {
    /// The next step; it must be ended before the next is asked for. `all`: buffered writes are due now.
    pub fn next_step(&self, all: bool) -> Step {
        let shared = &self.shared;
        let mut disk = shared.disk();
        let Some(external) = &mut disk.external else { return Step::Idle { buffered: false, retry: None } };
        if external.running.is_some() {
            return Step::Idle { buffered: false, retry: None };
        }
        loop {
            let mut inner = shared.inner();
            if let Some(wait) = inner.retry_at.and_then(|at| at.checked_duration_since(Instant::now()))
                && !wait.is_zero()
            {
                return Step::Idle { buffered: true, retry: Some(wait) };
            }
            let (running, step) = match inner.queue.front() {
                None => return Step::Idle { buffered: false, retry: None },
                Some(Item::Write(_)) => {
                    let Some((ticket, items, ops)) = inner.due(&shared.options, all) else {
                        return Step::Idle { buffered: true, retry: None };
                    };
                    let Some(last) = ops.last().map(|op| op.seq) else {
                        // Operations that a roll-back made impossible: there is nothing to store.
                        drop(inner);
                        shared.written(items, false);
                        continue;
                    };
                    (Running::Append { ticket, items, last }, Step::Append(operation_pages(&ops, PAGE)))
                }
                Some(Item::Undo { ticket, undone: Some(op), .. }) => {
                    let mut text = Vec::new();
                    op.push_shown(&mut text);
                    (Running::TakeLast { ticket: *ticket, before: op.seq.saturating_sub(1) }, Step::TakeLast(text))
                }
                Some(Item::Undo { ticket, undone: None, .. }) => {
                    let ticket = *ticket;
                    inner.end_front(ticket, Ok(Value::Bool(false)));
                    continue;
                }
                Some(Item::Flush { ticket, .. }) => {
                    let ticket = *ticket;
                    inner.end_front(ticket, Ok(Value::None));
                    continue;
                }
                Some(Item::Checkpoint { waiting, asked, .. }) => {
                    let (waiting, asked) = (waiting.clone(), *asked);
                    inner.queue.pop_front();
                    let count = inner.begin_moment(0);
                    inner.job =
                        Some(Job { through: external.written, count, waiting, asked, tries: 0, base: String::new() });
                    (Running::Checkpoint, Step::Checkpoint(count))
                }
                Some(Item::Archive { .. }) => match inner.begin_archive() {
                    Some(begun) => begun,
                    None => return Step::Idle { buffered: false, retry: None },
                },
                Some(Item::Close { ticket }) => {
                    let ticket = *ticket;
                    inner.begin_close(ticket, &shared.options)
                }
            };
            external.running = Some(running);
            return step;
        }
    }

    /// The current step once more, after what is stored turned out to be other than was known (see [`Store::rebase`]).
    /// Idle where there is nothing left of it: its call has been told why.
    pub fn begin_again(&self) -> Step {
        let mut disk = self.shared.disk();
        let idle = Step::Idle { buffered: false, retry: None };
        let Some(external) = &mut disk.external else { return idle };
        let mut inner = self.shared.inner();
        let begun = match external.running.take() {
            Some(Running::Append { ticket, .. }) => match inner.due(&self.shared.options, true) {
                Some((found, items, ops)) if found == ticket => ops.last().map(|op| {
                    (Running::Append { ticket, items, last: op.seq }, Step::Append(operation_pages(&ops, PAGE)))
                }),
                _ => None,
            },
            Some(Running::Checkpoint) => {
                let count = inner.begin_moment(0);
                if let Some(job) = &mut inner.job {
                    job.through = external.written;
                    job.count = count;
                }
                Some((Running::Checkpoint, Step::Checkpoint(count)))
            }
            Some(Running::Archive { .. }) => inner.begin_archive(),
            Some(Running::Close { ticket, .. }) => Some(inner.begin_close(ticket, &self.shared.options)),
            Some(Running::TakeLast { ticket, .. }) => match inner.queue.front() {
                Some(Item::Undo { undone: Some(op), .. }) => {
                    let mut text = Vec::new();
                    op.push_shown(&mut text);
                    Some((Running::TakeLast { ticket, before: external.written }, Step::TakeLast(text)))
                }
                // It is in a checkpoint now.
                _ => {
                    inner.end_front(ticket, Ok(Value::Bool(false)));
                    None
                }
            },
            None => None,
        };
        let Some((running, step)) = begun else { return idle };
        external.running = Some(running);
        step
    }

    /// Other agents' operations have come in among those that are known: takes the last `gone` stored ones back and
    /// applies others. What is queued comes after all of them.
    ///
    /// # Errors
    /// `Corrupt` for what is no operation (`path` is for the message); nothing is changed then.
    pub fn rebase(&self, gone: usize, operations: &[&[u8]], path: &str) -> Result<()> {
        let ops = operations.iter().map(|operation| parse(operation, path)).collect::<Result<Vec<_>>>()?;
        self.beneath_queue(|inner| {
            for _ in 0..gone {
                let taken = inner.state.pop();
                inner.changed.extend(taken.map(|op| op.id.clone()));
            }
            for Loaded { id, data, logged, .. } in ops {
                inner.state.replay(&id, data, logged);
                inner.changed.push(id);
            }
        });
        Ok(())
    }

    /// Everything that is stored has been read anew. What is queued comes after all of it. Tells each difference by an
    /// operation.
    ///
    /// # Errors
    /// As [`Opening::start_external`]; nothing is changed then.
    pub fn rebase_anew(&self, mut opening: Opening, migration: &Migration) -> Result<Refreshed> {
        opening.take_migrated(&migration.values)?;
        Ok(self.beneath_queue(|inner| inner.replace(opening.state)))
    }

    fn beneath_queue<R>(&self, change: impl FnOnce(&mut Inner) -> R) -> R {
        let mut disk = self.shared.disk();
        let mut inner = self.shared.inner();
        inner.beneath_queue(|inner| {
            let result = change(inner);
            if let Some(external) = &mut disk.external {
                external.written = inner.state.last_seq();
            }
            result
        })
    }

    /// The agent's Lamport clock: the greatest that was seen.
    pub fn clock(&self) -> u64 {
        self.shared.inner().state.agent.as_ref().map_or(0, |agent| agent.clock)
    }

    /// Another agent's clock has been seen.
    pub fn see_clock(&self, clock: u64) {
        if let Some(agent) = &mut self.shared.inner().state.agent {
            agent.clock = agent.clock.max(clock);
        }
    }

    /// Undo reaches the agent's operations above this clock only.
    pub fn undo_above(&self, clock: u64) {
        if let Some(agent) = &mut self.shared.inner().state.agent {
            agent.floor = agent.floor.max(clock);
        }
    }

    /// The agent's log is a new one: undo reaches only what comes from here on.
    pub fn begin_log(&self) {
        let mut inner = self.shared.inner();
        let queued = inner.pending_writes();
        if let Some(agent) = &mut inner.state.agent {
            agent.floor = agent.clock.saturating_sub(queued);
        }
    }

    /// Records of the checkpoint that is the current step, about `bytes` at a time, in order: ids and values in turn.
    /// `None` after the last.
    pub fn moment_page(&self, bytes: usize) -> Option<Vec<u8>> {
        let mut inner = self.shared.inner();
        let state = &mut inner.state;
        let mut moment = state.moment.take()?;
        let mut records = Vec::new();
        let mut more = true;
        while more && records.is_empty() {
            let mut size = 0;
            more = moment.take(&state.records, usize::MAX, |record| {
                let (id, value) = record.texts();
                size += id.len() + value.len();
                records.push((id, value));
                size < bytes
            });
        }
        state.moment = more.then_some(moment);
        inner.metrics.checkpoint_goes_on(records.len());
        let page = record_pages(records.iter().map(|(id, value)| (id, value))).into_iter().next();
        page.or_else(|| more.then(|| b"[]".to_vec()))
    }

    /// The checkpoint of the current step is the current one from now on.
    pub fn published(&self, manifest: Manifest) {
        let mut disk = self.shared.disk();
        let Some(External { running, written }) = &disk.external else { return };
        let count = match running {
            Some(Running::Checkpoint) => self.shared.inner().job.as_ref().map_or(0, |job| job.count),
            Some(Running::Archive { count, .. } | Running::Close { count, .. }) => *count,
            Some(Running::Append { .. } | Running::TakeLast { .. }) | None => return,
        };
        let covered = self.shared.inner().cover(*written, count, manifest.clone());
        disk.manifest = manifest;
        drop(covered);
    }

    /// The current step has been carried out.
    pub fn step_done(&self) {
        let shared = &self.shared;
        let mut disk = shared.disk();
        let Some(external) = &mut disk.external else { return };
        let Some(running) = external.running.take() else { return };
        match running {
            Running::Append { items, last, .. } => {
                external.written = last;
                shared.written(items, false);
            }
            Running::TakeLast { ticket, before } => {
                external.written = before;
                shared.inner().end_front(ticket, Ok(Value::Bool(true)));
            }
            Running::Checkpoint => shared.end_checkpoint(Ok(true)),
            Running::Archive { ticket, archived, .. } => {
                let mut inner = shared.inner();
                inner.state.moment = None;
                inner.end_front(ticket, Ok(Value::Count(archived)));
            }
            Running::Close { ticket, .. } => shared.end_close(ticket, Ok(()), true),
        }
        shared.wake();
    }

    /// The current step could not be carried out, and nothing of it has happened, apart from what a `close` has `left`.
    pub fn step_failed(&self, error: Error, left: Left) {
        let shared = &self.shared;
        let mut disk = shared.disk();
        let Some(running) = disk.external.as_mut().and_then(|external| external.running.take()) else { return };
        match running {
            Running::Append { .. } => {
                shared.write_failed(error);
            }
            Running::Checkpoint => shared.end_checkpoint(Err(error)),
            Running::TakeLast { .. } | Running::Archive { .. } => {
                let mut inner = shared.inner();
                inner.state.moment = None;
                inner.take_back(&error, |place, _| place == 0);
            }
            Running::Close { ticket, .. } => {
                if left == Left::Lock {
                    shared.inner().failed = Some(error.clone());
                }
                shared.end_close(ticket, Err(error), left == Left::Store);
            }
        }
        shared.wake();
    }
}

impl Store {
    /// A reader's log has changed: takes `gone` operations back, applies others, and forgets the first `covered`, which
    /// a snapshot holds now.
    ///
    /// # Errors
    /// `Corrupt` for what is no operation (`path` is for the message); nothing is changed then.
    pub fn follow_log(&self, gone: usize, operations: &[&[u8]], covered: usize, path: &str) -> Result<Refreshed> {
        let ops = operations.iter().map(|operation| parse(operation, path)).collect::<Result<Vec<_>>>()?;
        Ok(self.shared.apply(vec![follow::Step { gone, ops, covered }]))
    }

    /// A reader has read everything anew: takes it over, and tells each difference by an operation.
    ///
    /// # Errors
    /// As [`Opening::start_external`]; nothing is changed then.
    pub fn follow_anew(&self, mut opening: Opening, migration: &Migration) -> Result<Refreshed> {
        opening.take_migrated(&migration.values)?;
        Ok(self.shared.replace(opening.state))
    }

    /// A reader has found this manifest.
    pub fn follow_manifest(&self, manifest: Manifest) {
        self.shared.disk().manifest = manifest.clone();
        self.shared.inner().manifest = Arc::new(manifest);
    }
}

impl Shared {
    fn end_close(&self, ticket: Ticket, result: Result<()>, closed: bool) {
        let mut inner = self.inner();
        inner.state.moment = None;
        inner.phase = if closed { Phase::Closed } else { Phase::Open };
        inner.queue.retain(|item| !matches!(item, Item::Close { .. }));
        inner.settle(ticket, result.map(|()| Value::None));
    }
}

impl Inner {
    fn end_front(&mut self, ticket: Ticket, result: Result<Value>) {
        self.queue.pop_front();
        self.settle(ticket, result);
    }

    fn begin_archive(&mut self) -> Option<(Running, Step)> {
        let Some(Item::Archive { ticket, segment, taken, .. }) = self.queue.front() else { return None };
        let (ticket, segment, archived) = (*ticket, segment.clone(), taken.len() as u64);
        let records = record_pages(taken.iter().map(|(_, id, value)| (id, value)));
        let count = self.begin_moment(1);
        Some((Running::Archive { ticket, archived, count }, Step::Archive { segment, records, count }))
    }

    fn begin_close(&mut self, ticket: Ticket, options: &Options) -> (Running, Step) {
        // A partial view must never take the place of the records.
        let allowed = options.checkpoint_on_close && !options.read_only && !options.skip_load;
        let wanted = allowed && !self.state.history.is_empty();
        let count = wanted.then(|| self.begin_moment(1));
        (Running::Close { ticket, count: count.unwrap_or_default() }, Step::Close(count))
    }

    /// The writes at the front that make up the next append: the first one's ticket, their number and operations. `None` where they wait for
    /// others to join them.
    fn due(&self, options: &Options, all: bool) -> Option<(Ticket, usize, Vec<Arc<Op>>)> {
        let Some(Item::Write(Write { ticket, .. })) = self.queue.front() else { return None };
        let mut ops: Vec<Arc<Op>> = Vec::new();
        for (items, item) in self.queue.iter().enumerate() {
            match item {
                Item::Write(write) if items == 0 || !is_alone(write, options) => {
                    ops.extend(write.ops.iter().cloned());
                    if write.sync || is_alone(write, options) {
                        return Some((*ticket, items + 1, ops));
                    }
                }
                _ => return Some((*ticket, items, ops)),
            }
        }
        all.then_some((*ticket, self.queue.len(), ops))
    }
}

/// True for what is an append of its own: immediate writes, and batches.
fn is_alone(write: &Write, options: &Options) -> bool {
    options.write_mode == WriteMode::Immediate || write.ops.len() > 1
}

fn record_pages<'a>(records: impl Iterator<Item = (&'a Text, &'a Text)>) -> Vec<Vec<u8>> {
    let mut pages = Pages::new(PAGE);
    for (id, value) in records {
        pages.push_record(id, value);
    }
    pages.finish()
}
