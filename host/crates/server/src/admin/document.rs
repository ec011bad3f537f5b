//! The documents of `/admin`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use wharf_serving::{
    DrainStatus, Event, FileError, ModelStatus, PluginStatus, ReloadReport, SiteStatus,
};

/// What is loaded, what drains, and what went wrong.
#[derive(Serialize)]
pub(super) struct Snapshot {
    generation: u64,
    loaded: bool,
    ready: bool,
    plugins: Vec<Plugin>,
    models: Vec<Model>,
    draining: Vec<Draining>,
    errors: Vec<Fault>,
    /// The newest, oldest first.
    events: Vec<Happening>,
}

/// What a reload came to.
#[derive(Serialize)]
pub(super) struct Reload {
    generation: u64,
    changed: bool,
    errors: Vec<Fault>,
}

#[derive(Serialize)]
struct Plugin {
    name: String,
    digest: String,
    loaded_at: String,
    previous_digest: Option<String>,
    /// A release that was rolled back, and is not loaded again until its content changes.
    rejected_digest: Option<String>,
    calls: u64,
    faults: u64,
    consecutive_faults: u64,
}

#[derive(Serialize)]
struct Model {
    name: String,
    version: u64,
    labels: Vec<Arc<str>>,
    digest: String,
    loaded_at: String,
    device: String,
    queue_depth: u32,
    in_flight: u32,
    latency_us: u64,
    free_memory_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Draining {
    kind: &'static str,
    subject: String,
    since: String,
    references: usize,
}

#[derive(Serialize)]
struct Fault {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
}

#[derive(Serialize)]
struct Happening {
    at: String,
    kind: &'static str,
    file: String,
    message: String,
}

impl Snapshot {
    pub(super) fn of(status: SiteStatus) -> Self {
        Self {
            generation: status.generation,
            loaded: status.loaded,
            ready: status.ready,
            plugins: status.plugins.iter().map(Plugin::of).collect(),
            models: status.models.into_iter().map(Model::of).collect(),
            draining: status.draining.into_iter().map(Draining::of).collect(),
            errors: status.errors.into_iter().map(Fault::of).collect(),
            events: status.events.into_iter().map(Happening::of).collect(),
        }
    }
}

impl Reload {
    pub(super) fn of(report: ReloadReport) -> Self {
        let fault = |error: std::sync::Arc<wharf_core::LoadError>| Fault {
            file: error.file.clone(),
            key: error.key.clone(),
            message: error.message.clone(),
            since: None,
        };
        Self {
            generation: report.generation,
            changed: report.changed,
            errors: report.errors.into_iter().map(fault).collect(),
        }
    }
}

impl Plugin {
    fn of(status: &PluginStatus) -> Self {
        Self {
            name: status.name.to_string(),
            digest: digest(status.digest),
            loaded_at: rfc3339(status.loaded_at),
            previous_digest: status.previous.map(digest),
            rejected_digest: status.rejected.map(digest),
            calls: status.health.calls,
            faults: status.health.faults,
            consecutive_faults: status.health.consecutive_faults,
        }
    }
}

impl Model {
    fn of(status: ModelStatus) -> Self {
        Self {
            name: status.name.to_string(),
            version: status.version,
            labels: status.labels,
            digest: digest(status.digest),
            loaded_at: rfc3339(status.loaded_at),
            device: status.device,
            queue_depth: status.load.queue_depth,
            in_flight: status.load.in_flight,
            latency_us: u64::try_from(status.load.latency.as_micros()).unwrap_or(u64::MAX),
            free_memory_bytes: status.load.free_memory,
        }
    }
}

impl Draining {
    fn of(status: DrainStatus) -> Self {
        Self {
            kind: status.kind,
            subject: status.subject,
            since: rfc3339(status.since),
            references: status.references,
        }
    }
}

impl Fault {
    fn of(error: FileError) -> Self {
        Self {
            file: error.file,
            key: error.key,
            message: error.message,
            since: Some(rfc3339(error.since)),
        }
    }
}

impl Happening {
    fn of(event: Event) -> Self {
        Self {
            at: rfc3339(event.at),
            kind: event.kind.name(),
            file: event.file,
            message: event.message,
        }
    }
}

pub(super) fn digest(digest: wharf_core::Digest) -> String {
    format!("sha256:{digest}")
}

/// Writes a time as RFC 3339 has it, in UTC, with milliseconds.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let (second, milli) = (second % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// The date of a day counted from 1970-01-01, in the Gregorian calendar. Years are counted from March here, so that the
/// leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    let days = days + 719_468;
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_dates() {
        let at = |seconds: u64| rfc3339(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59.000Z");
        assert_eq!(at(1_767_225_599), "2025-12-31T23:59:59.000Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.000Z");
    }
}
