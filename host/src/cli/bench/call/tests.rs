use super::*;

fn tensor(datatype: Datatype, shape: &[u64], data: &[u8]) -> InputTensor {
    InputTensor {
        name: "x \"1\"".to_owned(),
        datatype,
        shape: shape.to_vec(),
        data: Bytes::copy_from_slice(data),
    }
}

fn parsed(body: &RestBody) -> Value {
    serde_json::from_slice(&body.bytes).unwrap()
}

#[test]
fn tensors_become_json() {
    let floats: Vec<u8> = [0.1_f32, -3.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let body = RestBody::json(&[
        tensor(Datatype::Fp32, &[1, 2], &floats),
        tensor(Datatype::Bool, &[2], &[1, 0]),
        tensor(Datatype::Int64, &[1], &(-5_i64).to_le_bytes()),
        tensor(
            Datatype::Fp16,
            &[1],
            &half::f16::from_f32(0.5).to_le_bytes(),
        ),
        tensor(Datatype::Bytes, &[2], b"\x02\0\0\0a\"\0\0\0\0"),
    ])
    .unwrap();
    assert_eq!(body.header_length, None);
    let inputs = &parsed(&body)["inputs"];
    assert_eq!(
        inputs[0],
        json!({"name": "x \"1\"", "shape": [1, 2], "datatype": "FP32", "data": [0.1, -3]})
    );
    let data: Vec<&Value> = (1..5).map(|index| &inputs[index]["data"]).collect();
    assert_eq!(
        data,
        [
            &json!([true, false]),
            &json!([-5]),
            &json!([0.5]),
            &json!(["a\"", ""])
        ]
    );
}

#[test]
fn what_json_cannot_say_is_refused() {
    for (datatype, data) in [
        (Datatype::Fp32, &f32::NAN.to_le_bytes()[..]),
        (Datatype::Fp64, &f64::INFINITY.to_le_bytes()),
        (Datatype::Bytes, b"\x01\0\0\0\xff"),
    ] {
        let error = RestBody::json(&[tensor(datatype, &[1], data)]).unwrap_err();
        assert!(format!("{error:#}").contains("--data binary"), "{error:#}");
    }
}

#[test]
fn binary_data_lie_behind_their_description() {
    let body = RestBody::binary(&[
        tensor(Datatype::Uint8, &[3], &[7, 8, 9]),
        tensor(Datatype::Uint8, &[1], &[1]),
    ]);
    let length = body.header_length.unwrap();
    assert_eq!(&body.bytes[length..], [7, 8, 9, 1]);
    let header: Value = serde_json::from_slice(&body.bytes[..length]).unwrap();
    assert_eq!(header["inputs"][0]["parameters"]["binary_data_size"], 3);
    assert_eq!(header["parameters"]["binary_data_output"], true);
    assert_eq!(RestBody::given(body.bytes.clone()).unwrap(), body);
}

#[test]
fn a_given_body_begins_with_a_json_object() {
    let given = |text: &'static str| RestBody::given(Bytes::from_static(text.as_bytes()));
    assert_eq!(given("{\"inputs\":[]} \n").unwrap().header_length, None);
    assert_eq!(given("{} binary").unwrap().header_length, Some(2));
    for text in ["", "[1]", "{", "x"] {
        assert!(given(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_call_of_grpc_is_one_frame() {
    let target: Target = "http://server:1".parse().unwrap();
    let call = Call::grpc(&target, "ModelInfer", b"abc").unwrap();
    assert_eq!(call.wire(), Wire::Http2);
    assert_eq!(call.length(), 8);
    assert_eq!(&call.body[..], b"\0\0\0\0\x03abc");
    let request = call.request();
    assert_eq!(
        request.uri(),
        "http://server:1/inference.GRPCInferenceService/ModelInfer"
    );
    assert_eq!(request.headers()[CONTENT_TYPE], "application/grpc");
    let get = Call::get(&target, "/v2").unwrap();
    assert_eq!(
        (get.wire(), get.request().uri().to_string()),
        (Wire::Http1, "/v2".to_owned())
    );
}
