//! What requests to models came to, in the words of Triton: tools such as `perf_analyzer` read every counter, so all of
//! them are always there. Times are in nanoseconds, `last_inference` in milliseconds since 1970.

use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use utoipa::ToSchema;
use wharf_core::Result;
use wharf_serving::{BatchStatistics, ModelStatistics, Tally};

use super::resolve;
use crate::app::App;
use crate::client::Client;

/// The statistics of the models that were asked for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Statistics)]
pub(crate) struct StatisticsDocument {
    pub(crate) model_stats: Vec<ModelDocument>,
}

/// What the requests to one version came to, through one name.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelStatistics)]
pub(crate) struct ModelDocument {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) last_inference: u64,
    pub(crate) inference_count: u64,
    pub(crate) execution_count: u64,
    pub(crate) inference_stats: InferenceDocument,
    pub(crate) batch_stats: Vec<BatchDocument>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InferenceStatistics)]
pub(crate) struct InferenceDocument {
    pub(crate) success: Duration64,
    pub(crate) fail: Duration64,
    pub(crate) queue: Duration64,
    pub(crate) compute_input: Duration64,
    pub(crate) compute_infer: Duration64,
    pub(crate) compute_output: Duration64,
    pub(crate) cache_hit: Duration64,
    pub(crate) cache_miss: Duration64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchStatistics)]
pub(crate) struct BatchDocument {
    pub(crate) batch_size: u64,
    pub(crate) compute_input: Duration64,
    pub(crate) compute_infer: Duration64,
    pub(crate) compute_output: Duration64,
}

/// How often something was done, and how long it took together.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = StatisticDuration)]
pub(crate) struct Duration64 {
    pub(crate) count: u64,
    pub(crate) ns: u64,
}

/// The statistics of every name and version, or of those that are named.
///
/// # Errors
/// As [`resolve`], where a name is given.
pub(crate) fn statistics(
    app: &App,
    client: &Client,
    name: Option<&str>,
    version: Option<&str>,
) -> Result<StatisticsDocument> {
    let resolved = name.map(|name| resolve(app, client, name, version));
    let resolved = resolved.transpose()?;
    let snapshot = app.serving.snapshot();
    let seen = |model: &ModelStatistics| {
        let route = snapshot.route(model.name.as_str());
        resolved.is_some() || route.is_some_and(|route| client.sees_route(route))
    };
    let named = |model: &ModelStatistics| {
        resolved.as_ref().is_none_or(|resolved| {
            let route = &resolved.route;
            let any = version.is_none_or(str::is_empty);
            &model.name == route.name() && (any || route.versions().contains(&model.version))
        })
    };
    let statistics = app
        .serving
        .statistics()
        .into_iter()
        .filter(seen)
        .filter(named);
    Ok(StatisticsDocument {
        model_stats: statistics.map(ModelDocument::from).collect(),
    })
}

impl From<ModelStatistics> for ModelDocument {
    fn from(model: ModelStatistics) -> Self {
        let since = |at: std::time::SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            name: model.name.to_string(),
            version: model.version.to_string(),
            last_inference: model
                .last_inference
                .map_or(0, |at| saturate(since(at).as_millis())),
            inference_count: model.inference_count,
            execution_count: model.execution_count,
            inference_stats: InferenceDocument {
                success: model.success.into(),
                fail: model.fail.into(),
                queue: model.queue.into(),
                compute_input: model.compute_input.into(),
                compute_infer: model.compute_infer.into(),
                compute_output: model.compute_output.into(),
                cache_hit: model.cache_hit.into(),
                cache_miss: model.cache_miss.into(),
            },
            batch_stats: model.batches.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<BatchStatistics> for BatchDocument {
    fn from(batch: BatchStatistics) -> Self {
        Self {
            batch_size: batch.rows,
            compute_input: batch.compute_input.into(),
            compute_infer: batch.compute_infer.into(),
            compute_output: batch.compute_output.into(),
        }
    }
}

impl From<Tally> for Duration64 {
    fn from(tally: Tally) -> Self {
        let Tally { count, time } = tally;
        let ns = nanoseconds(time);
        Self { count, ns }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    saturate(time.as_nanos())
}

fn saturate(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use wharf_core::Name;

    use super::*;

    #[test]
    fn every_counter_is_there() {
        let tally = Tally {
            count: 2,
            time: Duration::from_micros(3),
        };
        let model = ModelStatistics {
            name: Name::new("a").unwrap(),
            version: 3,
            last_inference: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1)),
            inference_count: 5,
            execution_count: 4,
            success: tally,
            fail: Tally::default(),
            queue: tally,
            compute_input: tally,
            compute_infer: tally,
            compute_output: tally,
            cache_hit: Tally::default(),
            cache_miss: Tally::default(),
            batches: Vec::new(),
        };
        let document = serde_json::to_value(ModelDocument::from(model)).unwrap();
        assert_eq!(document["version"], "3");
        assert_eq!(document["last_inference"], 1000);
        for key in [
            "success",
            "fail",
            "queue",
            "compute_input",
            "compute_infer",
            "compute_output",
            "cache_hit",
            "cache_miss",
        ] {
            let counter = &document["inference_stats"][key];
            assert!(counter["count"].is_u64() && counter["ns"].is_u64(), "{key}");
        }
        assert_eq!(document["inference_stats"]["queue"]["ns"], 3000);
        assert_eq!(document["batch_stats"], serde_json::json!([]));
    }
}
