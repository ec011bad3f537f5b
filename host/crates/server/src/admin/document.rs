//! The documents of `/admin`.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use wharf_serving::{
    DrainStatus, Event, FileError, ModelStatus, PluginStatus, ReloadReport, SiteStatus,
};

use crate::timestamp::rfc3339;

/// What is loaded, what drains, and what went wrong.
#[derive(Serialize, ToSchema)]
#[schema(as = SiteSnapshot)]
pub(crate) struct Snapshot {
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
#[derive(Serialize, ToSchema)]
#[schema(as = ReloadReport)]
pub(crate) struct Reload {
    generation: u64,
    changed: bool,
    errors: Vec<Fault>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = LoadedPlugin)]
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

#[derive(Serialize, ToSchema)]
#[schema(as = LoadedModel)]
struct Model {
    name: String,
    version: u64,
    #[schema(value_type = Vec<String>)]
    labels: Vec<Arc<str>>,
    digest: String,
    loaded_at: String,
    device: String,
    queue_depth: u32,
    in_flight: u32,
    latency_us: u64,
    free_memory_bytes: Option<u64>,
}

#[derive(Serialize, ToSchema)]
struct Draining {
    kind: &'static str,
    subject: String,
    since: String,
    references: usize,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SiteFault)]
struct Fault {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SiteEvent)]
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
