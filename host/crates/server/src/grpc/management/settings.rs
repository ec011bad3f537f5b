//! The settings of traces and of the log as messages.

use bytes::Bytes;
use wharf_core::{Error, Result};

use super::read;
use crate::client::{Asker, reads_or_writes};
use crate::grpc::answer::Parts;
use crate::grpc::method::Method;
use crate::grpc::reply;
use crate::inference::log_settings_request::setting_value::ParameterChoice as Asked;
use crate::inference::log_settings_response::setting_value::ParameterChoice as Told;
use crate::inference::{
    LogSettingsRequest, LogSettingsResponse, TraceSettingRequest, TraceSettingResponse,
    log_settings_request, log_settings_response, trace_setting_response,
};
use crate::json::shorten;
use crate::oip::logging::{LogSettings, LogValue, change_log_settings};
use crate::oip::tracing::{TraceChange, change_trace_settings};

/// Answers a call about settings.
///
/// # Errors
/// What the call is refused with.
pub(super) fn manage(asker: Asker<'_>, method: Method, message: Bytes) -> Result<Parts> {
    let app = asker.app;
    match method {
        Method::TraceSetting => {
            let request: TraceSettingRequest = read(message)?;
            let model = Some(&*request.model_name).filter(|name| !name.is_empty());
            let changes = request.settings.into_iter().map(|(name, setting)| {
                // Without a value it goes back to its default.
                let values = Some(setting.value).filter(|values| !values.is_empty());
                (name, values)
            });
            let changes: Vec<TraceChange> = changes.collect();
            asker.may(reads_or_writes(&changes), None)?;
            let settings = change_trace_settings(app, asker.client, model, &changes)?.into_iter();
            let settings = settings.map(|(name, value)| {
                let value = trace_setting_response::SettingValue { value };
                (name.to_owned(), value)
            });
            reply::message(&TraceSettingResponse {
                settings: settings.collect(),
            })
        }
        _ => {
            let request: LogSettingsRequest = read(message)?;
            let changes = request.settings.into_iter().map(log_change);
            let changes: Vec<_> = changes.collect::<Result<_>>()?;
            asker.may(reads_or_writes(&changes), None)?;
            reply::message(&log_settings(&change_log_settings(app, &changes)?))
        }
    }
}

fn log_change(
    (name, setting): (String, log_settings_request::SettingValue),
) -> Result<(String, LogValue)> {
    let value = match setting.parameter_choice {
        Some(Asked::BoolParam(on)) => LogValue::Bool(on),
        Some(Asked::Uint32Param(number)) => LogValue::Number(number.into()),
        Some(Asked::StringParam(text)) => LogValue::Text(text),
        None => return Err(Error::invalid(shorten(&name), "has no value")),
    };
    Ok((name, value))
}

fn log_settings(settings: &LogSettings) -> LogSettingsResponse {
    let text = |text: &str| Told::StringParam(text.to_owned());
    let settings = [
        ("log_file", text(settings.log_file)),
        ("log_info", Told::BoolParam(settings.log_info)),
        ("log_warning", Told::BoolParam(settings.log_warning)),
        ("log_error", Told::BoolParam(settings.log_error)),
        (
            "log_verbose_level",
            Told::Uint32Param(settings.log_verbose_level),
        ),
        ("log_format", text(settings.log_format)),
    ];
    let settings = settings.into_iter().map(|(name, value)| {
        let value = log_settings_response::SettingValue {
            parameter_choice: Some(value),
        };
        (name.to_owned(), value)
    });
    LogSettingsResponse {
        settings: settings.collect(),
    }
}
