//! What an agent was told, and what must hold of it.
//!
//! Records are an agent's own (`a0:1`: the agents that write them are known) or shared. Each agent's own records must
//! always be what its journal says: the operations that were acknowledged, without those that were undone, in order. The
//! call that a kill has interrupted has happened or has not, a batch whole or not at all.

use std::collections::BTreeMap;

/// One change of an agent's own record; `None`: it was deleted, or archived.
pub(crate) type Change = (String, Option<String>);

/// The records of one agent, by id.
pub(crate) type Own = BTreeMap<String, String>;

/// A call that has begun and not ended.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    /// `set`, `delete` or a batch.
    Write(Vec<Change>),
    Undo,
    Archive(String),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Journal {
    /// Acknowledged changes of own records, in order; shared ones leave a mark, for undo takes them back as well.
    changes: Vec<Option<Change>>,
    /// Own records that were archived: id, value, and how many changes there were before.
    archived: Vec<(String, String, usize)>,
    /// Writes of shared records: id, value, and whether it was acknowledged or undone.
    pub(crate) shared: Vec<(String, String)>,
    pub(crate) running: Option<Call>,
    /// How many of the last changes are known for certain to be the last ones, where not all are: whether a call was
    /// carried out that a kill has interrupted need not show in own records. Undo goes no further.
    certain: Option<usize>,
    /// Counts calls that began.
    pub(crate) version: u64,
}

impl Journal {
    /// A call begins.
    pub(crate) fn begin(&mut self, call: Call) {
        self.version += 1;
        self.running = Some(call);
    }

    /// The running call has ended well. `undone`: what `undo` answered.
    pub(crate) fn end(&mut self, undone: bool) {
        if let Some(call) = self.running.take() {
            self.apply(&call, undone);
        }
    }

    fn apply(&mut self, call: &Call, undone: bool) {
        match call {
            Call::Write(changes) => {
                self.certain = self.certain.map(|certain| certain + changes.len());
                self.changes.extend(changes.iter().map(|change| (!change.0.starts_with('s')).then(|| change.clone())));
            }
            Call::Undo if undone => {
                self.certain = self.certain.map(|certain| certain.saturating_sub(1));
                self.changes.pop();
            }
            Call::Undo => {}
            Call::Archive(id) => {
                if let Some(value) = self.own().remove(id) {
                    self.archived.push((id.clone(), value, self.changes.len()));
                }
            }
        }
    }

    /// True if it is known what an undo would take back.
    pub(crate) fn can_undo(&self) -> bool {
        self.certain != Some(0)
    }

    /// What its own records are.
    pub(crate) fn own(&self) -> Own {
        let mut own = Own::new();
        for at in 0..=self.changes.len() {
            for (id, _, _) in self.archived.iter().filter(|(_, _, before)| *before == at) {
                own.remove(id);
            }
            match self.changes.get(at) {
                Some(Some((id, Some(value)))) => drop(own.insert(id.clone(), value.clone())),
                Some(Some((id, None))) => drop(own.remove(id)),
                Some(None) | None => {}
            }
        }
        own
    }

    /// What must be in the archive.
    pub(crate) fn archive(&self) -> Own {
        self.archived.iter().map(|(id, value, _)| (id.clone(), value.clone())).collect()
    }

    /// Decides, by what is stored, whether the call that was interrupted has happened. False if neither can be.
    #[must_use]
    pub(crate) fn settle(&mut self, found: &Own) -> bool {
        let Some(call) = self.running.take() else { return self.own() == *found };
        let mut done = self.clone();
        done.apply(&call, true);
        if done.own() == self.own() {
            self.certain = Some(0);
        } else if done.own() == *found {
            *self = done;
        }
        self.own() == *found
    }
}
