//! Exports for stores whose files a JavaScript object keeps. See `lib/custom-store.js` and its parts, which call them.

use super::errors::Failure;
use super::options::OpenOptions;
use super::registry::{self, Loading, get, with};
use super::store::{LoadResult, PAGE, RefreshResult, number, refreshed, string};
use super::text::Utf8;
use crate::format::json;
use crate::format::manifest::Manifest;
use crate::format::names;
use crate::store::{Left, Migration, Opening, Step, Store, resolve_segment};
use crate::{Error, Result};
use napi_derive::napi;

/// What is to be done next.
#[napi(object)]
#[derive(Default)]
pub struct ExternalStep {
    #[napi(ts_type = "'idle' | 'append' | 'takeLast' | 'checkpoint' | 'archive' | 'close'")]
    pub kind: String,
    /// `append`: arrays of operations; `takeLast`: the operation; `archive`: arrays of ids and values. JSON texts.
    pub pages: Vec<String>,
    /// `archive`: the segment.
    pub segment: Option<String>,
    /// Records of the checkpoint, if there is to be one.
    pub count: Option<f64>,
    /// `idle`: true if writes wait for a group commit.
    pub buffered: bool,
    /// `idle`: milliseconds until a failed write is tried again.
    pub retry: Option<f64>,
}

fn failure(result: Option<Result<()>>) -> Option<Failure> {
    result.unwrap_or(Err(Error::NotOpen)).err().map(|error| (&error).into())
}

fn manifest_of(text: &str) -> Result<Manifest> {
    Manifest::parse(text.as_bytes(), names::MANIFEST)
}

/// Begins to open a store that the caller reads: its manifest (JSON text) and the version of its records.
/// `agent`: JSON text of the writer's id, in a store of several.
#[napi(catch_unwind)]
pub fn external_load(
    env: u32,
    options: OpenOptions,
    manifest: String,
    version: f64,
    agent: Option<String>,
) -> LoadResult {
    let opening = manifest_of(&manifest).and_then(|manifest| {
        Opening::external(options.into(), manifest, version as u64, agent.as_deref().map(str::as_bytes))
    });
    match opening {
        Err(error) => LoadResult { failure: Some((&error).into()), ..LoadResult::default() },
        Ok(opening) => {
            let migrate_from = opening.migrate_from().map(number);
            LoadResult { handle: registry::add(env, opening), migrate_from, ..LoadResult::default() }
        }
    }
}

/// Hands over records of the snapshot: a JSON text `[id, value, …]`.
#[napi(catch_unwind, ts_args_type = "handle: number, records: string")]
pub fn external_records(handle: u32, records: Utf8) {
    registry::with_loading(handle, |loading| {
        loading.opening.push_records(&json::elements(&records).unwrap_or_default());
    });
}

/// Hands over operations of a log, a JSON text of an array.
#[napi(catch_unwind, ts_args_type = "handle: number, operations: string, path: string")]
pub fn external_operations(handle: u32, operations: Utf8, path: String) -> Option<Failure> {
    failure(registry::with_loading(handle, |loading| {
        loading.opening.push_operations(&json::elements(&operations).unwrap_or_default(), &path)
    }))
}

/// Starts the store, with the values that were migrated.
#[napi(catch_unwind)]
pub fn external_start(handle: u32) -> Option<Failure> {
    let started = registry::take_loading(handle).map(|(_, Loading { opening, values, segments })| {
        let store = opening.start_external(&Migration { values, segments })?;
        registry::put(handle, store);
        Ok(())
    });
    failure(started)
}

/// The next step. `all`: buffered writes are due.
#[napi(catch_unwind)]
pub fn external_step(handle: u32, all: bool) -> ExternalStep {
    step_of(with(handle, |store| store.next_step(all)))
}

fn step_of(step: Option<Step>) -> ExternalStep {
    let texts = |pages: Vec<Vec<u8>>| pages.into_iter().map(string).collect();
    let named = |kind: &str| ExternalStep { kind: kind.to_owned(), ..ExternalStep::default() };
    match step {
        None => named("idle"),
        Some(Step::Idle { buffered, retry }) => {
            let retry = retry.map(|wait| wait.as_secs_f64() * 1000.0);
            ExternalStep { buffered, retry, ..named("idle") }
        }
        Some(Step::Append(pages)) => ExternalStep { pages: texts(pages), ..named("append") },
        Some(Step::TakeLast(operation)) => ExternalStep { pages: vec![string(operation)], ..named("takeLast") },
        Some(Step::Checkpoint(count)) => ExternalStep { count: Some(number(count)), ..named("checkpoint") },
        Some(Step::Archive { segment, records, count }) => ExternalStep {
            pages: texts(records),
            segment: Some(segment),
            count: Some(number(count)),
            ..named("archive")
        },
        Some(Step::Close(count)) => ExternalStep { count: count.map(number), ..named("close") },
    }
}

/// The current step once more, as what is stored has turned out to be; idle where there is nothing left of it.
#[napi(catch_unwind)]
pub fn external_begin_again(handle: u32) -> ExternalStep {
    step_of(with(handle, Store::begin_again))
}

