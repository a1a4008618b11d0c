//! Names of the files in a store. No other module spells one.

/// The manifest.
pub const MANIFEST: &str = "manifest.json";
/// Folder of snapshots.
pub const SNAPSHOTS: &str = "snapshots";
/// Folder of operation logs.
pub const OPS: &str = "ops";
/// Folder of archive segments.
pub const ARCHIVE: &str = "archive";
/// The writer's lock; holds its pid as text.
pub const LOCK: &str = ".lock";
const AGENT_LOCK: &str = ".agent-";
/// Held in common by agents that append, and alone by one that changes the manifest.
pub const AGENTS: &str = ".agents.lock";
/// Passed on the way to [`AGENTS`]: who waits for it alone keeps newcomers out.
pub const AGENTS_GATE: &str = ".agents-gate.lock";
/// Held while agents' logs are compacted; as `.lock`.
pub const COMPACT_LOCK: &str = ".compact-lock";
/// End of every temporary file's name.
pub const TEMPORARY: &str = ".tmp";

/// The file that says which lock file was written by this implementation (see `lock`): `.lock-owner`.
pub fn lock_owner(lock: &str) -> String {
    format!("{lock}-owner")
}

/// `snapshots/snap-<number>.jsonl`
pub fn snapshot(number: u64) -> String {
    format!("{SNAPSHOTS}/snap-{number}.jsonl")
}

/// `ops/ops-<number>.jsonl`
pub fn ops(number: u64) -> String {
    format!("{OPS}/ops-{number}.jsonl")
}

/// `ops/agent-<id>-<number>.jsonl`. The name need not tell the id (the manifest does): what cannot stand in a file
/// name is percent-encoded, and a long id is cut.
pub fn agent_ops(agent: &str, number: u64) -> String {
    format!("{OPS}/agent-{}-{number}.jsonl", encoded(agent))
}

/// An agent id as a part of a file name.
fn encoded(agent: &str) -> String {
    let mut id = String::new();
    for c in agent.chars() {
        if is_plain(c.encode_utf8(&mut [0; 4])) || c == '.' {
            id.push(c);
        } else {
            id.push_str(&format!("%{:02X}", u32::from(c)));
        }
        if id.len() > 150 {
            break;
        }
    }
    id
}

/// `.agent-<id>-<hash>.lock`: held by a live agent. The hash tells ids apart that are written alike.
pub fn agent_lock(agent: &str) -> String {
    format!("{AGENT_LOCK}{}-{:08x}{LOCK}", encoded(agent), crc32c::crc32c(agent.as_bytes()))
}

/// True for the name of an agent's lock file.
pub fn is_agent_lock(name: &str) -> bool {
    name.starts_with(AGENT_LOCK) && name.ends_with(LOCK)
}

/// True for the name of any lock file, or of one that is being made.
pub fn is_lock(name: &str) -> bool {
    [LOCK, COMPACT_LOCK].iter().any(|lock| name.strip_prefix(lock).is_some_and(|rest| !rest.starts_with('-')))
        || (name.starts_with(AGENT_LOCK) && name.contains(LOCK))
}

/// `archive/archive-<segment>.json`
pub fn archive(segment: &str) -> String {
    format!("{ARCHIVE}/archive-{segment}.json")
}

/// The number in the name of a snapshot or log.
pub fn number(path: &str) -> Option<u64> {
    let (stem, _) = path.rsplit_once('.')?;
    stem.rsplit_once('-')?.1.parse().ok()
}

/// Where the part that recovery cuts off a log is kept. Does not end in `.jsonl`: no reader takes it for a log.
pub fn cut(log: &str, number: u64) -> String {
    format!("{log}.cut-{number}")
}

/// Where a copy of a damaged log is kept.
pub fn damaged(log: &str, number: u64) -> String {
    format!("{log}.damaged-{number}")
}

/// A name beside `target` for what is being written, unique in this process and between live ones.
pub fn temporary(target: &str) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{target}.{}-{n}{TEMPORARY}", std::process::id())
}

/// What a file in one of the folders is, by its name alone (content decides whether it is sound).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `snap-<digits>.jsonl`, or `.json` before 0.7.
    Snapshot,
    /// `ops-<digits>.jsonl`
    Ops,
    /// `agent-<id>-<digits>.jsonl`
    AgentOps,
    /// Something being written when its writer ended.
    Temporary,
    /// Anything else: not ours to touch.
    Other,
}

