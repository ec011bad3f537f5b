//! Small values that outlive a request: counters, sticky choices, what is worth remembering.
//!
//! Needs the grant `state` in `[grants]` of the plugin's file in the site. Each tenant has values of its own unless the grant says
//! otherwise. They outlive instances and reloads of the plugin, and end with the host. Every call is one step: no other
//! request comes between. Where the grant leaves no room for a value, a write is refused as unavailable.
//!
//! ```
//! use std::time::Duration;
//! use wharf_plugin_sdk::{Error, Result, state};
//!
//! /// At most ten requests of a user in a minute.
//! fn admit(user: &str) -> Result<()> {
//!     let minute = Duration::from_secs(60);
//!     let requests = state::increment(&format!("requests/{user}"), 1, Some(minute))?;
//!     if requests > 10 {
//!         return Err(Error::unavailable("too many requests; try again in a minute"));
//!     }
//!     Ok(())
//! }
//!
//! for _ in 0..10 {
//!     admit("ada")?;
//! }
//! assert!(admit("ada").is_err());
//! admit("grace")?;
//!
//! // A native test says how time passes.
//! wharf_plugin_sdk::testing::pass_time(Duration::from_secs(60));
//! admit("ada")?;
//! # Ok::<(), Error>(())
//! ```

#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod memory;

use std::time::Duration;

#[cfg(target_arch = "wasm32")]
use crate::bindings::imports::state as raw;
#[cfg(not(target_arch = "wasm32"))]
use memory as raw;

use crate::Result;

/// A value, and the version that the host gave it when it was written. Versions of a key only grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Vec<u8>,
    /// Its version; never 0.
    pub version: u64,
}

/// What a compare-and-swap came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// The value was written; its version.
    Done(u64),
    /// Another value is there; `None` where there is no value.
    Differs(Option<Entry>),
}

/// Reads a value; `None` where there is none, or its time is over.
pub fn get(key: &str) -> Result<Option<Entry>> {
    Ok(raw::get(key)?.map(entry))
}

/// Writes a value, for some time or for good. Gives its version.
///
/// # Errors
/// `unavailable` where the grant leaves no room for it; `invalid-input` where the key is longer than the grant allows.
pub fn set(key: &str, value: impl AsRef<[u8]>, expires: Option<Duration>) -> Result<u64> {
    raw::set(key, value.as_ref(), millis(expires))
}

/// Writes a value if the one there has this version; 0 stands for no value.
///
/// # Errors
/// As [`set`].
pub fn compare_and_swap(
    key: &str,
    version: u64,
    value: impl AsRef<[u8]>,
    expires: Option<Duration>,
) -> Result<Swapped> {
    let swapped = raw::compare_and_swap(key, version, value.as_ref(), millis(expires))?;
    Ok(match swapped {
        raw::Swapped::Done(version) => Swapped::Done(version),
        raw::Swapped::Differs(there) => Swapped::Differs(there.map(entry)),
    })
}

/// Changes a value in one step, whoever else writes it meanwhile. Gives what was written.
///
/// `change` gets the value that is there, and is called again where another request was faster.
///
/// ```
/// use wharf_plugin_sdk::{Error, state};
///
/// let longest = |word: &str| {
///     state::update("longest", None, |there| {
///         let there = std::str::from_utf8(there.unwrap_or_default())?;
///         Ok(if word.len() > there.len() { word } else { there }.into())
///     })
/// };
/// longest("pier")?;
/// assert_eq!(longest("dock")?, b"pier");
/// assert_eq!(longest("wharf")?, b"wharf");
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// As [`set`], and what `change` refuses with.
pub fn update(
    key: &str,
    expires: Option<Duration>,
    mut change: impl FnMut(Option<&[u8]>) -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    let mut there = get(key)?;
    loop {
        let version = there.as_ref().map_or(0, |entry| entry.version);
        let value = change(there.as_ref().map(|entry| &entry.value[..]))?;
        match compare_and_swap(key, version, &value, expires)? {
            Swapped::Done(_) => return Ok(value),
            Swapped::Differs(other) => there = other,
        }
    }
}

/// Adds to a decimal number, from 0 where there is none, in one step. `expires` counts from the first addition.
///
/// # Errors
/// As [`set`]; `invalid-input` where the value is no number, or would overflow.
pub fn increment(key: &str, by: i64, expires: Option<Duration>) -> Result<i64> {
    raw::increment(key, by, millis(expires))
}

/// Removes a value; says whether there was one.
pub fn delete(key: &str) -> Result<bool> {
    raw::delete(key)
}

/// The keys that begin with a prefix, in order, at most so many.
pub fn keys(prefix: &str, limit: u32) -> Result<Vec<String>> {
    raw::keys(prefix, limit)
}

fn entry(entry: raw::Entry) -> Entry {
    Entry {
        value: entry.value,
        version: entry.version,
    }
}

/// Part of a millisecond counts as a whole one: a value never ends too early.
fn millis(time: Option<Duration>) -> Option<u64> {
    time.map(|time| u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}
