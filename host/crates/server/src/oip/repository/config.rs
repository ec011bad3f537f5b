//! Triton's model configuration as changes of `model.toml`. What it does not say stays as it is; what this server has no
//! setting for is refused, with its place.

mod scheduling;
mod tensors;
mod warmup;

use serde_json::{Value, json};
use wharf_core::{Error, Name, Result};
use wharf_serving::{SettingEdit, SettingValue};

use super::fields::{Field, Fields};
use tensors::Claims;

/// Where a configuration is, for errors.
const PATH: &str = "parameters.config";

/// What a configuration comes to.
#[derive(Default)]
pub(super) struct Translated {
    pub(super) settings: Vec<SettingEdit>,
    /// Whether it says which versions serve.
    pub(super) has_version_policy: bool,
    /// What it says of the model itself, which must be so.
    pub(super) claims: Claims,
    pub(super) places: Places,
}

/// Where the settings stand in the configuration: each key with its place.
#[derive(Default)]
pub(super) struct Places(Vec<(String, String)>);

impl Places {
    /// The place of a key, for errors about it.
    pub(super) fn of(&self, key: &str) -> String {
        let place = self.0.iter().find(|(known, _)| known == key);
        place.map_or_else(|| PATH.to_owned(), |(_, place)| place.clone())
    }
}

/// The changes that a configuration asks for.
#[derive(Default)]
struct Edits {
    settings: Vec<SettingEdit>,
    places: Places,
    /// The member that is read.
    member: &'static str,
}

impl Edits {
    fn set(&mut self, key: &str, value: SettingValue) {
        let key = key.to_owned();
        self.push(SettingEdit { key, value });
    }

    fn push(&mut self, edit: SettingEdit) {
        let place = format!("{PATH}.{}", self.member);
        self.push_from(place, edit);
    }

    /// Sets what stands deeper in the member.
    fn push_from(&mut self, place: String, edit: SettingEdit) {
        self.places.0.push((edit.key.clone(), place));
        self.settings.push(edit);
    }

    /// Takes a member. The settings that follow are its own.
    fn take(&mut self, config: &mut Fields, member: &'static str) -> Option<Field> {
        self.member = member;
        config.take(member)
    }

    fn number(&mut self, key: &str, number: i64) {
        self.set(key, SettingValue::Integer(number));
    }

    /// Sets a number of which 0 is the server's own default.
    fn number_or_default(&mut self, key: &str, number: i64) {
        match number {
            0 => self.set(key, SettingValue::Default),
            number => self.number(key, number),
        }
    }

    fn numbers(&mut self, key: &str, numbers: Vec<i64>) {
        let numbers = numbers.into_iter().map(SettingValue::Integer).collect();
        self.set(key, SettingValue::List(numbers));
    }
}

/// Reads a configuration for the named model.
///
/// # Errors
/// `InvalidArgument` with the place in the configuration as the field.
pub(super) fn translate(config: &str, model: &Name) -> Result<Translated> {
    let config: Value = serde_json::from_str(config).map_err(|error| {
        let message = format!("this is no JSON: {error}");
        Error::invalid(PATH, message)
    })?;
    let mut config = Field::new(PATH, config).object()?;
    let mut edits = Edits::default();
    if let Some(name) = config.take("name") {
        let own = [json!(model.as_str()), json!("")];
        name.among(
            &own,
            "is another model's name; leave it out, or name the model of the path",
        )?;
    }
    let policy = edits.take(&mut config, "version_policy");
    let has_version_policy = policy.is_some();
    if let Some(policy) = policy {
        version_policy(policy.object()?, &mut edits)?;
    }
    if let Some(rows) = edits.take(&mut config, "max_batch_size") {
        edits.number("batching.max_rows", rows.number()?.max(1));
    }
    if let Some(batching) = edits.take(&mut config, "dynamic_batching") {
        scheduling::dynamic_batching(batching.object()?, &mut edits)?;
    }
    if let Some(batching) = edits.take(&mut config, "sequence_batching") {
        scheduling::sequence_batching(batching.object()?, &mut edits)?;
    }
    if let Some(groups) = edits.take(&mut config, "instance_group") {
        scheduling::instance_group(groups, &mut edits)?;
    }
    if let Some(cache) = edits.take(&mut config, "response_cache") {
        let mut cache = cache.object()?;
        let enabled = cache.take("enable").map_or(Ok(false), |on| on.bool())?;
        edits.set("cache.enabled", SettingValue::Bool(enabled));
        cache.finish()?;
    }
    let mut claims = Claims::take(&mut config, &mut edits)?;
    if let Some(samples) = edits.take(&mut config, "model_warmup") {
        warmup::samples(samples, &mut claims, &mut edits)?;
    }
    if let Some(parameters) = edits.take(&mut config, "parameters") {
        backend_parameters(parameters.object()?, &mut edits)?;
    }
    nothing_else(config)?;
    Ok(Translated {
        settings: edits.settings,
        has_version_policy,
        claims,
        places: edits.places,
    })
}

