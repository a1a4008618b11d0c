use super::*;
use crate::backend::memory::MemoryBackend;
use crate::files;
use crate::format::manifest::{Previous, Stats};

pub(crate) const BATCH: &[&str] = &["d", "e", "f"];

pub(crate) fn op_of(id: &str, value: u64) -> String {
    format!(r#"{{"ts":"2026-11-22T14:33:54.125Z","op":"set","id":"{id}","prev":null,"data":{{"n":{value}}}}}"#)
}

/// Appends one write.
pub(crate) fn append(disk: &MemoryBackend, log: &str, ids: &[&str]) {
    let ops: Vec<_> = ids.iter().map(|id| op_of(id, 2)).collect();
    files::append(disk, log, &ops.iter().map(|op| op.as_bytes()).collect::<Vec<_>>()).unwrap();
}

/// A store with a record in its snapshot, operations in its log and a segment in its archive.
pub(crate) fn sample() -> (MemoryBackend, Manifest) {
    let disk = MemoryBackend::new();
    disk.create_dirs().unwrap();
    let current_snapshot = files::write_snapshot(&disk, 1, &[r#"["a",{"n":1},"b",[1,2],"c","text"]"#]).unwrap();
    let active_ops = files::create_log(&disk, None).unwrap();
    append(&disk, &active_ops, &["a"]);
    append(&disk, &active_ops, BATCH);
    append(&disk, &active_ops, &["g"]);
    let segment = files::write_segment(&disk, "2026-Q1", &[r#"["x",{"n":1},"y",{"n":2},"z",3]"#]).unwrap();
    let time = "2026-11-22T14:33:54.125Z".to_owned();
    let manifest = Manifest {
        version: 1,
        current_snapshot,
        active_ops,
        active_agent_ops: None,
        archive_segments: vec![segment],
        stats: Stats {
            active_records: 3,
            archived_records: 3,
            ops_count: 0,
            created: time.clone(),
            last_checkpoint: time,
            other: serde_json::Map::new(),
        },
        previous: Previous::default(),
        other: serde_json::Map::new(),
    };
    disk.put(names::MANIFEST, &manifest.to_bytes());
    (disk, manifest)
}

pub(crate) fn findings(disk: &MemoryBackend) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut tell = |event| {
        if let Event::Finding(finding) = event {
            found.push(finding);
        }
        Ok(())
    };
    verify(disk, &mut tell).unwrap();
    found
}

fn looked(disk: &MemoryBackend) -> Vec<Looked> {
    let mut files = Vec::new();
    let mut tell = |event| {
        if let Event::Looked(file) = event {
            files.push(file);
        }
        Ok(())
    };
    verify(disk, &mut tell).unwrap();
    files
}

/// Changes a file in place.
pub(crate) fn edit(disk: &MemoryBackend, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.bytes(path).unwrap();
    change(&mut bytes);
    disk.put(path, &bytes);
}

/// Byte at which a line begins, counted from 1.
fn start_of(bytes: &[u8], line: usize) -> usize {
    if line == 1 { 0 } else { memchr::memchr_iter(b'\n', bytes).nth(line - 2).unwrap() + 1 }
}

#[test]
fn a_sound_store_has_no_findings_and_every_file_is_looked_at() {
    let (disk, manifest) = sample();
    let changes = disk.changes();
    assert_eq!(findings(&disk), []);
    let files: Vec<_> = looked(&disk).into_iter().map(|file| (file.path, file.entries, file.checked)).collect();
    let expected = [
        (names::MANIFEST.to_owned(), 1, 0),
        (manifest.current_snapshot.clone(), 3, 3),
        (manifest.active_ops.clone(), 5, 5),
        ("archive/archive-2026-Q1.json".to_owned(), 3, 0),
    ];
    assert_eq!(files, expected);
    let mut read = 0;
    verify(&disk, &mut |event| {
        if let Event::Progress(bytes) = event {
            read += bytes;
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(read, bytes_to_read(&disk));
    assert_eq!(disk.changes(), changes, "it wrote something");
}

#[test]
fn every_flipped_bit_of_snapshot_and_log_is_found_on_its_line() {
    let (disk, manifest) = sample();
    for path in [&manifest.current_snapshot, &manifest.active_ops] {
        let sound = disk.bytes(path).unwrap();
        for at in 0..sound.len() {
            // The blank at the end of a log, or a letter's case: one bit of each byte is enough here.
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            disk.put(path, &damaged);
            let found = findings(&disk);
            assert!(found.iter().all(|finding| finding.path == *path) && !found.is_empty(), "{path} {at}: {found:?}");
            if *path == manifest.active_ops && sound[at] != b'\n' {
                let line = memchr::memchr_iter(b'\n', &sound[..at]).count() as u64 + 1;
                assert!(found.iter().any(|finding| finding.line == Some(line)), "{at}: {found:?}");
            }
        }
        disk.put(path, &sound);
    }
}

#[test]
fn all_damage_is_told_and_not_the_first_only() {
    let (disk, manifest) = sample();
    let flip = |path: &str, line: usize| {
        let mut place = 0;
        edit(&disk, path, |bytes| {
            place = start_of(bytes, line);
            bytes[place + 1] ^= 1;
        });
        (path.to_owned(), Some(line as u64), Some(place as u64))
    };
    let segment = &manifest.archive_segments[0];
    let places = [
        flip(&manifest.current_snapshot, 2),
        flip(&manifest.current_snapshot, 4),
        flip(&manifest.active_ops, 1),
        flip(&manifest.active_ops, 3),
        flip(segment, 2),
        flip(segment, 7),
    ];
    edit(&disk, segment, |bytes| {
        let at = start_of(bytes, 7);
        bytes[at] = 0xff;
    });
    let found = findings(&disk);
    let told: Vec<_> = found.iter().map(|finding| (finding.path.clone(), finding.line, finding.byte)).collect();
    assert_eq!(told, places, "{found:?}");
    assert!(found.iter().all(|finding| finding.severity == Severity::Damage));
}

#[test]
fn what_a_crash_cut_off_is_unfinished_and_no_damage() {
    let (disk, manifest) = sample();
    let log = &manifest.active_ops;
    let sound = disk.bytes(log).unwrap();
    // In the middle of the last line, and after two of the three lines of the batch.
    for (len, line) in [(sound.len() - 5, 5), (start_of(&sound, 4), 2)] {
        disk.put(log, &sound[..len]);
        let found = findings(&disk);
        let told: Vec<_> = found.iter().map(|finding| (finding.severity, finding.line)).collect();
        assert_eq!(told, [(Severity::Unfinished, Some(line))], "{found:?}");
    }
    // A blank line says that the rest of the batch was undone.
    disk.put(log, &[&sound[..start_of(&sound, 4)], b"\n"].concat());
    assert_eq!(findings(&disk), []);
    // A page of the last write that the disk never got.
    disk.put(log, &sound[..start_of(&sound, 2)]);
    let long = "x".repeat(2000);
    append(&disk, log, &["p", &long, "q"]);
    edit(&disk, log, |bytes| {
        let gap = start_of(bytes, 3) + 500;
        bytes[gap..gap + 600].fill(0);
    });
    let found = findings(&disk);
    assert!(!found.is_empty() && found.iter().all(|finding| finding.severity == Severity::Unfinished), "{found:?}");
}

#[test]
fn a_checksum_that_does_not_match_is_told_where_every_line_can_be_read() {
    let (disk, manifest) = sample();
    edit(&disk, &manifest.current_snapshot, |bytes| {
        let at = memchr::memmem::find(bytes, b"text").unwrap();
        bytes[at] = b'n';
    });
    let found = findings(&disk);
    assert!(matches!(&found[..], [one] if one.message.starts_with("the checksum does not match")), "{found:?}");
}

#[test]
fn missing_files_and_records_are_damage() {
    let (disk, manifest) = sample();
    for path in [&manifest.current_snapshot, &manifest.active_ops, &manifest.archive_segments[0]] {
        let sound = disk.bytes(path).unwrap();
        disk.remove(path).unwrap();
        let found = findings(&disk);
        assert!(matches!(&found[..], [one] if one.path == *path && one.message.contains("missing")), "{found:?}");
        disk.put(path, &sound);
    }
    edit(&disk, &manifest.current_snapshot, |bytes| *bytes = b"{\"version\":1,\"timestamp\":\"t\"}\n".to_vec());
    let found = findings(&disk);
    assert!(matches!(&found[..], [one] if one.message == "0 of 3 records are there"), "{found:?}");
}

#[test]
fn a_bad_manifest_is_told_and_the_files_are_looked_at_all_the_same() {
    let (disk, manifest) = sample();
    edit(&disk, &manifest.active_ops, |bytes| bytes[20] ^= 1);
    let sound = disk.bytes(names::MANIFEST).unwrap();
    for bad in [&b""[..], b"{", b"[]", b"{\"version\":1}"] {
        disk.put(names::MANIFEST, bad);
        let paths: Vec<_> = findings(&disk).into_iter().map(|finding| finding.path).collect();
        assert_eq!(paths, [names::MANIFEST, &manifest.active_ops]);
    }
    let text = String::from_utf8(sound).unwrap().replace("archive/archive", "../archive");
    disk.put(names::MANIFEST, text.as_bytes());
    let found = findings(&disk);
    assert!(found.iter().any(|finding| finding.message.starts_with("a path leaves the store")), "{found:?}");
}

#[test]
fn a_count_that_is_not_right_is_a_note() {
    let (disk, mut manifest) = sample();
    manifest.stats.archived_records = 7;
    disk.put(names::MANIFEST, &manifest.to_bytes());
    let found = findings(&disk);
    assert!(matches!(&found[..], [one] if one.severity == Severity::Note), "{found:?}");
}

#[test]
fn there_must_be_a_store() {
    let disk = MemoryBackend::new();
    assert!(matches!(verify(&disk, &mut |_| Ok(())), Err(Error::NoStore { .. })));
    disk.create_dirs().unwrap();
    // What an interrupted first open leaves.
    files::write_snapshot(&disk, 1, &[] as &[&str]).unwrap();
    files::create_log(&disk, None).unwrap();
    assert!(matches!(verify(&disk, &mut |_| Ok(())), Err(Error::NoStore { .. })));
}

#[test]
fn documents_of_upstream_are_read_and_damage_in_them_has_a_place() {
    let (disk, manifest) = sample();
    let indented = "{\n  \"version\": 1,\n  \"timestamp\": \"t\",\n  \"records\": {\n    \"a\": {\n      \"x\": 1\n    },\n    \"b\": 2,\n    \"c\": 3\n  }\n}";
    disk.put(&manifest.current_snapshot, indented.as_bytes());
    assert_eq!(findings(&disk), []);
    disk.put(&manifest.current_snapshot, indented.replace("\"x\": 1", "\"x\": ?").as_bytes());
    let found = findings(&disk);
    assert!(matches!(&found[..], [one] if one.line == Some(5)), "{found:?}");
    let file = looked(&disk).into_iter().find(|file| file.role == Role::Snapshot).unwrap();
    assert_eq!((file.entries, file.findings), (2, 1));
}

#[test]
fn who_is_told_can_end_it() {
    let (disk, _) = sample();
    let mut told = 0;
    let stopped = verify(&disk, &mut |_| {
        told += 1;
        Err(Error::NotOpen)
    });
    assert!(matches!(stopped, Err(Error::NotOpen)));
    assert_eq!(told, 1);
}
