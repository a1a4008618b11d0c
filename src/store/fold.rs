//! A checkpoint of a store of several agents: snapshot and a new log take the place of all agents' logs.
//!
//! The snapshot is written while everybody goes on. Then, with the lock alone: what the others have appended since is
//! read, and goes to the new log together with this agent's own, and with what comes after it in the order of all agents
//! and stands in the snapshot already; the manifest names this agent's new log and no other. An agent that finds the new
//! manifest reads it and enters a log of its own before it appends again. So no operation is ever in neither, and the
//! lock is held for what was appended while the snapshot was written, not for the snapshot.
//!
//! A snapshot is of no use any more if somebody else's checkpoint came first, or an operation that it holds was undone.
//! Then it is written again; after a few tries with the lock alone.
//!
//! What could go wrong if: the compactor is killed (what it made is removed by the next one; its locks are the kernel's);
//! agents append that know only the compaction lock (they find another manifest before the logs are read: `compacting`).

use super::checkpoint::{Job, Published, Snapshot, succeed};
use super::enter::{COMPACTING, FOLDED, LOCKING, LOCKLESS, Lines, PATIENCE, create_agent_log};
use super::open::remove_leftovers;
use super::several::{CLOCK, FOLLOWS, LINEAGE, Lineage, Several};
use super::{Disk, Inner, Shared};
use crate::backend::{self, discard};
use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::format::names;
use crate::log::Log;
use crate::state::Op;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How often a snapshot is written while others go on.
pub(super) const TRIES: u32 = 3;
/// How many logs of earlier checkpoints the manifest remembers: an agent may have slept through some.
const MOST_FOLDED: usize = 200;

impl Shared {
    /// Begins a try to make a checkpoint: reads what the others have done, after some tries with the lock alone.
    pub(super) fn begin_try(&self, disk: &mut Disk, tries: u32) -> Result<()> {
        let Some(several) = &mut disk.several else { return Ok(()) };
        if tries >= TRIES {
            let member = several.member()?;
            if member.alone.is_none() {
                member.alone = Some(member.place.changing(PATIENCE)?);
            }
            self.heal(disk)?;
            self.meet_others(disk)?;
        } else {
            self.meet_from_outside(disk)?;
        }
        self.keep_left_over(disk)?;
        if let Some(several) = &mut disk.several {
            several.stale = false;
        }
        Ok(())
    }

    /// The last operation that is stored: what a snapshot that is begun now covers.
    pub(super) fn stored_through(&self, disk: &mut Disk, inner: &Inner) -> u64 {
        let Some(several) = &mut disk.several else { return disk.log.as_ref().map_or(0, Log::last_seq) };
        several.covered = inner.last_stored();
        several.covered
    }

    /// Gives the lock back that a checkpoint may have kept from try to try.
    pub(super) fn end_tries(&self, disk: &mut Disk) {
        if let Some(Several { member: Some(member), covered, .. }) = &mut disk.several {
            member.alone = None;
            *covered = 0;
        }
    }

    /// [`Shared::publish`] among several agents. `must`: waits for somebody else's checkpoint.
    pub(super) fn fold(
        &self,
        disk: &mut Disk,
        job: &Job,
        snapshot: Snapshot,
        must: bool,
        change: impl FnOnce(&mut Manifest),
        count: impl FnOnce(&dyn Fn() -> Result<()>) -> Result<bool>,
    ) -> Result<Published> {
        let backend = &*self.backend;
        let folded = self.fold_alone(disk, job, &snapshot.path, must, change, count);
        // Where only what comes after the manifest's rename has failed, it is the current one.
        if !matches!(folded, Ok(Published::Done)) && disk.manifest.current_snapshot != snapshot.path {
            discard(backend, &snapshot.path);
        }
        folded
    }

