mod refusals;

use std::sync::Arc;

use half::{bf16, f16};
use proptest::prelude::*;
use wharf_core::{Datatype, Element, ErrorKind, Payload, SequenceId, Shape, Tensor, TensorSpec};

use super::*;
use crate::budget::BodyBudget;
use crate::oip::rest::Request;
use crate::oip::rest::answer::{Form, write};
use crate::oip::{InferResponse, Output};

fn spec(name: &str, datatype: Datatype, shape: &[Option<u64>]) -> TensorSpec {
    TensorSpec::new(name, datatype, shape.to_vec())
}

fn pair() -> Vec<TensorSpec> {
    let mut mask = spec("mask", Datatype::Bool, &[None]);
    mask.optional = true;
    vec![spec("x", Datatype::Fp32, &[None, Some(2)]), mask]
}

fn read_with(document: &[u8], blobs: &[u8], specs: &[TensorSpec]) -> Result<Request> {
    let budget = Arc::new(BodyBudget::new(1 << 20));
    let sources = Sources {
        blobs: &Bytes::copy_from_slice(blobs),
        shared: &SharedMemory::new(budget, 1 << 20),
        max_shared: u64::MAX,
    };
    let request = read(document, sources, RouteInput::Tensors(specs))?;
    Ok(request.expect("no shared memory is read"))
}

fn tensors(request: Request) -> Vec<Tensor> {
    match request.request.input {
        Payload::Tensors(tensors) => tensors,
        Payload::Body(_) => panic!("it is a body"),
    }
}

/// The field and the message of a refusal.
fn refusal(document: &str, blobs: &[u8], specs: &[TensorSpec]) -> (String, String) {
    let Err(error) = read_with(document.as_bytes(), blobs, specs) else {
        panic!("it is read: {document}");
    };
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{document}");
    let field = error.field().unwrap().to_owned();
    (field, error.message().to_owned())
}

#[test]
fn keys_come_in_any_order() {
    let members = [
        r#""name": "x""#,
        r#""shape": [2, 2]"#,
        r#""datatype": "FP32""#,
        r#""data": [[1, 2], [3, 4.5]]"#,
        r#""parameters": {"made_up": 1}"#,
        r#""more": {"deep": [[], {}]}"#,
    ];
    for first in 0..members.len() {
        let mut order = members;
        order.rotate_left(first);
        for reversed in [false, true] {
            if reversed {
                order.reverse();
            }
            let document = format!(r#"{{"inputs": [{{{}}}]}}"#, order.join(","));
            let request = read_with(document.as_bytes(), b"", &pair()).unwrap();
            let tensors = tensors(request);
            assert_eq!(tensors[0].as_slice::<f32>().unwrap(), [1., 2., 3., 4.5]);
            assert_eq!(&**tensors[0].shape(), [2, 2]);
        }
    }
}

#[test]
fn a_request_is_read_as_a_whole() {
    let document = r#"{"outputs": [{"name": "y", "parameters": {"binary_data": false}},
        {"parameters": {"classification": 3, "binary_data": true}, "name": "z"}, {"name": "w"}],
        "model_name": "m", "parameters": {"binary_data_output": true, "sequence_id": 7,
        "sequence_end": true, "priority": 2, "timeout": 1500, "made_up": null}, "id": "a\u0062",
        "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}"#;
    let Request {
        request,
        binary_output,
    } = read_with(document.as_bytes(), b"", &pair()).unwrap();
    assert!(binary_output);
    assert_eq!(request.id, "ab");
    let sequence = request.scheduling.sequence.unwrap();
    assert_eq!(sequence.id, SequenceId::Number(7.try_into().unwrap()));
    assert!(sequence.end && !sequence.start);
    assert_eq!(request.scheduling.priority.unwrap().get(), 2);
    let outputs: Vec<_> = request
        .outputs
        .iter()
        .map(|output| (&*output.name, output.binary, output.classification))
        .collect();
    let expected = [
        ("y", Some(false), None),
        ("z", Some(true), Some(3)),
        ("w", None, None),
    ];
    assert_eq!(outputs, expected);
    // What clients leave out, some of them send as null.
    let document = r#"{"id": null, "parameters": null, "outputs": null, "inputs": [{"name": "x",
        "shape": [0, 2], "datatype": "FP32", "parameters": null}]}"#;
    let request = read_with(document.as_bytes(), b"", &pair()).unwrap();
    assert_eq!(request.request.id, "");
    assert_eq!(tensors(request)[0].rows(), 0);
}

#[test]
fn binary_data_follows_the_order_of_the_inputs() {
    let document = br#"{"inputs": [
        {"name": "mask", "shape": [3], "datatype": "BOOL", "parameters": {"binary_data_size": 3}},
        {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}]}"#;
    let mut blobs = vec![1, 0, 1];
    for value in [1.5_f32, -2.0] {
        blobs.extend_from_slice(&value.to_le_bytes());
    }
    let tensors = tensors(read_with(document, &blobs, &pair()).unwrap());
    assert_eq!(tensors[0].as_slice::<f32>().unwrap(), [1.5, -2.0]);
    assert_eq!(tensors[1].data()[..], [1, 0, 1]);
}

