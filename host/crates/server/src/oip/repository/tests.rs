use serde_json::{Value, json};
use wharf_core::ErrorKind;

use super::*;

fn translate(config: &Value) -> Result<Vec<(String, SettingValue)>> {
    let name = Name::new("m").unwrap();
    let translated = config::translate(&config.to_string(), &name)?;
    let edits = translated.settings.into_iter();
    Ok(edits.map(|edit| (edit.key, edit.value)).collect())
}

fn refused(config: &Value) -> String {
    let error = translate(config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    error.field().unwrap().to_owned()
}

fn integer(key: &str, number: i64) -> (String, SettingValue) {
    (key.to_owned(), SettingValue::Integer(number))
}

fn decimal(key: &str, number: f64) -> (String, SettingValue) {
    (key.to_owned(), SettingValue::Decimal(number))
}

fn text(value: &str) -> SettingValue {
    SettingValue::Text(value.to_owned())
}

#[test]
fn scheduling_becomes_settings() {
    let edits = translate(&json!({
        "name": "m",
        "maxBatchSize": 8,
        "dynamic_batching": {
            "preferred_batch_size": [4, 8],
            "max_queue_delay_microseconds": "1001",
            "priority_levels": 3,
            "default_queue_policy": {"max_queue_size": 0, "timeout_action": "REJECT", "allow_timeout_override": true},
        },
        "instance_group": [{"count": 2, "kind": "KIND_GPU", "gpus": [0, 1]}],
        "response_cache": {"enable": true},
        "parameters": {"intra_op_thread_count": {"string_value": "2"}},
    }));
    let integers = [4, 8].map(SettingValue::Integer).to_vec();
    let devices = ["cuda:0", "cuda:1"].map(text).to_vec();
    assert_eq!(
        edits.unwrap(),
        [
            integer("batching.max_rows", 8),
            (
                "batching.preferred_rows".to_owned(),
                SettingValue::List(integers)
            ),
            decimal("batching.delay_ms", 1.001),
            integer("batching.priority_levels", 3),
            ("batching.queue_capacity".to_owned(), SettingValue::Default),
            integer("instances.count", 2),
            ("instances.device".to_owned(), SettingValue::Default),
            ("instances.devices".to_owned(), SettingValue::List(devices)),
            ("cache.enabled".to_owned(), SettingValue::Bool(true)),
            integer("threads.intra", 2),
        ]
    );
}

#[test]
fn sequences_and_warm_up_become_settings() {
    let edits = translate(&json!({
        "sequence_batching": {
            "direct": {},
            "control_input": [{"name": "START", "control": [
                {"kind": "CONTROL_SEQUENCE_START", "int32_false_true": [0, 1]},
            ]}],
            "state": [{"input_name": "i", "output_name": "o", "data_type": "TYPE_FP32", "dims": [2]}],
        },
        "model_warmup": [{"name": "w", "batch_size": 2, "inputs": {
            "x": {"data_type": "TYPE_FP32", "dims": [3], "zero_data": true},
        }}],
    }));
    let pair = |a: &str, b: &str| (a.to_owned(), text(b));
    let states = vec![SettingValue::Table(vec![
        pair("input", "i"),
        pair("output", "o"),
    ])];
    let shape = [2, 3].map(SettingValue::Integer).to_vec();
    let input = vec![
        ("shape".to_owned(), SettingValue::List(shape)),
        pair("data", "zeros"),
    ];
    let inputs = SettingValue::Table(vec![("x".to_owned(), SettingValue::Table(input))]);
    let sample = vec![integer("count", 1), ("inputs".to_owned(), inputs)];
    assert_eq!(
        edits.unwrap(),
        [
            ("sequences.start".to_owned(), text("START")),
            ("sequences.states".to_owned(), SettingValue::List(states)),
            (
                "warmup.samples".to_owned(),
                SettingValue::List(vec![SettingValue::Table(sample)])
            ),
        ]
    );
    let edits = translate(&json!({"sequence_batching": {}})).unwrap();
    assert_eq!(edits, [integer("sequences.idle_ms", 60_000)]);
}

#[test]
fn a_delay_is_exact_and_other_times_are_rounded_up_to_milliseconds() {
    let delay = "batching.delay_ms";
    for (micros, setting) in [
        (0, integer(delay, 0)),
        (1, decimal(delay, 0.001)),
        (100, decimal(delay, 0.1)),
        (1000, integer(delay, 1)),
        (9_999_999, decimal(delay, 9999.999)),
    ] {
        let edits = translate(&json!({
            "dynamic_batching": {"max_queue_delay_microseconds": micros},
        }));
        assert_eq!(edits.unwrap(), [setting]);
    }
    for (micros, ms) in [(1, 1), (1000, 1), (i64::MAX, i64::MAX / 1000 + 1)] {
        let policy = json!({"default_timeout_microseconds": micros});
        let edits = translate(&json!({"dynamic_batching": {"default_queue_policy": policy}}));
        assert_eq!(edits.unwrap(), [integer("batching.queue_timeout_ms", ms)]);
    }
}

#[test]
fn a_policy_takes_the_place_of_the_one_before() {
    let policy = |policy: Value| translate(&json!({"version_policy": policy})).unwrap();
    let list = SettingValue::List(vec![SettingValue::Integer(2)]);
    let edits = policy(json!({"specific": {"versions": ["2"]}}));
    assert_eq!(edits[0].1, text("listed"));
    assert_eq!(edits[1], ("versions.list".to_owned(), list));
    assert_eq!(edits[2].1, SettingValue::Default);
    let edits = policy(json!({"latest": {"num_versions": 3}}));
    assert_eq!(edits[0].1, text("latest"));
    assert_eq!(edits[2], integer("versions.count", 3));
    assert_eq!(policy(json!({"all": {}}))[0].1, text("all"));
}

#[test]
fn what_says_nothing_is_let_be() {
    let config = json!({
        "name": "", "optimization": {}, "metric_tags": {}, "model_warmup": [], "parameters": {},
        "model_transaction_policy": {"decoupled": false}, "default_model_filename": "model.onnx",
        "instance_group": [], "version_policy": null, "runtime": "",
    });
    assert_eq!(translate(&config).unwrap(), []);
}

/// What Triton says of a model that has no configuration of its own is taken back.
#[test]
fn a_configuration_as_triton_reports_it_is_taken() {
    let config = json!({
        "name": "m", "platform": "onnxruntime_onnx", "backend": "onnxruntime", "runtime": "",
        "version_policy": {"latest": {"num_versions": 1}}, "max_batch_size": 0,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "format": "FORMAT_NONE", "dims": [-1, 4],
            "is_shape_tensor": false, "allow_ragged_batch": false, "optional": false,
            "is_non_linear_format_io": false}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [-1, 4], "label_filename": "",
            "is_shape_tensor": false, "is_non_linear_format_io": false}],
        "batch_input": [], "batch_output": [],
        "optimization": {"priority": "PRIORITY_DEFAULT", "input_pinned_memory": {"enable": true},
            "output_pinned_memory": {"enable": true}, "gather_kernel_buffer_threshold": 0,
            "eager_batching": false},
        "instance_group": [{"name": "m_0", "kind": "KIND_CPU", "count": 1, "gpus": [],
            "secondary_devices": [], "profile": [], "passive": false, "host_policy": ""}],
        "default_model_filename": "model.onnx", "cc_model_filenames": {}, "metric_tags": {},
        "parameters": {}, "model_warmup": [], "model_transaction_policy": {"decoupled": false},
    });
    let edits = translate(&config).unwrap();
    let has = |key: &str| edits.iter().any(|(known, _)| known == key);
    assert!(has("instances.count") && has("versions.policy") && has("batching.max_rows"));
}

