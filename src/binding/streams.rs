//! Streams: snapshot records and operations in pieces, for async generators.

use super::errors::Failure;
use super::registry::get;
use super::store::{PAGE, blocking, string};
use crate::backend::fs::FsBackend;
use crate::format::op::Text;
use crate::format::snapshot::Reader;
use crate::state::Op;
use crate::store::LogStream;
use crate::{Error, Result};
use napi_derive::napi;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

enum Stream {
    Records(Box<Reader>),
    Operations(std::vec::IntoIter<Arc<Op>>),
    Log(Box<LogStream>),
    Archive(std::vec::IntoIter<(Text, Text)>),
}

static STREAMS: Mutex<Option<HashMap<u32, Stream>>> = Mutex::new(None);
static NEXT: AtomicU32 = AtomicU32::new(0);

fn streams() -> MutexGuard<'static, Option<HashMap<u32, Stream>>> {
    STREAMS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn add(stream: Stream) -> u32 {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    streams().get_or_insert_with(HashMap::new).insert(number, stream);
    number
}

/// A stream that was opened.
#[napi(object)]
#[derive(Default)]
pub struct StreamResult {
    pub stream: Option<u32>,
    /// Schema version of the records, of a snapshot.
    pub version: Option<f64>,
    pub failure: Option<Failure>,
}

/// A part of a stream: JSON text of an array, `[id, value, …]` or of operations; absent at the end.
#[napi(object)]
#[derive(Default)]
pub struct StreamPart {
    pub json: Option<String>,
    pub failure: Option<Failure>,
}

fn opened(result: Result<Reader>) -> StreamResult {
    match result {
        Ok(reader) => {
            // Exact up to 2^53.
            let version = Some(reader.header().version as f64);
            StreamResult { stream: Some(add(Stream::Records(Box::new(reader)))), version, failure: None }
        }
        Err(error) => StreamResult { failure: Some((&error).into()), ..StreamResult::default() },
    }
}

/// Streams the records of the current snapshot of a store.
#[napi(catch_unwind)]
pub async fn open_snapshot(handle: u32) -> StreamResult {
    opened(blocking(move || get(handle).ok_or(Error::NotOpen)?.snapshot_reader()).await)
}

/// Streams the records of a snapshot file.
#[napi(catch_unwind)]
pub async fn open_snapshot_file(dir: String, path: String) -> StreamResult {
    opened(blocking(move || Reader::open(&FsBackend::new(dir)?, &path, 0)).await)
}

/// Streams the operations since the last checkpoint, as they are now; of one record, if `id` (JSON text) is given.
#[napi(catch_unwind)]
pub fn open_operations(handle: u32, id: Option<String>) -> StreamResult {
    match get(handle) {
        None => StreamResult { failure: Some((&Error::NotOpen).into()), ..StreamResult::default() },
        Some(store) => {
            let mut operations = store.history();
            if let Some(id) = id {
                operations.retain(|operation| *operation.id == *id.as_bytes());
            }
            let stream = add(Stream::Operations(operations.into_iter()));
            StreamResult { stream: Some(stream), ..StreamResult::default() }
        }
    }
}

/// Streams all operations of the log, from the file where they were not loaded.
#[napi(catch_unwind)]
pub async fn open_log(handle: u32) -> StreamResult {
    match blocking(move || get(handle).ok_or(Error::NotOpen)?.log_stream()).await {
        Ok(log) => StreamResult { stream: Some(add(Stream::Log(Box::new(log)))), ..StreamResult::default() },
        Err(error) => StreamResult { failure: Some((&error).into()), ..StreamResult::default() },
    }
}

/// The next part of a stream. One call at a time.
#[napi(catch_unwind)]
pub async fn read_stream(stream: u32) -> StreamPart {
    let part = blocking(move || {
        let Some(mut taken) = streams().as_mut().and_then(|streams| streams.remove(&stream)) else { return Ok(None) };
        let part = next_part(&mut taken);
        if matches!(part, Ok(Some(_))) {
            streams().get_or_insert_with(HashMap::new).insert(stream, taken);
        }
        part
    });
    match part.await {
        Ok(json) => StreamPart { json: json.map(string), failure: None },
        Err(error) => StreamPart { failure: Some((&error).into()), ..StreamPart::default() },
    }
}

fn next_part(stream: &mut Stream) -> Result<Option<Vec<u8>>> {
    let mut json = Vec::new();
    while json.len() < PAGE / 4 {
        let separator = if json.is_empty() { b'[' } else { b',' };
        match stream {
            Stream::Records(reader) => {
                let Some((id, value)) = reader.next()? else { break };
                json.push(separator);
                json.extend_from_slice(&id);
                json.push(b',');
                json.extend_from_slice(&value);
            }
            Stream::Archive(records) => {
                let Some((id, value)) = records.next() else { break };
                json.push(separator);
                json.extend_from_slice(&id);
                json.push(b',');
                json.extend_from_slice(&value);
            }
            Stream::Operations(operations) => {
                let Some(operation) = operations.next() else { break };
                json.push(separator);
                operation.push_shown(&mut json);
            }
            Stream::Log(log) => {
                let Some(operation) = log.next()? else { break };
                json.push(separator);
                operation.push_shown(&mut json);
            }
        }
    }
    if json.is_empty() {
        return Ok(None);
    }
    json.push(b']');
    Ok(Some(json))
}

/// The next part of a stream whose content is in memory: no I/O.
#[napi(catch_unwind)]
pub fn read_stream_now(stream: u32) -> Option<String> {
    let mut taken = streams().as_mut().and_then(|streams| streams.remove(&stream))?;
    let part = next_part(&mut taken).ok().flatten().map(string);
    if part.is_some() {
        streams().get_or_insert_with(HashMap::new).insert(stream, taken);
    }
    part
}

/// Streams the records of an archive segment.
pub fn add_archive(records: Vec<(Text, Text)>) -> u32 {
    add(Stream::Archive(records.into_iter()))
}

/// Ends a stream early.
#[napi(catch_unwind)]
pub fn close_stream(stream: u32) {
    if let Some(streams) = streams().as_mut() {
        streams.remove(&stream);
    }
}
