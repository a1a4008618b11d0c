//! Reverse patches: what takes the new record back to the old one, by a model that decodes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opslog_native::format::{delta, json};
use opslog_native_fuzz::bounded;
use serde_json::{Map, Value};

/// The members of an object or array, if no name stands twice and serde_json can decode it.
fn members(text: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(text).ok()? {
        Value::Object(members) => {
            // an escaped name is another text for the same member: nobody writes such, JSON.stringify does not
            let unescaped = !text.contains(&b'\\');
            (unescaped && json::members(text)?.len() == members.len()).then_some(members)
        }
        Value::Array(values) => Some(values.into_iter().enumerate().map(|(i, value)| (i.to_string(), value)).collect()),
        _ => None,
    }
}

fuzz_target!(|input: &[u8]| bounded(input, || check(input)));

fn check(input: &[u8]) {
    // two texts: before and after the first NUL, which is no part of any JSON text
    let Some(at) = input.iter().position(|byte| *byte == 0) else { return };
    let (old, new) = (&input[..at], &input[at + 1..]);
    let patch = delta::create(old, new);
    let smaller = delta::create_if_smaller(old, new);
    assert!(smaller.is_none() || smaller == patch);
    if !json::is_valid(old) || !json::is_valid(new) {
        return;
    }
    let Some(patch) = patch else {
        if let (Some(old), Some(new)) = (members(old), members(new)) {
            assert_eq!(old, new, "no patch, and a difference");
        }
        return;
    };
    assert!(json::is_valid(&patch), "a patch is JSON");
    assert!(
        patch.len() <= 8 * (old.len() + new.len()) + 64,
        "{} bytes from {} and {}",
        patch.len(),
        old.len(),
        new.len()
    );
    let (Some(old), Some(new)) = (members(old), members(new)) else { return };
    let Ok(Value::Object(patch)) = serde_json::from_slice(&patch) else { return };
    let mut taken_back = new;
    for name in patch.get("$unset").and_then(Value::as_array).into_iter().flatten() {
        taken_back.remove(name.as_str().expect("names are strings"));
    }
    for (name, value) in patch.get("$set").and_then(Value::as_object).into_iter().flatten() {
        taken_back.insert(name.clone(), value.clone());
    }
    // as sets of members: the order is not a patch's to say
    assert!(taken_back.len() == old.len() && old.iter().all(|(name, value)| taken_back.get(name) == Some(value)));
}
