//! What one of several agents, or a reader beside them, knows of the others.
//!
//! The manifest names a log for each agent, and the state is the snapshot and all logs, in the order of clock and agent.
//! A log changes at its end only, so what is new is read from where it was read last ([`Follow`]) and put where it belongs
//! ([`crate::state::State::merge`]), beneath what is queued here. A manifest with another snapshot means that somebody
//! made a checkpoint: the logs that are known are read to their end, for what is to be told, and the new generation is
//! loaded.
//!
//! What could go wrong if: a log is removed while it is being read (its manifest is not the current one any more: read
//! again); operations come in while a checkpoint is being written (it holds what it held when it began); they take back
//! what that checkpoint holds (it is given up: `stale`).

use super::follow::{Follow, Refreshed};
use super::open;
use super::{Disk, Inner, Options, Shared};
use crate::backend::{AgentPlace, Pinned, StorageBackend};
use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::format::op::Origin;
use crate::log::{Loaded, Scan};
use crate::state::{Incoming, Op, State};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// The member of a manifest that names the generation before.
pub(super) const FOLLOWS: &str = "follows";
/// The member of a manifest that counts checkpoints: see [`Lineage`].
pub(super) const LINEAGE: &str = "lineage";
/// The member of a manifest with the greatest clock that any checkpoint has seen.
pub(super) const CLOCK: &str = "clock";

/// A store of several agents, as one of them or a reader knows it.
#[derive(Default)]
pub(super) struct Several {
    /// Who this is; `None` in a reader.
    pub(super) member: Option<Member>,
    /// The manifest that is known; `None` where it has to be read again.
    pub(super) manifest: Option<Box<dyn Pinned>>,
    /// The others' logs.
    logs: Vec<Followed>,
    /// What has been read and not told yet.
    untold: Vec<Arc<Op>>,
    /// Operations up to this one are being written to a snapshot.
    pub(super) covered: u64,
    /// What it holds is not what is stored any more.
    pub(super) stale: bool,
}

/// An agent that writes.
pub(super) struct Member {
    /// Its id.
    pub(super) name: String,
    pub(super) place: Box<dyn AgentPlace>,
    /// Held by a checkpoint that could not be made while others write.
    pub(super) alone: Option<Box<dyn Send + Sync>>,
    /// True if the manifest names its log.
    pub(super) entered: bool,
    /// The snapshot that its log comes after.
    pub(super) base: String,
    /// The checkpoints that had been made then.
    pub(super) lineage: Option<Lineage>,
    /// True if a manifest of its own may not last: its directory could not be synced.
    pub(super) unsynced: bool,
}

/// Checkpoints that were all made under the lock: each took along every operation that was stored before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lineage {
    /// The first of them: its snapshot.
    pub(super) since: String,
    /// How many there have been.
    pub(super) count: u64,
}

/// A log, and the sequence numbers of its operations; 0 for a copy of one that stands elsewhere.
#[derive(Clone, Default)]
struct Followed {
    follow: Follow,
    seqs: Vec<u64>,
}

/// What has been read of logs.
#[derive(Default)]
struct Looked {
    logs: Vec<Followed>,
    gone: Vec<u64>,
    /// With the place of their log.
    ops: Vec<(usize, Loaded)>,
    /// Logs that are not there any more.
    missing: bool,
}

impl Member {
    /// Its log comes after this manifest's snapshot.
    pub(super) fn begin_after(&mut self, manifest: &Manifest) {
        self.base.clone_from(&manifest.current_snapshot);
        self.lineage = manifest.lineage();
    }

    /// True if every operation that this agent has stored is part of a manifest's generation.
    pub(super) fn is_part_of(&self, manifest: &Manifest) -> bool {
        let (before, now) = (&self.lineage, manifest.lineage());
        matches!((before, now), (Some(before), Some(now)) if before.since == now.since && before.count < now.count)
    }
}

impl Several {
    /// Takes the place of the agent that the options name; `None` in a store of a single writer, and for a reader.
    pub(super) fn join(backend: &dyn StorageBackend, options: &Options) -> Result<Option<Self>> {
        let Some(name) = options.agent.clone().filter(|_| !options.read_only) else { return Ok(None) };
        let place = backend.join(&name)?;
        let base = String::new();
        let member = Member { name, place, alone: None, entered: false, base, lineage: None, unsynced: false };
        Ok(Some(Several { member: Some(member), ..Several::default() }))
    }

