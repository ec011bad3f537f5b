//! Requests of the warm-up, and inputs that may be left out.

use wharf_core::Datatype;

use crate::support::{Site, floats, infer, memory, onnx};

/// `y = x * scale`, where `scale` has a value of its own, in files of an IR version.
fn scaled(ir_version: u64) -> Vec<u8> {
    let graph = onnx::graph(
        &[onnx::node("Mul", &["x", "scale"], &["y"], &[])],
        &[
            onnx::value("scale", onnx::FLOAT, &[1]),
            onnx::value("x", onnx::FLOAT, &[-1, 2]),
        ],
        &[onnx::value("y", onnx::FLOAT, &[-1, 2])],
        &[onnx::tensor_f32("scale", &[1], &[3.0])],
    );
    let opset = onnx::Message::new().bytes(1, "").varint(2, 9);
    onnx::Message::new()
        .varint(1, ir_version)
        .message(7, &graph)
        .message(8, &opset)
        .into_bytes()
}

#[tokio::test]
async fn an_input_with_a_value_of_its_own_may_be_left_out() {
    let site = Site::new();
    let model = site.serve(&scaled(8), "[batching]\nmax_rows = 8");
    let inputs: Vec<_> = model
        .info()
        .inputs
        .iter()
        .map(|input| (input.name.to_string(), input.optional))
        .collect();
    assert_eq!(
        inputs,
        [("x".to_owned(), false), ("scale".to_owned(), true)]
    );
    let x = || floats("x", &[1, 2], &[1.0, 2.0]);
    let outputs = infer(&model, vec![x()]).await.unwrap();
    assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [3.0, 6.0]);
    let scale = || floats("scale", &[1], &[10.0]);
    for inputs in [vec![x(), scale()], vec![scale(), x()]] {
        let outputs = infer(&model, inputs).await.unwrap();
        assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [10.0, 20.0]);
    }
    // The value of one request is not that of the next.
    let outputs = infer(&model, vec![x()]).await.unwrap();
    assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [3.0, 6.0]);
    let error = infer(&model, vec![scale()]).await.unwrap_err();
    assert_eq!(error.field(), Some("x"));
}

#[tokio::test]
async fn requests_with_and_without_an_optional_input_are_not_mixed_up() {
    let site = Site::new();
    let model = site.serve(
        &scaled(8),
        "[instances]\ncount = 1\n[batching]\nmax_rows = 8\ndelay_ms = 20",
    );
    let requests: Vec<_> = (0..16_u16)
        .map(|index| {
            let model = std::sync::Arc::clone(&model);
            tokio::spawn(async move {
                let number = f32::from(index);
                let mut inputs = vec![floats("x", &[1, 2], &[number, 1.0])];
                let scale = match index % 3 {
                    0 => 3.0,
                    other => {
                        inputs.push(floats("scale", &[1], &[f32::from(other)]));
                        f32::from(other)
                    }
                };
                let outputs = infer(&model, inputs).await.unwrap();
                assert_eq!(
                    outputs[0].as_slice::<f32>().unwrap(),
                    [number * scale, scale]
                );
            })
        })
        .collect();
    for request in requests {
        request.await.unwrap();
    }
}

#[tokio::test]
async fn old_models_list_every_weight_as_an_input() {
    let site = Site::new();
    let model = site.serve(&scaled(3), "");
    let required: Vec<_> = model
        .info()
        .inputs
        .iter()
        .filter(|input| !input.optional)
        .map(|input| input.name.to_string())
        .collect();
    assert_eq!(required, ["x"]);
    let outputs = infer(&model, vec![floats("x", &[1, 2], &[1.0, 2.0])])
        .await
        .unwrap();
    assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [3.0, 6.0]);
}

/// A model that fails where its input has other than 5 columns.
fn five_columns() -> Vec<u8> {
    let graph = onnx::graph(
        &[onnx::node("Add", &["x", "w"], &["y"], &[])],
        &[onnx::value("x", onnx::FLOAT, &[-1, -1])],
        &[onnx::value("y", onnx::FLOAT, &[-1, -1])],
        &[onnx::tensor_f32("w", &[1, 5], &[1.0; 5])],
    );
    onnx::model(&graph).into_bytes()
}

