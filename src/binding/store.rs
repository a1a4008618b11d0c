//! Exports that open and use a store. See `lib/store.js`, which calls them.

use super::errors::{Failure, remember};
use super::metrics;
use super::options::OpenOptions;
use super::registry::{self, Loading, get, with};
use super::streams::add_archive;
use super::text::{JsonText, Utf8};
use crate::backend::fs::FsBackend;
use crate::format::archive::Segment;
use crate::format::json;
use crate::format::op::Text;
use crate::format::shapes::Apart;
use crate::store::{Accepted, Migration, Opening, Phase, Piece, Refreshed, Store, Ticket, Value};
use crate::{Error, Result};
use napi::Either;
use napi_derive::napi;
use std::sync::Arc;

pub(super) use crate::format::pages::PAGE;

/// Records of a scan cross in pieces of this size. What V8 decodes of a larger one is garbage that its young generation
/// copies about: with 4 MB a scan takes a third longer, with 64 KB the hand-offs add up.
const SCAN: usize = 128 << 10;

/// What `load` found.
#[napi(object)]
#[derive(Default)]
pub struct LoadResult {
    pub handle: Option<u32>,
    /// Version of the records.
    pub version: Option<f64>,
    /// The same, where they have to be migrated to the one asked for.
    pub migrate_from: Option<f64>,
    pub failure: Option<Failure>,
}

/// A part of the records: their ids and their values as JSON texts of arrays, and where the next part begins.
#[napi(object, object_from_js = false)]
pub struct RecordPage {
    #[napi(ts_type = "string")]
    pub ids: JsonText,
    #[napi(ts_type = "string")]
    pub values: JsonText,
    pub next: Option<f64>,
}

/// A part of the records whose objects are taken apart: JSON texts of arrays.
#[napi(object, object_from_js = false)]
pub struct ScanPage {
    #[napi(ts_type = "string")]
    pub ids: JsonText,
    /// An object of each shape: its names in their order are those of all objects of that shape.
    #[napi(ts_type = "string")]
    pub templates: JsonText,
    /// A shape, counted from 1, and how many of it follow; in turn. Shape 0: values that are not taken apart.
    #[napi(ts_type = "string")]
    pub runs: JsonText,
    /// The members' values of objects with a shape, one after the other; the values of all others.
    #[napi(ts_type = "string")]
    pub values: JsonText,
    pub next: Option<f64>,
    /// Where it differs between two pages a record may stand in both.
    pub end: f64,
}

/// An archive segment, and the stream of its records.
#[napi(object)]
pub struct SegmentStream {
    pub path: String,
    pub version: f64,
    pub stream: u32,
}

#[napi(object)]
#[derive(Default)]
pub struct SegmentsResult {
    pub segments: Vec<SegmentStream>,
    pub failure: Option<Failure>,
}

/// What recovery found in a log.
#[napi(object)]
pub struct LogReport {
    pub path: String,
    pub skipped: f64,
    pub cut: f64,
    pub cut_lines: f64,
    pub saved: Option<String>,
}

#[napi(object)]
#[derive(Default)]
pub struct StartResult {
    pub logs: Vec<LogReport>,
    pub failure: Option<Failure>,
}

/// The end of a call.
#[napi(object)]
pub struct Ended {
    pub ticket: f64,
    pub failure: Option<Failure>,
    pub flag: Option<bool>,
    pub count: Option<f64>,
}

/// Something that no call is told.
#[napi(object)]
pub struct NoticeText {
    pub message: String,
    pub failure: Option<Failure>,
    /// Not for stderr: the next call is told as well.
    pub quiet: bool,
}

#[napi(object)]
#[derive(Default)]
pub struct News {
    /// Writes up to this ticket have ended, unless `ended` says otherwise.
    pub through: f64,
    pub ended: Vec<Ended>,
    /// Ids whose records changed other than by `set` and `delete`, as JSON text of an array.
    pub changed: Option<String>,
    /// Messages for stderr.
    pub notices: Vec<NoticeText>,
}

#[napi(object)]
#[derive(Default)]
pub struct StoreCounts {
    pub active_records: f64,
    pub ops_count: f64,
    pub archive_segments: f64,
    pub checkpoint_failure: Option<Failure>,
}

/// Runs blocking work on the pool of the async runtime.
pub(super) async fn blocking<R: Send + 'static>(work: impl FnOnce() -> Result<R> + Send + 'static) -> Result<R> {
    let done = napi::bindgen_prelude::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Error::Failed { message: "The call failed unexpectedly".to_owned(), cause: None }))
}

