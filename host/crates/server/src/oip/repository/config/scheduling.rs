//! How requests are queued and joined, and where they run.

use serde_json::json;
use wharf_core::Result;
use wharf_serving::SettingValue;

use super::Edits;
use crate::oip::repository::fields::{Field, Fields};

pub(super) fn dynamic_batching(mut fields: Fields, edits: &mut Edits) -> Result<()> {
    if let Some(rows) = fields.take("preferred_batch_size") {
        edits.numbers("batching.preferred_rows", rows.numbers()?);
    }
    if let Some(delay) = fields.take("max_queue_delay_microseconds") {
        edits.set("batching.delay_ms", delay.exact_ms()?);
    }
    if let Some(levels) = fields.take("priority_levels") {
        edits.number("batching.priority_levels", levels.number()?);
    }
    if let Some(level) = fields.take("default_priority_level") {
        edits.number_or_default("batching.default_priority", level.number()?);
    }
    if let Some(policy) = fields.take("default_queue_policy") {
        queue_policy(policy.object()?, edits)?;
    }
    fields.only(
        "preserve_ordering",
        &[],
        "answers come as they are ready; leave it out",
    )?;
    let levels = "all levels have one queue policy; use default_queue_policy";
    fields.only("priority_queue_policy", &[], levels)?;
    fields.finish()
}

fn queue_policy(mut fields: Fields, edits: &mut Edits) -> Result<()> {
    let action = "what waited too long is refused; use REJECT";
    fields.only("timeout_action", &[json!("REJECT")], action)?;
    if let Some(timeout) = fields.take("default_timeout_microseconds") {
        edits.number_or_default("batching.queue_timeout_ms", timeout.whole_ms()?);
    }
    if let Some(allowed) = fields.take("allow_timeout_override") {
        let why = "a request may always ask for a shorter timeout; use true, or leave it out";
        allowed.among(&[json!(true)], why)?;
    }
    if let Some(size) = fields.take("max_queue_size") {
        edits.number_or_default("batching.queue_capacity", size.number()?);
    }
    fields.finish()
}

pub(super) fn sequence_batching(mut fields: Fields, edits: &mut Edits) -> Result<()> {
    let before = edits.settings.len();
    if let Some(idle) = fields.take("max_sequence_idle_microseconds") {
        edits.number("sequences.idle_ms", idle.whole_ms()?);
    }
    if let Some(oldest) = fields.take("oldest") {
        let mut oldest = oldest.object()?;
        if let Some(most) = oldest.take("max_candidate_sequences") {
            edits.number("sequences.capacity", most.number()?);
        }
        let joined = "requests of sequences are not joined; leave it out";
        oldest.only("preferred_batch_size", &[], joined)?;
        oldest.only("max_queue_delay_microseconds", &[], joined)?;
        oldest.only("preserve_ordering", &[json!(true)], joined)?;
        oldest.finish()?;
    }
    if let Some(direct) = fields.take("direct") {
        let mut direct = direct.object()?;
        let joined = "requests of sequences are not joined; leave it out";
        direct.only("max_queue_delay_microseconds", &[], joined)?;
        direct.only("minimum_slot_utilization", &[], joined)?;
        direct.finish()?;
    }
    for input in fields
        .take("control_input")
        .map_or(Ok(Vec::new()), Field::list)?
    {
        control_input(input.object()?, edits)?;
    }
    let states = fields.take("state").map_or(Ok(Vec::new()), Field::list)?;
    if !states.is_empty() {
        let states = states.into_iter().map(state).collect::<Result<_>>()?;
        edits.set("sequences.states", SettingValue::List(states));
    }
    fields.only(
        "iterative_sequence",
        &[],
        "one request has one run; leave it out",
    )?;
    fields.only(
        "generative_sequence",
        &[],
        "one request has one run; leave it out",
    )?;
    // The table alone switches sequences on, with its defaults.
    if edits.settings.len() == before {
        edits.set("sequences.idle_ms", SettingValue::Integer(60_000));
    }
    fields.finish()
}

