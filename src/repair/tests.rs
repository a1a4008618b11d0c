use super::*;
use crate::backend::StorageBackend;
use crate::backend::memory::MemoryBackend;
use crate::format::manifest::Superseded;
use crate::store::{Opening, Options};
use crate::verify::Severity;
use crate::verify::tests::{append, edit, findings, sample};
use std::sync::Arc;

/// Ids and values of an opened store.
fn records(disk: &MemoryBackend) -> String {
    let options = Options { read_only: true, ..Options::default() };
    let opening = Opening::load(Arc::new(disk.clone()), options).unwrap();
    let page = opening.page(0, usize::MAX);
    format!("{} {}", String::from_utf8(page.ids).unwrap(), String::from_utf8(page.values).unwrap())
}

const ALL: &str = r#"["a","b","c","d","e","f","g"] [{"n":2},[1,2],"text",{"n":2},{"n":2},{"n":2},{"n":2}]"#;

/// Repairs, and checks what must hold afterwards whatever was damaged.
fn repaired(disk: &MemoryBackend) -> Vec<Step> {
    let changes = disk.changes();
    let planned = repair(disk, true).unwrap();
    assert_eq!(disk.changes(), changes, "a dry run wrote something");
    let steps = repair(disk, false).unwrap();
    let shown = |steps: &[Step]| -> Vec<_> {
        steps.iter().map(|step| (step.path.clone(), step.what, step.kept, step.lost)).collect()
    };
    assert_eq!(shown(&planned), shown(&steps));
    assert_eq!(findings(disk), []);
    assert_eq!(repair(disk, false).unwrap(), [], "it was not all done");
    steps
}

#[test]
fn a_sound_store_is_left_alone() {
    let (disk, _) = sample();
    let changes = disk.changes();
    assert_eq!(repair(&disk, false).unwrap(), []);
    assert_eq!(disk.changes(), changes);
    assert_eq!(records(&disk), ALL);
}

#[test]
fn of_a_log_with_any_bit_flipped_every_valid_operation_is_kept() {
    let (sound, manifest) = sample();
    let whole = sound.bytes(&manifest.active_ops).unwrap();
    let last = memchr::memrchr(b'\n', &whole[..whole.len() - 1]).unwrap();
    for at in 0..whole.len() {
        let (disk, manifest) = sample();
        edit(&disk, &manifest.active_ops, |bytes| bytes[at] ^= 1);
        let damaged = disk.bytes(&manifest.active_ops).unwrap();
        let steps = repaired(&disk);
        // Of a batch whose last line is damaged at the end of the log nothing counts: half of it never does.
        let batch_at_end = at == last;
        // One line, or two where a newline went.
        let kept = if batch_at_end { 1 } else { 4 - u64::from(whole[at] == b'\n' && at < last) };
        assert_eq!(steps[0].kept, kept, "{at}: {steps:?}");
        let (aside, cut) = (disk.bytes(steps[0].aside.as_ref().unwrap().trim_start_matches("memory:")), steps[0].what);
        let damaged =
            if cut == What::Cut { damaged[damaged.len() - aside.as_ref().unwrap().len()..].to_vec() } else { damaged };
        assert_eq!(aside.unwrap(), damaged, "{at}");
        assert_eq!(cut == What::Cut, at >= last, "{at}");
        assert_eq!(records(&disk).matches("\"n\":2").count() as u64, kept, "{at}");
    }
}

