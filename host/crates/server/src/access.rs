//! Who may change the server: load and unload models, register shared memory, change the settings of log and traces.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Uri};
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
        let refusal = "this server is changed by its own machine alone: name it localhost or by a loopback address, or let \
                       all clients change it with server.management = true in wharf.toml";
        check_host(self.management, host, refusal)
    }
}

/// The same of a listener: refuses, in these words, another name than this machine's.
///
/// # Errors
/// `PermissionDenied` where the name is not this machine's, and must be.
pub(crate) fn check_host(
    management: Management,
    host: Option<&str>,
    refusal: &'static str,
) -> Result<()> {
    if management != Management::ThisMachine || host.is_some_and(is_this_machine) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::PermissionDenied, refusal).with_field("host"))
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

impl App {
    /// Refuses what a page of another site has a browser send, unless the operator names the site.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub(crate) fn check_origin(&self, headers: &HeaderMap, uri: &Uri) -> Result<()> {
        match (&self.cors, headers.get(ORIGIN)) {
            (Some(cors), Some(origin)) if cors.trusts(origin) => Ok(()),
            _ => check_origin(headers, uri),
        }
    }
}

/// Refuses what a page of another site has a browser send: where only this machine can reach the server, the browser
/// on it can.
pub(crate) fn check_origin(headers: &HeaderMap, uri: &Uri) -> Result<()> {
    let Some(origin) = headers.get(ORIGIN) else {
        return Ok(());
    };
    let site = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"));
    if site.is_some_and(|(_, site)| Some(site) == host(headers, uri)) {
        return Ok(());
    }
    let message = "pages of other sites may not change this server";
    Err(Error::new(ErrorKind::PermissionDenied, message).with_field("origin"))
}

/// The name that the client knows the server by.
pub(crate) fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    // HTTP/2 has it in the URI.
    match headers.get(HOST) {
        Some(host) => host.to_str().ok(),
        None => Some(uri.authority()?.as_str()),
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
