//! `ModelInfer`: what goes in and comes out, and what is refused.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tonic::Code;
use wharf_core::{Datatype, Tensor};
use wharf_server::inference::infer_parameter::ParameterChoice;
use wharf_server::inference::model_infer_request::InferRequestedOutputTensor;
use wharf_server::inference::{InferTensorContents, ModelInferRequest};

use super::start;
use crate::support::grpc::{Call, bytes_of, floats, frame, input, parameter, text, typed};

/// Two elements of each datatype: raw, and typed where there are typed ones.
fn elements(datatype: Datatype) -> (Bytes, Option<InferTensorContents>) {
    let mut typed = InferTensorContents::default();
    let raw = match datatype {
        Datatype::Bool => {
            typed.bool_contents = vec![true, false];
            vec![1, 0]
        }
        Datatype::Uint8 => {
            typed.uint_contents = vec![0, 255];
            vec![0, 255]
        }
        Datatype::Uint16 => {
            typed.uint_contents = vec![1, 65535];
            [1_u16, 65535]
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect()
        }
        Datatype::Uint32 => {
            typed.uint_contents = vec![1, u32::MAX];
            [1, u32::MAX].iter().flat_map(|x| x.to_le_bytes()).collect()
        }
        Datatype::Uint64 => {
            typed.uint64_contents = vec![1, u64::MAX];
            [1, u64::MAX].iter().flat_map(|x| x.to_le_bytes()).collect()
        }
        Datatype::Int8 => {
            typed.int_contents = vec![-128, 127];
            vec![0x80, 0x7f]
        }
        Datatype::Int16 => {
            typed.int_contents = vec![-32768, 1];
            [-32768_i16, 1]
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect()
        }
        Datatype::Int32 => {
            typed.int_contents = vec![i32::MIN, 7];
            [i32::MIN, 7].iter().flat_map(|x| x.to_le_bytes()).collect()
        }
        Datatype::Int64 => {
            typed.int64_contents = vec![i64::MIN, 7];
            [i64::MIN, 7].iter().flat_map(|x| x.to_le_bytes()).collect()
        }
        Datatype::Fp16 | Datatype::Bf16 => return (Bytes::from_static(&[0, 60, 0, 64]), None),
        Datatype::Fp32 => {
            typed.fp32_contents = vec![1.5, f32::INFINITY];
            bytes_of(&[1.5, f32::INFINITY]).to_vec()
        }
        Datatype::Fp64 => {
            typed.fp64_contents = vec![1.5, -0.0];
            [1.5, -0.0_f64]
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect()
        }
        Datatype::Bytes => {
            typed.bytes_contents = vec![Bytes::from_static(b"a\0"), Bytes::new()];
            let tensor = Tensor::from_elements("x", [2], &[&b"a\0"[..], b""]).unwrap();
            tensor.data().to_vec()
        }
    };
    (raw.into(), Some(typed))
}

#[tokio::test]
async fn every_datatype_goes_raw_and_typed() {
    let server = start().await;
    let mut client = server.client().await;
    for datatype in Datatype::ALL {
        let model = format!("of-{}", datatype.name().to_ascii_lowercase());
        let (raw, contents) = elements(datatype);
        let request = ModelInferRequest {
            model_name: model.clone(),
            id: "7".to_owned(),
            inputs: vec![input("x", datatype.name(), &[2])],
            raw_input_contents: vec![raw.clone()],
            ..ModelInferRequest::default()
        };
        let mut requests = vec![request];
        requests.extend(contents.map(|contents| typed(&model, datatype.name(), &[2], contents)));
        for request in requests {
            let id = request.id.clone();
            let answer = client.model_infer(request).await.unwrap().into_inner();
            assert_eq!(answer.raw_output_contents[0], raw, "{datatype}");
            let output = &answer.outputs[0];
            assert_eq!((&*output.name, &*output.datatype), ("y", datatype.name()));
            assert_eq!((&output.shape[..], &answer.id), (&[2][..], &id));
            assert_eq!(
                (&*answer.model_name, &*answer.model_version),
                (&*model, "1")
            );
        }
    }
    server.is_well().await;
}

#[tokio::test]
async fn a_large_message_is_put_together() {
    let server = start().await;
    let mut client = server.client().await;
    let values: Vec<f32> = (0..200_000).map(|value| value as f32).collect();
    let request = ModelInferRequest {
        model_name: "large".to_owned(),
        inputs: vec![input("x", "FP32", &[200_000])],
        raw_input_contents: vec![bytes_of(&values)],
        ..ModelInferRequest::default()
    };
    let answer = client.model_infer(request).await.unwrap().into_inner();
    assert_eq!(answer.raw_output_contents, [bytes_of(&values)]);
    // Typed, which is read on another thread.
    let fp32_contents = values.clone();
    let contents = InferTensorContents {
        fp32_contents,
        ..InferTensorContents::default()
    };
    let request = typed("large", "FP32", &[200_000], contents);
    let answer = client.model_infer(request).await.unwrap().into_inner();
    assert_eq!(answer.raw_output_contents, [bytes_of(&values)]);
}

