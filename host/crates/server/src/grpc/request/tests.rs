use std::collections::BTreeMap;

use prost::Message as _;
use wharf_core::{Datatype, Payload, Tensor, TensorSpec};

use super::*;
use crate::budget::BodyBudget;
use crate::inference::infer_parameter::ParameterChoice;
use crate::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::inference::{InferParameter, ModelInferRequest};
use crate::oip::Region;

fn shared() -> SharedMemory {
    SharedMemory::new(std::sync::Arc::new(BodyBudget::new(1 << 20)), 1 << 20)
}

fn specs(datatype: Datatype) -> [TensorSpec; 1] {
    [TensorSpec::new("x", datatype, vec![None])]
}

/// Reads a message for a route that takes `x`.
fn read(message: &[u8], datatype: Datatype) -> Result<InferRequest> {
    let message = Bytes::copy_from_slice(message);
    let specs = specs(datatype);
    Request::of(&message)?.read(&message, RouteInput::Tensors(&specs), &shared())
}

fn tensor(request: InferRequest) -> Tensor {
    match request.input {
        Payload::Tensors(mut tensors) => tensors.remove(0),
        Payload::Body(_) => panic!("it is a body"),
    }
}

/// A request for `x` of three elements, with contents in their encoding.
fn with_contents(datatype: Datatype, contents: &[u8]) -> Vec<u8> {
    let mut input = InferInputTensor {
        name: "x".to_owned(),
        datatype: datatype.name().to_owned(),
        shape: vec![3],
        ..InferInputTensor::default()
    }
    .encode_to_vec();
    input.extend([0x2a, contents.len() as u8]);
    input.extend(contents);
    [&[0x2a, input.len() as u8][..], &input].concat()
}

#[test]
fn lists_may_be_cut_in_pieces() {
    // One element alone, and two in a list; as varints, and as they stand in memory.
    let message = with_contents(Datatype::Int64, b"\x18\x01\x1a\x03\x02\xac\x02");
    let read_back = tensor(read(&message, Datatype::Int64).unwrap());
    assert_eq!(read_back.as_slice::<i64>().unwrap(), [1, 2, 300]);
    let mut contents = vec![0x35];
    contents.extend(1.0_f32.to_le_bytes());
    contents.extend([0x32, 8]);
    contents.extend([2.0_f32, 3.0].iter().flat_map(|x| x.to_le_bytes()));
    let message = with_contents(Datatype::Fp32, &contents);
    let read_back = tensor(read(&message, Datatype::Fp32).unwrap());
    assert_eq!(read_back.as_slice::<f32>().unwrap(), [1.0, 2.0, 3.0]);
    // A boolean may be written as any number.
    let message = with_contents(Datatype::Bool, b"\x08\x02\x08\x00\x08\x01");
    let read_back = tensor(read(&message, Datatype::Bool).unwrap());
    assert_eq!(&read_back.data()[..], [1, 0, 1]);
}

#[test]
fn aligned_contents_are_shared() {
    let values: Vec<u8> = (0..16).collect();
    let message = ModelInferRequest {
        inputs: vec![InferInputTensor {
            name: "x".to_owned(),
            datatype: "UINT8".to_owned(),
            shape: vec![16],
            ..InferInputTensor::default()
        }],
        raw_input_contents: vec![values.clone().into()],
        ..ModelInferRequest::default()
    };
    let message = Bytes::from(message.encode_to_vec());
    let specs = specs(Datatype::Uint8);
    let request = Request::of(&message).unwrap();
    let request = request.read(&message, RouteInput::Tensors(&specs), &shared());
    let tensor = tensor(request.unwrap());
    assert_eq!(&tensor.data()[..], values);
    assert!(message.as_ptr_range().contains(&tensor.data().as_ptr()));
}

#[test]
fn broken_messages_are_refused() {
    let whole = with_contents(Datatype::Int64, b"\x1a\x03\x01\x02\x03");
    assert!(read(&whole, Datatype::Int64).is_ok());
    for length in 1..whole.len() {
        assert!(read(&whole[..length], Datatype::Int64).is_err(), "{length}");
    }
    for contents in [
        // Another wire type than the list has, a varint that is cut, and bytes that are no whole elements.
        (Datatype::Int64, &b"\x1d\0\0\0\0"[..]),
        (Datatype::Int64, b"\x1a\x01\xff"),
        (Datatype::Fp32, b"\x32\x05abcde"),
        (Datatype::Bytes, b"\x40\x01"),
    ] {
        let message = with_contents(contents.0, contents.1);
        let error = read(&message, contents.0).unwrap_err();
        assert_eq!(error.field(), Some("inputs.x"), "{error}");
    }
    // A shape of as many dimensions as there are bytes.
    let shape = vec![1; 1 << 20];
    let long = InferInputTensor {
        shape,
        ..InferInputTensor::default()
    };
    let Err(error) = Input::of(&long.encode_to_vec()) else {
        panic!("a million dimensions are taken");
    };
    assert!(error.to_string().contains("more than 64"), "{error}");
    let twice = [0x2a, 4, 0x2a, 0, 0x2a, 0];
    assert!(read(&twice, Datatype::Int64).is_err());
}

#[test]
fn a_place_in_the_queue_and_outputs_are_read() {
    let parameter = |choice| InferParameter {
        parameter_choice: Some(choice),
    };
    let number = |number| parameter(ParameterChoice::Int64Param(number));
    let output = InferRequestedOutputTensor {
        name: "y".to_owned(),
        parameters: BTreeMap::from([
            ("classification".to_owned(), number(3)),
            ("shared_memory_byte_size".to_owned(), number(8)),
            (
                "shared_memory_region".to_owned(),
                parameter(ParameterChoice::StringParam("r".to_owned())),
            ),
        ]),
    };
    let message = ModelInferRequest {
        id: "7".to_owned(),
        parameters: BTreeMap::from([
            ("sequence_id".to_owned(), number(5)),
            (
                "sequence_end".to_owned(),
                parameter(ParameterChoice::BoolParam(true)),
            ),
            (
                "priority".to_owned(),
                parameter(ParameterChoice::Uint64Param(2)),
            ),
            (
                "mine".to_owned(),
                parameter(ParameterChoice::DoubleParam(0.5)),
            ),
        ]),
        inputs: vec![InferInputTensor {
            name: "x".to_owned(),
            datatype: "INT64".to_owned(),
            shape: vec![0],
            ..InferInputTensor::default()
        }],
        outputs: vec![output],
        ..ModelInferRequest::default()
    };
    let request = read(&message.encode_to_vec(), Datatype::Int64).unwrap();
    assert_eq!(request.id, "7");
    assert_eq!(request.scheduling.priority.map(u32::from), Some(2));
    assert!(request.scheduling.sequence.unwrap().end);
    let region = Region {
        name: "r".to_owned(),
        offset: 0,
        byte_size: 8,
    };
    let expected = RequestedOutput {
        name: "y".to_owned(),
        binary: None,
        classification: Some(3),
        shared_memory: Some(region),
    };
    assert_eq!(request.outputs, [expected]);
}
