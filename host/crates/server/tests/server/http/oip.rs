//! Inference in the Open Inference Protocol, in JSON.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Value, json};
use wharf_testkit::Site;

use super::{config, start, start_with};
use crate::support::http::{Client, get, infer, post};

const ONE: &str =
    r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2.5]}],"id":"7"}"#;

/// A site with models of every kind that the tests ask for.
fn site() -> Site {
    let site = Site::new();
    site.model(
        "echo",
        1,
        "input x FP32 * 2\noutput x_out FP32 * 2\nclasses cat dog",
    );
    site.model("echo", 2, "input x FP32 * 2\noutput x_out FP32 * 2\nadd 1");
    site.put("models/echo/model.toml", "label stable 1\n");
    site.model(
        "optional",
        1,
        "input a INT64 *\ninput b BYTES * optional\noutput a INT64 *\noutput b BYTES *",
    );
    for datatype in ["BOOL", "UINT8", "INT64", "FP16", "BF16", "FP64", "BYTES"] {
        let lines = format!("input x {datatype} *\noutput y {datatype} *");
        site.model(&format!("of-{}", datatype.to_lowercase()), 1, &lines);
    }
    site
}

#[tokio::test]
async fn a_model_answers() {
    let server = start(config()).await;
    let answer = infer(server.address, "echo/infer", "", ONE).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(
        std::str::from_utf8(&answer.body).unwrap(),
        r#"{"model_name":"echo","model_version":"1","id":"7","outputs":[{"name":"x_out","datatype":"FP32","shape":[1,2],"data":[1.0,2.5]}]}"#
    );
    // Whatever the content is said to be: Triton's clients do not say it, and curl says a form.
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let answer = infer(server.address, "echo/infer", form, ONE).await;
    assert_eq!(answer.status, 200);
    let document = r#"{"parameters":{"sequence_id":"s","sequence_start":true},
        "inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2.5]}],
        "outputs":[{"name":"x_out"}]}"#;
    let answer = infer(server.address, "echo/infer", "", document).await;
    let parameters = json!({"sequence_id": "s", "sequence_start": true, "sequence_end": false});
    assert_eq!(answer.json()["parameters"], parameters);
    assert_eq!(answer.json().get("id"), None);
    server.is_well().await;
}

#[tokio::test]
async fn versions_and_labels_are_named_in_the_path() {
    let server = start_with(config(), site()).await;
    for (path, status, version) in [
        ("echo/infer", 200, "2"),
        ("echo/versions/1/infer", 200, "1"),
        ("echo/versions/2/infer", 200, "2"),
        ("echo/versions/stable/infer", 200, "1"),
        ("%65cho/infer", 200, "2"),
        ("echo/versions/%31/infer", 200, "1"),
        ("echo/versions/01/infer", 404, "version"),
        ("echo/versions//infer", 400, "version"),
        ("echo%2fversions%2f1/infer", 400, "model"),
        ("%ff/infer", 400, "model"),
        ("echo/versions/3/infer", 404, "version"),
        ("echo/versions/canary/infer", 404, "version"),
        ("none/infer", 404, "model"),
        ("echo/versions/..%2f..%2fetc/infer", 400, "version"),
        ("echo/versions/a/b/infer", 400, "version"),
        ("../infer", 400, "model"),
        ("..%2f..%2fetc%2fpasswd/infer", 400, "model"),
        ("echo%00/infer", 400, "model"),
        ("a/b/infer", 400, "model"),
        ("/infer", 400, "model"),
        (&format!("{}/infer", "x".repeat(300)), 400, "model"),
        (
            &format!("echo/versions/{}/infer", "1".repeat(300)),
            400,
            "version",
        ),
    ] {
        let answer = infer(server.address, path, "", ONE).await;
        let document = answer.json();
        assert_eq!(answer.status, status, "{path} {document}");
        let key = if status == 200 {
            "model_version"
        } else {
            "field"
        };
        assert_eq!(document[key], version, "{path} {document}");
        assert_eq!(document["error"].is_string(), status != 200);
    }
}

