//! What becomes of a call that did not end well: a guest's own error and a fault of the guest are different things.

use std::time::Instant;

use wasmtime::component::ResourceTableError;
use wharf_core::{Error, ErrorKind};

use crate::bindings::v1::types;
use crate::clock::DeadlinePassed;
use crate::guest::PluginFacts;
use crate::limits::{LimitBroken, Limits};

/// The longest text of a guest that a client gets, in bytes.
const MESSAGE_BYTES: usize = 4096;

/// Why a guest did not come to an end of its own.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It ran into a limit. The text of the error has the symbolised backtrace, as that of a trap.
    Limit(LimitBroken, wasmtime::Error),
    /// The request's deadline passed: no fault of the plugin.
    Deadline,
    /// It trapped, or broke the canonical ABI. The text has the symbolised backtrace.
    Trap(wasmtime::Error),
}

impl Fault {
    /// Sorts what wasmtime gives.
    pub(crate) fn of(error: wasmtime::Error, limits: &Limits) -> Self {
        if error.downcast_ref::<DeadlinePassed>().is_some() {
            return Self::Deadline;
        }
        match limit_of(&error, limits) {
            Some(limit) => Self::Limit(limit, error),
            None => Self::Trap(error),
        }
    }

    /// What the client gets: nothing of the guest, and no name.
    pub(crate) fn for_client(&self) -> Error {
        match self {
            Self::Deadline => Error::new(
                ErrorKind::Deadline,
                "the request's deadline passed; allow more time, or ask for less",
            ),
            Self::Limit(..) | Self::Trap(_) => Error::new(
                ErrorKind::PluginFault,
                "a plugin of this route failed; the server's log has the details under the request id",
            ),
        }
    }

    /// Writes the fault to the log, with all that an author needs to find it. A client may provoke faults as often as it
    /// likes, so they have a rate, as the guest's own lines do.
    pub(crate) fn log(&self, place: &Place<'_>, output: &str) {
        let Place {
            plugin: facts,
            during,
            request_id,
        } = place;
        let (plugin, digest) = (&facts.name, &facts.digest);
        if let Self::Deadline = self {
            tracing::debug!(%plugin, %digest, during, request_id, "plugin call ended by the request's deadline");
            return;
        }
        let Some(dropped) = facts.faults.admit(Instant::now()) else {
            facts.metrics.line_dropped();
            return;
        };
        if dropped > 0 {
            tracing::warn!(
                %plugin, %digest, dropped,
                setting = "limits.fault_lines_per_second", value = facts.limits.fault_lines_per_second,
                "plugin failed more often than is logged"
            );
        }
        let shown = |error| {
            let error = format!("{error:?}");
            facts.abilities.hide(&error, usize::MAX).into_owned()
        };
        match self {
            Self::Deadline => {}
            Self::Limit(limit, error) => tracing::error!(
                %plugin, %digest, during, request_id,
                setting = limit.setting, value = limit.value, reason = %limit, error = shown(error), output,
                "plugin ran into a limit"
            ),
            Self::Trap(error) => tracing::error!(
                %plugin, %digest, during, request_id, error = shown(error), output, "plugin trapped"
            ),
        }
    }
}

/// The limit that an error speaks of; none where the guest trapped.
fn limit_of(error: &wasmtime::Error, limits: &Limits) -> Option<LimitBroken> {
    if let Some(limit) = error.downcast_ref::<LimitBroken>() {
        return Some(limit.clone());
    }
    let of_wasmtime = |what, setting, value| {
        Some(LimitBroken {
            what,
            setting,
            value,
        })
    };
    if let Some(ResourceTableError::Full) = error.downcast_ref::<ResourceTableError>() {
        return Some(LimitBroken::handles(limits.handles));
    }
    let text = format!("{error:#}");
    // wasmtime has no types for its own limits.
    if text.contains("fuel allocated for hostcalls") {
        of_wasmtime(
            "a host call was given too much data",
            "host_call_mb",
            limits.host_call_mb,
        )
    } else if text.contains("resource limit exceeded: instance count too high") {
        of_wasmtime(
            "the component has too many core modules",
            "core_instances",
            limits.core_instances,
        )
    } else if text.contains("resource limit exceeded: memory count too high") {
        of_wasmtime(
            "the component has too many memories",
            "memories",
            limits.memories,
        )
    } else if text.contains("resource limit exceeded: table count too high") {
        of_wasmtime("the component has too many tables", "tables", limits.tables)
    } else if text.contains("store handle limit exceeded") {
        Some(LimitBroken::handles(limits.handles))
    } else {
        None
    }
}

/// Where a fault happened.
pub(crate) struct Place<'a> {
    pub(crate) plugin: &'a PluginFacts,
    /// The stage, or `load`.
    pub(crate) during: &'static str,
    pub(crate) request_id: &'a str,
}

/// Makes a guest's own error the request's, marked as such: cut to a bearable length, and without secrets.
pub(crate) fn refusal(error: types::Error, plugin: &PluginFacts) -> Error {
    let (kind, message, field) = match error {
        types::Error::InvalidInput(input) => {
            (ErrorKind::InvalidArgument, input.message, input.field)
        }
        types::Error::NotFound(message) => (ErrorKind::NotFound, message, None),
        types::Error::Unavailable(message) => (ErrorKind::Unavailable, message, None),
        types::Error::Denied(message) => (ErrorKind::PermissionDenied, message, None),
        types::Error::Failed(message) => (ErrorKind::PluginFault, message, None),
    };
    let shown = |text: String| plugin.abilities.hide(&text, MESSAGE_BYTES).into_owned();
    let refusal = Error::new(kind, shown(message)).said_by_guest();
    match field {
        Some(field) => refusal.with_field(shown(field)),
        None => refusal,
    }
}

/// Cuts a guest's text to a bearable length, at a character's edge.
pub(crate) fn shortened(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES {
        let mut end = MESSAGE_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}
