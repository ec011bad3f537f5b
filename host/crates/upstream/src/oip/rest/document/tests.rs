use super::*;

fn specs() -> Vec<TensorSpec> {
    vec![
        TensorSpec::new("a", Datatype::Fp32, vec![None, Some(2)]),
        TensorSpec::new("b", Datatype::Uint8, vec![Some(1)]),
    ]
}

fn read(document: &str, data: &[u8]) -> Result<Vec<Tensor>, Fault> {
    read_outputs(document.as_bytes(), Bytes::copy_from_slice(data), &specs())
}

#[test]
fn outputs_come_in_the_models_order_as_json_or_behind_the_document() {
    let json = r#"{"outputs":[
        {"name":"b","data":[7],"datatype":"UINT8","shape":[1],"parameters":{"other":[1]}},
        {"name":"a","datatype":"FP32","shape":[1,2],"data":[[1,2]]}]}"#;
    let outputs = read(json, b"").unwrap();
    assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [1.0, 2.0]);
    assert_eq!(outputs[1].as_slice::<u8>().unwrap(), [7]);

    let binary = r#"{"outputs":[
        {"name":"b","datatype":"UINT8","shape":[1],"parameters":{"binary_data_size":1}},
        {"name":"a","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}]}"#;
    let data = [&[7_u8][..], &1_f32.to_le_bytes(), &2_f32.to_le_bytes()].concat();
    let outputs = read(binary, &data).unwrap();
    assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [1.0, 2.0]);
    for cut in [0, 1, 8] {
        assert!(read(binary, &data[..cut]).is_err(), "{cut}");
    }
    assert!(read(binary, &[&data[..], b"x"].concat()).is_err());
}

#[test]
fn every_lie_is_found() {
    let a = r#"{"name":"a","datatype":"FP32","shape":[1,2],"data":[1,2]}"#;
    let b = r#"{"name":"b","datatype":"UINT8","shape":[1],"data":[7]}"#;
    assert!(read(&format!(r#"{{"outputs":[{a},{b}]}}"#), b"").is_ok());
    for outputs in [
        "".to_owned(),
        a.to_owned(),
        format!("{a},{b},{b}"),
        format!("{a},{b},{}", b.replace("\"b\"", "\"c\"")),
        format!("{a},{}", b.replace("UINT8", "INT8")),
        format!("{a},{}", b.replace("[1]", "[2]")),
        format!("{a},{}", b.replace("[1]", "[-1]")),
        format!("{a},{}", b.replace("[1]", "[1,1]")),
        format!("{a},{}", b.replace("[7]", "[7,8]")),
        format!("{a},{}", b.replace("[7]", "[300]")),
        format!("{b},{}", a.replace("[1,2],", "[4611686018427387904,2],")),
        format!(
            "{a},{}",
            b.replace(
                "\"data\":[7]",
                "\"parameters\":{\"binary_data_size\":18446744073709551615}"
            )
        ),
        format!("{a},{}", b.replace("\"data\":[7]", "\"x\":1")),
    ] {
        let document = format!(r#"{{"outputs":[{outputs}]}}"#);
        let fault = read(&document, b"").expect_err(&document);
        assert!(matches!(fault, Fault::Lying(_)), "{fault:?}");
    }
    assert!(read("[", b"").is_err());
    assert!(read("{}", b"").is_err());
    let deep = "[".repeat(100_000);
    assert!(read(&format!(r#"{{"outputs":{deep}"#), b"").is_err());
}

#[test]
fn what_json_cannot_say_is_refused_by_the_name_of_the_input() {
    let tensor = Tensor::from_vec("x", [1], vec![f32::NAN]).unwrap();
    let error = write_inputs(std::slice::from_ref(&tensor), false).unwrap_err();
    assert_eq!(error.field(), Some("x"));
    assert!(write_inputs(&[tensor], true).is_ok());
    let bytes = Tensor::from_elements("y", [1], &[b"\xff"]).unwrap();
    assert_eq!(
        write_inputs(&[bytes], false).unwrap_err().field(),
        Some("y")
    );

    let inputs = [
        Tensor::from_vec("x\"", [2], vec![1_i64, -2]).unwrap(),
        Tensor::from_elements("t", [1], &["ä"]).unwrap(),
        Tensor::new("f", Datatype::Bool, [1], Bytes::from_static(&[1])).unwrap(),
    ];
    let text = String::from_utf8(write_inputs(&inputs, false).unwrap()).unwrap();
    let expected = r#"[{"name":"x\"","shape":[2],"datatype":"INT64","data":[1,-2]},{"name":"t","shape":[1],"datatype":"BYTES","data":["ä"]},{"name":"f","shape":[1],"datatype":"BOOL","data":[true]}]"#;
    assert_eq!(text, expected);
}
