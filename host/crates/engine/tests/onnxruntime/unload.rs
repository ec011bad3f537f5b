//! Memory after models are gone.

use crate::support::memory::{alone, resident};
use crate::support::{Site, floats, infer, onnx};

/// Weights of 4 MiB.
fn heavy(step: f32) -> Vec<u8> {
    let graph = onnx::graph(
        &[onnx::node("Add", &["x", "w"], &["y"], &[])],
        &[onnx::value("x", onnx::FLOAT, &[1])],
        &[onnx::value("y", onnx::FLOAT, &[1 << 20])],
        &[onnx::tensor_f32("w", &[1 << 20], &vec![step; 1 << 20])],
    );
    onnx::model(&graph).into_bytes()
}

#[tokio::test]
async fn two_hundred_loads_leave_nothing_behind() {
    let _alone = alone().await;
    let site = Site::new();
    let cycle = async |index: u16| {
        let model = site.serve(&heavy(f32::from(index)), "[instances]\ncount = 2");
        let outputs = infer(&model, vec![floats("x", &[1], &[1.0])])
            .await
            .unwrap();
        drop(model);
        assert_eq!(
            outputs[0].as_slice::<f32>().unwrap()[7],
            f32::from(index) + 1.0,
            "an output outlives its model"
        );
    };
    for index in 0..20 {
        cycle(index).await;
    }
    let before = resident();
    for index in 0..200 {
        cycle(index).await;
    }
    let grown = resident().saturating_sub(before);
    // One model that stayed would be at least 8 MiB; 200 would be 1.6 GiB.
    assert!(grown < 60 << 20, "{} MiB stayed", grown >> 20);

    // The measure sees a leak: models that are kept are there.
    let kept: Vec<_> = (0..20)
        .map(|index| site.serve(&heavy(f32::from(index as u8)), "[instances]\ncount = 2"))
        .collect();
    let leaked = resident().saturating_sub(before);
    assert!(
        leaked > 120 << 20,
        "20 kept models take only {} MiB",
        leaked >> 20
    );
    drop(kept);
}

#[tokio::test]
async fn one_huge_request_leaves_nothing_behind() {
    // Without an arena there is nothing to give back, and a run must not be told to.
    for arena in [true, false] {
        huge_request(arena).await;
    }
}

async fn huge_request(arena: bool) {
    const HUGE: usize = 32 << 20;
    let _alone = alone().await;
    let site = Site::new();
    let model = site.serve(
        &onnx::add(1.0),
        &format!("[instances]\ncount = 1\n[memory]\narena = {arena}"),
    );
    let usual = async || {
        for _ in 0..20 {
            infer(&model, vec![floats("x", &[64, 2], &[1.0; 128])])
                .await
                .unwrap();
        }
    };
    usual().await;
    let before = resident();
    let huge = floats("x", &[HUGE as u64 / 2, 2], &vec![1.0; HUGE]);
    let outputs = infer(&model, vec![huge]).await.unwrap();
    assert_eq!(outputs[0].as_slice::<f32>().unwrap()[HUGE - 1], 2.0);
    drop(outputs);
    usual().await;
    // The session would keep 128 MiB, which is what the output takes.
    let left = resident().saturating_sub(before);
    assert!(left < 64 << 20, "{} MiB stayed", left >> 20);
}