/// Classifies a file name (without folder).
pub fn kind(name: &str) -> Kind {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(target) = name.strip_suffix(TEMPORARY) {
        // Upstream's `manifest.json.tmp`, or ours: `manifest.json.<pid>-<n>.tmp`. Anything else is somebody's file.
        let ours = target
            .rsplit_once('.')
            .filter(|(_, unique)| unique.split_once('-').is_some_and(|(pid, n)| digits(pid) && digits(n)));
        let target = ours.map_or(target, |(target, _)| target);
        let archive = target.starts_with("archive-") && target.ends_with(".json");
        let lock = ours.is_some() && is_lock(target);
        let known = target == MANIFEST || lock || archive || kind(target) != Kind::Other;
        return if known { Kind::Temporary } else { Kind::Other };
    }
    if let Some(rest) = name.strip_prefix("snap-") {
        let number = rest.strip_suffix(".jsonl").or_else(|| rest.strip_suffix(".json"));
        return if number.is_some_and(digits) { Kind::Snapshot } else { Kind::Other };
    }
    let Some(stem) = name.strip_suffix(".jsonl") else {
        return Kind::Other;
    };
    if let Some(number) = stem.strip_prefix("ops-") {
        return if digits(number) { Kind::Ops } else { Kind::Other };
    }
    match stem.strip_prefix("agent-").and_then(|rest| rest.rsplit_once('-')) {
        Some((_, number)) if digits(number) => Kind::AgentOps,
        _ => Kind::Other,
    }
}

/// Checks that a path read from a manifest stays inside its folder: `folder/plain-name`.
pub fn is_inside(path: &str, folder: &str) -> bool {
    let Some(name) = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')) else {
        return false;
    };
    is_plain(name)
}

/// True for a name that is one file in its folder on every platform: no separators, no NUL, not `.` or `..`.
pub fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && !name.bytes().any(|byte| matches!(byte, b'/' | b'\\' | 0..=0x1f | 0x7f) || (cfg!(windows) && byte == b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_patterns_of_the_format_are_ours() {
        assert_eq!(kind("snap-1.jsonl"), Kind::Snapshot);
        assert_eq!(kind("snap-1.json"), Kind::Snapshot);
        assert_eq!(kind("snap-1.jsonl.12-0.tmp"), Kind::Temporary);
        assert_eq!(kind("manifest.json.tmp"), Kind::Temporary);
        for lock in [".lock", ".compact-lock", ".agent-a-0123abcd.lock"] {
            assert_eq!(kind(lock), Kind::Other);
            assert_eq!(kind(&format!("{lock}.1-2.tmp")), Kind::Temporary);
            assert!(is_lock(&format!("{lock}.1-2.tmp")));
        }
        assert_eq!(kind("archive-2026-Q1.json.tmp"), Kind::Temporary);
        for somebodys in [
            "notes.tmp",
            "export.tmp",
            "manifest.json.bak.tmp",
            ".lock.tmp",
            ".compact-lock.tmp",
            ".agent-a.1-2.tmp",
            "x.1-2.tmp",
        ] {
            assert_eq!(kind(somebodys), Kind::Other, "{somebodys}");
        }
        assert_eq!(kind("ops-17.jsonl"), Kind::Ops);
        assert_eq!(kind("ops-17.jsonl.cut-1"), Kind::Other);
        assert_eq!(kind("ops-backup.jsonl"), Kind::Other);
        assert_eq!(kind("agent-a-b-1.jsonl"), Kind::AgentOps);
        assert_eq!(kind("notes.txt"), Kind::Other);
    }

    #[test]
    fn any_agent_id_makes_a_plain_name_and_plain_ids_stand_as_they_are() {
        assert_eq!(agent_ops("agent-1", 7), "ops/agent-agent-1-7.jsonl");
        assert_eq!(agent_ops("日本 ä", 7), "ops/agent-日本 ä-7.jsonl");
        for odd in ["../x", "a/b", "a\\b", "\0", "\n", ".", "..", &"x".repeat(1000), &"日".repeat(1000)] {
            let path = agent_ops(odd, 1_795_358_034_125);
            assert!(is_inside(&path, OPS) && path.len() < 200, "{path}");
            assert_eq!(kind(path.strip_prefix("ops/").unwrap()), Kind::AgentOps);
        }
    }

    #[test]
    fn paths_of_a_manifest_cannot_leave_the_store() {
        assert!(is_inside("ops/ops-1.jsonl", OPS));
        for bad in [
            "ops/../manifest.json",
            "../x",
            "/etc/passwd",
            "ops/",
            "ops/a/b",
            "snapshots/x",
            "ops/..",
            "ops/a\\b",
            "ops/a\0",
        ] {
            assert!(!is_inside(bad, OPS), "{bad}");
        }
    }
}
