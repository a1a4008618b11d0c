//! Operation logs: every line by its own checksum, and what recovery would do with the lines at the end.

use super::{Counts, Desk, Severity};
use crate::backend::StorageBackend;
use crate::backend::lines::{Line, read_lines};
use crate::error::Result;
use crate::log::recovery::{is_lost, parse, start_of_write};
use std::time::Duration;

/// How often a log is read until two looks agree.
const ATTEMPTS: u32 = 20;
/// Between two of them: longer than a write takes.
const PAUSE: Duration = Duration::from_millis(20);

/// What a look at the whole file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Shape {
    counts: Counts,
    /// Lines that are not valid.
    bad: u64,
    /// Over their places and contents: whether another look found the same.
    hash: u32,
    /// Byte from which on recovery takes nothing.
    end: u64,
    /// Place of the first line of a batch at the end whose last lines are missing, and how many are.
    batch: Option<((u64, u64), u64)>,
    /// Byte from which on a write was never finished: the disk has a later part of it, and not an earlier one.
    unfinished: Option<u64>,
}

/// The open ends while a log is read.
#[derive(Default)]
struct Open {
    /// The batch whose last line has not come: place of its first line, and how many lines are to come.
    batch: Option<((u64, u64), u64)>,
    /// Invalid lines since the last valid one: where they begin, and whether bytes are missing there.
    run: Option<(u64, bool)>,
    /// A write of which a part is missing: where the gap is, where the write began, and the counts before it.
    lost: Option<(u64, u64, Counts)>,
}

pub(super) fn look(backend: &dyn StorageBackend, path: &str, desk: &mut Desk<'_, '_>) -> Result<Counts> {
    let mut shape = shape_of(backend, path)?;
    // Beside a writer half a line may be what is being written.
    for _ in 0..ATTEMPTS {
        if shape.bad == 0 && shape.batch.is_none() {
            return Ok(shape.counts);
        }
        std::thread::sleep(PAUSE);
        let again = shape_of(backend, path)?;
        if (again.bad, again.hash, again.batch) == (shape.bad, shape.hash, shape.batch) {
            break;
        }
        shape = again;
    }
    let end = shape.unfinished.unwrap_or(u64::MAX);
    read_lines(backend, path, 0, |line| {
        desk.at(line.offset)?;
        if line.offset >= end {
            return Ok(());
        }
        let Some(reason) = fault(&line) else { return Ok(()) };
        if line.offset >= shape.end && !line.ended {
            let place = Some((line.number, line.offset));
            return desk.find(Severity::Unfinished, place, &format!("the last line was cut off ({reason})"));
        }
        let end = if line.offset >= shape.end { "; opening takes it off the end of the log" } else { "" };
        desk.damage(&line, &format!("{reason}{end}"))
    })?;
    if let Some((place, missing)) = shape.batch {
        let message =
            format!("{missing} line(s) of this batch are missing at the end: opening takes it off as a whole");
        desk.find(Severity::Unfinished, Some(place), &message)?;
    }
    if let Some(gap) = shape.unfinished {
        let message = format!("a power cut lost a part of the last write, at byte {gap}; opening takes its rest off");
        desk.find(Severity::Unfinished, None, &message)?;
    }
    Ok(shape.counts)
}

fn fault(line: &Line<'_>) -> Option<String> {
    if line.is_blank() { None } else { parse(line).err() }
}

fn shape_of(backend: &dyn StorageBackend, path: &str) -> Result<Shape> {
    let mut shape = Shape::default();
    let mut open = Open::default();
    read_lines(backend, path, 0, |line| {
        take(&line, &mut shape, &mut open);
        Ok(())
    })?;
    shape.batch = open.batch;
    if let Some(((_, byte), _)) = open.batch {
        shape.end = shape.end.min(byte);
    }
    if let Some((gap, _, counts)) = open.lost {
        shape.unfinished = Some(gap);
        shape.counts = counts;
    }
    Ok(shape)
}

fn take(line: &Line<'_>, shape: &mut Shape, open: &mut Open) {
    if line.is_blank() {
        // A blank line after a valid one says that the rest of its batch was undone.
        if open.run.is_none() && line.ended {
            open.batch = None;
        }
        return;
    }
    let Ok(parsed) = parse(line) else {
        shape.bad += 1;
        let seen = crc32c::crc32c_append(shape.hash, &line.offset.to_le_bytes());
        shape.hash = crc32c::crc32c_append(seen, line.bytes);
        let lost = is_lost(line);
        let (_, any) = open.run.get_or_insert((line.offset, false));
        *any |= lost;
        return;
    };
    let start = start_of_write(line, &parsed);
    let run = open.run.take();
    match (open.lost, run, start) {
        (Some((_, write, _)), _, Some(start)) if start == write => {}
        (_, Some((gap, true)), Some(start)) if gap >= start => open.lost = Some((gap, start, shape.counts)),
        _ => open.lost = None,
    }
    shape.counts.entries += 1;
    shape.counts.checked += u64::from(parsed.checked);
    shape.end = line.end();
    let first = match open.batch {
        Some((first, left)) if parsed.batch.is_some_and(|remaining| remaining + 1 == left) => first,
        _ => (line.number, line.offset),
    };
    open.batch = parsed.batch.filter(|remaining| *remaining > 0).map(|remaining| (first, remaining));
}