#[test]
fn damage_everywhere_is_repaired_at_once_and_every_damaged_file_is_kept() {
    let (disk, manifest) = sample();
    let segment = &manifest.archive_segments[0];
    let mut before = Vec::new();
    for (path, what) in [(&manifest.current_snapshot, "\"b\""), (&manifest.active_ops, "\"e\""), (segment, "\"y\"")] {
        edit(&disk, path, |bytes| {
            let at = memchr::memmem::find(bytes, what.as_bytes()).unwrap();
            bytes[at] = b'?';
        });
        before.push(disk.bytes(path).unwrap());
    }
    let steps = repaired(&disk);
    let shown: Vec<_> = steps.iter().map(|step| (step.what, step.kept, step.lost)).collect();
    assert_eq!(shown, [(What::Rewritten, 2, 1), (What::Rewritten, 4, 1), (What::Rewritten, 2, 1)]);
    for (step, before) in steps.iter().zip(&before) {
        assert_eq!(&disk.bytes(step.aside.as_ref().unwrap()).unwrap(), before);
    }
    assert_eq!(records(&disk), r#"["a","c","d","f","g"] [{"n":2},"text",{"n":2},{"n":2},{"n":2}]"#);
    let read = files::read_segment(&disk, segment, 1 << 20).unwrap();
    assert_eq!(read, [br#"["x",{"n":1},"z",3]"#]);
}

#[test]
fn a_manifest_is_made_from_the_files() {
    for bad in [None, Some(&b""[..]), Some(b"garbage"), Some(b"{\"version\":1,\"currentSnapshot\":1}")] {
        let (disk, manifest) = sample();
        // An older generation that is no longer named by anybody.
        disk.put("snapshots/snap-1.jsonl", b"{\"version\":1,\"timestamp\":\"t\"}\n{\"id\":\"old\",\"data\":1}\n");
        disk.put("ops/ops-1.jsonl", b"");
        match bad {
            None => disk.remove(names::MANIFEST).unwrap(),
            Some(bytes) => disk.put(names::MANIFEST, bytes),
        }
        let steps = repaired(&disk);
        assert_eq!((steps[0].what, steps[0].aside.is_some()), (What::Replaced, bad.is_some()));
        assert_eq!(records(&disk), ALL, "{bad:?}");
        let made = Manifest::parse(&disk.bytes(names::MANIFEST).unwrap(), "").unwrap();
        assert_eq!((made.current_snapshot, made.active_ops), (manifest.current_snapshot, manifest.active_ops));
        assert_eq!((made.stats.active_records, made.stats.archived_records), (3, 3));
    }
}

#[test]
fn a_damaged_manifest_still_says_which_files_are_current() {
    let (disk, manifest) = sample();
    let text = String::from_utf8(manifest.to_bytes()).unwrap();
    disk.put("ops/ops-99999999999999.jsonl", b"");
    disk.put(names::MANIFEST, text.replace("\"archivedRecords\"", "\"archivedRecords").as_bytes());
    repaired(&disk);
    assert_eq!(records(&disk), ALL);
}

#[test]
fn the_logs_of_agents_are_repaired_and_found_again() {
    for lose_manifest in [false, true] {
        let (disk, mut manifest) = sample();
        let mut logs = serde_json::Map::new();
        for agent in ["one", "two/2"] {
            let path = files::create_log(&disk, Some(agent)).unwrap();
            for clock in 1..4 {
                let op = format!(
                    r#"{{"ts":"t","op":"set","id":"{agent}-{clock}","prev":null,"data":{clock},"agent":"{agent}","clock":{clock}}}"#
                );
                files::append(&disk, &path, &[op.as_bytes()]).unwrap();
            }
            edit(&disk, &path, |bytes| bytes[10] ^= 1);
            logs.insert(agent.to_owned(), path.into());
        }
        manifest.active_agent_ops = Some(logs);
        disk.put(names::MANIFEST, &manifest.to_bytes());
        if lose_manifest {
            disk.remove(names::MANIFEST).unwrap();
        }
        let steps = repaired(&disk);
        assert!(steps.iter().filter(|step| step.what == What::Rewritten).all(|step| (step.kept, step.lost) == (2, 1)));
        let ids = r#"["a","b","c","one-2","two/2-2","one-3","two/2-3"]"#;
        assert!(records(&disk).starts_with(ids), "{}", records(&disk));
        let made = Manifest::parse(&disk.bytes(names::MANIFEST).unwrap(), "").unwrap();
        assert_eq!(made.active_agent_ops.unwrap().keys().collect::<Vec<_>>(), ["one", "two/2"]);
    }
}

/// The log of a checkpoint begins with operations of others: both logs were taken for one agent's, and one was left out.
#[test]
fn a_log_that_begins_with_an_operation_of_another_agent_is_not_that_ones() {
    let (disk, _) = sample();
    for (agent, by) in [("one", ["one", "one"]), ("two/2", ["one", "two/2"])] {
        let path = files::create_log(&disk, Some(agent)).unwrap();
        for (clock, by) in by.iter().enumerate() {
            let op = format!(
                r#"{{"ts":"t","op":"set","id":"{agent}-{clock}","prev":null,"data":1,"agent":"{by}","clock":{}}}"#,
                clock + 1
            );
            files::append(&disk, &path, &[op.as_bytes()]).unwrap();
        }
    }
    disk.remove(names::MANIFEST).unwrap();
    repaired(&disk);
    let made = Manifest::parse(&disk.bytes(names::MANIFEST).unwrap(), "").unwrap();
    assert_eq!(made.active_agent_ops.unwrap().keys().collect::<Vec<_>>(), ["one", "two/2"]);
    for id in ["one-0", "one-1", "two/2-0", "two/2-1"] {
        assert!(records(&disk).contains(id), "{id}: {}", records(&disk));
    }
}

#[test]
fn where_the_snapshot_is_gone_the_one_before_it_counts() {
    let (disk, mut manifest) = sample();
    let old = manifest.active_ops.clone();
    // A checkpoint: the old log ended with what the new one begins with.
    manifest.previous.snapshot = Some(manifest.current_snapshot.clone());
    manifest.previous.ops.push(Superseded { path: old, since: 1, carried: 1, covered: None, archived: false });
    manifest.current_snapshot = names::snapshot(7);
    manifest.active_ops = files::create_log(&disk, None).unwrap();
    append(&disk, &manifest.active_ops, &["g"]);
    append(&disk, &manifest.active_ops, &["h"]);
    disk.put(names::MANIFEST, &manifest.to_bytes());
    let steps = repaired(&disk);
    assert_eq!((steps[0].what, steps[0].kept), (What::Replaced, 3 + 4));
    assert!(records(&disk).starts_with(r#"["a","b","c","d","e","f","g","h"]"#), "{}", records(&disk));
}

#[test]
fn what_is_missing_is_made_or_struck_off() {
    let (disk, manifest) = sample();
    for path in [&manifest.current_snapshot, &manifest.active_ops, &manifest.archive_segments[0]] {
        disk.remove(path).unwrap();
    }
    let whats: Vec<_> = repaired(&disk).iter().map(|step| step.what).collect();
    assert_eq!(whats, [What::Replaced, What::Replaced, What::Dropped]);
    assert_eq!(records(&disk), "[] []");
}

#[test]
fn a_bad_end_is_cut_off_and_saved() {
    let (disk, manifest) = sample();
    edit(&disk, &manifest.active_ops, |bytes| bytes.truncate(bytes.len() - 4));
    let steps = repaired(&disk);
    assert_eq!((steps[0].what, steps[0].kept), (What::Cut, 4));
    assert!(disk.bytes(&manifest.active_ops).is_some());
}

#[test]
fn a_crash_at_any_sync_loses_nothing_and_the_next_repair_ends_it() {
    for freeze in 1.. {
        let (disk, manifest) = sample();
        let mut before = Vec::new();
        for path in [&manifest.current_snapshot, &manifest.active_ops, &manifest.archive_segments[0]] {
            edit(&disk, path, |bytes| {
                let at = memchr::memmem::find(bytes, b"{\"n\":").unwrap();
                bytes[at] = b'?';
            });
            before.push(disk.bytes(path).unwrap());
        }
        disk.freeze_at_sync(freeze);
        let ended = repair(&disk, false).is_ok();
        for after in [disk.after_kill(), disk.after_power_cut()] {
            repair(&after, false).unwrap();
            assert_eq!(findings(&after), [], "{freeze}");
            let expected = r#"["b","c","d","e","f","g"] [[1,2],"text",{"n":2},{"n":2},{"n":2},{"n":2}]"#;
            assert_eq!(records(&after), expected, "{freeze}");
            let files = after.files();
            for bytes in &before {
                assert!(files.iter().any(|path| after.bytes(path).as_ref() == Some(bytes)), "{freeze}: {files:?}");
            }
        }
        if ended {
            return;
        }
    }
}

#[test]
fn a_store_that_is_open_is_not_repaired() {
    let (disk, manifest) = sample();
    edit(&disk, &manifest.active_ops, |bytes| bytes[10] ^= 1);
    let _lock = disk.lock().unwrap();
    assert!(matches!(repair(&disk, false), Err(Error::Locked { .. })));
    assert_eq!(repair(&disk, true).unwrap().len(), 1);
}

/// Damages a file of a fresh sample, and checks that opening, verifying and repairing agree about it.
fn agree_about(path: impl Fn(&Manifest) -> String, what: &str, damage: impl FnOnce(&mut Vec<u8>)) {
    let (disk, manifest) = sample();
    let path = path(&manifest);
    edit(&disk, &path, damage);
    let found = findings(&disk);
    let is_bad = found.iter().any(|finding| finding.severity == Severity::Damage);
    let options = Options { read_only: true, ..Options::default() };
    let opened = Opening::load(Arc::new(disk.clone()), options).map(drop);
    assert!(opened.is_ok() || is_bad, "{path} {what}: {opened:?} {found:?}");
    let segments = manifest.archive_segments.contains(&path);
    if is_bad && segments {
        assert!(files::read_segment(&disk, &path, 1 << 20).is_err(), "{path} {what}: {found:?}");
    }
    let steps = repaired(&disk);
    let options = Options { read_only: true, ..Options::default() };
    let opened = Opening::load(Arc::new(disk.clone()), options).map(drop);
    assert!(opened.is_ok(), "{path} {what}: {opened:?} {steps:?}");
}

#[test]
fn whatever_byte_is_damaged_opening_verifying_and_repairing_agree() {
    let files: [fn(&Manifest) -> String; 3] =
        [|_| names::MANIFEST.to_owned(), |of| of.current_snapshot.clone(), |of| of.archive_segments[0].clone()];
    let (disk, manifest) = sample();
    for file in files {
        let len = disk.bytes(&file(&manifest)).unwrap().len();
        for at in 0..len {
            for bit in [0, 3, 7] {
                agree_about(file, &format!("byte {at} bit {bit}"), |bytes| bytes[at] ^= 1 << bit);
            }
            agree_about(file, &format!("cut at {at}"), |bytes| bytes.truncate(at));
        }
    }
    // Logs are looked at twice, with a pause in between: fewer of them.
    let len = disk.bytes(&manifest.active_ops).unwrap().len();
    for at in (0..len).step_by(11) {
        agree_about(|of| of.active_ops.clone(), &format!("byte {at}"), |bytes| bytes[at] ^= 8);
        agree_about(|of| of.active_ops.clone(), &format!("cut at {at}"), |bytes| bytes.truncate(at));
    }
}
