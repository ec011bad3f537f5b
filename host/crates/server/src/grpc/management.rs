//! Everything but inference: what the server and its models say of themselves, and what clients may change. What the calls
//! mean stands in [`crate::oip`]; here are their messages.

mod config;
mod repository;
mod settings;
mod shared_memory;

use bytes::Bytes;
use prost::Message;
use wharf_core::{Error, ErrorKind, Result};

use super::answer::Parts;
use super::method::Method;
use super::reply;
use crate::client::Asker;
use crate::inference::model_metadata_response::TensorMetadata;
use crate::inference::{
    InferBatchStatistics, InferStatistics, ModelConfigRequest, ModelConfigResponse,
    ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse,
    ModelStatistics, ModelStatisticsRequest, ModelStatisticsResponse, ServerLiveRequest,
    ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest,
    ServerReadyResponse, StatisticDuration,
};
use crate::oip::documents::{self, model_config, model_metadata, model_ready, server_metadata};
use crate::oip::resolve;
use crate::oip::statistics::{BatchDocument, Duration64, ModelDocument, statistics};

/// Answers a call.
///
/// # Errors
/// What the call is refused with.
pub(super) async fn manage(asker: Asker<'_>, method: Method, message: Bytes) -> Result<Parts> {
    let app = asker.app;
    match method {
        Method::ServerLive => {
            let ServerLiveRequest {} = read(message)?;
            reply::message(&ServerLiveResponse { live: true })
        }
        Method::ServerReady => {
            let ServerReadyRequest {} = read(message)?;
            let ready = app.serving.ready();
            reply::message(&ServerReadyResponse { ready })
        }
        Method::ModelReady => {
            let ModelReadyRequest { name, version } = read(message)?;
            // As Triton has it: what is not there is not ready. REST says it by its status.
            let ready = match model_ready(app, asker.client, &name, Some(&version)) {
                Err(error) if error.kind() == ErrorKind::NotFound => false,
                ready => ready?,
            };
            reply::message(&ModelReadyResponse { ready })
        }
        Method::ServerMetadata => {
            let ServerMetadataRequest {} = read(message)?;
            let metadata = server_metadata(app);
            reply::message(&ServerMetadataResponse {
                name: metadata.name.to_owned(),
                version: metadata.version.to_owned(),
                extensions: metadata
                    .extensions
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
            })
        }
        Method::ModelMetadata => {
            let ModelMetadataRequest { name, version } = read(message)?;
            let resolved = resolve(app, asker.client, &name, Some(&version))?;
            reply::message(&metadata(model_metadata(&resolved.route)))
        }
        Method::ModelConfig => {
            let ModelConfigRequest { name, version } = read(message)?;
            let resolved = resolve(app, asker.client, &name, Some(&version))?;
            let config = config::message(model_config(&resolved.route));
            reply::message(&ModelConfigResponse {
                config: Some(config),
            })
        }
        Method::ModelStatistics => {
            let ModelStatisticsRequest { name, version } = read(message)?;
            let name = Some(&*name).filter(|name| !name.is_empty());
            let statistics = statistics(app, asker.client, name, Some(&version))?;
            let models = statistics.model_stats.into_iter();
            reply::message(&ModelStatisticsResponse {
                model_stats: models.map(model_statistics).collect(),
            })
        }
        Method::RepositoryIndex | Method::RepositoryModelLoad | Method::RepositoryModelUnload => {
            repository::manage(asker, method, message).await
        }
        Method::TraceSetting | Method::LogSettings => settings::manage(asker, method, message),
        _ => shared_memory::manage(asker, method, message),
    }
}

/// Reads a message.
///
/// # Errors
/// `InvalidArgument` where it is none of its kind.
fn read<M: Message + Default>(message: Bytes) -> Result<M> {
    M::decode(message).map_err(|error| {
        let message = "is not the message of this call in the encoding of protobuf";
        Error::invalid("request", message).with_source(error)
    })
}

fn metadata(metadata: documents::ModelMetadata) -> ModelMetadataResponse {
    let tensors = |tensors: Vec<documents::TensorMetadata>| {
        let tensors = tensors.into_iter().map(|tensor| TensorMetadata {
            name: tensor.name,
            datatype: tensor.datatype.to_owned(),
            shape: tensor.shape,
        });
        tensors.collect()
    };
    ModelMetadataResponse {
        name: metadata.name,
        versions: metadata.versions,
        platform: metadata.platform.to_owned(),
        inputs: tensors(metadata.inputs),
        outputs: tensors(metadata.outputs),
    }
}

fn model_statistics(model: ModelDocument) -> ModelStatistics {
    let stats = model.inference_stats;
    ModelStatistics {
        name: model.name,
        version: model.version,
        last_inference: model.last_inference,
        inference_count: model.inference_count,
        execution_count: model.execution_count,
        inference_stats: Some(InferStatistics {
            success: duration(stats.success),
            fail: duration(stats.fail),
            queue: duration(stats.queue),
            compute_input: duration(stats.compute_input),
            compute_infer: duration(stats.compute_infer),
            compute_output: duration(stats.compute_output),
            cache_hit: duration(stats.cache_hit),
            cache_miss: duration(stats.cache_miss),
        }),
        batch_stats: model
            .batch_stats
            .into_iter()
            .map(|stats| batch(&stats))
            .collect(),
        ..ModelStatistics::default()
    }
}

fn batch(batch: &BatchDocument) -> InferBatchStatistics {
    InferBatchStatistics {
        batch_size: batch.batch_size,
        compute_input: duration(batch.compute_input),
        compute_infer: duration(batch.compute_infer),
        compute_output: duration(batch.compute_output),
    }
}

/// Always there, also where it is 0: clients read it without asking.
fn duration(duration: Duration64) -> Option<StatisticDuration> {
    Some(StatisticDuration {
        count: duration.count,
        ns: duration.ns,
    })
}
