//! What is refused, and the place that the refusal names.

use super::*;

#[test]
fn refusals_name_the_place() {
    let x = |members: &str| format!(r#"{{"inputs": [{{"name": "x", {members}}}]}}"#);
    let data = |data: &str| {
        x(&format!(
            r#""shape": [1, 2], "datatype": "FP32", "data": {data}"#
        ))
    };
    let early = |data: &str| {
        format!(
            r#"{{"inputs": [{{"data": {data}, "name": "x", "shape": [1, 2], "datatype": "FP32"}}]}}"#
        )
    };
    let blob = |parameters: &str| {
        x(&format!(
            r#""shape": [1, 2], "datatype": "FP32", "parameters": {{{parameters}}}"#
        ))
    };
    let good = r#"{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}"#;
    let whole = |members: &str| format!(r#"{{"inputs": [{good}], {members}}}"#);
    for (document, field, part) in [
        (String::new(), "body", "not valid JSON"),
        ("[]".to_owned(), "body", "an object"),
        ("{}".to_owned(), "inputs.x", "missing"),
        (r#"{"inputs": {}}"#.to_owned(), "inputs", "an array"),
        (r#"{"inputs": []}"#.to_owned(), "inputs.x", "missing"),
        (r#"{"inputs": [7]}"#.to_owned(), "inputs[0]", "an object"),
        (
            r#"{"inputs": [{}]}"#.to_owned(),
            "inputs[0].name",
            "missing",
        ),
        (
            r#"{"inputs": [{"name": 7}]}"#.to_owned(),
            "inputs[0]",
            "text",
        ),
        (x(r#""shape": [1, 2]"#), "inputs.x.datatype", "missing"),
        (x(r#""datatype": "FP32""#), "inputs.x.shape", "missing"),
        (x(r#""name": "x""#), "inputs.x.name", "twice"),
        (x(r#""shape": [-1, 2]"#), "inputs.x.shape[0]", "-1"),
        (x(r#""shape": [1, 2.5]"#), "inputs.x.shape[1]", "2.5"),
        (
            x(r#""shape": [1, "2"]"#),
            "inputs.x.shape[1]",
            "whole number",
        ),
        (x(r#""shape": 2"#), "inputs.x.shape", "an array"),
        (
            x(&format!(r#""shape": [{}1]"#, "1,".repeat(64))),
            "inputs.x.shape",
            "dimensions",
        ),
        (
            x(r#""shape": [18446744073709551616]"#),
            "inputs.x.shape[0]",
            "whole number",
        ),
        (
            x(r#""shape": [1, 2], "datatype": "FP64", "data": [1, 2]"#),
            "inputs.x",
            "FP32",
        ),
        (
            x(r#""shape": [2], "datatype": "FP32", "data": [1, 2]"#),
            "inputs.x",
            "takes [-1, 2]",
        ),
        (
            x(r#""shape": [9223372036854775807, 2], "datatype": "FP32", "data": [1, 2]"#),
            "inputs.x.data",
            "there are 2",
        ),
        (
            x(r#""shape": [18446744073709551615, 2], "datatype": "FP32", "data": [1, 2]"#),
            "inputs.x.data",
            "overflows",
        ),
        (
            x(
                r#""shape": [1125899906842624, 2], "datatype": "FP32", "parameters": {"binary_data_size": 9007199254740992}"#,
            ),
            "inputs.x.parameters.binary_data_size",
            "0 bytes",
        ),
        (data("[1]"), "inputs.x.data", "2 elements"),
        (data("[1, 2, 3]"), "inputs.x.data", "there are 3"),
        (data("[[1], [2, 3]]"), "inputs.x.data[1]", "more than"),
        (data(r#"[1, "2"]"#), "inputs.x.data[1]", "is text"),
        (data("null"), "inputs.x.data", "is null"),
        (data("[1, 1e39]"), "inputs.x.data[1]", "cannot hold"),
        (data("[1, 2"), "inputs.x.data[2]", "not valid JSON"),
        (data("[1 2]"), "inputs.x.data[1]", "not valid JSON"),
        (data(&"[".repeat(10_000)), "inputs.x.data", "nests more"),
        (early("[1, true]"), "inputs.x.data[1]", "is true"),
        (early(&"[".repeat(10_000)), "inputs[0]", "nests more"),
        (
            x(r#""shape": [1, 2], "datatype": "FP32""#),
            "inputs.x",
            "no elements",
        ),
        (
            x(
                r#""shape": [1, 2], "datatype": "FP32", "data": [1, 2], "parameters": {"binary_data_size": 8}"#,
            ),
            "inputs.x",
            "two places",
        ),
        (
            blob(r#""binary_data_size": 8"#),
            "inputs.x.parameters.binary_data_size",
            "0 bytes",
        ),
        (
            blob(r#""binary_data_size": -8"#),
            "inputs.x.parameters.binary_data_size",
            "whole number",
        ),
        (
            blob(r#""binary_data_size": [8]"#),
            "inputs.x.parameters.binary_data_size",
            "is text, a number",
        ),
        (
            blob(r#""shared_memory_region": "r""#),
            "inputs.x.parameters.shared_memory_byte_size",
            "missing",
        ),
        (
            blob(r#""shared_memory_region": "r", "shared_memory_byte_size": 8"#),
            "inputs.x",
            "registered",
        ),
        (
            format!(r#"{{"inputs": [{good}, {good}]}}"#),
            "inputs.x",
            "twice",
        ),
        (whole(r#""inputs": []"#), "inputs", "twice"),
        (whole(r#""id": 7"#), "id", "text"),
        (whole(r#""id": "a", "id": "a""#), "id", "twice"),
        (whole(r#""id": "\ud800""#), "id", "text of UTF-8"),
        (whole(r#""parameters": [1]"#), "parameters", "an object"),
        (
            whole(r#""parameters": {"priority": {}}"#),
            "parameters.priority",
            "is text, a number",
        ),
        (
            whole(r#""parameters": {"priority": "high"}"#),
            "parameters.priority",
            "whole number",
        ),
        (
            whole(r#""parameters": {"made_up": []}"#),
            "parameters.made_up",
            "is text, a number",
        ),
        (
            whole(r#""parameters": {"sequence_start": 1}"#),
            "parameters.sequence_start",
            "true",
        ),
        (whole(r#""outputs": [{}]"#), "outputs[0].name", "missing"),
        (whole(r#""outputs": ["y"]"#), "outputs[0]", "an object"),
        (
            whole(r#""outputs": [{"name": "y", "parameters": {"binary_data": 1}}]"#),
            "outputs.y.parameters.binary_data",
            "true or false",
        ),
        (
            whole(&format!(
                r#""outputs": [{}]"#,
                vec![r#"{"name": "y"}"#; 1025].join(",")
            )),
            "outputs",
            "more than 1024",
        ),
        (whole(r#""more": [1,]"#), "body", "not valid JSON"),
        (
            whole(&format!(r#""more": {}"#, "[".repeat(10_000))),
            "body",
            "nests more",
        ),
        (format!("{} x", whole(r#""id": "a""#)), "body", "the end"),
    ] {
        let (found, message) = refusal(&document, b"", &pair());
        let shown: String = document.chars().take(200).collect();
        // Of the deepest nesting, every index is told.
        let found = found.replace(&"[0]".repeat(32), "");
        assert_eq!(found, field, "{shown}: {message}");
        assert!(message.contains(part), "{shown}: {message}");
    }
}

#[test]
fn binary_data_that_does_not_add_up_is_refused() {
    let document = |size: u64| {
        format!(
            r#"{{"inputs": [{{"name": "x", "shape": [1, 2], "datatype": "FP32",
               "parameters": {{"binary_data_size": {size}}}}}]}}"#
        )
    };
    let size = "inputs.x.parameters.binary_data_size";
    for (announced, sent, field) in [
        (8, 7, size),
        (8, 9, "body"),
        (7, 7, "inputs.x"),
        (9, 9, "inputs.x"),
        (u64::MAX, 8, size),
    ] {
        let (found, message) = refusal(&document(announced), &vec![0; sent], &pair());
        assert_eq!(found, field, "{announced} {sent}: {message}");
    }
    let bools = r#"{"inputs": [{"name": "mask", "shape": [2], "datatype": "BOOL",
        "parameters": {"binary_data_size": 2}}]}"#;
    assert_eq!(refusal(bools, &[0, 2], &pair()).0, "inputs.mask");
    let words = [spec("w", Datatype::Bytes, &[None])];
    let document = r#"{"inputs": [{"name": "w", "shape": [2], "datatype": "BYTES",
        "parameters": {"binary_data_size": 9}}]}"#;
    for blob in [[1, 0, 0, 0, 7, 255, 255, 255, 255], [0; 9]] {
        assert_eq!(refusal(document, &blob, &words).0, "inputs.w");
    }
}
