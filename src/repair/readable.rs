//! What can be read of a damaged file with records.

use crate::backend::StorageBackend;
use crate::error::Result;
use crate::format::json;
use crate::format::op::Text;
use crate::format::pages::{PAGE, Pages};
use crate::verify::{SegmentPart, SnapshotPart, segment_parts, snapshot_parts};

/// What could be read of a file with records.
#[derive(Default)]
pub(super) struct Readable {
    pub(super) version: Option<u64>,
    /// True if the version should have been vouched for by a checksum, which does not match.
    pub(super) checked: bool,
    pub(super) records: Vec<(Text, Text)>,
    pub(super) lost: u64,
    pub(super) why: String,
}

impl Readable {
    fn lose(&mut self, why: String, line: Option<u64>) {
        if self.lost == 0 {
            self.why = line.map_or(why.clone(), |line| format!("line {line}: {why}"));
        }
        self.lost += 1;
    }

    pub(super) fn pages(&self) -> Vec<Vec<u8>> {
        let mut pages = Pages::new(PAGE);
        for (id, value) in &self.records {
            pages.push_record(id, value);
        }
        pages.finish()
    }

    /// What can be read of a snapshot; `None` where there is no such file. `least`: as for [`snapshot_parts`].
    pub(super) fn of_snapshot(backend: &dyn StorageBackend, path: &str, least: u64) -> Result<Option<Self>> {
        let mut readable = Readable::default();
        let read = snapshot_parts(backend, path, least, &mut |part| {
            match part {
                SnapshotPart::Version(version, checked) => {
                    readable.version = Some(version);
                    readable.checked = checked;
                }
                SnapshotPart::Record(id, value) => readable.records.push((id.into(), value.into())),
                SnapshotPart::Bad(line, why) => readable.lose(why, Some(line.number)),
                SnapshotPart::Broken(why) => readable.lose(why, None),
                SnapshotPart::Checked => {}
            }
            Ok(())
        });
        match read {
            Err(error) if error.is_not_found() => Ok(None),
            other => other.map(|()| Some(readable)),
        }
    }

    /// What can be read of an archive segment; `None` where there is no such file.
    pub(super) fn of_segment(backend: &dyn StorageBackend, path: &str) -> Result<Option<Self>> {
        let mut readable = Readable::default();
        let read = segment_parts(backend, path, &mut |part| {
            match part {
                SegmentPart::Version(version) => readable.version = Some(version),
                SegmentPart::Record(id, value) => {
                    let mut compact = Vec::with_capacity(value.len());
                    json::push_compact(value, &mut compact);
                    readable.records.push((id.into(), compact.into()));
                }
                SegmentPart::Bad(line, why) => readable.lose(why, Some(line.number)),
                SegmentPart::Broken(why) => readable.lose(why, None),
            }
            Ok(())
        });
        match read {
            Err(error) if error.is_not_found() => Ok(None),
            other => other.map(|()| Some(readable)),
        }
    }
}
