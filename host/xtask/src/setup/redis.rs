//! Redis, in which quotas are counted that several processes share. The tests start servers of their own.

use std::process::Command;

use anyhow::{Result, bail};
use wharf_toolchain::answer_of;

use super::toolchain::install_debian_packages;
use crate::workspace::say;

/// The programs that are such a server, the usual one first.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];
/// Debian starts it as a service as well, where a machine runs services. No test uses that one.
const DEBIAN_PACKAGE: &str = "redis-server";

/// The name of the program, which is installed first where it is missing.
///
/// # Errors
/// Where there is none and none can be installed; the text says what to do.
pub(crate) fn server() -> Result<&'static str> {
    if let Some(found) = find() {
        return Ok(found);
    }
    if let Err(error) = install_debian_packages(&[DEBIAN_PACKAGE]) {
        say("redis", &format!("{error:#}"));
    }
    match find() {
        Some(found) => Ok(found),
        None => bail!(
            "there is no Redis for the tests of quotas: install `{DEBIAN_PACKAGE}`, so that it is on PATH"
        ),
    }
}

fn find() -> Option<&'static str> {
    PROGRAMS
        .into_iter()
        .find(|program| answer_of(Command::new(program).arg("--version")).is_some())
}
