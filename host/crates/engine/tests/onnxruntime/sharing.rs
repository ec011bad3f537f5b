//! Instances that share one session.

use std::time::Duration;

use crate::support::memory::{alone, resident};
use crate::support::{Site, floats, infer, onnx};

/// `y = x @ w`, with weights of 16 MiB: large enough that instances share them.
fn wide(step: f32) -> Vec<u8> {
    const SIDE: usize = 2048;
    let mut weights = vec![0_f32; SIDE * SIDE];
    for index in 0..SIDE {
        weights[index * SIDE + index] = step;
    }
    let graph = onnx::graph(
        &[onnx::node("MatMul", &["x", "w"], &["y"], &[])],
        &[onnx::value("x", onnx::FLOAT, &[-1, SIDE as i64])],
        &[onnx::value("y", onnx::FLOAT, &[-1, SIDE as i64])],
        &[onnx::tensor_f32("w", &[SIDE as u64, SIDE as u64], &weights)],
    );
    onnx::model(&graph).into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_runs_of_one_session_keep_apart() {
    let site = Site::new();
    let settings = "[instances]\ncount = 4\n[threads]\nintra = 1\n[batching]\nmax_rows = 4\nqueue_wait_ms = 60000";
    let model = site.serve(&wide(2.0), settings);
    assert_eq!(model.info().instances, 4);
    let callers: Vec<_> = (0..8_u16)
        .map(|caller| {
            let model = std::sync::Arc::clone(&model);
            tokio::spawn(async move {
                for round in 0..20_u16 {
                    let rows = u64::from(1 + (caller + round) % 3);
                    let number = f32::from(caller * 100 + round);
                    let x = floats("x", &[rows, 2048], &vec![number; rows as usize * 2048]);
                    let outputs = infer(&model, vec![x]).await.unwrap();
                    let y = outputs[0].as_slice::<f32>().unwrap();
                    assert_eq!(y.len(), rows as usize * 2048);
                    assert!(y.iter().all(|element| *element == number * 2.0));
                }
            })
        })
        .collect();
    for caller in callers {
        tokio::time::timeout(Duration::from_secs(60), caller)
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test]
async fn eight_instances_take_one_copy_of_the_weights() {
    let _alone = alone().await;
    let site = Site::new();
    let settings = |count: u32, intra: u32| {
        format!("[instances]\ncount = {count}\n[threads]\nintra = {intra}")
    };
    // What the library takes once is no model's.
    drop(site.serve(&wide(1.0), &settings(1, 1)));
    let before = resident();
    let one = site.serve(&wide(2.0), &settings(1, 1));
    let alone = resident().saturating_sub(before);
    drop(one);
    let before = resident();
    let eight = site.serve(&wide(3.0), &settings(8, 1));
    let shared = resident().saturating_sub(before);
    drop(eight);
    // Seven more copies would be 112 MiB. Tests beside this one take memory too.
    assert!(
        shared < alone + (80 << 20),
        "one instance takes {} MiB, eight take {} MiB",
        alone >> 20,
        shared >> 20
    );
}
