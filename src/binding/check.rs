//! Verification and repair of a store's files. See `cli/verify.js` and `cli/repair.js`.
//!
//! A verification runs on a thread of its own and waits when nobody fetches what it has found: memory stays the same
//! however much that is.

use super::errors::Failure;
use super::store::{blocking, number};
use crate::backend::fs::FsBackend;
use crate::repair::{self, What};
use crate::verify::{self, Event, Role, Severity};
use crate::{Error, Result};
use napi_derive::napi;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many events are held until they are fetched.
const HELD: usize = 1024;
/// An answer is given after this time, whatever it holds: for progress.
const PATIENCE: Duration = Duration::from_millis(100);

type Sent = Result<Event>;
type Events = Arc<Mutex<Receiver<Sent>>>;

static RUNNING: Mutex<Option<HashMap<u32, Events>>> = Mutex::new(None);
static NEXT: AtomicU32 = AtomicU32::new(0);

fn running() -> MutexGuard<'static, Option<HashMap<u32, Events>>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A verification that was begun.
#[napi(object)]
#[derive(Default)]
pub struct VerifyStarted {
    pub verification: Option<u32>,
    /// Bytes that are to be read, as far as that can be told.
    pub bytes: f64,
    pub failure: Option<Failure>,
}

/// Something that was found.
#[napi(object)]
pub struct VerifyFinding {
    #[napi(ts_type = "'damage' | 'unreadable' | 'unfinished' | 'note'")]
    pub severity: String,
    pub file: String,
    pub line: Option<f64>,
    pub byte: Option<f64>,
    pub message: String,
}

/// A file that was looked at.
#[napi(object)]
pub struct VerifiedFile {
    pub file: String,
    #[napi(ts_type = "'manifest' | 'snapshot' | 'log' | 'archive'")]
    pub role: String,
    pub bytes: f64,
    pub entries: f64,
    pub checked: f64,
    pub findings: f64,
}

/// What was found since the last time.
#[napi(object)]
#[derive(Default)]
pub struct VerifyPart {
    pub findings: Vec<VerifyFinding>,
    pub files: Vec<VerifiedFile>,
    /// Bytes that were read.
    pub read: f64,
    /// True if there is nothing more to come.
    pub ended: bool,
    pub failure: Option<Failure>,
}

/// Begins to look at all files of a store.
#[napi(catch_unwind)]
pub async fn verify_start(dir: String) -> VerifyStarted {
    let begun = blocking(move || {
        let backend = FsBackend::new(dir)?;
        let bytes = verify::bytes_to_read(&backend);
        let (sender, receiver) = sync_channel(HELD);
        let thread = std::thread::Builder::new().name("opslog-verify".to_owned());
        let spawned = thread.spawn(move || look(&backend, &sender));
        spawned.map_err(|source| Error::io("pthread_create", String::new(), source))?;
        Ok((bytes, receiver))
    });
    match begun.await {
        Ok((bytes, receiver)) => {
            let verification = NEXT.fetch_add(1, Ordering::Relaxed);
            running().get_or_insert_with(HashMap::new).insert(verification, Arc::new(Mutex::new(receiver)));
            VerifyStarted { verification: Some(verification), bytes: number(bytes), failure: None }
        }
        Err(error) => VerifyStarted { failure: Some((&error).into()), ..VerifyStarted::default() },
    }
}

fn look(backend: &FsBackend, sender: &SyncSender<Sent>) {
    // Nobody fetches any more.
    let gone = |_| Error::Failed { message: "The verification was ended".to_owned(), cause: None };
    if let Err(error) = verify::verify(backend, &mut |event| sender.send(Ok(event)).map_err(gone)) {
        let _ = sender.send(Err(error));
    }
}

/// What was found since the last time; waits a little for it.
#[napi(catch_unwind)]
pub async fn verify_next(verification: u32) -> VerifyPart {
    let events = running().as_ref().and_then(|all| all.get(&verification).cloned());
    let Some(events) = events else { return VerifyPart { ended: true, ..VerifyPart::default() } };
    let part = blocking(move || Ok(fetch(&events.lock().unwrap_or_else(PoisonError::into_inner))));
    let part =
        part.await.unwrap_or_else(|error| VerifyPart { failure: Some((&error).into()), ..VerifyPart::default() });
    if part.ended || part.failure.is_some() {
        verify_stop(verification);
    }
    part
}

/// Ends a verification early.
#[napi(catch_unwind)]
pub fn verify_stop(verification: u32) {
    if let Some(all) = running().as_mut() {
        all.remove(&verification);
    }
}

fn fetch(events: &Receiver<Sent>) -> VerifyPart {
    let mut part = VerifyPart::default();
    let until = Instant::now() + PATIENCE;
    while part.findings.len() < HELD {
        match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Ok(Event::Finding(finding))) => part.findings.push(VerifyFinding {
                severity: severity(finding.severity).to_owned(),
                file: finding.path,
                line: finding.line.map(number),
                byte: finding.byte.map(number),
                message: finding.message,
            }),
            Ok(Ok(Event::Looked(file))) => part.files.push(VerifiedFile {
                file: file.path,
                role: role(file.role).to_owned(),
                bytes: number(file.bytes),
                entries: number(file.entries),
                checked: number(file.checked),
                findings: number(file.findings),
            }),
            Ok(Ok(Event::Progress(bytes))) => part.read += number(bytes),
            Ok(Err(error)) => {
                part.failure = Some((&error).into());
                break;
            }
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => {
                part.ended = true;
                break;
            }
        }
    }
    part
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Damage => "damage",
        Severity::Unreadable => "unreadable",
        Severity::Unfinished => "unfinished",
        Severity::Note => "note",
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Manifest => "manifest",
        Role::Snapshot => "snapshot",
        Role::Log => "log",
        Role::Archive => "archive",
    }
}

/// One thing that a repair did, or would do.
#[napi(object)]
pub struct RepairStep {
    pub file: String,
    #[napi(ts_type = "'rewritten' | 'cut' | 'replaced' | 'dropped' | 'corrected'")]
    pub action: String,
    pub why: String,
    pub kept: f64,
    pub lost: f64,
    pub aside: Option<String>,
    pub replaced_by: Option<String>,
}

/// The end of a repair.
#[napi(object)]
#[derive(Default)]
pub struct RepairResult {
    pub steps: Vec<RepairStep>,
    pub failure: Option<Failure>,
}

/// Repairs a store, or says what there is to be done.
#[napi(catch_unwind)]
pub async fn repair_store(dir: String, dry_run: bool) -> RepairResult {
    match blocking(move || repair::repair(&FsBackend::new(dir)?, dry_run)).await {
        Ok(steps) => RepairResult { steps: steps.into_iter().map(step).collect(), failure: None },
        Err(error) => RepairResult { failure: Some((&error).into()), ..RepairResult::default() },
    }
}

fn step(step: repair::Step) -> RepairStep {
    let action = match step.what {
        What::Rewritten => "rewritten",
        What::Cut => "cut",
        What::Replaced => "replaced",
        What::Dropped => "dropped",
        What::Corrected => "corrected",
    };
    RepairStep {
        file: step.path,
        action: action.to_owned(),
        why: step.why,
        kept: number(step.kept),
        lost: number(step.lost),
        aside: step.aside,
        replaced_by: step.replaced_by,
    }
}
