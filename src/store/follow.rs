//! Readers: following a writer across its appends, undos and checkpoints.
//!
//! A log changes at its end only: lines are appended and (undo) taken off. So a reader compares the last line that it
//! knows with what stands there now, takes back what is gone, and reads on from there. When another log has become
//! the current one, it reads the old one to its end first; the manifest says how many of its last lines the next log
//! began with. A reader that fell too far behind (a log in between is gone) loads everything again and gets one
//! operation for each record that differs; one that was opened without the records never loads them, and goes on with
//! the new log from its beginning.

use super::open::{self, Generation};
use super::partial;
use super::several::Several;
use super::{Disk, Inner, OnDamage, Phase, Shared, Store};
use crate::backend::StorageBackend;
use crate::clock;
use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::format::names;
use crate::format::op::{Prev, Timestamp};
use crate::format::pages::Pages;
use crate::log::{Loaded, Scan, scan_beside_writer};
use crate::state::{Logged, Op, Record, State};
use std::collections::HashSet;
use std::io::Read;
use std::sync::Arc;

/// A reader loads everything instead of reading more than so many bytes of logs that came between.
const MOST_BETWEEN: u64 = 64 << 20;

/// What a reader has caught up with.
#[derive(Debug, Clone, Default)]
pub struct Refreshed {
    /// The new operations, in order.
    pub ops: Vec<Arc<Op>>,
    /// True if applying them in order gives the state. Otherwise other records changed as well:
    /// see [`Store::take_changed`].
    pub in_order: bool,
    /// Other records that changed.
    other: Vec<crate::format::op::Text>,
}

impl Refreshed {
    /// Operations that somebody else made; see [`Refreshed::in_order`].
    pub(super) fn of(ops: Vec<Arc<Op>>, in_order: bool) -> Self {
        Refreshed { ops, in_order, other: Vec::new() }
    }

    /// The operations as JSON texts of arrays, of about `bytes` each.
    pub fn pages(&self, bytes: usize) -> Vec<Vec<u8>> {
        operation_pages(&self.ops, bytes)
    }
}

/// Operations as callers see them, as JSON texts of arrays, of about `bytes` each.
pub(super) fn operation_pages(ops: &[Arc<Op>], bytes: usize) -> Vec<Vec<u8>> {
    let mut pages = Pages::new(bytes);
    for op in ops {
        pages.push(|page| op.push_shown(page));
    }
    pages.finish()
}

/// A line that a reader has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    offset: u64,
    len: u64,
    hash: u32,
}

impl Known {
    fn of(op: &Loaded) -> Self {
        Known { offset: op.offset, len: op.len, hash: op.hash }
    }

    /// True if this very line still stands in the log.
    fn stands(&self, backend: &dyn StorageBackend, path: &str) -> Result<bool> {
        let mut bytes = Vec::new();
        let read = backend.read(path, self.offset)?.take(self.len).read_to_end(&mut bytes);
        read.map_err(|source| Error::io("read", backend.full_path(path), source))?;
        Ok(bytes.len() as u64 == self.len && crc32c::crc32c(&bytes) == self.hash)
    }
}

/// How far a reader has come.
#[derive(Debug, Clone, Default)]
pub(super) struct Follow {
    /// The log that it reads.
    path: String,
    /// Its lines, in order; the same number as there are operations in the history.
    known: Vec<Known>,
    /// The logs of several agents, of a reader that has not loaded the records.
    agents: Vec<Follow>,
}

impl Follow {
    /// Where a reader of a log stands before its first line.
    pub(super) fn at_start(path: &str) -> Self {
        Follow { path: path.to_owned(), ..Follow::default() }
    }

    /// Where a reader stands that has read these logs; `None` where there are several.
    pub(super) fn new(scans: &[Scan]) -> Option<Self> {
        match scans {
            [scan] => Some(Follow::of(scan)),
            _ => None,
        }
    }

    /// Where a reader stands that has read this log.
    pub(super) fn of(scan: &Scan) -> Self {
        Follow { known: scan.ops.iter().map(Known::of).collect(), ..Follow::at_start(&scan.path) }
    }