pub(super) fn string(bytes: Vec<u8>) -> String {
    // Texts come from JavaScript or have been checked when they were read.
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Exact up to 2^53.
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

/// Takes the lock and reads a store. Nothing is changed. `watched`: see `beginWatch`.
#[napi(catch_unwind)]
pub async fn load(env: u32, dir: String, options: OpenOptions, watched: Option<u32>) -> LoadResult {
    let loaded = blocking(move || {
        let backend = metrics::watched_backend(FsBackend::new(dir)?, watched);
        Opening::load(Arc::new(backend), options.into())
    });
    match loaded.await {
        Ok(opening) => {
            let (version, migrate_from) = (Some(number(opening.version())), opening.migrate_from().map(number));
            LoadResult { handle: registry::add(env, opening), version, migrate_from, failure: None }
        }
        Err(error) => LoadResult { failure: Some((&error).into()), ..LoadResult::default() },
    }
}

/// Records of a store that is being opened.
#[napi(catch_unwind)]
pub fn loaded_page(handle: u32, start: f64) -> Option<RecordPage> {
    registry::with_loading(handle, |loading| record_page(loading.opening.page(start as u64, PAGE)))
}

fn record_page(page: crate::store::Page) -> RecordPage {
    RecordPage { ids: JsonText(page.ids), values: JsonText(page.values), next: page.next.map(number) }
}

/// Archive segments of a store that is being opened whose records are to be migrated.
#[napi(catch_unwind)]
pub fn loaded_segments(handle: u32) -> SegmentsResult {
    match registry::with_loading(handle, |loading| loading.opening.old_segments()) {
        None => SegmentsResult::default(),
        Some(Err(error)) => SegmentsResult { failure: Some((&error).into()), ..SegmentsResult::default() },
        Some(Ok(segments)) => {
            let segments = segments.into_iter().map(|(path, segment)| segment_stream(path, segment));
            SegmentsResult { segments: segments.collect(), failure: None }
        }
    }
}

/// Hands over migrated values, in order: the JSON text of an array.
#[napi(catch_unwind, ts_args_type = "handle: number, values: string")]
pub fn migrate_values(handle: u32, values: Utf8) {
    registry::with_loading(handle, |loading| {
        loading.values.extend(json::elements(&values).unwrap_or_default().into_iter().map(Text::from));
    });
}

/// Hands over a migrated archive segment: its records as the JSON text of an object.
#[napi(catch_unwind, ts_args_type = "handle: number, path: string, version: number, records: string")]
pub fn migrate_segment(handle: u32, path: String, version: f64, records: Utf8) {
    registry::with_loading(handle, |loading| {
        let period = path.strip_prefix("archive/archive-").and_then(|name| name.strip_suffix(".json"));
        let mut segment =
            Segment { version: version as u64, period: period.unwrap_or(&path).to_owned(), records: Vec::new() };
        let members = json::members(&records).unwrap_or_default();
        segment
            .merge(members.into_iter().map(|(id, value)| (json::canonical_string(id).as_ref().into(), value.into())));
        loading.segments.push((path, segment));
    });
}

/// Mends and migrates what must be, and starts the store's writer.
#[napi(catch_unwind)]
pub async fn start(handle: u32) -> StartResult {
    let Some((env, loading)) = registry::take_loading(handle) else {
        return StartResult { failure: Some((&Error::NotOpen).into()), ..StartResult::default() };
    };
    let Loading { opening, values, segments } = loading;
    let started = blocking(move || opening.start(Migration { values, segments }, registry::waker(env, handle)));
    match started.await {
        Ok((store, report)) => {
            registry::put(handle, store);
            let logs = report.logs.into_iter().map(|log| LogReport {
                path: log.path,
                skipped: number(log.skipped),
                cut: number(log.cut),
                cut_lines: number(log.cut_lines),
                saved: log.saved,
            });
            StartResult { logs: logs.collect(), failure: None }
        }
        Err(error) => StartResult { failure: Some((&error).into()), ..StartResult::default() },
    }
}

/// What a reader has caught up with: JSON texts of arrays of operations.
#[napi(object)]
#[derive(Default)]
pub struct RefreshResult {
    pub pages: Vec<String>,
    pub in_order: bool,
    pub failure: Option<Failure>,
}

/// Lets a reader catch up with the writer.
#[napi(catch_unwind)]
pub async fn refresh(handle: u32) -> RefreshResult {
    refreshed(blocking(move || get(handle).ok_or(Error::NotOpen)?.refresh()).await)
}

pub(super) fn refreshed(result: Result<Refreshed>) -> RefreshResult {
    match result {
        Ok(refreshed) => {
            let pages = refreshed.pages(PAGE).into_iter().map(string).collect();
            RefreshResult { pages, in_order: refreshed.in_order, failure: None }
        }
        Err(error) => RefreshResult { failure: Some((&error).into()), ..RefreshResult::default() },
    }
}

/// The result of a hot call; see the module's description.
fn accepted(result: Option<Result<Accepted>>) -> f64 {
    match result.unwrap_or(Err(Error::NotOpen)) {
        Ok(Accepted::Done) => 0.0,
        Ok(Accepted::Through(ticket)) => number(ticket),
        Ok(Accepted::Told(ticket)) => -number(ticket),
        Err(error) => {
            remember(error);
            f64::NAN
        }
    }
}

fn ticket(result: Option<Result<Ticket>>) -> f64 {
    accepted(result.map(|result| result.map(Accepted::Through)))
}

/// Creates or replaces a record. `id` and `data` are JSON texts.
#[napi(catch_unwind, ts_args_type = "handle: number, id: string, data: string")]
pub fn set(handle: u32, id: Utf8, data: Utf8) -> f64 {
    accepted(with(handle, |store| store.set(&id, &data)))
}

/// `set` of several records, called `age` milliseconds ago. `lines`: JSON texts, each on a line of its own, an id, its value,
/// the next id, and so on. Answers for each of them, or with one number: 0 for all of them, NaN for all of them, or the
/// ticket of the first if those of the others follow it.
#[napi(catch_unwind, ts_args_type = "handle: number, lines: string, age: number")]
pub fn set_many(handle: u32, lines: Utf8, age: f64) -> Either<f64, Vec<f64>> {
    let results = match with(handle, |store| store.set_many(&lines, age as u64)).unwrap_or(Err(Error::NotOpen)) {
        Ok(results) => results,
        Err(error) => return Either::A(accepted(Some(Err(error)))),
    };
    let follow = |pair: &[Accepted]| match pair {
        [Accepted::Done, Accepted::Done] => true,
        [Accepted::Through(one), Accepted::Through(next)] => *next == one + 1,
        _ => false,
    };
    match results.first() {
        Some(first @ (Accepted::Done | Accepted::Through(_))) if results.windows(2).all(follow) => {
            Either::A(accepted(Some(Ok(*first))))
        }
        _ => Either::B(results.into_iter().map(|result| accepted(Some(Ok(result)))).collect()),
    }
}

/// Removes a record.
#[napi(catch_unwind, ts_args_type = "handle: number, id: string")]
pub fn remove(handle: u32, id: Utf8) -> f64 {
    accepted(with(handle, |store| store.delete(&id)))
}

#[napi(catch_unwind)]
pub fn begin_batch(handle: u32) -> f64 {
    accepted(with(handle, |store| store.begin_batch().map(|()| Accepted::Done)))
}

#[napi(catch_unwind)]
pub fn end_batch(handle: u32, keep: bool) -> f64 {
    accepted(with(handle, |store| store.end_batch(keep)))
}

/// Lets the writer take what was queued, and answers as `settled`.
#[napi(catch_unwind)]
pub fn kick(handle: u32) -> f64 {
    let through = with(handle, |store| {
        store.take_in();
        store.kick_and_look();
        store.settled_through()
    });
    through.flatten().map_or(-1.0, number)
}

/// The ticket up to which writes have ended; -1 where there is more to tell (see `news`).
#[napi(catch_unwind)]
pub fn settled(handle: u32) -> f64 {
    with(handle, Store::settled_through).flatten().map_or(-1.0, number)
}

/// Everything that there is to tell.
#[napi(catch_unwind)]
pub fn news(handle: u32) -> News {
    let Some(store) = get(handle) else {
        return News::default();
    };
    let (through, outcomes) = store.settled();
    let ended = outcomes.into_iter().map(|outcome| {
        let mut ended = Ended { ticket: number(outcome.ticket), failure: None, flag: None, count: None };
        match outcome.result {
            Ok(Value::None) => {}
            Ok(Value::Bool(flag)) => ended.flag = Some(flag),
            Ok(Value::Count(count)) => ended.count = Some(number(count)),
            Err(error) => ended.failure = Some((&error).into()),
        }
        ended
    });
    let ended = ended.collect();
    let notices = store.take_notices().into_iter().map(|notice| (notice, false));
    let notices = notices.chain(store.take_quiet_notices().into_iter().map(|notice| (notice, true)));
    let notices = notices.map(|(notice, quiet)| NoticeText {
        message: notice.message.into_owned(),
        failure: notice.error.as_ref().map(Failure::from),
        quiet,
    });
    let notices = notices.collect();
    News { through: number(through), ended, changed: changed_ids(&store), notices }
}

/// Ids whose records changed other than by `set` and `delete`, as JSON text of an array.
#[napi(catch_unwind)]
pub fn changed(handle: u32) -> Option<String> {
    changed_ids(&*get(handle)?)
}

fn changed_ids(store: &Store) -> Option<String> {
    let ids = store.take_changed();
    if ids.is_empty() {
        return None;
    }
    Some(format!("[{}]", ids.iter().map(|id| String::from_utf8_lossy(id)).collect::<Vec<_>>().join(",")))
}

/// True while writes wait to be handed to the operating system.
#[napi(catch_unwind)]
pub fn is_writing(handle: u32) -> bool {
    with(handle, Store::is_writing).unwrap_or(false)
}

#[napi(catch_unwind)]
pub fn undo(handle: u32) -> f64 {
    ticket(with(handle, Store::undo))
}

#[napi(catch_unwind)]
pub fn compact(handle: u32) -> f64 {
    ticket(with(handle, Store::compact))
}

/// Moves records to a segment. `ids`: JSON text of an array.
#[napi(catch_unwind, ts_args_type = "handle: number, ids: string, segment: string")]
pub fn archive(handle: u32, ids: Utf8, segment: String) -> f64 {
    let ids = json::elements(&ids).unwrap_or_default().into_iter().map(Text::from).collect();
    ticket(with(handle, |store| store.archive(ids, &segment)))
}

/// Takes a checkpoint or archive call back that has not begun; it ends with the face's error of this number.
#[napi(catch_unwind)]
pub fn cancel(handle: u32, ticket: f64, error: f64) -> bool {
    let error = Error::Backend { number: error as u64 };
    with(handle, |store| store.cancel(ticket as u64, &error)).unwrap_or(false)
}

#[napi(catch_unwind)]
pub fn flush(handle: u32, sync: bool) -> f64 {
    ticket(with(handle, |store| store.flush(sync)))
}

#[napi(catch_unwind)]
pub fn close(handle: u32) -> f64 {
    ticket(with(handle, Store::close))
}

/// True once a store has been closed.
#[napi(catch_unwind)]
pub fn is_closed(handle: u32) -> bool {
    with(handle, |store| store.phase() == Phase::Closed).unwrap_or(true)
}

/// The JSON text of a record.
#[napi(catch_unwind, ts_args_type = "handle: number, id: string")]
pub fn get_record(handle: u32, id: Utf8) -> Option<String> {
    let value = with(handle, |store| store.get(&id)).flatten()?;
    Some(string(value.to_vec()))
}

#[napi(catch_unwind, ts_args_type = "handle: number, id: string")]
pub fn has_record(handle: u32, id: Utf8) -> bool {
    with(handle, |store| store.has(&id)).unwrap_or(false)
}

#[napi(catch_unwind)]
pub fn count_records(handle: u32) -> f64 {
    with(handle, Store::count).map_or(0.0, number)
}

#[napi(catch_unwind)]
pub fn page(handle: u32, start: f64) -> Option<ScanPage> {
    with(handle, |store| {
        let Piece { ids, values, next, end } = store.piece(start as u64, SCAN);
        let Apart { templates, runs, values } = values;
        let [ids, templates, runs, values] = [ids, templates, runs, values].map(JsonText);
        ScanPage { ids, templates, runs, values, next: next.map(number), end: number(end) }
    })
}

#[napi(catch_unwind)]
pub fn counts(handle: u32) -> StoreCounts {
    with(handle, Store::stats).map_or_else(StoreCounts::default, |stats| StoreCounts {
        active_records: number(stats.active_records),
        ops_count: number(stats.ops_count),
        archive_segments: number(stats.archive_segments),
        checkpoint_failure: stats.checkpoint_error.as_ref().map(Failure::from),
    })
}

/// The current manifest as JSON text.
#[napi(catch_unwind)]
pub fn manifest(handle: u32) -> Option<String> {
    with(handle, |store| string(store.manifest().to_bytes()))
}

/// Reads an archive segment.
#[napi(catch_unwind)]
pub async fn load_archive(handle: u32, name: String) -> SegmentsResult {
    let loaded = blocking(move || get(handle).ok_or(Error::NotOpen)?.load_archive(&name));
    match loaded.await {
        Err(error) => SegmentsResult { failure: Some((&error).into()), ..SegmentsResult::default() },
        Ok(segment) => {
            SegmentsResult { segments: vec![segment_stream(segment.period.clone(), segment)], failure: None }
        }
    }
}

fn segment_stream(path: String, segment: Segment) -> SegmentStream {
    SegmentStream { path, version: number(segment.version), stream: add_archive(segment.records) }
}
