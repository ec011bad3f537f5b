mod schema;

use half::f16;
use serde_json::{Value, json};
use wharf_plugin_sdk::{Body, Datatype, Error, Preprocess, Request, Result, Tensor, testing};

use crate::JsonSchema;

/// Runs the plugin with a schema and fields on a text.
fn run_text(settings: &Value, text: &str) -> Result<Vec<Tensor>> {
    let plugin: JsonSchema = testing::plugin(&settings.to_string())?;
    let body = Body::new("application/json", text.as_bytes());
    plugin
        .preprocess(&Request::new("score"), body.into())?
        .tensors()
}

fn run(settings: &Value, document: &Value) -> Result<Vec<Tensor>> {
    run_text(settings, &document.to_string())
}

/// One tensor of one field `x`.
fn make(field: Value, x: Value) -> Result<Tensor> {
    let mut field = field;
    field["name"] = "x".into();
    let mut tensors = run(&json!({"fields": [field]}), &json!({"x": x}))?;
    Ok(tensors.remove(0))
}

#[test]
fn fields_become_tensors() {
    let settings = json!({
        "schema": {"type": "object", "required": ["age"]},
        "fields": [
            {"name": "age", "datatype": "fp32", "shape": [1, 1]},
            {"name": "city", "pointer": "/address/city", "datatype": "int64", "shape": [1],
             "vocabulary": ["Bonn", "Kiel"], "unknown": 99},
            {"name": "note", "datatype": "bytes", "shape": [], "default": "none"},
        ],
    });
    let tensors = run(&settings, &json!({"age": 41, "address": {"city": "Kiel"}})).unwrap();
    assert_eq!(
        (tensors[0].name(), tensors[0].shape()),
        ("age".to_owned(), vec![1, 1])
    );
    assert_eq!(tensors[0].fp32().unwrap(), [41.0]);
    assert_eq!(tensors[1].int64().unwrap(), [1]);
    assert_eq!(tensors[2].elements().unwrap(), [b"none"]);
    assert_eq!(tensors[2].shape(), [0u64; 0]);
    let tensors = run(
        &settings,
        &json!({"age": 41, "address": {"city": "Rom"}, "note": null}),
    );
    let tensors = tensors.unwrap();
    assert_eq!(tensors[1].int64().unwrap(), [99]);
    assert_eq!(tensors[2].elements().unwrap(), [b"none"]);
}

#[test]
fn nested_lists_have_the_shape_of_the_tensor() {
    let any = json!({"datatype": "fp32", "shape": [-1, 2]});
    let tensor = make(any.clone(), json!([[1, 2], [3, 4], [5, 6.5]])).unwrap();
    assert_eq!(tensor.shape(), [3, 2]);
    assert_eq!(tensor.fp32().unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.5]);
    assert_eq!(
        make(json!({"datatype": "fp32", "shape": [-1, -1]}), json!([]))
            .err()
            .unwrap()
            .field(),
        Some("/x")
    );
    assert_eq!(
        make(json!({"datatype": "fp32", "shape": [-1]}), json!([]))
            .unwrap()
            .shape(),
        [0]
    );
    // Leading dimensions of 1 may be left out.
    let batch = json!({"datatype": "fp32", "shape": [1, 1, 2]});
    for value in [json!([1, 2]), json!([[1, 2]]), json!([[[1, 2]]])] {
        assert_eq!(make(batch.clone(), value).unwrap().shape(), [1, 1, 2]);
    }
    for (value, field) in [
        (json!([[1, 2], [3]]), "/x/1"),
        (json!([[1, 2], 3]), "/x/1"),
        (json!([[1, 2], [3, [4]]]), "/x/1/1"),
        (json!([[1, 2], [3, "4"]]), "/x/1/1"),
        (json!([1, 2]), "/x"),
        (json!([[[1, 2]]]), "/x"),
        (json!({"0": 1}), "/x"),
        (json!(1), "/x"),
    ] {
        let error = make(any.clone(), value.clone()).unwrap_err();
        assert_eq!(error.field(), Some(field), "{value}: {error}");
    }
}