/// Other agents' operations have come in: takes `gone` stored ones back and applies others (JSON text of an array).
#[napi(catch_unwind, ts_args_type = "handle: number, gone: number, operations: string, path: string")]
pub fn external_rebase(handle: u32, gone: u32, operations: Utf8, path: String) -> Option<Failure> {
    let operations = json::elements(&operations).unwrap_or_default();
    failure(with(handle, |store| store.rebase(gone as usize, &operations, &path)))
}

/// Everything that is stored has been read anew, under another number, which is forgotten. Answers with the differences.
#[napi(catch_unwind)]
pub fn external_rebase_anew(handle: u32, loaded: u32) -> RefreshResult {
    let loading = registry::take_loading(loaded);
    registry::release(loaded);
    let rebased = get(handle).zip(loading).map(|(store, (_, Loading { opening, values, segments }))| {
        store.rebase_anew(opening, &Migration { values, segments })
    });
    refreshed(rebased.unwrap_or(Err(Error::NotOpen)))
}

/// The agent's Lamport clock.
#[napi(catch_unwind)]
pub fn external_clock(handle: u32) -> f64 {
    with(handle, Store::clock).map_or(0.0, number)
}

/// Another agent's clock has been seen.
#[napi(catch_unwind)]
pub fn external_see_clock(handle: u32, clock: f64) {
    with(handle, |store| store.see_clock(clock as u64));
}

/// Undo reaches the agent's operations above this clock only.
#[napi(catch_unwind)]
pub fn external_undo_above(handle: u32, clock: f64) {
    with(handle, |store| store.undo_above(clock as u64));
}

/// The agent's log is a new one.
#[napi(catch_unwind)]
pub fn external_begin_log(handle: u32) {
    with(handle, Store::begin_log);
}

/// Records of the checkpoint that is the current step: a JSON text `[id, value, …]`; null after the last.
#[napi(catch_unwind)]
pub fn external_page(handle: u32) -> Option<String> {
    with(handle, |store| store.moment_page(PAGE)).flatten().map(string)
}

/// The checkpoint of the current step is the current one; `manifest` (JSON text) names its files.
#[napi(catch_unwind)]
pub fn external_published(handle: u32, manifest: String) -> Option<Failure> {
    failure(with(handle, |store| manifest_of(&manifest).map(|manifest| store.published(manifest))))
}

/// The current step has been carried out.
#[napi(catch_unwind)]
pub fn external_done(handle: u32) {
    with(handle, Store::step_done);
}

/// The current step failed, with the error of this number. `left`: what may have been given back by then.
#[napi(catch_unwind, ts_args_type = "handle: number, error: number, left: 'nothing' | 'lock' | 'store'")]
pub fn external_failed(handle: u32, error: f64, left: String) {
    let left = match left.as_str() {
        "lock" => Left::Lock,
        "store" => Left::Store,
        _ => Left::Nothing,
    };
    with(handle, |store| store.step_failed(Error::Backend { number: error as u64 }, left));
}

/// A reader's log has changed: takes `gone` operations back, applies others (JSON text of an array), forgets the first
/// `covered`.
#[napi(catch_unwind, ts_args_type = "handle: number, gone: number, operations: string, covered: number, path: string")]
pub fn external_follow(handle: u32, gone: u32, operations: Utf8, covered: u32, path: String) -> RefreshResult {
    let operations = json::elements(&operations).unwrap_or_default();
    let followed = with(handle, |store| store.follow_log(gone as usize, &operations, covered as usize, &path));
    refreshed(followed.unwrap_or(Err(Error::NotOpen)))
}

/// A reader has read everything anew, under another number, which is forgotten.
#[napi(catch_unwind)]
pub fn external_follow_anew(handle: u32, loaded: u32) -> RefreshResult {
    let loading = registry::take_loading(loaded);
    registry::release(loaded);
    let followed = get(handle).zip(loading).map(|(store, (_, Loading { opening, values, segments }))| {
        store.follow_anew(opening, &Migration { values, segments })
    });
    refreshed(followed.unwrap_or(Err(Error::NotOpen)))
}

/// A reader has found this manifest (JSON text).
#[napi(catch_unwind)]
pub fn external_follow_manifest(handle: u32, manifest: String) -> Option<Failure> {
    failure(with(handle, |store| manifest_of(&manifest).map(|manifest| store.follow_manifest(manifest))))
}

/// The path of the archive segment that a name means.
#[napi(object)]
#[derive(Default)]
pub struct SegmentPath {
    pub path: Option<String>,
    pub failure: Option<Failure>,
}

/// Finds the archive segment that `name` means.
#[napi(catch_unwind)]
pub fn find_segment(handle: u32, name: String) -> SegmentPath {
    let segments = with(handle, Store::archive_segments).unwrap_or_default();
    match resolve_segment(&segments, &name) {
        Ok(path) => SegmentPath { path: Some(path.to_owned()), failure: None },
        Err(error) => SegmentPath { path: None, failure: Some((&error).into()) },
    }
}
