//! `/admin/bundles`: the releases of bundles and how they do, promotion and roll-back by order.

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use http::Uri;
use serde::Serialize;
use utoipa::ToSchema;
use wharf_core::{Error, InvalidName, Name, Result};
use wharf_serving::{BundleStatus, ReleaseCounts, ReleaseStatus, Serving};

use super::document::digest;
use crate::app::{RequestId, refuse};
use crate::timestamp::rfc3339;

#[derive(Serialize, ToSchema)]
#[schema(as = BundleList)]
pub(crate) struct Bundles {
    bundles: Vec<Bundle>,
}

#[derive(Serialize, ToSchema)]
struct Bundle {
    name: String,
    mode: &'static str,
    /// The release that `bundle.toml` names.
    pinned_release: Option<u64>,
    releases: Vec<Release>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = BundleRelease)]
struct Release {
    release: u64,
    state: &'static str,
    digest: Option<String>,
    loaded_at: Option<String>,
    share_percent: f64,
    /// The step of its trial, from 1 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<usize>,
    /// Of the present step, where a release is on trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ReleaseCounts)]
struct Counts {
    requests: u64,
    faults: u64,
    refused: u64,
    error_rate: f64,
    latency_p50_us: Option<u64>,
    latency_p95_us: Option<u64>,
}

pub(super) async fn list(State(serving): State<Serving>) -> Json<Bundles> {
    Json(Bundles::of(serving.bundles()))
}

pub(super) async fn promote(
    State(serving): State<Serving>,
    Extension(id): Extension<RequestId>,
    Path(bundle): Path<String>,
    uri: Uri,
) -> Response {
    let done = async {
        let release = wanted(uri.query())?;
        serving.promote_bundle(&name(&bundle)?, release).await
    };
    answer(&serving, &id, done.await)
}

pub(super) async fn roll_back(
    State(serving): State<Serving>,
    Extension(id): Extension<RequestId>,
    Path(bundle): Path<String>,
) -> Response {
    let done = async { serving.roll_back_bundle(&name(&bundle)?).await };
    answer(&serving, &id, done.await)
}

/// Shows what came of an order.
fn answer(serving: &Serving, id: &RequestId, done: Result<()>) -> Response {
    match done {
        Ok(()) => Json(Bundles::of(serving.bundles())).into_response(),
        Err(error) => refuse(&error.into(), id),
    }
}

fn name(bundle: &str) -> Result<Name> {
    Name::new(bundle).map_err(|InvalidName| Error::invalid("bundle", InvalidName.to_string()))
}

/// The release that a query names: `release=3`.
fn wanted(query: Option<&str>) -> Result<Option<u64>> {
    let Some(query) = query.filter(|query| !query.is_empty()) else {
        return Ok(None);
    };
    let number = query
        .strip_prefix("release=")
        .and_then(|number| number.parse().ok());
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(Error::invalid(
            "release",
            "name a release by its number: ?release=3",
        )),
    }
}

impl Bundles {
    fn of(bundles: Vec<BundleStatus>) -> Self {
        Self {
            bundles: bundles.into_iter().map(Bundle::of).collect(),
        }
    }
}

impl Bundle {
    fn of(status: BundleStatus) -> Self {
        Self {
            name: status.name.to_string(),
            mode: status.mode,
            pinned_release: status.pinned,
            releases: status.releases.into_iter().map(Release::of).collect(),
        }
    }
}

impl Release {
    fn of(status: ReleaseStatus) -> Self {
        Self {
            release: status.release,
            state: status.state.name(),
            digest: status.digest.map(digest),
            loaded_at: status.loaded_at.map(rfc3339),
            share_percent: (status.share * 1e4).round() / 1e2,
            step: status.step,
            counts: status.counts.as_ref().map(Counts::of),
            reason: status.reason,
        }
    }
}

impl Counts {
    fn of(counts: &ReleaseCounts) -> Self {
        let micros =
            |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            requests: counts.requests,
            faults: counts.faults,
            refused: counts.refused,
            error_rate: counts.error_rate,
            latency_p50_us: counts.p50.map(micros),
            latency_p95_us: counts.p95.map(micros),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_a_release_or_nothing() {
        assert_eq!(wanted(None).unwrap(), None);
        assert_eq!(wanted(Some("")).unwrap(), None);
        assert_eq!(wanted(Some("release=3")).unwrap(), Some(3));
        for query in ["release=", "release=x", "release=-1", "version=3"] {
            assert_eq!(
                wanted(Some(query)).unwrap_err().field(),
                Some("release"),
                "{query}"
            );
        }
    }
}
