//! `ModelConfig` as a message.

use crate::inference::model_config::SchedulingChoice;
use crate::inference::model_version_policy::{All, Latest, PolicyChoice, Specific};
use crate::inference::{
    DataType, ModelConfig, ModelDynamicBatching, ModelInput, ModelInstanceGroup, ModelOutput,
    ModelQueuePolicy, ModelResponseCache, ModelSequenceBatching, ModelTransactionPolicy,
    ModelVersionPolicy, model_instance_group, model_queue_policy,
};
use crate::oip::documents::{
    self, DynamicBatching, InputConfig, InstanceGroup, OutputConfig, VersionPolicyConfig,
};

/// Writes what [`documents::model_config`] says.
pub(super) fn message(config: documents::ModelConfig) -> ModelConfig {
    let batching = config.dynamic_batching.map(dynamic_batching);
    let sequences = config.sequence_batching.map(|sequences| {
        SchedulingChoice::SequenceBatching(ModelSequenceBatching {
            max_sequence_idle_microseconds: sequences.max_sequence_idle_microseconds,
        })
    });
    ModelConfig {
        name: config.name,
        platform: config.platform.to_owned(),
        backend: config.backend.to_owned(),
        version_policy: Some(version_policy(config.version_policy)),
        max_batch_size: config.max_batch_size,
        input: config.input.into_iter().map(input).collect(),
        output: config.output.into_iter().map(output).collect(),
        instance_group: config.instance_group.into_iter().map(instances).collect(),
        default_model_filename: config.default_model_filename.to_owned(),
        scheduling_choice: batching
            .map(SchedulingChoice::DynamicBatching)
            .or(sequences),
        // Each request has one answer.
        model_transaction_policy: Some(ModelTransactionPolicy { decoupled: false }),
        response_cache: Some(ModelResponseCache {
            enable: config.response_cache.enable,
        }),
        ..ModelConfig::default()
    }
}

fn version_policy(policy: VersionPolicyConfig) -> ModelVersionPolicy {
    ModelVersionPolicy {
        policy_choice: Some(match policy {
            VersionPolicyConfig::Latest(policy) => PolicyChoice::Latest(Latest {
                num_versions: policy.num_versions,
            }),
            VersionPolicyConfig::All(_) => PolicyChoice::All(All {}),
            VersionPolicyConfig::Specific(policy) => PolicyChoice::Specific(Specific {
                versions: policy.versions,
            }),
        }),
    }
}

fn data_type(name: &str) -> i32 {
    DataType::from_str_name(name)
        .unwrap_or(DataType::TypeInvalid)
        .into()
}

fn input(input: InputConfig) -> ModelInput {
    ModelInput {
        name: input.name,
        data_type: data_type(input.data_type),
        dims: input.dims,
        optional: input.optional,
        ..ModelInput::default()
    }
}

fn output(output: OutputConfig) -> ModelOutput {
    ModelOutput {
        name: output.name,
        data_type: data_type(output.data_type),
        dims: output.dims,
        label_filename: output.label_filename.to_owned(),
    }
}

fn instances(group: InstanceGroup) -> ModelInstanceGroup {
    let kind = model_instance_group::Kind::from_str_name(group.kind);
    ModelInstanceGroup {
        kind: kind.unwrap_or_default().into(),
        count: group.count,
        gpus: group.gpus,
        ..ModelInstanceGroup::default()
    }
}

fn dynamic_batching(batching: DynamicBatching) -> ModelDynamicBatching {
    let queue = batching.default_queue_policy;
    let action = model_queue_policy::TimeoutAction::from_str_name(queue.timeout_action);
    ModelDynamicBatching {
        preferred_batch_size: batching.preferred_batch_size,
        max_queue_delay_microseconds: batching.max_queue_delay_microseconds,
        preserve_ordering: batching.preserve_ordering,
        priority_levels: batching.priority_levels,
        default_priority_level: batching.default_priority_level,
        default_queue_policy: Some(ModelQueuePolicy {
            timeout_action: action.unwrap_or_default().into(),
            default_timeout_microseconds: queue.default_timeout_microseconds,
            allow_timeout_override: queue.allow_timeout_override,
            max_queue_size: queue.max_queue_size,
        }),
    }
}

#[cfg(test)]
mod tests {
    use wharf_core::Datatype;

    use super::*;

    #[test]
    fn every_datatype_has_its_number() {
        for datatype in Datatype::ALL {
            let number = data_type(documents::data_type(datatype));
            assert_ne!(number, i32::from(DataType::TypeInvalid), "{datatype}");
        }
    }
}
