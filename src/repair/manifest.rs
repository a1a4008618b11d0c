//! A manifest made from the files of a store, and from what can still be read of the damaged one.
//!
//! What the old text names and is there is taken; otherwise the newest file of its kind. Files carry the time of their
//! creation in their names, and a checkpoint makes the snapshot before it replaces the log: the newest snapshot with the
//! newest log is the state, also where a crash came between the two, for the log's operations lead to the same values
//! if they are applied once more. Logs of agents count if they are younger than the snapshot, by name or by the
//! time of the last write. All archive segments count: the worst is a record that is archived and active.

use crate::backend::{Stat, StorageBackend};
use crate::clock;
use crate::error::Result;
use crate::format::manifest::{Manifest, Previous, Stats};
use crate::format::names::{self, Kind};
use crate::format::{json, op};
use crate::verify::Role;
use crate::verify::manifest::in_folders;
use serde_json::{Map, Value};

/// What a manifest that is well-formed names wrongly.
pub(super) fn keeps_inside(manifest: &Manifest) -> Option<String> {
    let logs = manifest.logs();
    let segments = manifest.archive_segments.iter().map(|path| (path, names::ARCHIVE));
    let named = std::iter::once((&manifest.current_snapshot, names::SNAPSHOTS));
    let mut named = named.chain(logs.iter().map(|path| (path, names::OPS))).chain(segments);
    if let Some((path, _)) = named.find(|(path, folder)| !names::is_inside(path, folder)) {
        return Some(format!("a path leaves the store: {path}"));
    }
    let previous = &manifest.previous;
    let is_old =
        |path: &String| previous.snapshot.as_ref() == Some(path) || previous.ops.iter().any(|log| log.path == *path);
    let twice = std::iter::once(&manifest.current_snapshot).chain(&logs).find(|path| is_old(path));
    twice.map(|path| format!("both current and superseded: {path}"))
}

/// A file that may be the current one.
struct Candidate {
    path: String,
    number: u64,
    stat: Stat,
}

pub(super) fn from_files(backend: &dyn StorageBackend, text: &[u8]) -> Result<Manifest> {
    let files = in_folders(backend)?;
    let of = |role: Role, kind: Option<Kind>| -> Result<Vec<Candidate>> {
        let name = |path: &str| path.rsplit_once('/').map_or(Kind::Other, |(_, name)| names::kind(name));
        let paths = files.iter().filter(|(is, path)| *is == role && kind.is_none_or(|kind| name(path) == kind));
        let mut found = Vec::new();
        for (_, path) in paths {
            let number = names::number(path).unwrap_or_default();
            found.push(Candidate { path: path.clone(), number, stat: backend.stat(path)? });
        }
        found.sort_by_key(|candidate| candidate.number);
        Ok(found)
    };
    let snapshots = of(Role::Snapshot, None)?;
    let (single, agents) = (of(Role::Log, Some(Kind::Ops))?, of(Role::Log, Some(Kind::AgentOps))?);
    let snapshot = pick(&snapshots, text, "currentSnapshot");
    let newest = |logs: &[Candidate]| logs.last().map(|log| log.number);
    let agents_last = !agents.is_empty() && newest(&agents) >= newest(&single);
    // The member's own name may be what is damaged.
    let names_agents =
        contains(text, "activeAgentOps") || agents_last && agents.iter().any(|log| contains(text, &log.path));
    let several = if text.is_empty() { agents_last } else { names_agents };
    let active_agent_ops = if several { Some(agent_logs(backend, &agents, snapshot, text)?) } else { None };
    let active_ops = match &active_agent_ops {
        Some(logs) => logs.values().next().and_then(Value::as_str).map(str::to_owned),
        None => pick(&single, text, "activeOps").map(|log| log.path.clone()),
    };
    let now = clock::iso(clock::now_ms());
    let time = |key| string_after(text, key).unwrap_or_else(|| now.clone());
    Ok(Manifest {
        version: number_after(text, "version").filter(|version| *version > 0).unwrap_or(1),
        current_snapshot: snapshot.map_or_else(|| names::snapshot(0), |snapshot| snapshot.path.clone()),
        active_ops: active_ops.unwrap_or_else(|| names::ops(0)),
        active_agent_ops,
        archive_segments: of(Role::Archive, None)?.into_iter().map(|segment| segment.path).collect(),
        stats: Stats {
            active_records: 0,
            archived_records: 0,
            ops_count: 0,
            created: time("created"),
            last_checkpoint: time("lastCheckpoint"),
            other: Map::new(),
        },
        previous: Previous::default(),
        other: Map::new(),
    })
}

/// The file that the text names, or the newest one.
fn pick<'a>(files: &'a [Candidate], text: &[u8], key: &str) -> Option<&'a Candidate> {
    let named = string_after(text, key);
    files.iter().find(|file| Some(&file.path) == named.as_ref()).or_else(|| files.last())
}

/// The log of each agent that counts.
fn agent_logs(
    backend: &dyn StorageBackend,
    logs: &[Candidate],
    snapshot: Option<&Candidate>,
    text: &[u8],
) -> Result<Map<String, Value>> {
    let mut found = Map::new();
    let names_any = logs.iter().any(|log| contains(text, &log.path));
    // Later ones replace earlier ones of the same agent.
    for log in logs {
        let is_young = snapshot
            .is_none_or(|snapshot| log.number >= snapshot.number || log.stat.modified_ns > snapshot.stat.modified_ns);
        if if names_any { contains(text, &log.path) } else { is_young } {
            found.insert(agent_of(backend, &log.path)?, log.path.clone().into());
        }
    }
    Ok(found)
}

/// The agent that wrote a log: the one of its operations that its name is made of (a checkpoint's log begins with those of
/// others), or else its name, which may be an encoded one.
fn agent_of(backend: &dyn StorageBackend, path: &str) -> Result<String> {
    let is_named = |agent: &String| names::number(path).is_some_and(|number| names::agent_ops(agent, number) == path);
    let mut agent = None;
    crate::backend::lines::read_lines(backend, path, 0, |line| {
        if agent.is_none() {
            let parsed = op::parse(line.bytes).ok();
            agent = parsed.and_then(|op| op.agent).map(json::unquote).filter(is_named);
        }
        Ok(())
    })?;
    let stem = path.strip_prefix("ops/agent-").and_then(|name| name.rsplit_once('-')).map(|(stem, _)| stem.to_owned());
    Ok(agent.or(stem).unwrap_or_else(|| path.to_owned()))
}

fn contains(text: &[u8], what: &str) -> bool {
    memchr::memmem::find(text, what.as_bytes()).is_some()
}

/// What follows a member's name in a text that need not be JSON.
fn after<'a>(text: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let key = format!("\"{key}\":");
    let at = memchr::memmem::find(text, key.as_bytes())? + key.len();
    text.get(json::skip_space(text, at)..)
}

fn string_after(text: &[u8], key: &str) -> Option<String> {
    let rest = after(text, key)?;
    let end = json::string_end(rest, 0)?;
    let string = rest.get(..end).filter(|string| std::str::from_utf8(string).is_ok())?;
    Some(json::unquote(string)).filter(|string| !string.is_empty())
}

fn number_after(text: &[u8], key: &str) -> Option<u64> {
    let rest = after(text, key)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()
}
