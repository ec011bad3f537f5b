//! The response cache.

use std::time::Duration;

use wharf_core::{CacheLookup, Inference, Model, Tensor};

use crate::support::{Site, floats, onnx, request};

const CACHED: &str = "[cache]\nenabled = true";

async fn ask(model: &dyn Model, inputs: Vec<Tensor>) -> Inference {
    model
        .infer(&request(Duration::from_secs(60)), inputs)
        .await
        .unwrap()
}

fn is_hit(inference: &Inference) -> bool {
    match inference.timings.cache.expect("the model has a cache") {
        CacheLookup::Hit(_) => {
            assert_eq!(inference.timings.run_rows, None, "nothing was run");
            true
        }
        CacheLookup::Miss(_) => false,
    }
}

#[tokio::test]
async fn the_same_inputs_are_answered_without_a_run() {
    let site = Site::new();
    let model = site.serve(&onnx::add(1.0), CACHED);
    assert!(model.info().queueing.response_cache);
    let x = |value: f32| vec![floats("x", &[1, 2], &[value; 2])];
    assert!(!is_hit(&ask(&*model, x(1.0)).await));
    let again = ask(&*model, x(1.0)).await;
    assert!(is_hit(&again));
    assert_eq!(again.outputs[0].name(), "y");
    assert_eq!(again.outputs[0].as_slice::<f32>().unwrap(), [2.0; 2]);
    assert!(!is_hit(&ask(&*model, x(2.0)).await));
    // Bytes and rows that are the same in another shape are another request.
    let zero = vec![floats("x", &[2, 2], &[1.0; 4])];
    assert!(!is_hit(&ask(&*model, zero).await));
}

#[tokio::test]
async fn another_version_and_another_load_have_answers_of_their_own() {
    let site = Site::new();
    let x = || vec![floats("x", &[1, 2], &[1.0; 2])];
    let one = site.serve(&onnx::add(1.0), CACHED);
    ask(&*one, x()).await;
    let other = site.serve(&onnx::add(5.0), CACHED);
    let answer = ask(&*other, x()).await;
    assert!(!is_hit(&answer));
    assert_eq!(answer.outputs[0].as_slice::<f32>().unwrap(), [6.0; 2]);
    drop(one);
    assert!(is_hit(&ask(&*other, x()).await));
    let plain = site.serve(&onnx::add(5.0), "");
    assert_eq!(ask(&*plain, x()).await.timings.cache, None);
}
