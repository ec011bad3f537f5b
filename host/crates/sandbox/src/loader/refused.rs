//! Why a plugin that was tried out does not serve.

use wharf_core::LoadError;

use crate::bindings::v1::types;
use crate::fault::{Fault, Place};
use crate::instance::{InstanceFactory, StartError};

/// What kept a plugin that was tried out from serving.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was refused, by itself or by the host.
    Refused(LoadError),
    /// It trapped or broke a limit.
    Faulted(LoadError),
}

impl Failure {
    pub(super) fn into_error(self) -> LoadError {
        match self {
            Self::Refused(error) | Self::Faulted(error) => error,
        }
    }
}

/// What went wrong while a plugin was tried out.
pub(super) fn start_error(
    factory: &InstanceFactory,
    file: &str,
    during: &'static str,
    error: StartError,
) -> Failure {
    let plugin = &factory.plugin;
    let hidden = |text: String| plugin.abilities.hide(&text, usize::MAX).into_owned();
    match error {
        StartError::Refused(types::Error::InvalidInput(input)) if during == "init" => {
            let message = hidden(input.message);
            let error = LoadError::new(format!("plugins/{}.toml", plugin.name), message);
            Failure::Refused(match input.field {
                Some(field) => error.with_key(format!("settings.{field}")),
                None => error.with_key("settings"),
            })
        }
        StartError::Refused(error) => {
            let error = crate::fault::refusal(error, plugin);
            let message = format!("the plugin's {during} refused: {error}");
            Failure::Refused(LoadError::new(file, message))
        }
        StartError::Fault(error, output) => {
            let fault = Fault::of(error, &plugin.limits);
            fault.log(
                &Place {
                    plugin,
                    during,
                    request_id: "",
                },
                &output,
            );
            let message = match &fault {
                Fault::Limit(limit, _) => format!("the plugin's {during} failed: {limit}"),
                Fault::Deadline => format!("the plugin's {during} took too long"),
                Fault::Trap(error) => {
                    let cause = hidden(error.root_cause().to_string());
                    format!("the plugin's {during} trapped: {cause}")
                }
            };
            let failed = LoadError::new(file, message);
            Failure::Faulted(match fault {
                Fault::Trap(error) => failed.with_source(Cause(hidden(format!("{error:#}")))),
                _ => failed,
            })
        }
    }
}

/// wasmtime's error as a standard one.
#[derive(Debug)]
pub(super) struct Cause(pub(super) String);

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}