#[tokio::test]
async fn inputs_and_outputs_are_chosen() {
    let server = start().await;
    let mut client = server.client().await;
    let longs = |value: i64| Bytes::copy_from_slice(&value.to_le_bytes());
    let output = |name: &str| InferRequestedOutputTensor {
        name: name.to_owned(),
        ..InferRequestedOutputTensor::default()
    };
    // In another order than the model's.
    let request = ModelInferRequest {
        model_name: "pair".to_owned(),
        model_version: "1".to_owned(),
        inputs: vec![input("b", "BOOL", &[1]), input("a", "INT64", &[1])],
        outputs: vec![output("b_out"), output("a_out")],
        raw_input_contents: vec![Bytes::from_static(&[1]), longs(7)],
        ..ModelInferRequest::default()
    };
    let answer = client.model_infer(request.clone()).await.unwrap();
    let expected = [Bytes::from_static(&[1]), longs(7)];
    assert_eq!(answer.into_inner().raw_output_contents, expected);
    // An optional input is left out.
    let alone = ModelInferRequest {
        inputs: vec![input("a", "INT64", &[1])],
        outputs: Vec::new(),
        raw_input_contents: vec![longs(7)],
        ..request.clone()
    };
    let answer = client.model_infer(alone).await.unwrap();
    assert_eq!(answer.into_inner().raw_output_contents, [longs(7)]);
    let unknown = ModelInferRequest {
        outputs: vec![output("c_out")],
        ..request
    };
    let status = client.model_infer(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("outputs.c_out: "), "{status}");
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let server = start().await;
    let mut client = server.client().await;
    let contents = |fp32_contents: Vec<f32>| InferTensorContents {
        fp32_contents,
        ..InferTensorContents::default()
    };
    let ints = |int_contents: Vec<i32>| InferTensorContents {
        int_contents,
        ..InferTensorContents::default()
    };
    let good = floats("echo", &[1.0, 2.0]);
    let with = |change: &dyn Fn(&mut ModelInferRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let cases = [
        (
            typed("echo", "FP32", &[1, 2], contents(vec![1.0])),
            "inputs.x: shape [1, 2] takes 2 elements, but there are 1",
        ),
        (
            typed("echo", "FP32", &[1, 2], ints(vec![1, 2])),
            "inputs.x: has int_contents, but the elements of FP32 are in fp32_contents",
        ),
        (
            typed("of-int8", "INT8", &[2], ints(vec![1, 128])),
            "inputs.x: element 1 is not in the range of INT8",
        ),
        (
            typed("of-int16", "INT16", &[1], ints(vec![-32769])),
            "inputs.x: element 0 is not in the range of INT16",
        ),
        (
            typed("of-int32", "INT32", &[1], ints(vec![1, 2])),
            "inputs.x: shape [1] takes 1 elements, but there are 2",
        ),
        (
            typed("of-fp16", "FP16", &[1], contents(vec![1.0])),
            "inputs.x: the protocol has no typed contents for FP16; send it in raw_input_contents",
        ),
        (
            with(&|request| request.inputs[0].contents = Some(contents(vec![1.0, 2.0]))),
            "inputs.x: has typed contents, but the request has raw_input_contents; send all inputs raw, or all typed",
        ),
        (
            with(&|request| request.raw_input_contents.clear()),
            "inputs.x: has neither contents nor an entry of raw_input_contents",
        ),
        (
            with(&|request| request.raw_input_contents.push(Bytes::new())),
            "raw_input_contents: has 2 entries; one is for each input that is not in shared memory",
        ),
        (
            with(&|request| request.raw_input_contents[0] = Bytes::from_static(&[0; 7])),
            "inputs.x: shape [1, 2] of FP32 takes 8 bytes, but there are 7",
        ),
        (
            with(&|request| request.inputs[0].shape = vec![1, -2]),
            "inputs.x: has a negative dimension",
        ),
        (
            with(&|request| request.inputs[0].shape = vec![i64::MAX, 2]),
            "inputs.x: the element count of shape [9223372036854775807, 2] overflows; use smaller dimensions",
        ),
        (
            with(&|request| request.inputs[0].shape = vec![1; 100]),
            "inputs.x: has more than 64 dimensions",
        ),
        (
            with(&|request| request.inputs[0].datatype = "FP64".to_owned()),
            "inputs.x: is FP32, not \"FP64\"",
        ),
        (
            with(&|request| request.inputs[0].name = "z".to_owned()),
            "inputs.z: there is no such input, but x",
        ),
        (
            with(&|request| request.inputs.push(request.inputs[0].clone())),
            "inputs.x: is given twice",
        ),
        (
            with(&|request| request.inputs.clear()),
            "raw_input_contents: has 1 entries; one is for each input that is not in shared memory",
        ),
        (
            with(&|request| {
                request.inputs.clear();
                request.raw_input_contents.clear();
            }),
            "inputs.x: is missing; send FP32 [-1, 2]",
        ),
        (
            with(&|request| {
                request
                    .parameters
                    .insert("priority".to_owned(), text("high"));
            }),
            "parameters.priority: is a whole number, not below 0",
        ),
        (
            with(&|request| {
                request.parameters.insert(
                    "sequence_start".to_owned(),
                    parameter(ParameterChoice::Int64Param(1)),
                );
            }),
            "parameters.sequence_start: is true or false",
        ),
        (
            with(&|request| {
                request.inputs[0]
                    .parameters
                    .insert("shared_memory_region".to_owned(), text("r"));
            }),
            "inputs.x.parameters.shared_memory_byte_size: is missing; give the size in bytes beside shared_memory_region",
        ),
    ];
    for (request, message) in cases {
        let status = client.model_infer(request).await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::InvalidArgument, message)
        );
    }
    server.is_well().await;
}