#[test]
fn every_datatype_keeps_its_range() {
    let scalar = |datatype: &str| json!({"datatype": datatype, "shape": []});
    for (datatype, least, most) in [
        ("uint8", json!(0), json!(255)),
        ("uint16", json!(0), json!(65535)),
        ("uint32", json!(0), json!(4294967295_u64)),
        ("uint64", json!(0), json!(u64::MAX)),
        ("int8", json!(-128), json!(127)),
        ("int16", json!(-32768), json!(32767)),
        ("int32", json!(i32::MIN), json!(i32::MAX)),
        ("int64", json!(i64::MIN), json!(i64::MAX)),
    ] {
        for value in [least, most] {
            let tensor = make(scalar(datatype), value.clone()).unwrap();
            assert_eq!(tensor.datatype().name().to_lowercase(), datatype);
            let bits = 8 * tensor.bytes().len();
            let bytes = value
                .as_i64()
                .map_or(u64::MAX, |value| value as u64)
                .to_le_bytes();
            assert_eq!(tensor.bytes(), bytes[..bits / 8], "{datatype} {value}");
        }
    }
    assert_eq!(
        make(scalar("int8"), json!(3.0))
            .unwrap()
            .values::<i8>()
            .unwrap(),
        [3]
    );
    assert_eq!(make(scalar("bool"), json!(true)).unwrap().bytes(), [1]);
    assert_eq!(
        make(scalar("fp64"), json!(0.1)).unwrap().fp64().unwrap(),
        [0.1]
    );
    let half = make(scalar("fp16"), json!(1.5)).unwrap();
    assert_eq!(
        (half.datatype(), half.bytes()),
        (Datatype::Fp16, f16::from_f32(1.5).to_le_bytes().to_vec())
    );
    assert_eq!(
        make(scalar("bf16"), json!(1)).unwrap().bytes(),
        [0x80, 0x3f]
    );
    for (datatype, value) in [
        ("uint8", json!(256)),
        ("uint8", json!(-1)),
        ("int64", json!(u64::MAX)),
        ("int32", json!(1.5)),
        ("int64", json!(1e300)),
        ("int32", json!("1")),
        ("fp32", json!(1e39)),
        ("fp16", json!(65536)),
        ("fp32", json!(true)),
        ("bool", json!(1)),
        ("bytes", json!(1)),
    ] {
        let error = make(scalar(datatype), value.clone()).unwrap_err();
        assert_eq!(error.field(), Some("/x"), "{datatype} {value}");
    }
}

#[test]
fn pointers_are_those_of_rfc_6901() {
    let document = json!({"a/b": [10, {"~": 11}], "": 12});
    let take = |pointer: &str| {
        let field = json!({"name": "x", "pointer": pointer, "datatype": "int32", "shape": []});
        run(&json!({"fields": [field]}), &document).map(|tensors| tensors[0].int32().unwrap())
    };
    assert_eq!(take("/a~1b/0").unwrap(), [10]);
    assert_eq!(take("/a~1b/1/~0").unwrap(), [11]);
    assert_eq!(take("/").unwrap(), [12]);
    for pointer in [
        "/a~1b/00", "/a~1b/+1", "/a~1b/2", "/a~1b/-", "/b", "/a~1b/x",
    ] {
        let error = take(pointer).unwrap_err();
        assert_eq!(error.field(), Some(pointer));
        assert!(error.message().contains("`x`"), "{error}");
    }
    let whole =
        json!({"fields": [{"name": "x", "pointer": "", "datatype": "int32", "shape": [2]}]});
    assert_eq!(
        run(&whole, &json!([1, 2])).unwrap()[0].int32().unwrap(),
        [1, 2]
    );
    assert_eq!(run(&whole, &json!(1)).unwrap_err().field(), Some("body"));
}

