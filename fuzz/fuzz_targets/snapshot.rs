//! A snapshot, of lines or one document, in a sound store.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opslog_native::backend::memory::MemoryBackend;
use opslog_native::error::Result;
use opslog_native::format::op::Text;
use opslog_native::format::snapshot;
use opslog_native_fuzz::{LOG, SNAPSHOT, bounded, disk, exercise, manifest, only_open, sealed_snapshot};

fuzz_target!(|input: &[u8]| bounded(input, || check(input)));

fn check(input: &[u8]) {
    let Some((flags, bytes)) = input.split_first() else { return };
    let bytes = &if flags & 32 == 0 { bytes.to_vec() } else { sealed_snapshot(bytes) };
    let made = disk(&[("manifest.json", &manifest()), (SNAPSHOT, bytes), (LOG, b"")]);
    let read = one_by_one(&made);
    // With the places of its lines: the same records.
    let (mut found, mut lines) = (Vec::new(), Vec::new());
    let placed = snapshot::Reader::open(&made, SNAPSHOT, 0).and_then(|reader| {
        reader.each(|place, id, value| {
            found.push((id.into(), value.into()));
            lines.extend(place.map(|(offset, len)| &bytes[offset as usize..][..len as usize]));
        })
    });
    assert_eq!(read.is_ok(), placed.is_ok());
    if let Ok(read) = &read {
        assert_eq!(*read, found);
    }
    if read.is_ok() && flags & 32 == 0 {
        let looked_up = lines.iter().filter_map(|line| snapshot::parse_record(line));
        let looked_up: Vec<_> = looked_up.map(|(id, value)| (id.as_ref().into(), value.into())).collect();
        assert!(looked_up == found || lines.is_empty());
    }
    if flags & 32 == 0 { exercise(&made, *flags) } else { only_open(&made) }
}

fn one_by_one(made: &MemoryBackend) -> Result<Vec<(Text, Text)>> {
    let (mut reader, mut read) = (snapshot::Reader::open(made, SNAPSHOT, 0)?, Vec::new());
    while let Some(record) = reader.next()? {
        read.push(record);
    }
    Ok(read)
}