#[test]
fn what_cannot_be_done_is_named() {
    for (config, field) in [
        (json!([]), ""),
        (json!({"name": "other"}), ".name"),
        (json!({"nmae": "m"}), ".nmae"),
        (json!({"max_batch_size": -1}), ".max_batch_size"),
        (json!({"max_batch_size": 1.5}), ".max_batch_size"),
        (json!({"max_batch_size": "many"}), ".max_batch_size"),
        (
            json!({"optimization": {"graph": {"level": 1}}}),
            ".optimization.graph.level",
        ),
        (
            json!({"optimization": {"input_pinned_memory": {"enable": false}}}),
            ".optimization.input_pinned_memory",
        ),
        (
            json!({"instance_group": [{"name": 1}]}),
            ".instance_group[0].name",
        ),
        (
            json!({"model_transaction_policy": {"decoupled": true}}),
            ".model_transaction_policy.decoupled",
        ),
        (json!({"version_policy": {}}), ".version_policy"),
        (
            json!({"version_policy": {"all": {}, "latest": {}}}),
            ".version_policy",
        ),
        (
            json!({"version_policy": {"all": {"x": 1}}}),
            ".version_policy.all.x",
        ),
        (
            json!({"dynamic_batching": {"max_queue_delay_microseconds": -1}}),
            ".dynamic_batching.max_queue_delay_microseconds",
        ),
        (
            json!({"dynamic_batching": {"preserve_ordering": true}}),
            ".dynamic_batching.preserve_ordering",
        ),
        (
            json!({"dynamic_batching": {"default_queue_policy": {"timeout_action": "DELAY"}}}),
            ".dynamic_batching.default_queue_policy.timeout_action",
        ),
        (json!({"instance_group": [{}, {}]}), ".instance_group"),
        (
            json!({"instance_group": [{"kind": "KIND_MODEL"}]}),
            ".instance_group[0].kind",
        ),
        (
            json!({"instance_group": [{"kind": "KIND_CPU", "gpus": [0]}]}),
            ".instance_group[0].kind",
        ),
        (
            json!({"instance_group": [{"gpus": ["x"]}]}),
            ".instance_group[0].gpus[0]",
        ),
        (
            json!({"sequence_batching": {"control_input": [{"name": "R", "control": [{"kind": "CONTROL_SEQUENCE_READY"}]}]}}),
            ".sequence_batching.control_input[0].control[0].kind",
        ),
        (
            json!({"input": [{"name": "x", "data_type": "FP32"}]}),
            ".input[0].data_type",
        ),
        (
            json!({"input": [{"name": "x", "reshape": {"shape": [1]}}]}),
            ".input[0].reshape",
        ),
        (json!({"input": [{}]}), ".input[0]"),
        (
            json!({"output": [{"name": "a\"b", "label_filename": "l.txt"}]}),
            ".output[0].label_filename",
        ),
        (
            json!({"parameters": {"made_up": {"string_value": "1"}}}),
            ".parameters.made_up",
        ),
    ] {
        assert_eq!(
            refused(&config),
            format!("parameters.config{field}"),
            "{config}"
        );
    }
    let deep = "[".repeat(100_000);
    let name = Name::new("m").unwrap();
    assert!(config::translate(&deep, &name).is_err());
}

