//! Stores by number, and the JavaScript environments (main thread, workers) that they belong to.

use crate::format::archive::Segment;
use crate::format::op::Text;
use crate::store::{Opening, Phase, Store};
use hashbrown::HashMap;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Result, Status};
use napi_derive::napi;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};

/// Wakes an environment for one store. Weak: it does not keep the process alive.
pub type WakeFunction = ThreadsafeFunction<u32, (), u32, Status, false, true>;

/// A store that is being opened.
pub struct Loading {
    pub opening: Opening,
    pub values: Vec<Text>,
    pub segments: Vec<(String, Segment)>,
}

struct Entry {
    env: u32,
    loading: Option<Loading>,
    store: Option<Arc<Store>>,
}

/// Stores by number. A number is never given twice: a call that is still on its way cannot reach another store.
static ENTRIES: LazyLock<RwLock<HashMap<u32, Entry>>> = LazyLock::new(RwLock::default);
static NEXT: AtomicU32 = AtomicU32::new(0);
/// `None`: the environment has ended. Taken after `ENTRIES` where both are.
static ENVIRONMENTS: Mutex<Vec<Option<Arc<WakeFunction>>>> = Mutex::new(Vec::new());

fn environments() -> MutexGuard<'static, Vec<Option<Arc<WakeFunction>>>> {
    ENVIRONMENTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn entries() -> RwLockWriteGuard<'static, HashMap<u32, Entry>> {
    ENTRIES.write().unwrap_or_else(PoisonError::into_inner)
}

fn has_ended(env: u32) -> bool {
    environments().get(env as usize).is_none_or(Option::is_none)
}

/// Registers a JavaScript environment. `wake` is called with a store's number when it has results. When the
/// environment ends, its stores are flushed and released.
#[napi(catch_unwind, ts_args_type = "wake: (handle: number) => void")]
pub fn register(env: Env, wake: Function<u32, ()>) -> Result<u32> {
    let wake = wake.build_threadsafe_function::<u32>().weak::<true>().build()?;
    let number = {
        let mut environments = environments();
        environments.push(Some(Arc::new(wake)));
        u32::try_from(environments.len() - 1).unwrap_or(u32::MAX)
    };
    env.add_env_cleanup_hook(number, |number| {
        // From here on no store can be added for this environment.
        if let Some(place) = environments().get_mut(number as usize) {
            *place = None;
        }
        let mut entries = entries();
        let own: Vec<u32> =
            entries.iter().filter(|(_, entry)| entry.env == number).map(|(handle, _)| *handle).collect();
        let own: Vec<Entry> = own.into_iter().filter_map(|handle| entries.remove(&handle)).collect();
        drop(entries);
        super::locks::release_all(number);
        for store in own.iter().filter_map(|entry| entry.store.as_ref()) {
            store.finish();
        }
    })?;
    Ok(number)
}

/// What a store calls from its threads to wake an environment.
pub fn waker(env: u32, handle: u32) -> Box<dyn Fn() + Send + Sync> {
    let wake = environments().get(env as usize).cloned().flatten();
    Box::new(move || {
        if let Some(wake) = &wake {
            // It fails where the environment is ending: nobody is left to be told.
            let _ = wake.call(handle, ThreadsafeFunctionCallMode::NonBlocking);
        }
    })
}

/// True until the environment has ended.
pub fn is_alive(env: u32) -> bool {
    environments().get(env as usize).is_some_and(Option::is_some)
}

/// Writes and syncs what the stores of an environment have queued, and gives their locks back. Blocks: for the end of
/// a process.
#[napi(catch_unwind)]
pub fn finish_all(env: u32) {
    let stores: Vec<_> = {
        let mut entries = entries();
        let own = entries.values_mut().filter(|entry| entry.env == env);
        own.filter_map(|entry| {
            entry.loading = None;
            entry.store.clone()
        })
        .collect()
    };
    for store in stores {
        store.finish();
    }
    super::locks::release_all(env);
}

/// Gives a store that is being opened a number; `None` where its environment has ended meanwhile.
pub fn add(env: u32, opening: Opening) -> Option<u32> {
    let entry =
        Entry { env, loading: Some(Loading { opening, values: Vec::new(), segments: Vec::new() }), store: None };
    let mut entries = entries();
    if has_ended(env) {
        return None;
    }
    let handle = NEXT.fetch_add(1, Ordering::Relaxed);
    entries.insert(handle, entry);
    Some(handle)
}

/// Calls `work` with the store that is being opened.
pub fn with_loading<R>(handle: u32, work: impl FnOnce(&mut Loading) -> R) -> Option<R> {
    // Taken out: `work` may read files.
    let (_, mut loading) = take_loading(handle)?;
    let result = work(&mut loading);
    if let Some(entry) = entries().get_mut(&handle) {
        entry.loading = Some(loading);
    }
    Some(result)
}

/// Takes the store that is being opened, to start it.
pub fn take_loading(handle: u32) -> Option<(u32, Loading)> {
    let mut entries = entries();
    let entry = entries.get_mut(&handle)?;
    entry.loading.take().map(|loading| (entry.env, loading))
}

/// Puts the started store under its number; if its environment has ended meanwhile it is finished at once.
pub fn put(handle: u32, store: Store) {
    let mut entries = entries();
    match entries.get_mut(&handle) {
        Some(entry) if !has_ended(entry.env) => entry.store = Some(Arc::new(store)),
        _ => {
            drop(entries);
            drop(store);
        }
    }
}

/// The store with a number.
pub fn get(handle: u32) -> Option<Arc<Store>> {
    let entries = ENTRIES.read().unwrap_or_else(PoisonError::into_inner);
    entries.get(&handle)?.store.clone()
}

/// Calls `work` with a store.
pub fn with<R>(handle: u32, work: impl FnOnce(&Store) -> R) -> Option<R> {
    get(handle).map(|store| work(&store))
}

/// Forgets a number. An open store is flushed and released.
#[napi(catch_unwind)]
pub fn release(handle: u32) {
    let entry = entries().remove(&handle);
    let Some(Entry { loading, store, .. }) = entry else { return };
    drop(loading);
    if let Some(store) = store {
        if store.phase() != Phase::Closed {
            store.finish();
        }
        // Freeing a million records takes a while: not on this thread.
        napi::bindgen_prelude::spawn_blocking(move || drop(store));
    }
}
