//! How an agent takes its place in the manifest, and when it may append.
//!
//! An agent appends under the lock that it holds in common with others, having found that the manifest is the one that it
//! knows and names its log: then no checkpoint can be made between the look and the end of the append. If it is another
//! one, the agent takes the lock alone, reads what the others have done, and enters a new log.
//!
//! Agents that know only the compaction lock (upstream's, and those of callers' backends) may change the manifest
//! between: so an agent looks once more before its caller is told. What such a checkpoint did not take along is copied to
//! the new log: the manifest says how many operations of each log were (`folded`), or the values tell.

use super::open::{create_store, fold_at_open, pin_manifest, read_manifest};
use super::several::{LINEAGE, Several};
use super::{Disk, Durability, Inner, Migration, Opening, RecoveryReport, Shared, Store, Wake};
use crate::backend::{self, StorageBackend, discard};
use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::format::names;
use crate::format::op::{Prev, Text};
use crate::log::recovery::create_after;
use crate::log::{LineMark, Loaded, Log, scan};
use crate::state::{Incoming, Op};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// How long an agent waits for who knows only the compaction lock.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How often an agent enters its log anew where others overwrite the manifest who know no lock.
const ATTEMPTS: u32 = 10;

/// The member of a manifest that names a checkpoint that is being made.
pub(super) const COMPACTING: &str = "compacting";
/// The member of a manifest that says how many operations of each log are part of its generation.
pub(super) const FOLDED: &str = "folded";
/// The member of a manifest that lists the agents that append under the lock.
pub(super) const LOCKING: &str = "agentsUnderLock";

/// The member of a manifest that says when an agent was last seen that appends without the lock: milliseconds since 1970.
pub(super) const LOCKLESS: &str = "agentsWithoutLock";
/// How long such an agent may be at work on a manifest that it has read, with a wide margin.
pub(super) const LOCKLESS_MS: u64 = 60_000;

/// What is held while something is appended: nothing by a single writer.
pub(super) type Turn = Option<Box<dyn Send + Sync>>;

/// What an agent's new log begins with.
#[derive(Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    marks: Vec<LineMark>,
}

impl Lines {
    /// The lines of operations, written in one piece.
    pub(super) fn of(ops: &[Arc<Op>]) -> Self {
        let mut lines = Lines::default();
        for op in ops {
            let offset = lines.bytes.len() as u64;
            lines.marks.push(LineMark { seq: op.seq, offset, batch: None });
            op.push_line(None, (ops.len() > 1).then_some(offset), &mut lines.bytes);
        }
        lines
    }
}

/// Makes an agent's next log, after the one `before`, durably, name included.
pub(super) fn create_agent_log(
    backend: &dyn StorageBackend,
    agent: &str,
    before: Option<&Log>,
    lines: Lines,
) -> Result<Log> {
    let name = |number| names::agent_ops(agent, number);
    let (path, mut file) = create_after(backend, before.map(Log::path), name)?;
    let Lines { bytes, marks } = lines;
    let written = if bytes.is_empty() { Ok(()) } else { file.write(0, &bytes) };
    written
        .and_then(|()| file.sync())
        .and_then(|()| backend.sync_dir(names::OPS))
        .inspect_err(|_| discard(backend, &path))?;
    Ok(Log::new(path, file, bytes.len() as u64, marks.into()))
}

impl Manifest {
    /// How many operations of a log are part of this generation, where that is told.
    fn folded(&self, log: &str) -> Option<usize> {
        self.other.get(FOLDED)?.get(log)?.as_u64().and_then(|count| count.try_into().ok())
    }

    /// True if all agents but one append under the lock.
    pub(super) fn is_under_lock(&self, but: &str) -> bool {
        let locking = self.other.get(LOCKING).and_then(Value::as_array);
        let is_locking = |agent: &String| locking.is_some_and(|list| list.iter().any(|id| id.as_str() == Some(agent)));
        self.active_agent_ops.iter().flat_map(Map::keys).all(|agent| agent == but || is_locking(agent))
    }

    /// True if agents have been seen lately that change the manifest when they like.
    pub(super) fn has_lockless_agents(&self, now: u64) -> bool {
        let seen = self.other.get(LOCKLESS).and_then(Value::as_u64);
        !self.is_under_lock("") && self.active_agent_ops.is_some()
            || seen.is_some_and(|seen| now.saturating_sub(seen) < LOCKLESS_MS)
    }