#[test]
fn files_name_their_version_and_stay_inside_it() {
    let file = model_file("file:12/sub/model.onnx", Bytes::from_static(b"x")).unwrap();
    assert_eq!((file.version, file.path.as_str()), (12, "sub/model.onnx"));
    for key in [
        "file:",
        "file:1",
        "file:1/",
        "file:/model.onnx",
        "file:x/model.onnx",
        "file:-1/model.onnx",
        "file:+1/model.onnx",
        "file:01/model.onnx",
        "file:0/model.onnx",
        "file:99999999999999999999/model.onnx",
        "file:../1/model.onnx",
        "file:1/../2/model.onnx",
        "file:1/./model.onnx",
        "file:1//model.onnx",
        "file:1/a\\b",
        "file:1/a\0b",
        "model.onnx",
    ] {
        let error = model_file(key, Bytes::new()).unwrap_err();
        assert_eq!(error.field(), Some(&*format!("parameters.{key}")));
    }
}

#[test]
fn the_versions_of_files_are_listed_once() {
    let file = |version| ModelFile {
        version,
        path: "model.onnx".to_owned(),
        data: Bytes::new().into(),
    };
    let edits = exactly(&[file(3), file(1), file(3)]).unwrap();
    let list = [1, 3].map(SettingValue::Integer).to_vec();
    assert_eq!(edits[1].value, SettingValue::List(list));
    assert!(exactly(&[file(u64::MAX)]).is_err());
}

#[test]
fn a_setting_that_is_refused_is_named_where_it_stands() {
    let config = json!({
        "max_batch_size": 8,
        "dynamic_batching": {"max_queue_delay_microseconds": 100},
        "instance_group": [{"count": 2}],
        "output": [{"name": "y.z", "label_filename": "labels.txt"}],
        "version_policy": {"specific": {"versions": [2]}},
    });
    let name = Name::new("m").unwrap();
    let places = config::translate(&config.to_string(), &name)
        .unwrap()
        .places;
    for (field, named) in [
        (
            "config.batching.max_rows",
            "parameters.config.max_batch_size",
        ),
        (
            "config.batching.delay_ms",
            "parameters.config.dynamic_batching",
        ),
        ("config.instances.count", "parameters.config.instance_group"),
        (
            "config.outputs.\"y.z\".classes",
            "parameters.config.output[0].label_filename",
        ),
        ("config.versions.list", "parameters.config.version_policy"),
        ("config.cache.enabled", "parameters.config"),
        ("config", "parameters.config"),
        ("file:1/x", "parameters.file:1/x"),
        (
            "parameters.config.input[0].dims",
            "parameters.config.input[0].dims",
        ),
        ("model", "model"),
    ] {
        let error = in_parameters(Error::invalid(field, "wrong"), &places);
        assert_eq!(error.field(), Some(named));
    }
    let unnamed = Error::new(ErrorKind::Unavailable, "later");
    assert_eq!(in_parameters(unnamed, &places).field(), None);
}
