//! The configuration of a model, in the words of Triton: what its clients read to know how to ask.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;
use wharf_core::{Datatype, ModelInfo, TensorSpec, VersionPolicy};
use wharf_serving::{Route, RouteInput, RouteOutput};

use super::{BODY, ROUTE_PLATFORM, dims, has_stages};

/// The configuration of a model. Its members have the names of Triton's `ModelConfig`.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ModelConfig {
    pub(crate) name: String,
    pub(crate) platform: &'static str,
    pub(crate) backend: &'static str,
    pub(crate) version_policy: VersionPolicyConfig,
    /// 0 where requests are not joined; else no tensor of this document has the dimension of the batch.
    pub(crate) max_batch_size: i32,
    pub(crate) input: Vec<InputConfig>,
    pub(crate) output: Vec<OutputConfig>,
    pub(crate) instance_group: Vec<InstanceGroup>,
    pub(crate) default_model_filename: &'static str,
    /// At most one of this and `sequence_batching` is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dynamic_batching: Option<DynamicBatching>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sequence_batching: Option<SequenceBatching>,
    pub(crate) response_cache: ResponseCache,
}

/// The rule that picks the versions that serve.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VersionPolicyConfig {
    Latest(LatestVersions),
    All(AllVersions),
    Specific(SpecificVersions),
}

/// The highest so many.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct LatestVersions {
    pub(crate) num_versions: u32,
}

/// Every version.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct AllVersions {}

/// These.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct SpecificVersions {
    pub(crate) versions: Vec<i64>,
}

#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct InputConfig {
    pub(crate) name: String,
    pub(crate) data_type: &'static str,
    pub(crate) dims: Vec<i64>,
    pub(crate) optional: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct OutputConfig {
    pub(crate) name: String,
    pub(crate) data_type: &'static str,
    pub(crate) dims: Vec<i64>,
    /// Empty where the output's elements have no names.
    pub(crate) label_filename: &'static str,
}

#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct InstanceGroup {
    /// `KIND_CPU` or `KIND_GPU`.
    pub(crate) kind: &'static str,
    /// The instances; on each of the GPUs, where there are some.
    pub(crate) count: i32,
    pub(crate) gpus: Vec<i32>,
}

#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct DynamicBatching {
    pub(crate) preferred_batch_size: Vec<i32>,
    pub(crate) max_queue_delay_microseconds: u64,
    pub(crate) preserve_ordering: bool,
    pub(crate) priority_levels: u64,
    pub(crate) default_priority_level: u64,
    pub(crate) default_queue_policy: QueuePolicy,
}

#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct QueuePolicy {
    /// `REJECT`: what waited too long is refused.
    pub(crate) timeout_action: &'static str,
    /// 0 where nothing is refused for it.
    pub(crate) default_timeout_microseconds: u64,
    pub(crate) allow_timeout_override: bool,
    /// 0 where the server's own default holds.
    pub(crate) max_queue_size: u32,
}

#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct SequenceBatching {
    pub(crate) max_sequence_idle_microseconds: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ResponseCache {
    pub(crate) enable: bool,
}

/// The configuration of a route: of its model, where it is one alone, and else of what clients see of it.
pub(crate) fn model_config(route: &Route) -> ModelConfig {
    let info = route.model_info();
    let staged = has_stages(route);
    let batched = !staged && info.max_batch_rows > 1;
    let shape = |spec: &TensorSpec| dims(&spec.shape[usize::from(batched).min(spec.shape.len())..]);
    let input = |spec: &TensorSpec| InputConfig {
        name: spec.name.to_string(),
        data_type: data_type(spec.datatype),
        dims: shape(spec),
        optional: spec.optional,
    };
    let output = |spec: &TensorSpec| OutputConfig {
        name: spec.name.to_string(),
        data_type: data_type(spec.datatype),
        dims: shape(spec),
        // Clients only look whether there is one: the file is not theirs to read, and may have another name.
        label_filename: spec.classes.as_ref().map_or("", |_| "labels.txt"),
    };
    ModelConfig {
        name: route.name().to_string(),
        platform: if staged {
            ROUTE_PLATFORM
        } else {
            info.platform
        },
        backend: if staged { "wharf" } else { backend(info) },
        version_policy: version_policy(&info.policy),
        max_batch_size: if batched {
            saturate(info.max_batch_rows)
        } else {
            0
        },
        input: match route.input() {
            RouteInput::Body => vec![input(&body())],
            RouteInput::Tensors(specs) => specs.iter().map(input).collect(),
        },
        output: match route.outputs() {
            RouteOutput::Body => vec![output(&body())],
            RouteOutput::Tensors(specs) => specs.iter().map(output).collect(),
        },
        instance_group: vec![instance_group(info)],
        default_model_filename: if staged { "" } else { "model.onnx" },
        dynamic_batching: dynamic_batching(info, batched),
        sequence_batching: info.queueing.sequence_idle.map(|idle| SequenceBatching {
            max_sequence_idle_microseconds: micros(idle),
        }),
        response_cache: ResponseCache {
            enable: info.queueing.response_cache,
        },
    }
}

