//! The queue: joining, splitting, bounds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use wharf_core::{ErrorKind, Inference, Model, Result, Tensor};

use crate::support::{Site, eventually, floats, infer, onnx, request};

const JOINED: &str =
    "[instances]\ncount = 1\n[batching]\nmax_rows = 8\nqueue_capacity = 64\nqueue_wait_ms = 600000";

fn send(model: &Arc<dyn Model>, input: Tensor) -> JoinHandle<Result<Inference>> {
    let model = Arc::clone(model);
    tokio::spawn(async move {
        model
            .infer(&request(Duration::from_secs(60)), vec![input])
            .await
    })
}

/// Queues requests one after another, so that their order is known, behind a run that ends when all of them wait. The model is
/// [`onnx::slow_by_width`]. Gives what became of each, and the rows of the runs.
async fn queue(model: &Arc<dyn Model>, inputs: Vec<Tensor>) -> (Vec<Vec<Tensor>>, Vec<u64>) {
    let first = send(model, floats("x", &[1, 100], &[7.0; 100]));
    eventually("the run begins", || model.load().in_flight == 1).await;
    let mut waiting = Vec::new();
    for input in inputs {
        let depth = model.load().queue_depth;
        waiting.push(send(model, input));
        eventually("the request waits", || model.load().queue_depth > depth).await;
    }
    first.abort();
    let (mut outputs, mut runs) = (Vec::new(), Vec::new());
    for task in waiting {
        let inference = task.await.unwrap().unwrap();
        outputs.push(inference.outputs);
        runs.extend(inference.timings.run_rows);
    }
    runs.sort_unstable();
    (outputs, runs)
}

#[tokio::test]
async fn what_waits_is_joined_and_split_by_rows() {
    let site = Site::new();
    let model = site.serve(&onnx::slow_by_width(), JOINED);
    assert_eq!(model.info().max_batch_rows, 8);
    let inputs: Vec<Tensor> = (1..=4_u16)
        .map(|rows| {
            let values: Vec<f32> = (0..rows * 2)
                .map(|index| f32::from(rows * 100 + index))
                .collect();
            floats("x", &[u64::from(rows), 2], &values)
        })
        .collect();
    let (outputs, runs) = queue(&model, inputs.clone()).await;
    // 1 + 2 + 3 rows fit in 8, 4 more do not.
    assert_eq!(runs, [4, 6]);
    for (outputs, input) in outputs.into_iter().zip(inputs) {
        assert_eq!(outputs[0].shape(), input.shape());
        assert_eq!(outputs[0].data(), input.data());
    }
}

#[tokio::test]
async fn shapes_that_differ_run_apart() {
    let site = Site::new();
    let model = site.serve(&onnx::slow_by_width(), JOINED);
    let (outputs, runs) = queue(
        &model,
        vec![
            floats("x", &[1, 2], &[1.0, 2.0]),
            floats("x", &[1, 3], &[3.0, 4.0, 5.0]),
            floats("x", &[1, 2], &[6.0, 7.0]),
            floats("x", &[9, 2], &[8.0; 18]),
        ],
    )
    .await;
    // The two that fit run as one.
    assert_eq!(runs, [1, 2, 9]);
    let found = |index: usize| outputs[index][0].as_slice::<f32>().unwrap();
    assert_eq!(found(0), [1.0, 2.0]);
    assert_eq!(found(1), [3.0, 4.0, 5.0]);
    assert_eq!(found(2), [6.0, 7.0]);
    assert_eq!(outputs[3][0].shape()[..], [9, 2]);
}

#[tokio::test]
async fn one_bad_request_does_not_fail_its_batch() {
    // An index that is out of range fails the whole run.
    let graph = onnx::graph(
        &[onnx::node("Gather", &["table", "x"], &["y"], &[])],
        &[onnx::value("x", onnx::INT64, &[-1, 1])],
        &[onnx::value("y", onnx::FLOAT, &[-1, 1])],
        &[onnx::tensor_f32("table", &[3], &[10.0, 20.0, 30.0])],
    );
    let site = Site::new();
    let settings = "[instances]\ncount = 1\n[batching]\nmax_rows = 3\ndelay_ms = 10000";
    let model = site.serve(&onnx::model(&graph).into_bytes(), settings);
    // The batch runs when it is full, long before its delay is over.
    let index = |value: i64| vec![Tensor::from_vec("x", [1, 1], vec![value]).unwrap()];
    let (one, bad, two) = tokio::join!(
        infer(&model, index(1)),
        infer(&model, index(99)),
        infer(&model, index(2))
    );
    assert_eq!(one.unwrap()[0].as_slice::<f32>().unwrap(), [20.0]);
    assert_eq!(bad.unwrap_err().kind(), ErrorKind::Unprocessable);
    assert_eq!(two.unwrap()[0].as_slice::<f32>().unwrap(), [30.0]);
}