#[test]
fn a_text_outside_of_the_vocabulary_is_refused_with_its_place() {
    let field = json!({"datatype": "uint8", "shape": [2], "vocabulary": {"red": 3, "blue": 7}});
    assert_eq!(
        make(field.clone(), json!(["blue", "red"])).unwrap().bytes(),
        [7, 3]
    );
    let error = make(field.clone(), json!(["blue", "green"])).unwrap_err();
    assert_eq!(error.field(), Some("/x/1"));
    assert!(error.message().contains("blue, red"), "{error}");
    assert_eq!(
        make(field, json!(["blue", 3])).unwrap_err().field(),
        Some("/x/1")
    );
}

#[test]
fn hostile_documents_are_refused() {
    let settings =
        json!({"fields": [{"name": "x", "datatype": "fp32", "shape": [-1]}], "max_bytes": 100_000});
    let deep = "[".repeat(10_000);
    let object = r#"{"x":"#.repeat(10_000);
    let large = format!(r#"{{"x": [{}1]}}"#, "1,".repeat(50_000));
    for text in [
        "",
        "{",
        "{\"x\": [1,]}",
        "{\"x\": [NaN]}",
        "{\"x\": [1e999]}",
        "\u{0}",
        &deep,
        &object,
        &large,
    ] {
        let error = run_text(&settings, text).unwrap_err();
        assert_eq!(error.field(), Some("body"), "{error}");
    }
    let plugin: JsonSchema = testing::plugin(&settings.to_string()).unwrap();
    let not_text = Body::new("application/json", &[b'"', 0xff, b'"']);
    let error = plugin
        .preprocess(&Request::new("score"), not_text.into())
        .unwrap_err();
    assert_eq!(error.field(), Some("body"));
    let tensor = Tensor::new("x", &[1], &[1f32]).unwrap();
    let error = plugin
        .preprocess(&Request::new("score"), tensor.into())
        .unwrap_err();
    assert!(matches!(error, Error::InvalidInput(_)), "{error:?}");
}

#[test]
fn a_wrong_setting_is_refused_by_its_name() {
    let field = |change: Value| {
        let mut field = json!({"name": "x", "datatype": "int32", "shape": [1]});
        for (key, value) in change.as_object().unwrap() {
            field[key] = value.clone();
        }
        json!({"fields": [field]})
    };
    for (settings, wanted) in [
        (json!({}), "fields"),
        (json!({"fields": []}), "fields"),
        (
            json!({"fields": [{"name": "x", "shape": [1]}]}),
            "fields[0].datatype",
        ),
        (field(json!({"name": ""})), "fields[0].name"),
        (field(json!({"pointer": "x"})), "fields[0].pointer"),
        (field(json!({"pointer": "/~2"})), "fields[0].pointer"),
        (field(json!({"shape": [-2]})), "fields[0].shape"),
        (field(json!({"datatype": "int4"})), "fields[0].datatype"),
        (field(json!({"default": "one"})), "fields[0].default"),
        (field(json!({"default": [1, 2]})), "fields[0].default"),
        (field(json!({"unknown": 1})), "fields[0].unknown"),
        (
            field(json!({"datatype": "fp32", "vocabulary": ["a"]})),
            "fields[0].vocabulary",
        ),
        (
            field(json!({"datatype": "int8", "vocabulary": {"a": 200}})),
            "fields[0].vocabulary",
        ),
        (
            field(json!({"datatype": "int8", "vocabulary": ["a"], "unknown": 200})),
            "fields[0].vocabulary",
        ),
        (field(json!({"type": "int32"})), "fields[0].type"),
        (
            json!({"fields": [field(json!({}))["fields"][0], field(json!({}))["fields"][0]]}),
            "fields[1].name",
        ),
        (
            json!({"fields": field(json!({}))["fields"], "max_bytes": 0}),
            "max_bytes",
        ),
        (
            json!({"fields": field(json!({}))["fields"], "schema": "{"}),
            "schema",
        ),
        (
            json!({"fields": field(json!({}))["fields"], "strict": true}),
            "strict",
        ),
    ] {
        let error = testing::plugin::<JsonSchema>(&settings.to_string())
            .err()
            .unwrap();
        assert_eq!(error.field(), Some(wanted), "{settings}: {error}");
    }
}
