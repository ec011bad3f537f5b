//! The interface `state`.

use std::time::Instant;

use super::generated::wharf::plugin::state::{Entry, Host, Swapped};
use super::types::{Error, InvalidInput};
use crate::abilities::state::{Found, NotCounted, State, Swap, View};
use crate::guest::GuestState;
use crate::recording::Unrecorded;

type Given<T> = wasmtime::Result<Result<T, Error>>;

impl GuestState {
    /// The state of the tenant that the guest works for; of nobody's outside of a stage call.
    fn view(&self) -> wasmtime::Result<(&State, View<'_>)> {
        self.note(Unrecorded::State);
        let state = (self.plugin().abilities.state.as_ref())
            .ok_or_else(|| wasmtime::format_err!("state is called without its grant"))?;
        Ok((state, state.view(self.tenant(), Instant::now())))
    }
}

impl Host for GuestState {
    fn get(&mut self, key: String) -> Given<Option<Entry>> {
        let (_, view) = self.view()?;
        Ok(Ok(view.get(&key).map(Entry::from)))
    }

    fn set(&mut self, key: String, value: Vec<u8>, expires_ms: Option<u64>) -> Given<u64> {
        let (state, view) = self.view()?;
        Ok(checked(state, &key).and_then(|()| {
            view.set(&key, value, expires_ms)
                .map_err(|refused| Error::Unavailable(state.explain(refused)))
        }))
    }

    fn compare_and_swap(
        &mut self,
        key: String,
        version: u64,
        value: Vec<u8>,
        expires_ms: Option<u64>,
    ) -> Given<Swapped> {
        let (state, view) = self.view()?;
        Ok(checked(state, &key).and_then(|()| {
            view.compare_and_swap(&key, version, value, expires_ms)
                .map(Swapped::from)
                .map_err(|refused| Error::Unavailable(state.explain(refused)))
        }))
    }

    fn increment(&mut self, key: String, by: i64, expires_ms: Option<u64>) -> Given<i64> {
        let (state, view) = self.view()?;
        Ok(checked(state, &key).and_then(|()| {
            view.increment(&key, by, expires_ms)
                .map_err(|refused| Error::Unavailable(state.explain(refused)))?
                .map_err(not_counted)
        }))
    }

    fn delete(&mut self, key: String) -> Given<bool> {
        let (_, view) = self.view()?;
        Ok(Ok(view.delete(&key)))
    }

    fn keys(&mut self, prefix: String, limit: u32) -> Given<Vec<String>> {
        let (_, view) = self.view()?;
        let keys = view.keys(&prefix, limit);
        Ok(Ok(keys.iter().map(|key| String::from(&**key)).collect()))
    }
}

impl From<Found> for Entry {
    fn from(found: Found) -> Self {
        Self {
            value: found.value.into(),
            version: found.version,
        }
    }
}

impl From<Swap> for Swapped {
    fn from(swap: Swap) -> Self {
        match swap {
            Swap::Done(version) => Self::Done(version),
            Swap::Differs(found) => Self::Differs(found.map(Entry::from)),
        }
    }
}

fn checked(state: &State, key: &str) -> Result<(), Error> {
    state.check_key(key).map_err(|refused| {
        invalid(format!(
            "the key has {} bytes, and {} is the most that the plugin's grant allows",
            key.len(),
            refused.most
        ))
    })
}

fn not_counted(reason: NotCounted) -> Error {
    let message = match reason {
        NotCounted::NoNumber => "the value is no decimal number of 64 bits",
        NotCounted::Overflow => "the sum would be no number of 64 bits",
    };
    invalid(message.to_owned())
}

/// Without a field: a client that gets to read it knows of no key.
fn invalid(message: String) -> Error {
    Error::InvalidInput(InvalidInput {
        field: None,
        message,
    })
}
