//! Lines in the host's log. The host adds the plugin, its digest and the request id, and drops lines beyond its limit.
//!
//! ```
//! use wharf_plugin_sdk::log;
//!
//! log::warn("picture is larger than the model's input", &[("width", &640), ("height", &480)]);
//! ```

use std::fmt::Display;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For the author, while writing the plugin.
    Debug,
    /// Normal work that an operator may want to see.
    Info,
    /// Something that an operator should look at.
    Warn,
    /// Something failed.
    Error,
}

/// Writes a line for the author.
pub fn debug(message: &str, fields: &[(&str, &dyn Display)]) {
    write(Level::Debug, message, fields);
}

/// Writes a line about normal work.
pub fn info(message: &str, fields: &[(&str, &dyn Display)]) {
    write(Level::Info, message, fields);
}

/// Writes a line that an operator should look at.
pub fn warn(message: &str, fields: &[(&str, &dyn Display)]) {
    write(Level::Warn, message, fields);
}

/// Writes a line about something that failed.
pub fn error(message: &str, fields: &[(&str, &dyn Display)]) {
    write(Level::Error, message, fields);
}

/// Writes a line.
pub fn write(level: Level, message: &str, fields: &[(&str, &dyn Display)]) {
    let fields: Vec<(String, String)> = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.to_string()))
        .collect();
    sink(level, message, &fields);
}

#[cfg(target_arch = "wasm32")]
fn sink(level: Level, message: &str, fields: &[(String, String)]) {
    use crate::bindings::imports::log;
    let level = match level {
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    };
    log::write(level, message, fields);
}

#[cfg(not(target_arch = "wasm32"))]
fn sink(level: Level, message: &str, fields: &[(String, String)]) {
    crate::testing::record_line(level, message, fields);
}
