//! Directory locks that callers hold themselves, by number. See `lib/lock.js`.

use super::errors::Failure;
use super::registry;
use super::store::blocking;
use crate::agent_lock::{AgentLock, check_no_agents};
use crate::format::names;
use crate::lock::DirLock;
use crate::{Error, Result};
use napi_derive::napi;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks are given back when they are dropped.
#[expect(dead_code, reason = "held, not used")]
enum Lock {
    Directory(DirLock),
    Agent(AgentLock),
}

struct Held {
    env: u32,
    lock: Lock,
}

static LOCKS: Mutex<Option<HashMap<u32, Held>>> = Mutex::new(None);
static NEXT: AtomicU32 = AtomicU32::new(0);

fn locks() -> MutexGuard<'static, Option<HashMap<u32, Held>>> {
    LOCKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lock that was taken.
#[napi(object)]
#[derive(Default)]
pub struct LockResult {
    pub lock: Option<u32>,
    /// Name of the lock's file in the directory.
    pub name: String,
    pub failure: Option<Failure>,
}

/// Takes the writer's lock of a directory, or the one for compactions. It ends with its environment at the latest.
#[napi(catch_unwind)]
pub async fn lock_directory(env: u32, dir: String, compaction: bool) -> LockResult {
    let name = if compaction { names::COMPACT_LOCK } else { names::LOCK };
    let taken = blocking(move || {
        let dir = Path::new(&dir);
        // The message is to name the lock file, not the temporary one that is tried first.
        std::fs::metadata(dir).map_err(|source| Error::io("open", dir.join(name).display().to_string(), source))?;
        let lock = DirLock::acquire_as(dir, name)?;
        if !compaction {
            check_no_agents(dir)?;
        }
        Ok(Lock::Directory(lock))
    });
    held(env, name, taken.await)
}

/// Takes the place of an agent in a directory. It ends with its environment at the latest.
#[napi(catch_unwind)]
pub async fn lock_agent(env: u32, dir: String, agent: String) -> LockResult {
    held(env, "", blocking(move || AgentLock::acquire(Path::new(&dir), &agent).map(Lock::Agent)).await)
}

fn held(env: u32, name: &str, taken: Result<Lock>) -> LockResult {
    match taken {
        Ok(lock) => {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            locks().get_or_insert_with(HashMap::new).insert(number, Held { env, lock });
            if !registry::is_alive(env) {
                release_all(env);
            }
            LockResult { lock: Some(number), name: name.to_owned(), failure: None }
        }
        Err(error) => LockResult { failure: Some((&error).into()), ..LockResult::default() },
    }
}

/// Gives a lock back and removes its own file.
#[napi(catch_unwind)]
pub fn unlock(lock: u32) {
    let held = locks().as_mut().and_then(|locks| locks.remove(&lock));
    drop(held.map(|held| held.lock));
}

/// Gives back what an environment that ends still holds.
pub fn release_all(env: u32) {
    if let Some(locks) = locks().as_mut() {
        locks.retain(|_, held| held.env != env);
    }
}