#[tokio::test]
async fn models_are_found_by_name_and_version() {
    let server = start().await;
    let mut client = server.client().await;
    for (name, version, code, field) in [
        ("none", "", Code::NotFound, "model: "),
        ("../x", "", Code::InvalidArgument, "model: "),
        ("", "", Code::InvalidArgument, "model: "),
        ("echo", "9", Code::NotFound, "version: "),
        ("full", "", Code::Unavailable, ""),
    ] {
        let mut request = floats("echo", &[1.0, 2.0]);
        request.model_name = name.to_owned();
        request.model_version = version.to_owned();
        let status = client.model_infer(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{name} {version}: {status}");
        assert!(status.message().starts_with(field), "{status}");
        let retry = status.metadata().contains_key("retry-after");
        assert_eq!(retry, code == Code::Unavailable, "{status}");
        assert!(status.metadata().contains_key("x-request-id"));
    }
}

#[tokio::test]
async fn a_pipeline_is_a_model() {
    let server = start().await;
    let mut client = server.client().await;
    let contents = InferTensorContents {
        bytes_contents: vec![Bytes::from_static(b"1 2")],
        ..InferTensorContents::default()
    };
    let mut request = typed("picture", "BYTES", &[1], contents);
    request.inputs[0].name = "body".to_owned();
    let parameters = &mut request.inputs[0].parameters;
    parameters.insert("content_type".to_owned(), text("text/plain"));
    let answer = client.model_infer(request).await.unwrap().into_inner();
    assert_eq!(
        (&*answer.outputs[0].name, &*answer.outputs[0].datatype),
        ("body", "BYTES")
    );
    let content_type = &answer.outputs[0].parameters["content_type"];
    assert!(matches!(
        content_type.parameter_choice,
        Some(ParameterChoice::StringParam(_))
    ));
    let raw = &answer.raw_output_contents[0];
    assert_eq!(raw[..4], (raw.len() as u32 - 4).to_le_bytes());
}

#[tokio::test]
async fn a_deadline_ends_the_request() {
    let server = start().await;
    // By hand: the generated client gives up by itself.
    let fields = [("grpc-timeout", "50m")];
    let call = Call::infer(server.address, &fields).await;
    let request = floats("slow", &[1.0, 2.0]).encode_to_vec();
    let ended = call.finish(frame(0, &request)).await;
    assert_eq!(ended.code, Code::DeadlineExceeded as i32, "{ended:?}");
    server.is_well().await;
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_work() {
    let server = start().await;
    let client = server.client().await;
    for count in 1..=50 {
        let mut leaving = client.clone();
        let asking =
            tokio::spawn(async move { leaving.model_infer(floats("slow", &[1.0, 2.0])).await });
        server.gate().arrived(count).await;
        asking.abort();
        wharf_testkit::eventually("the slot is free", || server.in_flight() == 0).await;
    }
    server.is_well().await;
}

#[tokio::test]
async fn a_drain_lets_calls_end() {
    let server = start().await;
    let mut client = server.client().await;
    let asking = tokio::spawn(async move { client.model_infer(floats("slow", &[1.0, 2.0])).await });
    server.gate().arrived(1).await;
    server.shutdown.cancel();
    server.gate().open();
    let answer = asking.await.unwrap().unwrap().into_inner();
    assert_eq!(answer.raw_output_contents, [bytes_of(&[1.0, 2.0])]);
    let ended = tokio::time::timeout(Duration::from_secs(20), server.serve).await;
    ended.expect("the drain hangs").unwrap();
}