    /// True if this manifest's generation is known to be later than another one.
    fn comes_after(&self, other: &Manifest) -> bool {
        let earlier = || self.previous.older.iter().map(|older| &older.path).chain(&self.previous.snapshot);
        let number = |path: &String| names::number(path);
        let first = earlier().chain([&self.current_snapshot]).filter_map(number).min();
        let is_before_all = number(&other.current_snapshot).zip(first).is_some_and(|(number, first)| number < first);
        is_before_all || earlier().any(|path| *path == other.current_snapshot)
    }

    /// Enters an agent's log. The first one takes over what a single writer's log holds, and its place: upstream's single
    /// writers and readers look nowhere else.
    fn enter(&mut self, agent: &str, path: &str) {
        self.other.remove(COMPACTING);
        if self.active_agent_ops.is_none() {
            path.clone_into(&mut self.active_ops);
        }
        self.active_agent_ops.get_or_insert_default().insert(agent.to_owned(), path.into());
        if self.is_under_lock(agent) {
            let mut list: Vec<Value> = self.other.get(LOCKING).and_then(Value::as_array).cloned().unwrap_or_default();
            if !list.iter().any(|id| id == agent) {
                list.push(agent.into());
            }
            self.other.insert(LOCKING.to_owned(), list.into());
            // From here on every checkpoint under the lock takes along what this agent stores.
            if !self.other.contains_key(LINEAGE) {
                self.other.insert(LINEAGE.to_owned(), json!({ "since": self.current_snapshot, "count": 0 }));
            }
        }
    }
}

impl Opening {
    /// [`Opening::start`] of one of several agents.
    pub(super) fn start_agent(mut self, migration: Migration, wake: Wake) -> Result<(Store, RecoveryReport)> {
        self.backend.create_dirs()?;
        if self.manifest.is_none() {
            self = self.make_store()?;
        }
        let migrating = self.migrate_from().is_some();
        self.take_migrated(&migration.values)?;
        let Some(manifest) = self.manifest.take() else {
            return Err(Error::NoStore { path: self.backend.full_path("") });
        };
        let log = self.own_log(&manifest)?;
        let report = self.report();
        let shared = Arc::new(self.into_shared(manifest, log, wake));
        if migrating {
            shared.enter_to_migrate()?;
        } else {
            shared.enter(&mut shared.disk())?;
        }
        if migrating {
            fold_at_open(&shared, migration.segments)?;
        }
        if let Some(Several { member: Some(member), .. }) = &shared.disk().several {
            member.place.opened();
        }
        Ok((Store::run_by(shared)?, report))
    }

    /// Makes an empty store, unless another agent has been first.
    fn make_store(self) -> Result<Self> {
        let Some(Several { member: Some(member), .. }) = &self.several else { return Ok(self) };
        let alone = member.place.changing(PATIENCE)?;
        if read_manifest(&*self.backend)?.is_none() {
            create_store(&*self.backend, self.options.version)?;
        }
        drop(alone);
        self.read()
    }

    /// The agent's log, if the manifest names one; mended, for its last holder may have been killed.
    fn own_log(&mut self, manifest: &Manifest) -> Result<Option<Log>> {
        let Some(several) = &mut self.several else { return Ok(None) };
        let member = several.member()?;
        member.begin_after(manifest);
        let path = manifest.log_of(&member.name).map(str::to_owned);
        let seqs = several.read(manifest, &self.scans, &self.state.history, path.as_deref());
        let Some(scan) = self.scans.iter_mut().find(|scan| Some(&scan.path) == path.as_ref()) else { return Ok(None) };
        if scan.report.skipped > 0 {
            scan.save_copy(&*self.backend)?;
        }
        scan.repair(&*self.backend)?;
        // ORDER: the manifest that names this log may have been written by an agent that was killed before its name was
        // durable. What is appended from here on counts by it.
        self.backend.sync_dir("")?;
        let marks = scan.ops.iter().zip(seqs);
        let marks = marks.map(|(op, seq)| LineMark { seq, offset: op.from, batch: op.batch }).collect();
        let mut file = self.backend.open(&scan.path)?;
        if self.options.durability == Durability::Fsync {
            file.sync()?;
        }
        Ok(Some(Log::new(scan.path.clone(), file, scan.end, marks)))
    }
}

