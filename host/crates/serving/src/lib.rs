//! Serves a site: its routes, the way of a request through plugins and models, and the reload of all of them while
//! requests run.
//!
//! What is in force is one immutable [`Snapshot`] behind an `ArcSwap`. A request takes an `Arc` of it at its start and keeps
//! it to its end. Everything that changes the snapshot happens off the request path, in one task. This crate knows no
//! network and no status code, and loads nothing itself: it drives the `Engine` and `PluginHost` ports of core.

mod serving;

mod config;
mod snapshot;

mod route;

mod admission;
mod bodies;
mod breaker;
mod filters;
mod guarded;
mod pipeline;

mod calls;
mod mirrors;

mod site;

mod bundle;
mod in_force;
mod reconcile;
mod state;

mod check;
mod events;
mod lifecycle;
mod metrics;
mod reaper;
mod registry;
mod rollback;
mod status;
mod upstreams;
mod watcher;

pub use bundle::{BundleStatus, ReleaseCounts, ReleaseName, ReleaseState, ReleaseStatus};
pub use check::{check, inspect};
pub use config::{Config, ModelControl};
pub use events::{Event, EventKind, FileError};
pub use filters::FilterChain;
pub use lifecycle::{
    Author, BatchStatistics, FileContent, IF_MATCH, IF_NONE_MATCH, IndexEntry, ModelChange,
    ModelCheck, ModelFile, ModelState, ModelStatistics, PartContent, Precondition, Progress,
    Promotion, SettingEdit, SettingValue, SiteChange, SitePart, Tally, no_such_model,
};
pub use pipeline::Outcome;
pub use registry::{ModelDocument, ModelRecord, Registration, read_entries, tenants_of};
pub use route::{CandidateSpec, OnFailure, Route, RouteInput, RouteOutput, RouteSpec, StageSpec};
pub use serving::{Runtimes, Serving};
pub use snapshot::{Asked, Missing, Snapshot};
pub use status::{DrainStatus, ModelStatus, PluginStatus, ReloadReport, SiteStatus};
