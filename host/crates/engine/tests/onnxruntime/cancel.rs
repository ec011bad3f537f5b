//! Deadlines, and requests whose clients leave.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_core::{ErrorKind, Model};

use crate::support::{Site, eventually, floats, infer, onnx, request, turns};

const ONE: &str = "[instances]\ncount = 1";
const FOREVER: i64 = 1_000_000_000_000;

fn is_idle(model: &Arc<dyn Model>) -> bool {
    let load = model.load();
    (load.in_flight, load.queue_depth) == (0, 0)
}

#[tokio::test]
async fn a_run_ends_at_its_deadline() {
    let site = Site::new();
    let model = site.serve(&onnx::slow(), ONE);
    let started = Instant::now();
    let error = model
        .infer(&request(Duration::from_millis(100)), turns(FOREVER))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline, "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
    eventually("the run is terminated", || is_idle(&model)).await;
    assert_eq!(
        infer(&model, turns(3)).await.unwrap()[0].shape()[..],
        [1, 64]
    );
}

#[tokio::test]
async fn a_deadline_passes_in_the_queue() {
    let site = Site::new();
    let model = site.serve(&onnx::slow(), ONE);
    let mut context = request(Duration::from_secs(60));
    let first = tokio::spawn({
        let model = Arc::clone(&model);
        async move { infer(&model, turns(FOREVER)).await }
    });
    eventually("the first runs", || model.load().in_flight == 1).await;
    let error = model
        .infer(&request(Duration::from_millis(50)), turns(1))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline, "{error}");
    assert_eq!(model.load().queue_depth, 0, "its place is free");

    context.deadline = Instant::now();
    let error = model.infer(&context, turns(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline, "{error}");
    first.abort();
    eventually("the first is terminated", || is_idle(&model)).await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_run() {
    let site = Site::new();
    let model = site.serve(&onnx::slow(), ONE);
    let task = tokio::spawn({
        let model = Arc::clone(&model);
        async move { infer(&model, turns(FOREVER)).await }
    });
    eventually("it runs", || model.load().in_flight == 1).await;
    task.abort();
    eventually("it is terminated", || is_idle(&model)).await;
    infer(&model, turns(1)).await.unwrap();
}

#[tokio::test]
async fn a_batch_runs_on_while_one_of_its_clients_stays() {
    let site = Site::new();
    let model = site.serve(
        &onnx::slow_rows(400_000),
        "[instances]\ncount = 1\n[batching]\nmax_rows = 2\ndelay_ms = 10000",
    );
    let spawn = |value: f32| {
        let model = Arc::clone(&model);
        tokio::spawn(async move { infer(&model, vec![floats("x", &[1, 1], &[value])]).await })
    };
    // The run may be over before somebody looks.
    let (mut left, mut tries) = (false, 0);
    while !left {
        tries += 1;
        assert!(tries <= 50, "each run was over before its client left");
        let (leaves, stays) = (spawn(1.0), spawn(2.0));
        eventually("both run as one, or did", || {
            model.load().in_flight == 2 || leaves.is_finished()
        })
        .await;
        leaves.abort();
        left = leaves.await.is_err_and(|error| error.is_cancelled());
        let outputs = stays.await.unwrap().unwrap();
        assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [2.0]);
    }
}

#[tokio::test]
async fn a_model_can_be_dropped_while_it_runs() {
    let site = Site::new();
    let model = site.serve(&onnx::slow(), ONE);
    let task = tokio::spawn({
        let model = Arc::clone(&model);
        async move { infer(&model, turns(FOREVER)).await }
    });
    eventually("it runs", || model.load().in_flight == 1).await;
    task.abort();
    // Waits for the run, which ends because its client left.
    let started = Instant::now();
    let dropping = tokio::task::spawn_blocking(move || drop(model));
    assert!(task.await.unwrap_err().is_cancelled());
    dropping.await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_dropped_requests_leave_nothing() {
    let site = Site::new();
    let model = site.serve(
        &onnx::slow(),
        "[instances]\ncount = 2\n[batching]\nqueue_capacity = 64\nqueue_wait_ms = 600000",
    );
    let context = request(Duration::from_secs(60));
    for index in 0..10_000_u32 {
        let turns = if index % 3 == 0 { FOREVER } else { 20 };
        let mut run = model.infer(&context, self::turns(turns));
        // Polled once, it runs or waits; then its client leaves.
        let polled = futures_poll_once(&mut run).await;
        assert!(
            !matches!(&polled, Some(Err(error)) if error.kind() != ErrorKind::Unavailable),
            "{index}: {polled:?}"
        );
        drop(run);
    }
    eventually("every place is free", || is_idle(&model)).await;
    for _ in 0..10 {
        infer(&model, turns(1)).await.unwrap();
    }
}

/// Polls a future once.
async fn futures_poll_once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_model_that_takes_long_once_does_not_hold_the_runtime() {
    let site = Site::new();
    let model = site.serve(&onnx::slow(), ONE);
    // Few turns, so that it is known as short and runs on this thread.
    for _ in 0..200 {
        infer(&model, turns(1)).await.unwrap();
    }
    let error = model
        .infer(&request(Duration::from_millis(200)), turns(FOREVER))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline, "{error}");
    eventually("it is terminated", || is_idle(&model)).await;
    infer(&model, turns(1)).await.unwrap();
}
