//! What a reader is given by `refresh`: every operation once.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed: that is what it is for")]

mod support;

use opslog_native::backend::memory::MemoryBackend;
use opslog_native::store::{Options, Store};
use support::model::set;
use support::{Step, done, opened, records};

fn new(reader: &Store) -> usize {
    reader.refresh().unwrap().ops.len()
}

#[test]
fn an_operation_is_given_to_one_refresh_only_also_across_undo_and_checkpoint() {
    let disk = MemoryBackend::new();
    let writer = opened(disk.clone(), &Options::default());
    let reader = opened(disk, &Options { read_only: true, ..Options::default() });
    assert_eq!(new(&reader), 0);
    done(&writer, set("a", "1"));
    done(&writer, set("b", "1"));
    assert_eq!([new(&reader), new(&reader)], [2, 0]);
    done(&writer, Step::Undo);
    done(&writer, set("c", "1"));
    assert_eq!([new(&reader), new(&reader)], [1, 0]);
    done(&writer, set("d", "1"));
    done(&writer, Step::Compact);
    done(&writer, set("e", "1"));
    assert_eq!([new(&reader), new(&reader)], [2, 0]);
    assert_eq!(records(&reader), records(&writer));
}