    /// What a reader knows that has loaded a generation; `None` of a single writer's.
    pub(super) fn of_reader(manifest: &Manifest, scans: &[Scan], history: &VecDeque<Arc<Op>>) -> Option<Self> {
        manifest.active_agent_ops.as_ref()?;
        let mut several = Several::default();
        several.read(manifest, scans, history, None);
        Some(several)
    }

    /// The others' logs as they were read, with the operations of the history that they led to. Returns the sequence
    /// numbers of the log that is `own`.
    pub(super) fn read(
        &mut self,
        manifest: &Manifest,
        scans: &[Scan],
        history: &VecDeque<Arc<Op>>,
        own: Option<&str>,
    ) -> Vec<u64> {
        let several = manifest.active_agent_ops.is_some();
        let seqs: HashMap<*const Loaded, u64> = open::merged(scans, several)
            .into_iter()
            .map(std::ptr::from_ref)
            .zip(history.iter().map(|op| op.seq))
            .collect();
        let mut own_seqs = Vec::new();
        self.logs.clear();
        for scan in scans {
            let found = scan.ops.iter().map(|op| seqs.get(&std::ptr::from_ref(op)).copied().unwrap_or_default());
            if own == Some(&*scan.path) {
                own_seqs = found.collect();
            } else {
                self.logs.push(Followed { follow: Follow::of(scan), seqs: found.collect() });
            }
        }
        own_seqs
    }

    /// The member of a store that is written.
    pub(super) fn member(&mut self) -> Result<&mut Member> {
        self.member.as_mut().ok_or(Error::ReadOnly)
    }

    /// True if the manifest is still the one that is known.
    pub(super) fn is_current(&self) -> Result<bool> {
        self.manifest.as_ref().map_or(Ok(false), |manifest| manifest.is_current())
    }

    /// How many operations each of the others' logs holds.
    pub(super) fn lengths(&self) -> impl Iterator<Item = (&str, usize)> {
        self.logs.iter().map(|log| (log.follow.path(), log.seqs.len()))
    }

    /// The logs of others belong to the generation before.
    pub(super) fn forget_logs(&mut self) {
        self.logs.clear();
    }
}

impl Manifest {
    /// The checkpoints under the lock that this manifest's is the last of. Whoever makes one otherwise does not know of it.
    pub(super) fn lineage(&self) -> Option<Lineage> {
        Lineage::deserialize(self.other.get(LINEAGE)?).ok()
    }

    /// An agent's log.
    pub(super) fn log_of(&self, agent: &str) -> Option<&str> {
        self.active_agent_ops.as_ref()?.get(agent)?.as_str()
    }

    /// The logs that hold everything that was stored between another generation and this one, oldest first; none where
    /// that is not certain.
    fn superseded_since(&self, known: &Manifest) -> Vec<String> {
        let logs: Vec<_> = self.previous.ops.chunk_by(|one, next| one.since == next.since).collect();
        let follows = self.other.get(FOLLOWS).and_then(serde_json::Value::as_str);
        let checkpoints = match (known.lineage(), self.lineage()) {
            _ if follows == Some(&known.current_snapshot) => 1,
            (Some(before), Some(now)) if before.since == now.since => now.count.saturating_sub(before.count),
            _ => 0,
        };
        let first = usize::try_from(checkpoints).ok().and_then(|count| logs.len().checked_sub(count));
        let since = first.and_then(|first| logs.get(first..)).unwrap_or_default();
        since.iter().flat_map(|logs| logs.iter()).map(|log| log.path.clone()).collect()
    }

    /// The greatest clock that any checkpoint has seen.
    pub(super) fn clock(&self) -> u64 {
        self.other.get(CLOCK).and_then(serde_json::Value::as_u64).unwrap_or_default()
    }
}