    /// How many of its first lines are the last ones of another log.
    fn begins_with_end_of(&self, before: &Follow) -> usize {
        let same = |count: &usize| {
            let end = before.known.iter().skip(before.known.len() - count);
            end.zip(&self.known).all(|(one, other)| one.hash == other.hash && one.len == other.len)
        };
        (1..=self.known.len().min(before.known.len())).rev().find(same).unwrap_or(0)
    }

    /// The log that it reads.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

/// What one look at a log showed, to be applied at once.
pub(super) struct Step {
    /// Operations to take back.
    pub gone: usize,
    /// Operations to apply.
    pub ops: Vec<Loaded>,
    /// Operations that the snapshot covers now: the history drops so many from its start.
    pub covered: usize,
}

impl Store {
    /// Reads what others have done since the last look, and applies it. Returns the new operations; on a single writer, none.
    /// Blocks; several calls at once take turns, and each operation is returned to one of them.
    ///
    /// # Errors
    /// As [`super::Opening::load`]; the state is as it was then.
    pub fn refresh(&self) -> Result<Refreshed> {
        if !self.shared.options.read_only && self.shared.options.agent.is_none() {
            return Ok(Refreshed::default());
        }
        self.shared.refresh()
    }
}

impl Shared {
    fn refresh(&self) -> Result<Refreshed> {
        let mut disk = self.disk();
        // Closed meanwhile: an agent that is gone reads no more.
        if self.inner().phase == Phase::Closed {
            return Err(Error::NotOpen);
        }
        if !self.options.read_only {
            return self.refresh_among_agents(&mut disk);
        }
        let mut attempt = 0;
        let applied = loop {
            attempt += 1;
            let manifest = match open::read_manifest(&*self.backend)? {
                Some(manifest) => manifest,
                None => return Err(Error::NoStore { path: self.backend.full_path("") }),
            };
            match self.catch_up(&mut disk, &manifest) {
                // A checkpoint removed a file after the manifest was read.
                Err(error)
                    if open::is_missing(&error)
                        && attempt < open::ATTEMPTS
                        && open::read_manifest(&*self.backend)?.as_ref() != Some(&manifest) => {}
                other => break other?,
            }
        };
        if self.inner().phase == Phase::Closed {
            return Err(Error::NotOpen);
        }
        Ok(applied)
    }

    fn catch_up(&self, disk: &mut Disk, manifest: &Manifest) -> Result<Refreshed> {
        if manifest.version > self.options.version {
            let path = self.backend.full_path(&manifest.current_snapshot);
            return Err(Error::NewerVersion { stored: manifest.version, requested: self.options.version, path });
        }
        let steps = match &disk.follow {
            // What was read of several agents was not read by this: the way from there is to load.
            Some(follow) if manifest.active_agent_ops.is_none() && disk.several.is_none() => {
                self.steps(follow, manifest)?
            }
            _ => None,
        };
        let applied = match steps {
            Some((steps, follow)) => {
                let archived = !self.options.skip_load
                    && (disk.manifest.stats.archived_records != manifest.stats.archived_records
                        || disk.manifest.archive_segments != manifest.archive_segments
                        || crossed_archive(manifest, disk.follow.as_ref()));
                // Archiving takes records away without an operation.
                let without = if archived { Some(self.load(manifest)?) } else { None };
                let mut applied = self.apply(steps);
                disk.follow = Some(follow);
                if let Some(generation) = without {
                    self.take_over(disk, generation, &mut applied);
                }
                applied
            }
            None if self.options.skip_load => {
                let (steps, follow) = self.steps_without_records(disk.follow.as_ref(), manifest)?;
                disk.follow = Some(follow);
                self.apply(steps)
            }
            None if manifest.active_agent_ops.is_some() && disk.several.is_some() => {
                return self.refresh_among_agents(disk);
            }
            None => {
                // What was read of several agents is not what it says.
                let known = disk.follow.as_ref().filter(|_| disk.several.is_none());
                let rest = self.rest(known, manifest)?;
                let generation = self.load(manifest)?;
                match rest.map(|steps| self.apply(steps)) {
                    Some(mut applied) if self.is_continued_by(&generation.1) => {
                        disk.follow = Some(Follow::at_start(&manifest.active_ops));
                        self.take_over(disk, generation, &mut applied);
                        applied
                    }
                    rest => {
                        let (_, state, scans) = generation;
                        disk.follow = Follow::new(&scans);
                        let mut inner = self.inner();
                        let differences = inner.replace(state).ops;
                        disk.several = Several::of_reader(manifest, &scans, &inner.state.history);
                        let before = rest.map(|rest| rest.ops).unwrap_or_default();
                        inner.changed.extend(before.iter().map(|op| op.id.clone()));
                        Refreshed::of([before, differences].concat(), false)
                    }
                }
            }
        };
        disk.manifest = manifest.clone();
        self.inner().manifest = Arc::new(manifest.clone());
        Ok(applied)
    }