/// As Triton has it, and Python reads it.
#[tokio::test]
async fn what_json_has_no_number_for_is_written_as_triton_writes_it() {
    let server = start_with(config(), site()).await;
    for datatype in ["FP16", "BF16", "FP64"] {
        for document in [
            // The elements before what they are of, and after.
            format!(
                r#"{{"inputs":[{{"data":[NaN,Infinity,-Infinity,null],"name":"x","shape":[4],"datatype":"{datatype}"}}]}}"#
            ),
            format!(
                r#"{{"inputs":[{{"name":"x","shape":[4],"datatype":"{datatype}","data":[NaN,Infinity,-Infinity,null]}}]}}"#
            ),
        ] {
            let path = format!("of-{}/infer", datatype.to_lowercase());
            let answer = infer(server.address, &path, "", document).await;
            let text = String::from_utf8(answer.body).unwrap();
            assert!(
                text.contains(r#""data":[NaN,Infinity,-Infinity,NaN]"#),
                "{text}"
            );
        }
    }
    let document = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"INT64","data":[NaN]}]}"#;
    let answer = infer(server.address, "of-int64/infer", "", document).await;
    assert_eq!(answer.refused_field(), (400, "inputs.x.data[0]".to_owned()));
}

#[tokio::test]
async fn every_kind_of_element_has_its_json() {
    let server = start_with(config(), site()).await;
    for (datatype, data) in [
        ("BOOL", json!([true, false])),
        ("UINT8", json!([0, 255])),
        ("INT64", json!([i64::MIN, i64::MAX])),
        ("FP16", json!([0.5, -65504.0])),
        ("BF16", json!([0.5, -3.0])),
        ("FP64", json!([0.1, 1e300])),
        ("BYTES", json!(["a\"\n", "ü😀"])),
    ] {
        let document = json!({"inputs": [
            {"name": "x", "shape": [2], "datatype": datatype, "data": data}]});
        let path = format!("of-{}/infer", datatype.to_lowercase());
        let answer = infer(server.address, &path, "", document.to_string()).await;
        let output = &answer.json()["outputs"][0];
        assert_eq!(output["data"], data, "{output}");
        assert_eq!(output["datatype"], datatype);
    }
}