    fn fold_alone(
        &self,
        disk: &mut Disk,
        job: &Job,
        snapshot: &str,
        must: bool,
        change: impl FnOnce(&mut Manifest),
        count: impl FnOnce(&dyn Fn() -> Result<()>) -> Result<bool>,
    ) -> Result<Published> {
        let backend = &*self.backend;
        let Some(several) = &mut disk.several else { return Err(Error::NotOpen) };
        let member = several.member()?;
        let name = member.name.clone();
        let patience = if must { PATIENCE } else { Duration::ZERO };
        let _alone = match member.alone.take() {
            Some(alone) => alone,
            None => match member.place.changing(patience) {
                // COMPAT: as upstream's, a checkpoint is left out where a peer is making one.
                Err(Error::CompactionLocked { .. }) if !must => return Ok(Published::LeftOut),
                other => other?,
            },
        };
        self.check_ours(disk)?;
        self.heal(disk)?;
        self.meet_others(disk)?;
        if !disk.manifest.is_under_lock(&name) {
            // ORDER: from here on whoever appends without the lock finds another manifest afterwards.
            let mut manifest = disk.manifest.clone();
            manifest.other.insert(COMPACTING.to_owned(), snapshot.into());
            backend::replace(backend, names::MANIFEST, &manifest.to_bytes())?;
            self.meet_others(disk)?;
        }
        // An agent that came meanwhile may have taken it for the rest of a crash.
        let gone = matches!(backend.stat(snapshot), Err(error) if error.is_not_found());
        if gone || disk.several.as_ref().is_none_or(|several| several.stale) {
            return Ok(Published::Stale);
        }
        let (carried, clock) = self.inner().beneath_queue(|inner| {
            let Some(agent) = &inner.state.agent else { return (Vec::new(), 0) };
            let is_own = |op: &Arc<Op>| {
                op.seq > job.through && op.origin().and_then(|origin| origin.agent.as_ref()) == Some(&agent.id)
            };
            // Its own come last: undo takes the last line off.
            let (own, others): (Vec<_>, Vec<_>) = inner.state.carried(job.through).into_iter().partition(is_own);
            ([others, own].concat(), agent.clock)
        });
        let next = create_agent_log(backend, &name, disk.log.as_ref(), Lines::of(&carried))?;
        let (mut manifest, superseded) =
            succeed(backend, &disk.manifest, snapshot, &next, job.count, self.options.version);
        self.tell_of_fold(disk, &mut manifest, &name, next.path(), clock);
        change(&mut manifest);
        // ORDER: as in `publish`.
        let replaced =
            backend::write_temporary(backend, names::MANIFEST, &manifest.to_bytes()).and_then(|(temporary, _held)| {
                let renamed = count(&|| backend.rename(&temporary, names::MANIFEST));
                if !matches!(renamed, Ok(true)) {
                    discard(backend, &temporary);
                }
                renamed
            });
        if !matches!(replaced, Ok(true)) {
            discard(backend, next.path());
            return replaced.map(|_| Published::Stale);
        }
        disk.log = Some(next);
        disk.manifest = manifest.clone();
        if let Some(several) = &mut disk.several {
            several.forget_logs();
            several.covered = 0;
        }
        self.inner().cover_among_agents(job, manifest);
        if let Err(error) = backend.sync_dir("") {
            self.poison(error.clone());
            return Err(error);
        }
        if let Some(Several { member: Some(member), .. }) = &mut disk.several {
            member.begin_after(&disk.manifest);
        }
        // What cannot be read now is read before the next append: the manifest that is known has been replaced.
        let _ = self.meet_others(disk);
        disk.remove_superseded(backend, &superseded);
        remove_leftovers(backend, &disk.manifest, true);
        Ok(Published::Done)
    }

    /// What the manifest of a checkpoint says for the other agents.
    fn tell_of_fold(&self, disk: &Disk, manifest: &mut Manifest, name: &str, log: &str, clock: u64) {
        manifest.active_agent_ops = Some(Map::from_iter([(name.to_owned(), log.into())]));
        let earlier = manifest.other.get(FOLDED).and_then(Value::as_object).cloned().unwrap_or_default();
        let under_lock = disk.manifest.is_under_lock(name);
        // Who appends under the lock knows by the lineage that everything was taken along.
        let mut folded = if under_lock { Map::new() } else { earlier };
        let own = disk.log.iter().map(|log| (log.path(), log.len()));
        for (path, count) in disk.several.iter().flat_map(Several::lengths).chain(own) {
            folded.shift_remove(path);
            folded.insert(path.to_owned(), count.into());
        }
        let old = folded.len().saturating_sub(MOST_FOLDED);
        manifest.other.remove(COMPACTING);
        manifest.other.insert(FOLDED.to_owned(), folded.into_iter().skip(old).collect::<Map<_, _>>().into());
        manifest.other.insert(FOLLOWS.to_owned(), disk.manifest.current_snapshot.clone().into());
        manifest.other.insert(CLOCK.to_owned(), clock.into());
        let now = self.backend.now_ms();
        if !under_lock {
            manifest.other.insert(LOCKLESS.to_owned(), now.into());
        } else if !disk.manifest.has_lockless_agents(now) {
            manifest.other.remove(LOCKLESS);
        }
        manifest.other.insert(LOCKING.to_owned(), vec![name].into());
        let before = if under_lock { disk.manifest.lineage() } else { None };
        let first = || Lineage { since: manifest.current_snapshot.clone(), count: 0 };
        let Lineage { since, count } = before.unwrap_or_else(first);
        manifest.other.insert(LINEAGE.to_owned(), json!({ "since": since, "count": count + 1 }));
    }
}