    /// What is new in the log that is known and in those that came after it, where a manifest names another and does not
    /// say what became of this one.
    ///
    /// COMPAT: a checkpoint of upstream's says nothing of the log that it supersedes, and leaves it there. Names tell the
    /// order.
    fn rest(&self, follow: Option<&Follow>, manifest: &Manifest) -> Result<Option<Vec<Step>>> {
        let is_superseded = |follow: &&Follow| {
            manifest.active_agent_ops.is_none()
                && manifest.previous.ops.is_empty()
                && !follow.path.is_empty()
                && follow.path != manifest.active_ops
        };
        let Some(follow) = follow.filter(is_superseded).cloned() else { return Ok(None) };
        match self.rest_of_logs(follow, manifest) {
            // One that is gone, or that nobody reads any more: what it held is told as what differs.
            Err(error) if error.is_not_found() || matches!(error, Error::Corrupt { .. }) => Ok(None),
            other => other,
        }
    }

    fn rest_of_logs(&self, mut follow: Follow, manifest: &Manifest) -> Result<Option<Vec<Step>>> {
        let mut steps = vec![self.look(&mut follow)?];
        let between = names::number(&follow.path).zip(names::number(&manifest.active_ops));
        let is_between = |number: &u64| between.is_some_and(|(from, to)| from < *number && *number < to);
        let logs = self.backend.list(names::OPS)?.into_iter().filter(|log| names::kind(&log.name) == names::Kind::Ops);
        let numbered = logs.filter_map(|log| Some((names::number(&log.name)?, log.stat.len)));
        let mut logs: Vec<(u64, u64)> = numbered.filter(|(number, _)| is_between(number)).collect();
        if logs.iter().map(|(_, len)| len).sum::<u64>() > MOST_BETWEEN {
            return Ok(None);
        }
        logs.sort_unstable();
        for (number, _) in logs {
            let before = std::mem::replace(&mut follow, Follow::at_start(&names::ops(number)));
            let mut step = self.look(&mut follow)?;
            // A log of ours begins with copies of the last lines of the one before.
            step.ops.drain(..follow.begins_with_end_of(&before));
            steps.push(step);
        }
        Ok(Some(steps))
    }

    /// True if the operations of a newly loaded log lead from what is known to what was loaded.
    fn is_continued_by(&self, loaded: &State) -> bool {
        let known = &self.inner().state.records;
        let ids: HashSet<&[u8]> = loaded.history.iter().map(|op| &op.id[..]).collect();
        let stands = |record: &Record| loaded.records.get(record.id()).is_some_and(|now| now.value() == record.value());
        known.iter().all(|record| stands(record) || ids.contains(record.id()))
            && loaded.records.iter().all(|record| known.get(record.id()).is_some() || ids.contains(record.id()))
    }

    fn load(&self, manifest: &Manifest) -> Result<Generation> {
        open::load_generation(&*self.backend, &self.options, manifest)
    }