#[tokio::test]
async fn optional_inputs_may_be_missing() {
    let server = start_with(config(), site()).await;
    let a = r#"{"name":"a","shape":[1],"datatype":"INT64","data":[7]}"#;
    let b = r#"{"name":"b","shape":[1],"datatype":"BYTES","data":["t"]}"#;
    for (inputs, outputs) in [(a.to_owned(), 1), (format!("{b},{a}"), 2)] {
        let document = format!(r#"{{"inputs":[{inputs}]}}"#);
        let answer = infer(server.address, "optional/infer", "", document).await;
        let document = answer.json();
        assert_eq!(document["outputs"].as_array().unwrap().len(), outputs);
    }
    let document = format!(r#"{{"inputs":[{b}]}}"#);
    let answer = infer(server.address, "optional/infer", "", document).await;
    assert_eq!(answer.refused_field(), (400, "inputs.a".to_owned()));
    // The native endpoint knows them as well.
    let answer = post(server.address, "optional", r#"{"input": {"a": [7]}}"#).await;
    assert_eq!(answer.body, r#"{"output":[7]}"#);
}

#[tokio::test]
async fn outputs_are_chosen_and_classified() {
    let server = start_with(config(), site()).await;
    let asking = |outputs: &str| {
        format!(
            r#"{{"inputs":[{{"name":"x","shape":[2,2],"datatype":"FP32","data":[1,2.5,4,3]}}],"outputs":[{outputs}]}}"#
        )
    };
    let path = "echo/versions/stable/infer";
    let classes = asking(r#"{"name":"x_out","parameters":{"classification":1}}"#);
    let answer = infer(server.address, path, "", classes).await;
    let output = &answer.json()["outputs"][0];
    assert_eq!(output["datatype"], "BYTES");
    assert_eq!(output["shape"], json!([2, 1]));
    let data: Vec<&str> = output["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(
        data[0].ends_with(":1:dog") && data[1].ends_with(":0:cat"),
        "{data:?}"
    );
    for (outputs, field) in [
        (r#"{"name":"y"}"#, "outputs.y"),
        (r#"{"name":"x_out"},{"name":"x_out"}"#, "outputs.x_out"),
        (
            r#"{"name":"x_out","parameters":{"shared_memory_region":"r","shared_memory_byte_size":16}}"#,
            "outputs.x_out",
        ),
        (
            r#"{"name":"x_out","parameters":{"classification":-1}}"#,
            "outputs.x_out.parameters.classification",
        ),
    ] {
        let answer = infer(server.address, path, "", asking(outputs)).await;
        assert_eq!(answer.refused_field(), (400, field.to_owned()), "{outputs}");
    }
}

#[tokio::test]
async fn a_route_that_takes_a_body_is_a_model_too() {
    let server = start(config()).await;
    let document = r#"{"inputs":[{"name":"body","shape":[1],"datatype":"BYTES","data":["12345"],
        "parameters":{"content_type":"image/png"}}]}"#;
    let answer = infer(server.address, "picture/infer", "", document).await;
    let output = &answer.json()["outputs"][0];
    let expected = json!({"name": "body", "datatype": "BYTES", "shape": [1],
        "parameters": {"content_type": "text/plain"}, "data": ["[5.0, 9.0] for nobody"]});
    assert_eq!(output, &expected);
    // What is no JSON is the body itself.
    let fields = "Content-Type: image/png\r\nX-User: 7\r\nAuthorization: secret\r\n";
    let answer = infer(server.address, "picture/infer", fields, "12345").await;
    let (document, blobs) = answer.split();
    let parameters = &document["outputs"][0]["parameters"];
    assert_eq!(parameters["content_type"], "text/plain");
    assert_eq!(parameters["binary_data_size"], blobs.len());
    assert_eq!(&blobs[4..], b"[5.0, 9.0] for 7");
    for (fields, body, status, field) in [
        ("Content-Type: png\r\n", "12345", 415, "content-type"),
        ("", "12345", 400, "body"),
        ("Content-Type: a/b\r\n", "trap", 502, ""),
        (
            "",
            r#"{"inputs":[{"name":"body","shape":[2],"datatype":"BYTES","data":["a","b"]}]}"#,
            400,
            "inputs.body",
        ),
    ] {
        let answer = infer(server.address, "picture/infer", fields, body).await;
        assert_eq!(answer.refused_field(), (status, field.to_owned()), "{body}");
    }
    server.is_well().await;
}

#[tokio::test]
async fn bodies_are_compressed_both_ways() {
    let server = start(config()).await;
    // Not so much alike that it would be taken for a bomb.
    let data: Vec<String> = (0..20_000_u32)
        .map(|index| (index.wrapping_mul(index) % 10_007).to_string())
        .collect();
    let data = data.join(",");
    let document = format!(
        r#"{{"inputs":[{{"name":"x","shape":[10000,2],"datatype":"FP32","data":[{data}]}}]}}"#
    );
    let plain = infer(server.address, "echo/infer", "", &document).await;
    assert_eq!(plain.field("content-encoding"), None);
    for coding in ["gzip", "deflate"] {
        let level = Compression::fast();
        let body = if coding == "gzip" {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(document.as_bytes()).unwrap();
            encoder.finish().unwrap()
        } else {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(document.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let fields = format!("Content-Encoding: {coding}\r\nAccept-Encoding: {coding}\r\n");
        let answer = infer(server.address, "echo/infer", &fields, body).await;
        assert_eq!(answer.field("content-encoding"), Some(coding));
        assert_eq!(answer.field("vary"), Some("accept-encoding"));
        let mut text = Vec::new();
        if coding == "gzip" {
            GzDecoder::new(&answer.body[..]).read_to_end(&mut text)
        } else {
            ZlibDecoder::new(&answer.body[..]).read_to_end(&mut text)
        }
        .unwrap();
        assert_eq!(text, plain.body);
        // Small answers are sent as they are.
        let fields = format!("Accept-Encoding: {coding}\r\n");
        let answer = infer(server.address, "echo/infer", &fields, ONE).await;
        assert_eq!(answer.field("content-encoding"), None);
        assert_eq!(answer.json()["id"], "7");
    }
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![b' '; 16 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    for (fields, body, status, field) in [
        ("Content-Encoding: gzip\r\n", &bomb[..], 413, "body"),
        ("Content-Encoding: gzip\r\n", b"no gzip", 400, "body"),
        (
            "Content-Encoding: gzip, gzip\r\n",
            &bomb,
            415,
            "content-encoding",
        ),
        ("Content-Encoding: br\r\n", b"", 415, "content-encoding"),
    ] {
        let answer = infer(server.address, "echo/infer", fields, body).await;
        assert_eq!(
            answer.refused_field(),
            (status, field.to_owned()),
            "{fields}"
        );
    }
    server.is_well().await;
}

#[tokio::test]
async fn hostile_documents_are_refused() {
    let server = start(config()).await;
    let x = |shape: &str, data: &str| {
        format!(r#"{{"inputs":[{{"name":"x","shape":{shape},"datatype":"FP32","data":{data}}}]}}"#)
    };
    for (document, field) in [
        ("[".repeat(10_000), "body"),
        (r#"{"inputs":"#.repeat(5000), "inputs"),
        (x("[1,2]", &"[".repeat(10_000)), "inputs.x.data"),
        (x("[-1,2]", "[1,2]"), "inputs.x.shape[0]"),
        (x("[9223372036854775808,2]", "[1,2]"), "inputs.x.data"),
        (x("[1125899906842624,2]", "[1,2]"), "inputs.x.data"),
        (x("[1,2]", "[1,2,3]"), "inputs.x.data"),
        (x("[1,2]", "[1,Nan]"), "inputs.x.data[1]"),
        (x("[1,3]", "[1,2,3]"), "inputs.x"),
        (x("[1,2]", "[1,2").replace("}]}", ""), "inputs.x.data[2]"),
        (String::new(), "body"),
    ] {
        let answer = infer(server.address, "echo/infer", "", &document).await;
        let shown: String = document.chars().take(100).collect();
        let (status, found) = answer.refused_field();
        // Of the deepest nesting, every index is told.
        let found = found.trim_end_matches("[0]");
        let field = field.trim_end_matches("[0]");
        assert_eq!((status, found), (400, field), "{shown}");
    }
    server.is_well().await;
}

#[tokio::test]
async fn only_posts_infer_and_a_full_route_says_so_early() {
    let server = start(config()).await;
    let answer = get(server.address, "GET", "/v2/models/echo/infer").await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.field("allow"), Some("post"));
    let mut first = Client::connect(server.address).await;
    let head = "POST /v2/models/narrow/infer HTTP/1.1\r\nHost: x\r\n";
    let length = ONE.len();
    first
        .send(format!("{head}Content-Length: {length}\r\n\r\n{ONE}"))
        .await;
    server.gate().arrived(1).await;
    let mut second = Client::connect(server.address).await;
    // The answer does not wait for the body.
    second
        .send(format!("{head}Content-Length: 1000\r\n\r\n"))
        .await;
    let answer = second.answer().await;
    assert_eq!(answer.status, 503);
    assert!(answer.field("retry-after").is_some());
    server.gate().open();
    assert_eq!(first.answer().await.status, 200);
    server.is_well().await;
}