impl Shared {
    /// What must be held to append, once this store may. Where that would mean to wait and `wait` is false: `None`.
    /// What is queued may have been applied anew when this returns.
    ///
    /// # Errors
    /// Nothing may be appended then.
    pub(super) fn begin_append(&self, disk: &mut Disk, wait: bool) -> Result<Option<Turn>> {
        loop {
            let Some(several) = &disk.several else { return Ok(Some(None)) };
            let Some(member) = &several.member else { return Err(Error::ReadOnly) };
            if member.alone.is_some() {
                // This agent's own checkpoint has the lock alone. An open file has one lock: taking it in common would
                // turn it into that, and giving that back would end it.
                if member.entered && !member.unsynced && several.is_current()? {
                    return Ok(Some(None));
                }
                if !wait {
                    return Ok(None);
                }
                self.enter(disk)?;
                continue;
            }
            if member.entered && !member.unsynced {
                let Some(held) = member.place.appending(wait)? else { return Ok(None) };
                if several.is_current()? {
                    return Ok(Some(Some(held)));
                }
            }
            if !wait {
                return Ok(None);
            }
            self.enter(disk)?;
        }
    }

    /// As [`Shared::begin_append`], to take something off the log. Beside agents that know no lock it goes alone: a
    /// checkpoint of theirs must not take along what is being taken off.
    pub(super) fn begin_undo(&self, disk: &mut Disk) -> Result<Turn> {
        let turn = self.begin_append(disk, true)?.flatten();
        let Some(several) = &mut disk.several else { return Ok(turn) };
        let member = several.member()?;
        if member.alone.is_some() || disk.manifest.is_under_lock(&member.name) {
            return Ok(turn);
        }
        drop(turn);
        let alone = member.place.changing(PATIENCE)?;
        if !several.is_current()? {
            self.heal(disk)?;
            self.meet_others(disk)?;
            self.enter_alone(disk)?;
        }
        Ok(Some(alone))
    }

    /// Beside agents that know no lock: what a checkpoint of theirs has not taken along is entered anew, and so is a log
    /// whose entry they have overwritten. To be called when the others have been met. True if there was anything to do.
    pub(super) fn keep_left_over(&self, disk: &mut Disk) -> Result<bool> {
        let Some(Several { member: Some(member), .. }) = &disk.several else { return Ok(false) };
        let nothing = disk.log.as_ref().is_none_or(Log::is_empty);
        if member.entered || nothing || member.is_part_of(&disk.manifest) {
            return Ok(false);
        }
        self.enter(disk).map(|()| true)
    }

    /// Reads what the others have done, and enters this agent's log into the manifest, if it is not.
    pub(super) fn enter(&self, disk: &mut Disk) -> Result<()> {
        let Some(several) = &mut disk.several else { return Ok(()) };
        let member = several.member()?;
        let alone = if member.alone.is_some() { None } else { Some(member.place.changing(PATIENCE)?) };
        let entered = self.heal(disk).and_then(|()| self.meet_others(disk)).and_then(|()| self.enter_alone(disk));
        drop(alone);
        entered
    }

    /// True if the manifest is of an earlier generation than the one that is known: an agent that knows no lock had read
    /// it before, and has written it with its own entry. Which ones are earlier the known one says, as far as it goes
    /// back; before that names tell. (A checkpoint of somebody whose clock is behind has a smaller name than ours.)
    pub(super) fn is_rolled_back(&self, disk: &Disk) -> Result<bool> {
        if disk.several.as_ref().is_none_or(|several| several.member.is_none()) {
            return Ok(false);
        }
        let (manifest, _) = pin_manifest(&*self.backend)?;
        Ok(disk.manifest.comes_after(&manifest) && self.backend.stat(&disk.manifest.current_snapshot).is_ok())
    }

    /// Puts the manifest of the later generation back in that case, with the entries of agents that have come since. To
    /// be called with the lock alone.
    pub(super) fn heal(&self, disk: &mut Disk) -> Result<()> {
        if !self.is_rolled_back(disk)? {
            return Ok(());
        }
        let (older, _) = pin_manifest(&*self.backend)?;
        let mut manifest = disk.manifest.clone();
        let known: Vec<_> = manifest.previous.ops.iter().map(|log| log.path.clone()).chain(manifest.logs()).collect();
        for (agent, log) in older.active_agent_ops.into_iter().flatten() {
            let is_known = log.as_str().is_none_or(|log| known.iter().any(|known| known == log));
            let entries = manifest.active_agent_ops.get_or_insert_default();
            if !is_known
                && manifest
                    .other
                    .get(FOLDED)
                    .is_none_or(|folded| folded.get(log.as_str().unwrap_or_default()).is_none())
            {
                entries.insert(agent, log);
            }
        }
        self.replace_manifest(disk, &manifest)
    }