/// An input that says where in its sequence a request is.
fn control_input(mut fields: Fields, edits: &mut Edits) -> Result<()> {
    let name = fields.take("name").map_or(Ok(String::new()), Field::text)?;
    let Some(controls) = fields.take("control") else {
        return Err(fields.wrong("has a control"));
    };
    for control in controls.list()? {
        let mut control = control.object()?;
        let Some(kind) = control.take("kind") else {
            return Err(control.wrong("has a kind, such as CONTROL_SEQUENCE_START"));
        };
        let unknown = kind.wrong(
            "is not supported; use CONTROL_SEQUENCE_START, CONTROL_SEQUENCE_END or CONTROL_SEQUENCE_CORRID",
        );
        let key = match kind.text()?.as_str() {
            "CONTROL_SEQUENCE_START" => "sequences.start",
            "CONTROL_SEQUENCE_END" => "sequences.end",
            "CONTROL_SEQUENCE_CORRID" => "sequences.id",
            _ => return Err(unknown),
        };
        let values = "false and true are 0 and 1 here";
        control.only("int32_false_true", &[json!([0, 1])], values)?;
        control.only(
            "fp32_false_true",
            &[json!([0, 1]), json!([0.0, 1.0])],
            values,
        )?;
        control.only("bool_false_true", &[json!([false, true])], values)?;
        if key == "sequences.id" {
            // The model says it itself, and is refused where it is none of these.
            let types = [
                "TYPE_INT64",
                "TYPE_UINT64",
                "TYPE_INT32",
                "TYPE_UINT32",
                "TYPE_STRING",
            ];
            control.only(
                "data_type",
                &types.map(|name| json!(name)),
                "is no type of a sequence's name",
            )?;
        }
        edits.set(key, SettingValue::Text(name.clone()));
        control.finish()?;
    }
    fields.finish()
}

/// An output that becomes an input of the next request. The model says its type and its dimensions itself.
fn state(state: Field) -> Result<SettingValue> {
    let mut state = state.object()?;
    let mut name = |member: &'static str| -> Result<SettingValue> {
        let name = state.take(member).map_or(Ok(String::new()), Field::text)?;
        Ok(SettingValue::Text(name))
    };
    let table = vec![
        ("input".to_owned(), name("input_name")?),
        ("output".to_owned(), name("output_name")?),
    ];
    for known in ["data_type", "dims"] {
        drop(state.take(known));
    }
    state.only(
        "initial_state",
        &[],
        "a sequence begins with zeros; leave it out",
    )?;
    state.only("use_same_buffer_for_input_output", &[], "leave it out")?;
    state.only("use_growable_memory", &[], "leave it out")?;
    state.finish()?;
    Ok(SettingValue::Table(table))
}

pub(super) fn instance_group(groups: Field, edits: &mut Edits) -> Result<()> {
    let one = groups.wrong("use one group: its instances are the same on every device");
    let mut groups = groups.list()?;
    let Some(group) = groups.pop() else {
        return Ok(());
    };
    if !groups.is_empty() {
        return Err(one);
    }
    let mut group = group.object()?;
    if let Some(count) = group.take("count") {
        edits.number_or_default("instances.count", count.number()?);
    }
    let gpus = group.take("gpus").map_or(Ok(Vec::new()), Field::numbers)?;
    let kind = group.take("kind");
    match kind {
        None if gpus.is_empty() => {}
        Some(kind) if gpus.is_empty() => {
            let unknown = kind.wrong("use KIND_CPU, or KIND_GPU with gpus");
            let device = match kind.text()?.as_str() {
                "KIND_CPU" => SettingValue::Text("cpu".to_owned()),
                "KIND_AUTO" => SettingValue::Default,
                _ => return Err(unknown),
            };
            edits.set("instances.device", device);
            edits.set("instances.devices", SettingValue::Default);
        }
        kind => {
            if let Some(kind) = kind {
                kind.among(
                    &[json!("KIND_GPU"), json!("KIND_AUTO")],
                    "with gpus, use KIND_GPU",
                )?;
            }
            let device = |gpu: i64| SettingValue::Text(format!("cuda:{gpu}"));
            let devices = gpus.into_iter().map(device).collect();
            edits.set("instances.device", SettingValue::Default);
            edits.set("instances.devices", SettingValue::List(devices));
        }
    }
    // It names nothing here: as Triton does, a server says it of every model.
    if let Some(name) = group.take("name") {
        name.text()?;
    }
    let why = "this server has no such setting; leave it out";
    for member in [
        "passive",
        "profile",
        "secondary_devices",
        "host_policy",
        "rate_limiter",
    ] {
        group.only(member, &[], why)?;
    }
    group.finish()
}
