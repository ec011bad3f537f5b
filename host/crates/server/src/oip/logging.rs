//! The log's settings, in the words of Triton: what clients may see and change of the log while the server runs.

use serde::Serialize;
use utoipa::ToSchema;
use wharf_core::{Error, ErrorKind, Result};

use crate::app::App;
use crate::json::shorten;

/// The levels that are written to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLevels {
    /// Whether information is.
    pub info: bool,
    /// Whether warnings are.
    pub warning: bool,
    /// Whether errors are.
    pub error: bool,
    /// How much more is: 1 what helps to debug, from 2 on everything.
    pub verbose: u32,
}

/// The log of the process, which the program sets up.
pub trait LogControl: Send + Sync {
    /// The levels in force.
    fn levels(&self) -> LogLevels;

    /// Puts other levels in force, for whole process and at once.
    ///
    /// # Errors
    /// Where the log cannot be changed.
    fn set_levels(&self, levels: LogLevels) -> Result<()>;

    /// How lines look, as it was configured: `text`, `json`.
    fn format(&self) -> &'static str;
}

/// The settings as clients see them.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct LogSettings {
    /// Always empty: the log goes to standard error.
    pub(crate) log_file: &'static str,
    pub(crate) log_info: bool,
    pub(crate) log_warning: bool,
    pub(crate) log_error: bool,
    pub(crate) log_verbose_level: u32,
    pub(crate) log_format: &'static str,
}

/// A setting that a client wants, as it wrote it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LogValue {
    Bool(bool),
    Number(u64),
    Text(String),
}

/// The settings in force.
///
/// # Errors
/// `Unimplemented` where the program lends the server no log.
pub(crate) fn log_settings(app: &App) -> Result<LogSettings> {
    let log = control(app)?;
    let levels = log.levels();
    Ok(LogSettings {
        log_file: "",
        log_info: levels.info,
        log_warning: levels.warning,
        log_error: levels.error,
        log_verbose_level: levels.verbose,
        log_format: log.format(),
    })
}

/// Changes settings, all of them or none, and gives those in force then.
///
/// # Errors
/// `InvalidArgument` with the setting as the field where it is unknown, has a wrong value or cannot be changed.
pub(crate) fn change_log_settings(
    app: &App,
    changes: &[(String, LogValue)],
) -> Result<LogSettings> {
    if changes.is_empty() {
        return log_settings(app);
    }
    let log = control(app)?;
    let mut levels = log.levels();
    for (name, value) in changes {
        let wrong = |message: &'static str| Error::invalid(shorten(name), message);
        match (name.as_str(), value) {
            ("log_info", LogValue::Bool(on)) => levels.info = *on,
            ("log_warning", LogValue::Bool(on)) => levels.warning = *on,
            ("log_error", LogValue::Bool(on)) => levels.error = *on,
            ("log_info" | "log_warning" | "log_error", _) => {
                return Err(wrong("is true or false"));
            }
            ("log_verbose_level", LogValue::Number(level)) => {
                levels.verbose = u32::try_from(*level).map_err(|_| wrong("is 0 to 4294967295"))?;
            }
            ("log_verbose_level", _) => return Err(wrong("is a whole number, not below 0")),
            // What is said already is no change: clients send back what they read.
            ("log_file", LogValue::Text(file)) if file.is_empty() => {}
            ("log_file", _) => {
                return Err(wrong(
                    "cannot be changed: the log goes to standard error; direct it to a file there",
                ));
            }
            ("log_format", LogValue::Text(format)) if format == log.format() => {}
            ("log_format", _) => {
                return Err(wrong(
                    "cannot be changed while the server runs; set telemetry.log_format in wharf.toml",
                ));
            }
            _ => {
                return Err(wrong(
                    "is no setting of the log; use log_info, log_warning, log_error or log_verbose_level",
                ));
            }
        }
    }
    log.set_levels(levels)?;
    log_settings(app)
}

fn control(app: &App) -> Result<&dyn LogControl> {
    app.logging.as_deref().ok_or_else(|| {
        Error::new(
            ErrorKind::Unimplemented,
            "this server's log has no settings that clients may see",
        )
    })
}
