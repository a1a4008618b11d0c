//! Sets as the JavaScript side makes them.

use opslog_native::store::{Accepted, Store};
use opslog_native::{Result, clock};

/// Makes a set: without a call of the engine where there may be one.
pub fn set(store: &Store, id: &str, data: &str) -> Result<Accepted> {
    let Some(intake) = store.intake().filter(|intake| intake.put(clock::now_ms(), id, data)) else {
        return store.set(id.as_bytes(), data.as_bytes());
    };
    if !intake.is_watched() {
        store.take_in();
    }
    Ok(Accepted::Done)
}