fn body() -> TensorSpec {
    TensorSpec::new(BODY, Datatype::Bytes, vec![Some(1)])
}

/// `onnxruntime_onnx` is the platform of the backend `onnxruntime`.
fn backend(info: &ModelInfo) -> &'static str {
    let platform = info.platform;
    platform
        .split_once('_')
        .map_or(platform, |(backend, _)| backend)
}

fn version_policy(policy: &VersionPolicy) -> VersionPolicyConfig {
    match policy {
        VersionPolicy::Latest(count) => VersionPolicyConfig::Latest(LatestVersions {
            num_versions: *count,
        }),
        VersionPolicy::All => VersionPolicyConfig::All(AllVersions {}),
        VersionPolicy::Listed(versions) => VersionPolicyConfig::Specific(SpecificVersions {
            versions: versions
                .iter()
                .map(|version| i64::try_from(*version).unwrap_or(i64::MAX))
                .collect(),
        }),
    }
}

fn instance_group(info: &ModelInfo) -> InstanceGroup {
    let gpus: Vec<i32> = info
        .device
        .split(',')
        .filter_map(|device| device.trim().strip_prefix("cuda:")?.parse().ok())
        .collect();
    let per_device = info.instances / (gpus.len().max(1) as u32);
    InstanceGroup {
        kind: if gpus.is_empty() {
            "KIND_CPU"
        } else {
            "KIND_GPU"
        },
        count: saturate(per_device.into()),
        gpus,
    }
}

/// A model with sequences has no other scheduler in Triton's words: there is a choice of one.
fn dynamic_batching(info: &ModelInfo, batched: bool) -> Option<DynamicBatching> {
    let queueing = &info.queueing;
    let scheduled = batched || queueing.priority_levels > 0;
    (scheduled && queueing.sequence_idle.is_none()).then(|| DynamicBatching {
        preferred_batch_size: queueing
            .preferred_rows
            .iter()
            .map(|rows| saturate(*rows))
            .collect(),
        max_queue_delay_microseconds: micros(queueing.delay),
        preserve_ordering: false,
        priority_levels: queueing.priority_levels.into(),
        default_priority_level: queueing.default_priority.into(),
        default_queue_policy: QueuePolicy {
            timeout_action: "REJECT",
            default_timeout_microseconds: queueing.timeout.map_or(0, micros),
            allow_timeout_override: true,
            max_queue_size: queueing.capacity,
        },
    })
}

/// The name of a datatype in configurations.
pub(crate) const fn data_type(datatype: Datatype) -> &'static str {
    match datatype {
        Datatype::Bool => "TYPE_BOOL",
        Datatype::Uint8 => "TYPE_UINT8",
        Datatype::Uint16 => "TYPE_UINT16",
        Datatype::Uint32 => "TYPE_UINT32",
        Datatype::Uint64 => "TYPE_UINT64",
        Datatype::Int8 => "TYPE_INT8",
        Datatype::Int16 => "TYPE_INT16",
        Datatype::Int32 => "TYPE_INT32",
        Datatype::Int64 => "TYPE_INT64",
        Datatype::Fp16 => "TYPE_FP16",
        Datatype::Bf16 => "TYPE_BF16",
        Datatype::Fp32 => "TYPE_FP32",
        Datatype::Fp64 => "TYPE_FP64",
        Datatype::Bytes => "TYPE_STRING",
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn saturate(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