    /// Takes a newly loaded state over whose operations have been told, apart from those at its end.
    fn take_over(&self, disk: &mut Disk, (_, mut state, scans): Generation, refreshed: &mut Refreshed) {
        let Some(follow) = Follow::new(&scans) else { return };
        let known = disk.follow.as_ref().map_or(&[][..], |follow| &follow.known);
        let told = known.iter().zip(&follow.known).take_while(|(known, found)| known == found).count();
        let mut inner = self.inner();
        state.continue_after(inner.state.last_seq());
        for record in inner.state.records.iter() {
            if state.records.get(record.id()).is_none_or(|now| now.value() != record.value()) {
                refreshed.other.push(record.id_text());
            }
        }
        for op in state.history.iter().skip(told) {
            refreshed.other.push(op.id.clone());
            refreshed.ops.push(op.clone());
        }
        refreshed.in_order = false;
        let changed: Vec<_> = refreshed.ops.iter().map(|op| op.id.clone()).chain(refreshed.other.drain(..)).collect();
        inner.changed.extend(changed);
        inner.state = state;
        drop(inner);
        disk.follow = Some(follow);
    }

    /// What to do log by log, up to the current one; `None` where the way there is gone.
    fn steps(&self, follow: &Follow, manifest: &Manifest) -> Result<Option<(Vec<Step>, Follow)>> {
        let mut follow = follow.clone();
        let mut steps = Vec::new();
        while follow.path != manifest.active_ops {
            let superseded = &manifest.previous.ops;
            let Some(place) = superseded.iter().position(|log| log.path == follow.path) else { return Ok(None) };
            let (Some(log), next) = (superseded.get(place), superseded.get(place + 1)) else { return Ok(None) };
            match self.look(&mut follow) {
                Err(error) if error.is_not_found() => return Ok(None),
                other => steps.push(other?),
            }
            let Some(covered) = log.covered_of(follow.known.len()) else { return Ok(None) };
            steps.push(Step { gone: 0, ops: Vec::new(), covered });
            // The carried lines are a copy of the end of the log, blank lines between them included.
            let tail = follow.known.split_off(covered);
            let start = tail.first().map_or(0, |line| line.offset);
            follow = Follow {
                agents: Vec::new(),
                path: next.map_or_else(|| manifest.active_ops.clone(), |log| log.path.clone()),
                known: tail.iter().map(|line| Known { offset: line.offset - start, ..*line }).collect(),
            };
        }
        steps.push(self.look(&mut follow)?);
        Ok(Some((steps, follow)))
    }

    /// What a reader that must not load the records does where there is no way to follow: it goes on with what the
    /// current log holds, or with what is new in the logs of several agents. What an agent undid stays seen.
    fn steps_without_records(&self, before: Option<&Follow>, manifest: &Manifest) -> Result<(Vec<Step>, Follow)> {
        if manifest.active_agent_ops.is_none() {
            let mut follow = Follow::at_start(&manifest.active_ops);
            let mut steps = self.rest(before, manifest)?.unwrap_or_default();
            steps.push(Step { gone: 0, ops: Vec::new(), covered: usize::MAX });
            steps.push(self.look(&mut follow)?);
            return Ok((steps, follow));
        }
        let known = before.map_or(&[][..], |follow| &follow.agents);
        let (mut agents, mut scans) = (Vec::new(), Vec::new());
        for path in manifest.logs() {
            let before = known.iter().find(|agent| agent.path == path).cloned();
            let mut agent = before.unwrap_or_else(|| Follow::at_start(&path));
            scans.push(Scan { ops: self.look(&mut agent)?.ops, ..Scan::default() });
            agents.push(agent);
        }
        let ops = open::merged(&scans, true).into_iter().cloned().collect();
        Ok((vec![Step { gone: 0, ops, covered: 0 }], Follow { agents, ..Follow::default() }))
    }

