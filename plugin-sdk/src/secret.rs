//! Secrets that the operator keeps for the plugin, such as keys of other services.
//!
//! Needs the grant `secret`, which names them: `[grants.secret]` with `names` in the plugin's file in the site. Read a secret where it is
//! used, rather than once: the operator may give it a new value while the plugin runs.
//!
//! ```
//! use wharf_plugin_sdk::{Error, Result, secret};
//!
//! fn authorization() -> Result<String> {
//!     Ok(format!("Bearer {}", secret::read("billing")?))
//! }
//!
//! // In place of the operator, in a native test.
//! wharf_plugin_sdk::testing::set_secret("billing", "s3cret");
//! assert_eq!(authorization()?, "Bearer s3cret");
//! # Ok::<(), Error>(())
//! ```
//!
//! The host takes what it gave out of the plugin's log lines, output, errors and traps, as far as it stands there as it is. A
//! payload it leaves alone: take care what you answer with.

use crate::Result;

/// Reads a secret.
///
/// # Errors
/// `denied` where the grant does not name it.
pub fn read(name: &str) -> Result<String> {
    #[cfg(target_arch = "wasm32")]
    return crate::bindings::imports::secret::read(name);
    #[cfg(not(target_arch = "wasm32"))]
    memory::read(name)
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod memory {
    use std::cell::RefCell;
    use std::collections::HashMap;

    use crate::{Error, Result};

    thread_local! {
        static SECRETS: RefCell<HashMap<String, String>> = RefCell::default();
    }

    /// Grants a secret to the plugin that is tested on this thread, or gives it a new value.
    pub fn set_secret(name: &str, value: &str) {
        SECRETS.with_borrow_mut(|secrets| secrets.insert(name.to_owned(), value.to_owned()));
    }

    pub(crate) fn read(name: &str) -> Result<String> {
        let found = SECRETS.with_borrow(|secrets| secrets.get(name).cloned());
        found.ok_or_else(|| {
            Error::denied(format!(
                "the plugin's grant does not name the secret {name:?}; a test grants it by testing::set_secret"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::testing::set_secret;

    #[test]
    fn a_secret_is_the_one_last_set() {
        assert!(matches!(read("key"), Err(Error::Denied(_))));
        set_secret("key", "first");
        set_secret("key", "second");
        assert_eq!(read("key").as_deref(), Ok("second"));
    }
}