/// Settings by which exactly the listed versions serve.
pub(super) fn listed(versions: Vec<SettingValue>) -> [SettingEdit; 3] {
    policy(
        "listed",
        SettingValue::List(versions),
        SettingValue::Default,
    )
}

fn policy(name: &str, list: SettingValue, count: SettingValue) -> [SettingEdit; 3] {
    let edit = |key: &str, value| SettingEdit {
        key: key.to_owned(),
        value,
    };
    [
        edit("versions.policy", SettingValue::Text(name.to_owned())),
        edit("versions.list", list),
        edit("versions.count", count),
    ]
}

fn version_policy(mut fields: Fields, edits: &mut Edits) -> Result<()> {
    let choice = (
        fields.take("latest"),
        fields.take("all"),
        fields.take("specific"),
    );
    let rule = match choice {
        (Some(latest), None, None) => {
            let mut latest = latest.object()?;
            let count = latest.take("num_versions");
            let count = count.map_or(Ok(1), |count| count.number())?.max(1);
            latest.finish()?;
            policy(
                "latest",
                SettingValue::Default,
                SettingValue::Integer(count),
            )
        }
        (None, Some(all), None) => {
            all.object()?.finish()?;
            policy("all", SettingValue::Default, SettingValue::Default)
        }
        (None, None, Some(specific)) => {
            let mut specific = specific.object()?;
            let versions = specific.take("versions");
            let versions = versions.map_or(Ok(Vec::new()), Field::numbers)?;
            specific.finish()?;
            listed(versions.into_iter().map(SettingValue::Integer).collect())
        }
        _ => return Err(fields.wrong("has one of latest, all and specific")),
    };
    for edit in rule {
        edits.push(edit);
    }
    fields.finish()
}

/// The parameters of Triton's backend for ONNX Runtime that have a setting here.
fn backend_parameters(mut fields: Fields, edits: &mut Edits) -> Result<()> {
    for (name, parameter) in fields.rest() {
        let unknown = parameter.wrong("this server has no such parameter; leave it out");
        let mut parameter = parameter.object()?;
        let value = parameter.take("string_value");
        let value = value.ok_or_else(|| parameter.wrong("has a string_value"))?;
        match name.as_str() {
            "intra_op_thread_count" => edits.number_or_default("threads.intra", value.number()?),
            "inter_op_thread_count" => edits.number_or_default("threads.inter", value.number()?),
            "enable_mem_arena" => {
                edits.set("memory.arena", SettingValue::Bool(value.number()? != 0));
            }
            _ => return Err(unknown),
        }
        parameter.finish()?;
    }
    Ok(())
}

/// The policy that Triton reports of a model whose configuration has none: its defaults.
fn default_optimization(mut policy: Fields) -> Result<()> {
    let why = "this server has no such setting; leave it out";
    policy.only("priority", &[json!("PRIORITY_DEFAULT")], why)?;
    for member in ["input_pinned_memory", "output_pinned_memory"] {
        policy.only(member, &[json!({"enable": true})], why)?;
    }
    if let Some(graph) = policy.take("graph") {
        let mut graph = graph.object()?;
        graph.only("level", &[], why)?;
        graph.finish()?;
    }
    for member in [
        "cuda",
        "execution_accelerators",
        "gather_kernel_buffer_threshold",
        "eager_batching",
    ] {
        policy.only(member, &[], why)?;
    }
    policy.finish()
}

/// Members that say nothing that this server does not do anyway, and the refusal of all others.
fn nothing_else(mut config: Fields) -> Result<()> {
    let file = "another name is not looked for; call the file model.onnx";
    config.only("default_model_filename", &[json!("model.onnx")], file)?;
    let decoupled = "one request has one answer here; leave it out";
    if let Some(policy) = config.take("model_transaction_policy") {
        let mut policy = policy.object()?;
        policy.only("decoupled", &[], decoupled)?;
        policy.finish()?;
    }
    if let Some(optimization) = config.take("optimization") {
        default_optimization(optimization.object()?)?;
    }
    let why = "this server has no such setting; leave it out";
    for member in [
        "ensemble_scheduling",
        "batch_input",
        "batch_output",
        "cc_model_filenames",
        "metric_tags",
        "model_operations",
        "model_repository_agents",
        "model_metrics",
        "runtime",
    ] {
        config.only(member, &[], why)?;
    }
    config.finish()
}