#[tokio::test]
async fn outputs_without_the_rows_of_the_inputs_end_joining() {
    // It gives the first row alone, which no shape inference can see.
    let axis = onnx::Message::new()
        .bytes(1, "axis")
        .varint(3, 0)
        .varint(20, 2);
    let graph = onnx::graph(
        &[onnx::node("Compress", &["x", "first"], &["y"], &[axis])],
        &[onnx::value("x", onnx::FLOAT, &[-1, 2])],
        &[onnx::value("y", onnx::FLOAT, &[-1, 2])],
        &[onnx::tensor("first", onnx::BOOL, &[1], &[1])],
    );
    let site = Site::new();
    let model = site.serve(
        &onnx::model(&graph).into_bytes(),
        "[instances]\ncount = 1\n[batching]\nmax_rows = 2\ndelay_ms = 10000",
    );
    let row = |value: f32| vec![floats("x", &[1, 2], &[value, value])];
    let (one, two) = tokio::join!(infer(&model, row(1.0)), infer(&model, row(2.0)));
    assert_eq!(one.unwrap()[0].as_slice::<f32>().unwrap(), [1.0, 1.0]);
    assert_eq!(two.unwrap()[0].as_slice::<f32>().unwrap(), [2.0, 2.0]);
    // Nothing is waited for any more.
    let alone = infer(&model, row(5.0)).await.unwrap();
    assert_eq!(alone[0].as_slice::<f32>().unwrap(), [5.0, 5.0]);
}

#[tokio::test]
async fn a_delay_ends_though_the_batch_is_not_full() {
    let site = Site::new();
    let model = site.serve(&onnx::add(1.0), "[batching]\nmax_rows = 100\ndelay_ms = 20");
    let started = std::time::Instant::now();
    infer(&model, vec![floats("x", &[1, 2], &[0.0; 2])])
        .await
        .unwrap();
    assert!(
        started.elapsed() >= Duration::from_millis(20),
        "the delay was not kept"
    );
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let site = Site::new();
    let settings = "[instances]\ncount = 1\n[batching]\nqueue_capacity = 2";
    let model = site.serve(&onnx::slow(), settings);
    let long = |turns: i64| {
        vec![
            floats("x", &[1, 64], &[1.0; 64]),
            Tensor::from_vec("turns", [1], vec![turns]).unwrap(),
        ]
    };
    let mut running = Vec::new();
    for _ in 0..3 {
        let model = Arc::clone(&model);
        let inputs = long(1_000_000_000);
        running.push(tokio::spawn(async move { infer(&model, inputs).await }));
    }
    eventually("one runs and two wait", || {
        (model.load().in_flight, model.load().queue_depth) == (1, 2)
    })
    .await;
    let context = request(Duration::from_secs(60));
    let error = model.infer(&context, long(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error
            .retry_after()
            .is_some_and(|wait| wait >= Duration::from_secs(1))
    );
    for task in &running {
        task.abort();
    }
    eventually("all is free again", || {
        (model.load().in_flight, model.load().queue_depth) == (0, 0)
    })
    .await;
    infer(&model, long(1)).await.unwrap();
}

/// On one thread, so that it is known who is ready: each would find the instance idle if it ran at once.
#[tokio::test]
async fn requests_that_are_ready_together_are_one_batch() {
    let site = Site::new();
    let model = site.serve(&onnx::slow_rows(1), JOINED);
    let run = |value: f32| {
        let model = Arc::clone(&model);
        tokio::spawn(async move {
            let input = vec![floats("x", &[1, 2], &[value, value])];
            model.infer(&request(Duration::from_secs(60)), input).await
        })
    };
    let together = async || {
        let tasks: Vec<_> = (0..8_u8)
            .map(|value| (f32::from(value), run(f32::from(value))))
            .collect();
        let mut rows = Vec::new();
        for (value, task) in tasks {
            let inference = task.await.unwrap().unwrap();
            let y = inference.outputs[0].as_slice::<f32>().unwrap();
            assert_eq!(y, [value, value]);
            rows.extend(inference.timings.run_rows);
        }
        rows
    };
    // A thread that the system holds up for longer than requests wait for each other splits what should be one batch: on a
    // busy machine that may happen for as long as others are busy.
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        let rows = together().await;
        if rows == [8] {
            break;
        }
        assert!(Instant::now() < patience, "never one batch: {rows:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // Alone, one does not wait for others.
    let alone = run(1.0).await.unwrap().unwrap();
    assert_eq!(alone.timings.run_rows, Some(1));

    // Nobody counts on a request that left while it gave way.
    let (left, stays) = (run(2.0), run(3.0));
    tokio::task::yield_now().await;
    left.abort();
    assert_eq!(stays.await.unwrap().unwrap().timings.run_rows, Some(1));
}
