//! A new store out of records that come in pages. See `cli/commands/import.js`.

use super::errors::Failure;
use super::store::blocking;
use super::text::Utf8;
use crate::backend::fs::FsBackend;
use crate::format::json;
use crate::import::Import;
use crate::{Error, Result};
use napi_derive::napi;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

static IMPORTS: Mutex<Option<HashMap<u32, Import>>> = Mutex::new(None);
static NEXT: AtomicU32 = AtomicU32::new(0);

fn imports() -> MutexGuard<'static, Option<HashMap<u32, Import>>> {
    IMPORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take(import: u32) -> Result<Import> {
    let taken = imports().as_mut().and_then(|imports| imports.remove(&import));
    taken.ok_or_else(|| Error::Failed { message: "The import has ended".to_owned(), cause: None })
}

/// An import, or the end of one.
#[napi(object)]
#[derive(Default)]
pub struct ImportResult {
    /// Absent where there is a store already.
    pub import: Option<u32>,
    /// True if an id came twice.
    pub repeated: Option<bool>,
    pub failure: Option<Failure>,
}

fn result(result: Result<ImportResult>) -> ImportResult {
    result.unwrap_or_else(|error| ImportResult { failure: Some((&error).into()), ..ImportResult::default() })
}

/// Begins a new store. The directory is locked until the import ends.
#[napi(catch_unwind)]
pub async fn import_begin(dir: String) -> ImportResult {
    let begun = blocking(move || Import::begin(Arc::new(FsBackend::new(dir)?)));
    result(begun.await.map(|begun| {
        let import = begun.map(|import| {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            imports().get_or_insert_with(HashMap::new).insert(number, import);
            number
        });
        ImportResult { import, ..ImportResult::default() }
    }))
}

/// Adds records: JSON text of an array `[id, value, …]`. Where that fails, the import has ended.
#[napi(catch_unwind, ts_args_type = "importing: number, page: string")]
pub async fn import_records(importing: u32, page: Utf8) -> ImportResult {
    let added = blocking(move || {
        let mut taken = take(importing)?;
        let elements = json::elements(&page).unwrap_or_default();
        for pair in elements.chunks_exact(2) {
            if let [id, value] = pair {
                taken.push(&json::canonical_string(id), value)?;
            }
        }
        imports().get_or_insert_with(HashMap::new).insert(importing, taken);
        Ok(ImportResult::default())
    });
    result(added.await)
}

/// Makes the store of what has been added.
#[napi(catch_unwind)]
pub async fn import_finish(importing: u32) -> ImportResult {
    let finished = blocking(move || take(importing)?.finish());
    result(finished.await.map(|repeated| ImportResult { repeated: Some(repeated), ..ImportResult::default() }))
}

/// Gives an import up: there is no store then.
#[napi(catch_unwind)]
pub fn import_abort(importing: u32) {
    drop(take(importing));
}
