//! Inputs and outputs.

use wharf_core::{Datatype, ErrorKind, Tensor};

use crate::support::{Site, floats, infer, onnx};

/// The elements that ONNX calls by these numbers.
const ELEMENTS: [(u64, Datatype); 13] = [
    (9, Datatype::Bool),
    (2, Datatype::Uint8),
    (4, Datatype::Uint16),
    (12, Datatype::Uint32),
    (13, Datatype::Uint64),
    (3, Datatype::Int8),
    (5, Datatype::Int16),
    (6, Datatype::Int32),
    (7, Datatype::Int64),
    (10, Datatype::Fp16),
    (16, Datatype::Bf16),
    (1, Datatype::Fp32),
    (11, Datatype::Fp64),
];

#[tokio::test]
async fn every_datatype_goes_through() {
    for (element, datatype) in ELEMENTS {
        let site = Site::new();
        let model = site.serve(&onnx::identity(element, &[-1, 3]), "");
        assert_eq!(model.info().inputs[0].datatype, datatype);
        assert_eq!(model.info().inputs[0].shape, [None, Some(3)]);
        for rows in [0_u64, 2, 500] {
            let data: Vec<u8> = (0..rows as usize * 3 * datatype.size().unwrap())
                .map(|byte| (byte % 2) as u8)
                .collect();
            let input = Tensor::new("x", datatype, [rows, 3], data.into()).unwrap();
            let outputs = infer(&model, vec![input.clone()]).await.unwrap();
            assert_eq!(outputs.len(), 1);
            assert_eq!((outputs[0].name(), outputs[0].datatype()), ("y", datatype));
            assert_eq!(outputs[0].shape()[..], [rows, 3]);
            assert_eq!(outputs[0].data(), input.data(), "{datatype} {rows}");
        }
    }
}

#[tokio::test]
async fn text_goes_through() {
    let site = Site::new();
    let model = site.serve(&onnx::identity(onnx::STRING, &[-1]), "");
    let words = ["", "grüße", "a\nb"];
    let input = Tensor::from_elements("x", [3], &words).unwrap();
    let outputs = infer(&model, vec![input.clone()]).await.unwrap();
    assert_eq!(outputs[0].data(), input.data());

    let binary = Tensor::from_elements("x", [1], &[[0xff_u8]]).unwrap();
    let error = infer(&model, vec![binary]).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::InvalidArgument, Some("x"))
    );
}

#[tokio::test]
async fn an_output_that_is_an_input_outlives_it() {
    // Without a node between them, input and output are one value to ONNX Runtime.
    let graph = onnx::graph(
        &[onnx::node("Identity", &["x"], &["y"], &[])],
        &[onnx::value("x", onnx::FLOAT, &[-1])],
        &[
            onnx::value("y", onnx::FLOAT, &[-1]),
            onnx::value("x", onnx::FLOAT, &[-1]),
        ],
        &[],
    );
    let site = Site::new();
    let model = site.serve(&onnx::model(&graph).into_bytes(), "");
    let values: Vec<f32> = (0..1000_u16).map(f32::from).collect();
    let outputs = infer(&model, vec![floats("x", &[1000], &values)])
        .await
        .unwrap();
    drop(model);
    let noise: Vec<Vec<f32>> = (0..50).map(|_| vec![-1.0; 1000]).collect();
    for output in outputs {
        assert_eq!(output.as_slice::<f32>().unwrap(), values);
    }
    assert_eq!(noise.len(), 50);
}

#[tokio::test]
async fn several_inputs_and_outputs_keep_the_models_order() {
    let graph = onnx::graph(
        &[
            onnx::node("Add", &["a", "b"], &["sum"], &[]),
            onnx::node("Sub", &["a", "b"], &["difference"], &[]),
        ],
        &[
            onnx::value("a", onnx::FLOAT, &[2]),
            onnx::value("b", onnx::FLOAT, &[2]),
        ],
        &[
            onnx::value("sum", onnx::FLOAT, &[2]),
            onnx::value("difference", onnx::FLOAT, &[2]),
        ],
        &[],
    );
    let site = Site::new();
    let model = site.serve(&onnx::model(&graph).into_bytes(), "");
    let inputs = vec![
        floats("b", &[2], &[1.0, 2.0]),
        floats("a", &[2], &[5.0, 5.0]),
    ];
    let outputs = infer(&model, inputs).await.unwrap();
    assert_eq!(outputs[0].name(), "sum");
    assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [6.0, 7.0]);
    assert_eq!(outputs[1].as_slice::<f32>().unwrap(), [4.0, 3.0]);
}

#[tokio::test]
async fn wrong_inputs_are_the_clients_fault() {
    let site = Site::new();
    let model = site.serve(&onnx::add(1.0), "");
    for input in [
        floats("x", &[1, 3], &[0.0; 3]),
        floats("x", &[2], &[0.0; 2]),
        floats("z", &[1, 2], &[0.0; 2]),
        Tensor::from_vec("x", [1, 2], vec![0_i64; 2]).unwrap(),
        Tensor::new("x", Datatype::Fp32, [0, 2], bytes::Bytes::new())
            .unwrap()
            .with_name("X"),
    ] {
        let error = infer(&model, vec![input]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    assert_eq!(infer(&model, vec![]).await.unwrap_err().field(), Some("x"));
}

#[tokio::test]
async fn what_only_the_model_can_see_is_unprocessable() {
    let graph = onnx::graph(
        &[onnx::node("Add", &["a", "b"], &["y"], &[])],
        &[
            onnx::value("a", onnx::FLOAT, &[-1]),
            onnx::value("b", onnx::FLOAT, &[-1]),
        ],
        &[onnx::value("y", onnx::FLOAT, &[-1])],
        &[],
    );
    let site = Site::new();
    let model = site.serve(&onnx::model(&graph).into_bytes(), "");
    let error = infer(
        &model,
        vec![floats("a", &[2], &[0.0; 2]), floats("b", &[3], &[0.0; 3])],
    )
    .await
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unprocessable, "{error}");
    assert!(
        !error.message().contains("Add"),
        "no node is named: {error}"
    );
    infer(
        &model,
        vec![floats("a", &[2], &[0.0; 2]), floats("b", &[2], &[0.0; 2])],
    )
    .await
    .unwrap();
}
