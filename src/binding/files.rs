//! The files of a store one by one. See `lib/fs-backend.js`.

use super::errors::Failure;
use super::store::{LogReport, PAGE, blocking, string};
use super::text::Utf8;
use crate::backend::StorageBackend;
use crate::backend::fs::FsBackend;
use crate::format::json;
use crate::log::Report;
use crate::{Error, Result, files};
use napi_derive::napi;

/// The end of a call on a file; each call gives what its description says.
#[napi(object)]
#[derive(Default)]
pub struct FileResult {
    pub path: Option<String>,
    pub flag: Option<bool>,
    /// JSON texts of arrays.
    pub pages: Option<Vec<String>>,
    pub report: Option<LogReport>,
    pub failure: Option<Failure>,
}

/// Exact up to 2^53.
fn number(count: u64) -> f64 {
    count as f64
}

fn report_of(report: Report) -> Option<LogReport> {
    (report != Report::default()).then(|| LogReport {
        path: report.path,
        skipped: number(report.skipped),
        cut: number(report.cut),
        cut_lines: number(report.cut_lines),
        saved: report.saved,
    })
}

async fn on_files(dir: String, work: impl FnOnce(&FsBackend) -> Result<FileResult> + Send + 'static) -> FileResult {
    match blocking(move || work(&FsBackend::new(dir)?)).await {
        Ok(result) => result,
        Err(error) => FileResult { failure: Some((&error).into()), ..FileResult::default() },
    }
}

/// Makes the folders of a store.
#[napi(catch_unwind)]
pub async fn create_folders(dir: String) -> FileResult {
    on_files(dir, |disk| disk.create_dirs().map(|()| FileResult::default())).await
}

/// Appends operations: JSON text of an array. Gives a report where the log had to be mended first.
#[napi(catch_unwind, ts_args_type = "dir: string, path: string, operations: string")]
pub async fn append_operations(dir: String, path: String, operations: Utf8) -> FileResult {
    let append = move |disk: &FsBackend| {
        let Some(operations) = json::elements(&operations) else {
            return Err(Error::Invalid { message: "Argument 'ops' must be an array of operations".to_owned() });
        };
        let report = report_of(files::append(disk, &path, &operations)?);
        Ok(FileResult { report, ..FileResult::default() })
    };
    on_files(dir, append).await
}

/// Reads a log. Gives pages of operations, and a report.
#[napi(catch_unwind)]
pub async fn read_operations(dir: String, path: String) -> FileResult {
    let read = move |disk: &FsBackend| {
        let (pages, report) = files::read(disk, &path, PAGE)?;
        let pages = Some(pages.into_iter().map(string).collect());
        Ok(FileResult { pages, report: report_of(report), ..FileResult::default() })
    };
    on_files(dir, read).await
}

/// Takes the last operation off a log. Gives whether there was one.
#[napi(catch_unwind)]
pub async fn take_last_operation(dir: String, path: String) -> FileResult {
    let take = move |disk: &FsBackend| {
        let flag = Some(files::take_last(disk, &path)?);
        Ok(FileResult { flag, ..FileResult::default() })
    };
    on_files(dir, take).await
}

/// Makes an empty log, of an agent if one is given. Gives its path.
#[napi(catch_unwind)]
pub async fn create_log(dir: String, agent: Option<String>) -> FileResult {
    on_files(dir, move |disk| named(files::create_log(disk, agent.as_deref()))).await
}

/// Writes a snapshot of records: JSON texts of arrays `[id, value, …]`. Gives its path.
#[napi(catch_unwind, ts_args_type = "dir: string, version: number, pages: Array<string>")]
pub async fn write_snapshot_file(dir: String, version: f64, pages: Vec<Utf8>) -> FileResult {
    on_files(dir, move |disk| named(files::write_snapshot(disk, version as u64, &pages))).await
}

/// Adds records (as for a snapshot) to an archive segment. Gives its path.
#[napi(catch_unwind, ts_args_type = "dir: string, period: string, pages: Array<string>")]
pub async fn write_segment_file(dir: String, period: String, pages: Vec<Utf8>) -> FileResult {
    on_files(dir, move |disk| named(files::write_segment(disk, &period, &pages))).await
}

/// Reads an archive segment. Gives pages of ids and values in turn.
#[napi(catch_unwind)]
pub async fn read_segment_file(dir: String, path: String) -> FileResult {
    let read = move |disk: &FsBackend| {
        let pages = files::read_segment(disk, &path, PAGE)?;
        Ok(FileResult { pages: Some(pages.into_iter().map(string).collect()), ..FileResult::default() })
    };
    on_files(dir, read).await
}

fn named(path: Result<String>) -> Result<FileResult> {
    path.map(|path| FileResult { path: Some(path), ..FileResult::default() })
}
