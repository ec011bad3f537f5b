//! Who may change the server: load and unload models, register shared memory, change the settings of log and traces.

use std::net::IpAddr;

use http::uri::Authority;
use wharf_core::{Error, ErrorKind, Result};

use crate::app::App;

/// Who may change the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Management {
    Nobody,
    /// Whoever is on this machine, which alone can reach the listener.
    ThisMachine,
    Everybody,
    /// Whoever has the scope for it.
    ByScope,
}

impl App {
    /// Refuses what only those may do who run the server.
    ///
    /// # Errors
    /// `PermissionDenied` where clients of this listener may not.
    pub(crate) fn check_management(&self) -> Result<()> {
        if self.management != Management::Nobody {
            return Ok(());
        }
        let message =
            "clients may not change this server; server.management = true in wharf.toml lets them";
        Err(Error::new(ErrorKind::PermissionDenied, message))
    }

    /// Refuses changes that are sent to another name than this machine's. Where only this machine can reach the server, a
    /// browser on it can: a page whose name its owner lets lead here (DNS rebinding) is of the same origin as the server.
    ///
    /// # Errors
    /// As [`App::check_management`].
    pub(crate) fn check_host(&self, host: Option<&str>) -> Result<()> {
        let otherwise = "let all clients change it with server.management = true in wharf.toml";
        check_host(self.management, host, otherwise)
    }
}

/// The same for who may change the server by a listener; `otherwise` says how it could be.
///
/// # Errors
/// `PermissionDenied` where the name is not this machine's, and must be.
pub(crate) fn check_host(
    management: Management,
    host: Option<&str>,
    otherwise: &str,
) -> Result<()> {
    if management != Management::ThisMachine || host.is_some_and(is_this_machine) {
        return Ok(());
    }
    let message = format!(
        "this server is changed by its own machine alone: name it localhost or by a loopback address, or {otherwise}"
    );
    Err(Error::new(ErrorKind::PermissionDenied, message).with_field("host"))
}

/// Whether a name, with a port or without, can lead to no other machine. Browsers ask nobody where `localhost` is.
fn is_this_machine(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else {
        return false;
    };
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_has_these_names() {
        for name in [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1",
            "127.1.2.3:80",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_this_machine(name), "{name}");
        }
        for name in [
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[::2]:80",
            "0.0.0.0",
            "localhost, evil.example",
        ] {
            assert!(!is_this_machine(name), "{name}");
        }
    }
}