    /// Looks what has become of a log since it was last read, and notes how far it has been read now.
    pub(super) fn look(&self, follow: &mut Follow) -> Result<Step> {
        let backend = &*self.backend;
        let before = follow.known.len();
        let scan = loop {
            if self.options.skip_load && partial::is_cleared(backend, &follow.path)? {
                follow.known.clear();
                break Scan::default();
            }
            while let Some(last) = follow.known.last() {
                if last.stands(backend, &follow.path)? {
                    break;
                }
                follow.known.pop();
            }
            let last = follow.known.last().copied();
            let start = last.map_or(0, |last| last.offset + last.len);
            let skip = self.options.on_damage == OnDamage::Skip;
            let scan = scan_beside_writer(backend, &follow.path, start, skip);
            // What follows a line counts only if that line stood there all the time.
            match last {
                Some(last) if !last.stands(backend, &follow.path)? => {}
                _ => break scan?,
            }
        };
        let gone = before - follow.known.len();
        follow.known.extend(scan.ops.iter().map(Known::of));
        Ok(Step { gone, ops: scan.ops, covered: 0 })
    }

    /// Applies what was found, all at once for who reads meanwhile.
    pub(super) fn apply(&self, steps: Vec<Step>) -> Refreshed {
        let mut inner = self.inner();
        let mut applied: Vec<Arc<Op>> = Vec::new();
        let in_order = steps.iter().all(|step| step.gone == 0);
        for step in steps {
            for _ in 0..step.gone {
                if let Some(op) = inner.state.pop() {
                    inner.changed.push(op.id.clone());
                    // Read in this very look and taken back by the writer since: never told.
                    applied.retain(|seen| seen.seq != op.seq);
                }
            }
            for op in step.ops {
                if !in_order {
                    inner.changed.push(op.id.clone());
                }
                inner.state.replay(&op.id, op.data, op.logged);
                applied.extend(inner.state.history.back().cloned());
            }
            let covered = step.covered.min(inner.state.history.len());
            inner.state.history.drain(..covered);
        }
        Refreshed { ops: applied, in_order, other: Vec::new() }
    }

    /// Takes a newly loaded state over. One operation tells each difference.
    pub(super) fn replace(&self, state: State) -> Refreshed {
        self.inner().replace(state)
    }
}

impl Inner {
    /// Takes a newly loaded state over. One operation tells each difference.
    pub(super) fn replace(&mut self, mut state: State) -> Refreshed {
        let now = clock::now_ms();
        let ts = Timestamp::Millis(now);
        let mut differences = Vec::new();
        let mut tell = |id: &crate::format::op::Text, before: Option<&crate::format::op::Text>, data| {
            let op = Op {
                seq: 0,
                ts: now,
                id: id.clone(),
                position: 0,
                before: before.cloned(),
                unseen: false,
                data,
                logged: None,
                made_by: None,
            };
            let prev = Prev::of(op.before.as_ref(), op.data.as_ref());
            let logged = Some(Box::new(Logged { ts: ts.clone(), prev, origin: None }));
            differences.push(Arc::new(Op { logged, ..op }));
        };
        for record in self.state.records.iter() {
            if state.records.position(record.id()).is_none() {
                tell(&record.id_text(), Some(&record.value_text()), None);
            }
        }
        for record in state.records.iter() {
            let before = self.state.records.get(record.id());
            if before.is_none_or(|before| before.value() != record.value()) {
                tell(&record.id_text(), before.map(Record::value_text).as_ref(), Some(record.value_text()));
            }
        }
        self.changed.extend(differences.iter().map(|op| op.id.clone()));
        state.continue_after(self.state.last_seq());
        if let (Some(agent), Some(known)) = (&mut state.agent, &self.state.agent) {
            agent.clock = agent.clock.max(known.clock);
            agent.floor = agent.floor.max(known.floor);
        }
        self.state = state;
        Refreshed { ops: differences, in_order: false, other: Vec::new() }
    }
}

/// True if an archive call superseded one of the logs from a reader's place on. It need not change the number of
/// archived records: those that are in the segment already are replaced.
fn crossed_archive(manifest: &Manifest, follow: Option<&Follow>) -> bool {
    follow.is_some_and(|follow| {
        manifest.previous.ops.iter().skip_while(|log| log.path != follow.path).any(|log| log.archived)
    })
}

impl State {
    /// Numbers operations from here on after those of another state.
    fn continue_after(&mut self, seq: u64) {
        for op in &mut self.history {
            let numbered = Op { seq: op.seq + seq, ..Op::clone(op) };
            *op = Arc::new(numbered);
        }
        self.skip_to(seq);
    }
}