#[tokio::test]
async fn samples_are_run_and_those_that_fail_refuse_the_version() {
    let site = Site::new();
    site.write("five.bin", [0_u8; 40]);
    let model = site.serve(
        &five_columns(),
        "[[warmup.samples]]\ncount = 2\ninputs.x = { shape = [3, 5], data = \"random\" }\n[[warmup.samples]]\n\
         inputs.x = { shape = [2, 5], data = \"five.bin\" }\n[[warmup.samples]]\ninputs.x = { shape = [1, 5] }",
    );
    assert_eq!(model.info().inputs[0].datatype, Datatype::Fp32);
    assert!(
        !model.load().latency.is_zero(),
        "the warm-up tells the pace"
    );

    for (settings, key, says) in [
        (
            "[[warmup.samples]]\ninputs.x = { shape = [1, 5] }\n[[warmup.samples]]\ninputs.x = { shape = [1, 4] }",
            "warmup.samples[1]",
            "failed on this sample",
        ),
        (
            "[[warmup.samples]]\ninputs.x = { shape = [5] }",
            "warmup.samples[0].inputs.x",
            "does not fit",
        ),
        (
            "[[warmup.samples]]\ninputs.q = { shape = [5] }",
            "warmup.samples[0].inputs.q",
            "no such input",
        ),
        (
            "[[warmup.samples]]\ninputs.x = { shape = [1, 5], data = \"five.bin\" }",
            "warmup.samples[0].inputs.x",
            "has 40 bytes",
        ),
        (
            "[[warmup.samples]]\ninputs.x = { shape = [1000000, 1000000] }",
            "warmup.samples[0].inputs.x",
            "too large",
        ),
        (
            "[[warmup.samples]]\ninputs.x = { shape = [13421773, 5], data = \"random\" }",
            "warmup.samples[0].inputs.x",
            "too large",
        ),
    ] {
        let error = site.refusal(&five_columns(), settings);
        assert_eq!(error.key.as_deref(), Some(key), "{settings}: {error}");
        assert!(error.message.contains(says), "{settings}: {error}");
    }
}

#[tokio::test]
async fn what_a_request_takes_is_bounded_and_given_back_before_the_next_one() {
    let site = Site::new();
    let graph = onnx::graph(
        &[
            onnx::node("Shape", &["a"], &["x"], &[]),
            onnx::node("Shape", &["b"], &["y"], &[]),
        ],
        &[
            onnx::value("a", onnx::FLOAT, &[-1, 4]),
            onnx::value("b", onnx::FLOAT, &[-1, 4]),
        ],
        &[
            onnx::value("x", onnx::INT64, &[2]),
            onnx::value("y", onnx::INT64, &[2]),
        ],
        &[],
    );
    let model = onnx::model(&graph).into_bytes();
    let error = site.refusal(
        &model,
        "[[warmup.samples]]\ninputs = {}\n[[warmup.samples]]\ninputs.a = { shape = [9000000, 4] }\n\
         inputs.b = { shape = [9000000, 4] }",
    );
    assert_eq!(error.key.as_deref(), Some("warmup.samples[1]"), "{error}");
    assert!(error.message.contains("268435456"), "{error}");

    // Together they would take 512 MB.
    let sample = "[[warmup.samples]]\ninputs.a = { shape = [4000000, 4], data = \"random\" }\n\
                  inputs.b = { shape = [4000000, 4], data = \"random\" }\n";
    let settings = "[instances]\ncount = 1\n[warmup]\ntimeout_ms = 600000\n";
    let _alone = memory::alone().await;
    memory::forget_peak();
    let before = memory::resident();
    site.serve(&model, &format!("{settings}{}", sample.repeat(4)));
    let more = memory::peak().saturating_sub(before);
    assert!(more < 320 << 20, "{more} bytes more at the most");
}

#[test]
fn samples_are_part_of_the_version() {
    let site = Site::new();
    site.write("1/model.onnx", onnx::add(1.0));
    site.write("one.bin", [0_u8; 8]);
    site.write(
        "model.toml",
        "[[warmup.samples]]\ninputs.x = { data = \"one.bin\" }",
    );
    let before = site.versions().unwrap();
    site.write("one.bin", [1_u8; 8]);
    assert_ne!(site.versions().unwrap(), before);
}