impl Shared {
    /// Reads what the others have done, for a caller who is told.
    pub(super) fn refresh_among_agents(&self, disk: &mut Disk) -> Result<Refreshed> {
        if self.is_rolled_back(disk)? {
            self.enter(disk)?;
        }
        let mut in_order = self.meet(disk)?;
        let kept = self.keep_left_over(disk);
        let Some(several) = &mut disk.several else { return Ok(Refreshed::default()) };
        if !matches!(kept, Ok(false)) {
            in_order = false;
            self.inner().changed.extend(several.untold.iter().map(|op| op.id.clone()));
        }
        kept?;
        Ok(Refreshed::of(std::mem::take(&mut several.untold), in_order))
    }

    /// Reads what the others have done, for nobody in particular.
    pub(super) fn meet_others(&self, disk: &mut Disk) -> Result<()> {
        if self.meet(disk)?
            && let Some(several) = &disk.several
        {
            self.inner().changed.extend(several.untold.iter().map(|op| op.id.clone()));
        }
        self.wake();
        Ok(())
    }

    /// Reads what the others have done. True if applying what is untold now, in order, gives the state; otherwise the
    /// ids of all records that changed are among those of [`super::Store::take_changed`].
    fn meet(&self, disk: &mut Disk) -> Result<bool> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (manifest, pinned) = open::pin_manifest(&*self.backend)?;
            match self.meet_in(disk, &manifest) {
                Err(error) if open::is_missing(&error) && attempt < open::ATTEMPTS && !pinned.is_current()? => {}
                Err(error) => return Err(error),
                Ok(in_order) => {
                    if let Some(several) = &mut disk.several {
                        several.manifest = Some(pinned);
                        if let Some(member) = &mut several.member {
                            let own = disk.log.as_ref().map(|log| log.path());
                            member.entered = own.is_some() && manifest.log_of(&member.name) == own;
                        }
                    }
                    disk.manifest = manifest.clone();
                    self.inner().manifest = Arc::new(manifest);
                    return Ok(in_order);
                }
            }
        }
    }

    fn meet_in(&self, disk: &mut Disk, manifest: &Manifest) -> Result<bool> {
        if manifest.version > self.options.version {
            let path = self.backend.full_path(&manifest.current_snapshot);
            return Err(Error::NewerVersion { stored: manifest.version, requested: self.options.version, path });
        }
        open::check_paths(&*self.backend, manifest)?;
        if manifest.current_snapshot == disk.manifest.current_snapshot {
            let in_order = self.look_at(disk, &manifest.logs(), &[]).map(|looked| self.take_in(disk, looked))?;
            return Ok(in_order);
        }
        let superseded = manifest.superseded_since(&disk.manifest);
        let looked = self.look_at(disk, &[], &superseded)?;
        // A checkpoint that does not name them may have taken operations of logs along that nobody here knows.
        let whole = !superseded.is_empty() && !looked.missing;
        let generation = open::load_generation(&*self.backend, &self.options, manifest)?;
        self.take_in(disk, looked);
        self.begin_generation(disk, manifest, generation, whole);
        Ok(false)
    }

    /// Reads on in all logs that are known, in those that a manifest names, and in others that its checkpoint has
    /// `superseded`, apart from this agent's own. One that is
    /// known and not named may be gone; or somebody overwrote its entry who knows no lock, and its agent puts it back.
    fn look_at(&self, disk: &Disk, named: &[String], superseded: &[String]) -> Result<Looked> {
        let mut looked = Looked::default();
        let own = disk.log.as_ref().map(|log| log.path());
        let known = || disk.several.iter().flat_map(|several| &several.logs);
        let others = known().map(|log| log.follow.path()).filter(|path| !named.iter().any(|named| named == path));
        let unknown =
            superseded.iter().map(String::as_str).filter(|path| !known().any(|log| log.follow.path() == *path));
        let others = others.chain(unknown);
        for path in named.iter().map(String::as_str).chain(others).filter(|path| own != Some(path)) {
            let before = known().find(|log| log.follow.path() == path).cloned();
            let mut log = before.unwrap_or_else(|| Followed { follow: Follow::at_start(path), seqs: Vec::new() });
            match self.look(&mut log.follow) {
                Err(error) if error.is_not_found() && !named.iter().any(|named| named == path) => looked.missing = true,
                Err(error) => return Err(error),
                Ok(step) => {
                    looked.gone.extend(log.seqs.split_off(log.seqs.len().saturating_sub(step.gone)));
                    let place = looked.logs.len();
                    looked.ops.extend(step.ops.into_iter().map(|op| (place, op)));
                    looked.logs.push(log);
                }
            }
        }
        looked.gone.retain(|seq| *seq > 0);
        Ok(looked)
    }

    /// Puts what was read where it belongs. True if it all came after everything that was known.
    fn take_in(&self, disk: &mut Disk, mut looked: Looked) -> bool {
        let Some(several) = &mut disk.several else { return false };
        let mut in_order = several.untold.is_empty();
        if !looked.ops.is_empty() || !looked.gone.is_empty() {
            let (places, ops): (Vec<usize>, Vec<Incoming>) =
                looked.ops.into_iter().map(|(place, op)| (place, op.into())).unzip();
            let mut inner = self.inner();
            in_order &= inner.queue.is_empty() && inner.batch.is_none();
            let merged = inner.beneath_queue(|inner| inner.state.merge(&looked.gone, ops));
            in_order &= merged.moved.is_empty();
            if !in_order {
                inner.changed.extend(merged.moved.into_iter().chain(merged.new.iter().map(|op| op.id.clone())));
            }
            drop(inner);
            several.stale |= looked.gone.iter().any(|seq| *seq <= several.covered);
            let taken_back: HashSet<u64> = looked.gone.into_iter().collect();
            several.untold.retain(|op| !taken_back.contains(&op.seq));
            several.untold.extend(merged.new);
            for (place, seq) in places.into_iter().zip(merged.seqs) {
                if let Some(log) = looked.logs.get_mut(place) {
                    log.seqs.push(seq);
                }
            }
        }
        several.logs = looked.logs;
        in_order
    }

    /// Takes over a generation that somebody else has made. `whole`: every operation that it holds has been read, or
    /// stands in its logs.
    fn begin_generation(&self, disk: &mut Disk, manifest: &Manifest, loaded: open::Generation, whole: bool) {
        let (header, mut state, scans) = loaded;
        let Some(several) = &mut disk.several else { return };
        several.stale = true;
        let mut inner = self.inner();
        state.agent.clone_from(&inner.state.agent);
        state.see_clocks(manifest.clock().max(header.clock.unwrap_or_default()));
        let own = disk.log.as_ref().map(|log| log.path());
        inner.records_at_checkpoint = manifest.stats.active_records;
        let told = inner.beneath_queue(|inner| {
            let known: HashSet<_> = inner.state.history.iter().filter_map(|op| name_of(op)).collect();
            let differences = inner.replace(state);
            inner.begin_log();
            several.read(manifest, &scans, &inner.state.history, own);
            if whole {
                let new = inner.state.history.iter().filter(|op| name_of(op).is_none_or(|name| !known.contains(&name)));
                new.cloned().collect()
            } else {
                differences.ops
            }
        });
        several.untold.extend(told);
        inner.changed.extend(several.untold.iter().map(|op| op.id.clone()));
    }
}

/// What tells an operation of an agent from all others.
fn name_of(op: &Op) -> Option<(u64, Vec<u8>, Vec<u8>)> {
    let Origin { agent, clock } = op.origin()?;
    Some(((*clock)?, agent.as_ref()?.to_vec(), op.id.to_vec()))
}

impl Inner {
    /// The greatest clock that was seen, in a store that agents have written.
    pub(super) fn clock(&self) -> Option<u64> {
        let known = self.manifest.clock();
        let clock = self.state.agent.as_ref().map_or(known, |agent| agent.clock.max(known));
        (clock > 0).then_some(clock)
    }

    /// The agent's log is a new one: undo reaches only what comes from here on. To be called beneath the queue.
    fn begin_log(&mut self) {
        if let Some(agent) = &mut self.state.agent {
            agent.floor = agent.clock;
        }
    }
}

impl State {
    /// Takes note of clocks: of the history's, and one more.
    pub(super) fn see_clocks(&mut self, clock: u64) {
        let seen = self.history.iter().filter_map(|op| op.origin()?.clock).max().unwrap_or_default();
        if let Some(agent) = &mut self.agent {
            agent.clock = agent.clock.max(clock).max(seen);
        }
    }
}
