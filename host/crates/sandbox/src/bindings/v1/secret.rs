//! The interface `secret`.

use super::generated::wharf::plugin::secret::Host;
use super::types::Error;
use crate::guest::GuestState;
use crate::recording::Unrecorded;

/// As much of a name as an error repeats, in bytes.
const NAME_BYTES: usize = 128;

impl Host for GuestState {
    fn read(&mut self, name: String) -> wasmtime::Result<Result<String, Error>> {
        self.note(Unrecorded::Secret);
        let secret = (self.plugin().abilities.secret.as_ref())
            .ok_or_else(|| wasmtime::format_err!("secret is called without its grant"))?;
        Ok(secret.read(&name).ok_or_else(|| {
            let name = &name[..name.floor_char_boundary(NAME_BYTES)];
            Error::Denied(format!(
                "the grant secret does not name {name:?}: the operator adds it to grants.secret.names of the plugin"
            ))
        }))
    }
}
