//! Who may wait, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use wharf_core::{ErrorKind, Inference, Model, Tensor};

use crate::support::{Site, calibrate, eventually, floats, infer, onnx, request, turns};

const FOREVER: i64 = 1_000_000_000_000;

fn spawn(model: &Arc<dyn Model>, inputs: Vec<Tensor>) -> JoinHandle<wharf_core::Result<Inference>> {
    let model = Arc::clone(model);
    tokio::spawn(async move { model.infer(&request(Duration::from_secs(60)), inputs).await })
}

fn is_idle(model: &Arc<dyn Model>) -> bool {
    let load = model.load();
    (load.in_flight, load.queue_depth) == (0, 0)
}

#[tokio::test]
async fn check_room_says_what_infer_would_say() {
    for (settings, others) in [
        ("queue_capacity = 2", 3),
        ("max_in_flight = 2", 2),
        ("max_in_flight = 1\nmax_rows = 1", 1),
    ] {
        let site = Site::new();
        let settings = format!("[instances]\ncount = 1\n[batching]\n{settings}");
        let model = site.serve(&onnx::slow(), &settings);
        let mut tasks = Vec::new();
        for index in 0..others {
            model.check_room().unwrap();
            tasks.push(spawn(&model, turns(FOREVER)));
            eventually("it is there", || {
                let load = model.load();
                load.in_flight + load.queue_depth == index + 1 && load.in_flight == 1
            })
            .await;
        }
        let early = model.check_room().unwrap_err();
        let late = infer(&model, turns(1)).await.unwrap_err();
        for error in [early, late] {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{settings}: {error}");
            assert!(
                error
                    .retry_after()
                    .is_some_and(|wait| wait >= Duration::from_secs(1))
            );
        }
        for task in tasks {
            task.abort();
        }
        eventually("all is free again", || is_idle(&model)).await;
        model.check_room().unwrap();
        infer(&model, turns(1)).await.unwrap();
    }
}

#[tokio::test]
async fn who_waits_too_long_is_refused_in_time() {
    for (settings, own, limit) in [
        ("[batching]\nqueue_timeout_ms = 50", None, 50),
        ("[batching]\nqueue_timeout_ms = 60000", Some(50), 50),
        ("[batching]\nqueue_timeout_ms = 50", Some(60_000), 50),
        ("", Some(50), 50),
    ] {
        let site = Site::new();
        let model = site.serve(
            &onnx::slow(),
            &format!("[instances]\ncount = 1\n{settings}"),
        );
        // The timeout is that of the first too, and the machine may be busy.
        let first = loop {
            let first = spawn(&model, turns(FOREVER));
            eventually("it runs, or was refused", || {
                model.load().in_flight == 1 || first.is_finished()
            })
            .await;
            if !first.is_finished() {
                break first;
            }
        };
        let mut context = request(Duration::from_secs(60));
        context.scheduling.queue_timeout = own.map(Duration::from_millis);
        let started = Instant::now();
        // No instance looks at the queue meanwhile.
        let error = model.infer(&context, turns(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{settings}: {error}");
        assert!(error.message().contains("queue timeout"), "{error}");
        assert!(error.retry_after().is_some());
        let took = started.elapsed();
        let limit = Duration::from_millis(limit);
        assert!(
            took >= limit && took < limit + Duration::from_secs(10),
            "{took:?}"
        );
        assert_eq!(model.load().queue_depth, 0, "its place is free");
        // What runs is no longer in the queue, and has its deadline.
        first.abort();
        eventually("it is free", || is_idle(&model)).await;
        let mut ran = None;
        while ran.is_none() && started.elapsed() < Duration::from_secs(30) {
            let answer = model.infer(&context, turns(100_000)).await;
            ran = answer.ok().and_then(|answer| answer.timings.run_rows);
        }
        assert_eq!(ran, Some(1));
    }
}

#[tokio::test]
async fn timings_say_where_the_time_went() {
    let site = Site::new();
    let settings = "[instances]\ncount = 1\n[batching]\nmax_rows = 3\ndelay_ms = 10000";
    let model = site.serve(&onnx::slow_rows(20_000), settings);
    let x = |value: f32| vec![floats("x", &[1, 2], &[value; 2])];
    let context = request(Duration::from_secs(60));
    let (one, two, three) = tokio::join!(
        model.infer(&context, x(1.0)),
        model.infer(&context, x(2.0)),
        model.infer(&context, x(3.0))
    );
    let timings = [one, two, three].map(|answer| answer.unwrap().timings);
    let runs: Vec<_> = timings
        .iter()
        .filter_map(|timings| timings.run_rows)
        .collect();
    assert_eq!(runs, [3], "the run is counted once");
    for timing in timings {
        assert_eq!(timing.compute_infer, timings[0].compute_infer);
        assert!(!timing.compute_infer.is_zero() && !timing.compute_input.is_zero());
        assert!(!timing.queue.is_zero() && timing.cache.is_none());
    }

    let inline = site.serve(&onnx::add(1.0), "");
    let timings = inline.infer(&context, x(1.0)).await.unwrap().timings;
    assert_eq!(
        (timings.run_rows, timings.compute_input),
        (Some(1), Duration::ZERO)
    );
    assert!(!timings.compute_infer.is_zero());
}

/// Ten requests come for each that is answered, however fast this machine is just now, and all is counted in answers: how
/// many were given between a request and its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_the_load_is_shed_and_the_rest_is_quick() {
    const ROUNDS: usize = 200;
    let site = Site::new();
    let model = site.serve(&onnx::slow(), "[instances]\ncount = 1");
    let turns_of_run = calibrate(&model, Duration::from_millis(10)).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for round in 0..ROUNDS {
        for _ in 0..10 {
            let (model, answered) = (Arc::clone(&model), Arc::clone(&answered));
            tasks.push(tokio::spawn(async move {
                let before = answered.load(Relaxed);
                let answer = infer(&model, turns(turns_of_run)).await;
                if answer.is_ok() {
                    answered.fetch_add(1, Relaxed);
                }
                (answer, answered.load(Relaxed).saturating_sub(before))
            }));
        }
        eventually("an answer", || answered.load(Relaxed) > round).await;
    }
    let (mut accepted, mut shed) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            (Ok(_), answers) => accepted.push(answers),
            (Err(error), answers) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                shed.push(answers);
            }
        }
    }
    accepted.sort_unstable();
    shed.sort_unstable();
    // Nine of ten are too many.
    assert!(shed.len() > 5 * accepted.len(), "{} were shed", shed.len());
    // The very first wait until it is known that it is an overload; after that one run is before each, and its own.
    let middle = accepted[accepted.len() / 2];
    assert!(middle <= 3, "half waited for {middle} answers");
    let at_once = shed[shed.len() / 2];
    assert!(at_once <= 1, "half were refused after {at_once} answers");
    // It is over at once.
    eventually("the queue is empty", || is_idle(&model)).await;
    for _ in 0..10 {
        infer(&model, turns(turns_of_run)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_waits_its_turn_is_served() {
    for settings in ["", "[batching]\nmax_rows = 32"] {
        let site = Site::new();
        let model = site.serve(&onnx::slow_rows(300), settings);
        let clients: Vec<_> = (0..64_u8)
            .map(|client| {
                let model = Arc::clone(&model);
                tokio::spawn(async move {
                    for _ in 0..30 {
                        let x = vec![floats("x", &[1, 2], &[f32::from(client); 2])];
                        infer(&model, x).await?;
                    }
                    Ok::<_, wharf_core::Error>(())
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap().unwrap();
        }
    }
}