    /// Replaces the manifest, and remembers if it is not certain that it lasts: nothing is appended by it then.
    fn replace_manifest(&self, disk: &mut Disk, manifest: &Manifest) -> Result<()> {
        let mut note = |unsynced| {
            if let Some(Several { member: Some(member), .. }) = &mut disk.several {
                member.unsynced = unsynced;
            }
        };
        note(true);
        backend::replace(&*self.backend, names::MANIFEST, &manifest.to_bytes())?;
        note(false);
        Ok(())
    }

    /// True if what this agent has appended stands in a log that the manifest names, and nobody is making a checkpoint
    /// who may have read it before.
    pub(super) fn is_named(&self, disk: &Disk) -> bool {
        let Some(Several { member: Some(member), .. }) = &disk.several else { return true };
        let Ok((manifest, _)) = pin_manifest(&*self.backend) else { return false };
        !member.unsynced
            && manifest.current_snapshot == member.base
            && !manifest.other.contains_key(COMPACTING)
            && manifest.log_of(&member.name).is_some_and(|path| disk.log.as_ref().is_some_and(|log| log.path() == path))
    }

    /// [`Shared::meet_others`] for who does not hold the lock.
    pub(super) fn meet_from_outside(&self, disk: &mut Disk) -> Result<()> {
        if self.is_rolled_back(disk)? { self.enter(disk) } else { self.meet_others(disk) }
    }

    /// The same for an agent that has migrated what it has read: it keeps the lock until that is stored.
    fn enter_to_migrate(&self) -> Result<()> {
        let mut disk = self.disk();
        let read = (self.inner().state.last_seq(), disk.manifest.current_snapshot.clone());
        self.begin_try(&mut disk, u32::MAX)?;
        if read != (self.inner().state.last_seq(), disk.manifest.current_snapshot.clone()) {
            let message = "Other agents wrote records of the older version while they were being migrated. \
                           Close those agents, and open the store again."
                .to_owned();
            return Err(Error::Failed { message, cause: None });
        }
        self.enter_alone(&mut disk)
    }