/// Writes a tensor as an answer, and reads it back as a request.
async fn round_trip(tensor: &Tensor, binary: bool) {
    let response = InferResponse {
        model_name: "m".into(),
        model_version: 3,
        id: "an \"id\"".to_owned(),
        outputs: vec![Output {
            tensor: tensor.clone(),
            binary: None,
            content_type: None,
            shared_memory: None,
        }],
    };
    let form = Form {
        binary_output: binary,
        sequence: None,
    };
    let answer = write(response, form).await.unwrap();
    let whole = answer.parts.concat();
    assert_eq!(answer.document.is_some(), binary);
    let (document, blobs) = whole.split_at(answer.document.unwrap_or(whole.len()));
    let parsed: serde_json::Value = serde_json::from_slice(document).unwrap();
    assert_eq!(parsed["model_version"], "3");
    assert_eq!(parsed["id"], "an \"id\"");
    let text = std::str::from_utf8(document).unwrap();
    let text = text.replacen("outputs", "inputs", 1);
    let open: Vec<Option<u64>> = tensor.shape().iter().map(|_| None).collect();
    let specs = [spec(tensor.name(), tensor.datatype(), &open)];
    let read = tensors(read_with(text.as_bytes(), blobs, &specs).unwrap());
    assert_eq!(read[0].data(), tensor.data(), "{text}");
    assert_eq!(read[0].shape(), tensor.shape());
}

fn of<T: Element>(shape: [u64; 2], elements: impl Iterator<Item = T>) -> Tensor {
    let count = (shape[0] * shape[1]) as usize;
    Tensor::from_vec("x", shape, elements.take(count).collect()).unwrap()
}

proptest! {
    #[test]
    fn every_datatype_goes_both_ways(
        bits in proptest::collection::vec(any::<u64>(), 40),
        texts in proptest::collection::vec(".{0,12}", 40),
        rows in 0_u64..6,
        columns in 1_u64..6,
    ) {
        let shape = [rows, columns];
        let bits = || bits.iter().copied();
        let finite = |value: f64| if value.is_finite() { value } else { 0.5 };
        let count = (rows * columns) as usize;
        let bools: Vec<u8> = bits().map(|bits| (bits & 1) as u8).take(count).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for tensor in [
            of(shape, bits().map(|bits| bits as u8)),
            of(shape, bits().map(|bits| bits as u16)),
            of(shape, bits().map(|bits| bits as u32)),
            of(shape, bits()),
            of(shape, bits().map(|bits| bits as i8)),
            of(shape, bits().map(|bits| bits as i16)),
            of(shape, bits().map(|bits| bits as i32)),
            of(shape, bits().map(|bits| bits as i64)),
            of(shape, bits().map(|bits| finite(f16::from_bits(bits as u16).into())).map(f16::from_f64)),
            of(shape, bits().map(|bits| finite(bf16::from_bits(bits as u16).into())).map(bf16::from_f64)),
            of(shape, bits().map(|bits| finite(f32::from_bits(bits as u32).into()) as f32)),
            of(shape, bits().map(|bits| finite(f64::from_bits(bits)))),
            Tensor::new("x", Datatype::Bool, shape, bools.into()).unwrap(),
            Tensor::from_elements("x", shape, &texts[..count]).unwrap(),
        ] {
            runtime.block_on(round_trip(&tensor, false));
            runtime.block_on(round_trip(&tensor, true));
        }
    }

    #[test]
    fn hostile_documents_are_refused_or_read(
        text in r#"\{"inputs": ?\[\{"name":"x",("shape":\[[0-9,-]{0,5}\],|"datatype":"[A-Z0-9]{0,5}",|"data":[\[\]0-9eE+\-., "a]{0,20},){0,4}[\[\]{}0-9:"a-z\\ ,]{0,40}"#,
        bytes in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        if let Err(error) = read_with(text.as_bytes(), &bytes, &pair()) {
            prop_assert!(error.field().is_some());
        }
        let _ = read_with(&bytes, &bytes, &pair());
    }
}

#[test]
fn more_shared_memory_than_wanted_is_not_read() {
    let budget = Arc::new(BodyBudget::new(1 << 20));
    let sources = Sources {
        blobs: &Bytes::new(),
        shared: &SharedMemory::new(budget, 1 << 20),
        max_shared: 7,
    };
    let document = br#"{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters":
        {"shared_memory_region": "r", "shared_memory_byte_size": 8}}]}"#;
    let specs = pair();
    let request = read(document, sources, RouteInput::Tensors(&specs));
    assert!(request.unwrap().is_none());
}

#[test]
fn a_shape_of_no_dimensions_is_one_element() {
    let specs = [spec("x", Datatype::Int64, &[])];
    for data in ["7", "[7]"] {
        let document = format!(
            r#"{{"inputs": [{{"name": "x", "shape": [], "datatype": "INT64", "data": {data}}}]}}"#
        );
        let tensors = tensors(read_with(document.as_bytes(), b"", &specs).unwrap());
        assert_eq!(tensors[0].as_slice::<i64>().unwrap(), [7]);
        assert_eq!(tensors[0].shape(), &Shape::default());
    }
}