    /// The same for who has the lock alone and has met the others.
    pub(super) fn enter_alone(&self, disk: &mut Disk) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let Some(several) = &mut disk.several else { return Ok(()) };
            let member = several.member()?;
            if member.entered {
                if member.unsynced {
                    self.backend.sync_dir("")?;
                    member.unsynced = false;
                }
                member.begin_after(&disk.manifest);
                // Whoever began a checkpoint is gone: its lock is free.
                if !disk.manifest.other.contains_key(COMPACTING) {
                    return Ok(());
                }
            } else {
                self.next_log(disk)?;
            }
            let Some(Several { member: Some(member), .. }) = &disk.several else { return Ok(()) };
            let mut manifest = disk.manifest.clone();
            manifest.enter(&member.name, disk.log.as_ref().map_or("", Log::path));
            self.replace_manifest(disk, &manifest)?;
            self.meet_others(disk)?;
        }
        let message = "The manifest is overwritten again and again by agents that know no lock".to_owned();
        Err(Error::Failed { message, cause: None })
    }

    /// Makes the log that is to be entered: the one that there is, if it belongs to this generation, or a new one with
    /// what no checkpoint has taken along.
    fn next_log(&self, disk: &mut Disk) -> Result<()> {
        let Some(Several { member: Some(member), .. }) = &disk.several else { return Ok(()) };
        let (name, same) = (member.name.clone(), member.base == disk.manifest.current_snapshot);
        let single = disk.manifest.active_agent_ops.is_none();
        let own = disk.log.as_ref().map(|log| log.path().to_owned()).filter(|_| !single);
        if same && own.is_some() {
            return Ok(());
        }
        let kept = if single {
            if let Some(several) = &mut disk.several {
                several.forget_logs();
            }
            // Readers take a manifest with agents to mean their logs only.
            self.inner().beneath_queue(|inner| inner.state.history.iter().cloned().collect())
        } else {
            let mut kept = self.named_ops(disk, &name)?;
            if let Some(own) = &own {
                kept.extend(self.left_over(disk, own)?);
            }
            self.inner().beneath_queue(|inner| -> Vec<Arc<Op>> {
                let merged = inner.state.merge(&[], kept);
                inner.changed.extend(merged.new.iter().map(|op| op.id.clone()));
                // Those as well that are known: a try that failed has applied them, and no log of this generation has them.
                let seqs: HashSet<u64> = merged.seqs.into_iter().collect();
                inner.state.history.iter().filter(|op| seqs.contains(&op.seq)).cloned().collect()
            })
        };
        let log = create_agent_log(&*self.backend, &name, disk.log.as_ref(), Lines::of(&kept))?;
        if let Some(member) = disk.several.as_mut().and_then(|several| several.member.as_mut()) {
            member.base.clone_from(&disk.manifest.current_snapshot);
            // A checkpoint takes along what it names: this log is not named yet.
            member.lineage = None;
        }
        disk.log = Some(log);
        Ok(())
    }

    /// What stands in a log that the manifest names for this agent and that is not the one that it has: a call that failed
    /// has entered it, or somebody put an old manifest back.
    fn named_ops(&self, disk: &Disk, name: &str) -> Result<Vec<Incoming>> {
        let Some(path) = disk.manifest.log_of(name) else { return Ok(Vec::new()) };
        if disk.log.as_ref().is_some_and(|log| log.path() == path) {
            return Ok(Vec::new());
        }
        Ok(scan(&*self.backend, path, true)?.ops.into_iter().map(Incoming::from).collect())
    }

    /// Operations of this agent's log of an earlier generation that no checkpoint has taken along, and those of others
    /// that come after them: without these, older values would come back.
    fn left_over(&self, disk: &Disk, own: &str) -> Result<Vec<Incoming>> {
        let backend = &*self.backend;
        let lines = disk.log.as_ref().map_or(0, Log::len);
        let member = disk.several.as_ref().and_then(|several| several.member.as_ref());
        if disk.manifest.folded(own) == Some(lines) || member.is_some_and(|member| member.is_part_of(&disk.manifest)) {
            return Ok(Vec::new());
        }
        // What stands after its end was rejected, and could not be cut off.
        let end = disk.log.as_ref().map_or(u64::MAX, Log::end);
        let ops: Vec<Loaded> = scan(backend, own, true)?.ops.into_iter().filter(|op| op.from < end).collect();
        let rest = match disk.manifest.folded(own) {
            Some(count) => ops.into_iter().skip(count).collect(),
            // COMPAT: a checkpoint of upstream's does not say how far it has come.
            None => self.inner().beneath_queue(|inner| inner.missing(ops)),
        };
        if rest.is_empty() {
            return Ok(Vec::new());
        }
        let folded = disk.manifest.other.get(FOLDED).and_then(Value::as_object);
        let mut later = Vec::new();
        for (path, count) in folded.into_iter().flatten() {
            let count = count.as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or_default();
            match scan(backend, path, true) {
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
                Ok(found) => later.extend(
                    found
                        .ops
                        .into_iter()
                        .take(count)
                        .filter(|op| rest.iter().any(|first: &Loaded| op.id == first.id && op.comes_after(first))),
                ),
            }
        }
        Ok(rest.into_iter().chain(later).map(Incoming::from).collect())
    }
}

impl Inner {
    /// Operations of a log whose effect is not part of what is stored, by the values: where a record is as one of them
    /// left it, those after it are missing; where it is as it was before the first, all are; otherwise somebody has
    /// written it since.
    fn missing(&self, log: Vec<Loaded>) -> Vec<Loaded> {
        let mut by_id: HashMap<Text, Vec<&Loaded>> = HashMap::new();
        for op in &log {
            by_id.entry(op.id.clone()).or_default().push(op);
        }
        let mut found: Vec<bool> = Vec::with_capacity(log.len());
        let stored = |op: &Loaded| self.state.records.get(&op.id).map(|record| record.value_text());
        let place_of = |own: &[&Loaded]| {
            let now = own.first().and_then(|op| stored(op));
            let before = own.first().and_then(|op| before(op));
            match own.iter().rposition(|op| op.data == now) {
                Some(last) => last + 1,
                // What a patch makes of the present value is not known: rather once more than never.
                None if before.is_none_or(|before| before == now) => 0,
                None => own.len(),
            }
        };
        let first: HashMap<Text, usize> = by_id.iter().map(|(id, own)| (id.clone(), place_of(own))).collect();
        let mut counts: HashMap<Text, usize> = HashMap::new();
        for op in &log {
            let count = counts.entry(op.id.clone()).or_default();
            found.push(*count >= first.get(&op.id).copied().unwrap_or_default());
            *count += 1;
        }
        log.into_iter().zip(found).filter(|(_, found)| *found).map(|(op, _)| op).collect()
    }
}

/// The value of a record before an operation, if its line tells it.
fn before(op: &Loaded) -> Option<Option<Text>> {
    match &op.logged.prev {
        Prev::Null => Some(None),
        Prev::Full(text) => Some(Some(text.clone())),
        Prev::Delta(_) => None,
    }
}
