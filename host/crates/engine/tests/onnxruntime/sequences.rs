//! Sequences: requests that share a memory.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_core::{ErrorKind, Inference, RequestContext, Sequence, SequenceId, Tensor};

use crate::support::{Site, eventually, floats, infer, onnx, request, turns};

const SETTINGS: &str = r#"
[instances]
count = 1
[batching]
max_rows = 8
[sequences]
start = "START"
end = "END"
id = "CORRID"
states = [{ input = "sum_in", output = "sum_out" }]
"#;

/// Adds up what the indices name in a table of 10, 20 and 30; a start forgets the sum. It gives the sum, the name of the
/// sequence and whether it ends. An index that is out of range fails its run.
fn adder() -> Vec<u8> {
    let to_float = onnx::Message::new().bytes(1, "to").varint(3, onnx::FLOAT);
    let graph = onnx::graph(
        &[
            onnx::node("Gather", &["table", "index"], &["x"], &[]),
            onnx::node("Not", &["START"], &["goes_on"], &[]),
            onnx::node("Cast", &["goes_on"], &["factor"], &[to_float.varint(20, 2)]),
            onnx::node("Mul", &["sum_in", "factor"], &["before"], &[]),
            onnx::node("Add", &["before", "x"], &["sum"], &[]),
            onnx::node("Identity", &["sum"], &["sum_out"], &[]),
            onnx::node("Identity", &["CORRID"], &["id"], &[]),
            onnx::node("Identity", &["END"], &["ends"], &[]),
        ],
        &[
            onnx::value("sum_in", onnx::FLOAT, &[-1, 1]),
            onnx::value("index", onnx::INT64, &[-1, 1]),
            onnx::value("START", onnx::BOOL, &[-1, 1]),
            onnx::value("END", onnx::FLOAT, &[-1, 1]),
            onnx::value("CORRID", onnx::INT64, &[-1, 1]),
        ],
        &[
            onnx::value("sum", onnx::FLOAT, &[-1, 1]),
            onnx::value("sum_out", onnx::FLOAT, &[-1, 1]),
            onnx::value("id", onnx::INT64, &[-1, 1]),
            onnx::value("ends", onnx::FLOAT, &[-1, 1]),
        ],
        &[onnx::tensor_f32("table", &[3], &[10.0, 20.0, 30.0])],
    );
    onnx::model(&graph).into_bytes()
}

fn of(id: u64, start: bool, end: bool) -> RequestContext {
    let mut context = request(Duration::from_secs(60));
    context.scheduling.sequence = Some(Sequence {
        id: SequenceId::Number(NonZeroU64::new(id).unwrap()),
        start,
        end,
    });
    context
}

fn index(index: i64) -> Vec<Tensor> {
    vec![Tensor::from_vec("index", [1, 1], vec![index]).unwrap()]
}

fn sum(inference: wharf_core::Result<Inference>) -> f32 {
    inference.unwrap().outputs[0].as_slice::<f32>().unwrap()[0]
}

#[tokio::test]
async fn a_sequence_adds_up_until_it_ends() {
    let site = Site::new();
    let model = site.serve(&adder(), SETTINGS);
    let names = |specs: &[wharf_core::TensorSpec]| -> Vec<String> {
        specs.iter().map(|spec| spec.name.to_string()).collect()
    };
    assert_eq!(names(&model.info().inputs), ["index"]);
    assert_eq!(names(&model.info().outputs), ["sum", "id", "ends"]);
    assert_eq!(
        model.info().queueing.sequence_idle,
        Some(Duration::from_secs(60))
    );

    assert_eq!(sum(model.infer(&of(1, true, false), index(0)).await), 10.0);
    assert_eq!(sum(model.infer(&of(2, true, false), index(2)).await), 30.0);
    assert_eq!(sum(model.infer(&of(1, false, false), index(1)).await), 30.0);
    let last = model.infer(&of(1, false, true), index(1)).await.unwrap();
    assert_eq!(last.outputs[0].as_slice::<f32>().unwrap(), [50.0]);
    assert_eq!(last.outputs[1].as_slice::<i64>().unwrap(), [1]);
    assert_eq!(last.outputs[2].as_slice::<f32>().unwrap(), [1.0]);

    let gone = model
        .infer(&of(1, false, false), index(1))
        .await
        .unwrap_err();
    assert_eq!(
        (gone.kind(), gone.field()),
        (ErrorKind::InvalidArgument, Some("parameters.sequence_id"))
    );
    assert_eq!(sum(model.infer(&of(2, false, false), index(0)).await), 40.0);
    // A start in the middle begins anew.
    assert_eq!(sum(model.infer(&of(2, true, false), index(0)).await), 10.0);
    assert_eq!(sum(model.infer(&of(2, false, false), index(0)).await), 20.0);

    let without = infer(&model, index(0)).await.unwrap_err();
    assert_eq!(
        (without.kind(), without.field()),
        (ErrorKind::InvalidArgument, Some("parameters.sequence_id"))
    );
    let hidden = vec![index(0).remove(0), floats("sum_in", &[1, 1], &[1.0])];
    let error = model.infer(&of(2, false, false), hidden).await.unwrap_err();
    assert_eq!(error.field(), Some("sum_in"), "nobody sets the state");
}

#[tokio::test]
async fn a_failure_leaves_the_state_as_it_was() {
    let site = Site::new();
    let model = site.serve(&adder(), SETTINGS);
    for start in [true, false] {
        let error = model
            .infer(&of(1, start, false), index(99))
            .await
            .unwrap_err();
        let kind = if start {
            ErrorKind::Unprocessable
        } else {
            ErrorKind::InvalidArgument
        };
        assert_eq!(
            error.kind(),
            kind,
            "a sequence that failed to begin is none"
        );
    }
    assert_eq!(sum(model.infer(&of(1, true, false), index(0)).await), 10.0);
    for (start, end) in [(false, false), (false, true), (true, false)] {
        let error = model
            .infer(&of(1, start, end), index(99))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unprocessable);
    }
    // A client that leaves before its turn comes changes nothing either.
    drop(model.infer(&of(1, true, false), index(2)));
    assert_eq!(sum(model.infer(&of(1, false, false), index(0)).await), 20.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences_are_joined_and_each_keeps_its_order() {
    let site = Site::new();
    let model = site.serve(&adder(), SETTINGS);
    let sequence = |id: u64| {
        let model = Arc::clone(&model);
        async move {
            for turn in 0..100_u16 {
                let context = of(id, turn == 0, turn == 99);
                let step = (id % 3) as i64;
                let expected = f32::from(turn + 1) * 10.0 * (step + 1) as f32;
                assert_eq!(sum(model.infer(&context, index(step)).await), expected);
            }
        }
    };
    let tasks: Vec<_> = (1..=16).map(|id| tokio::spawn(sequence(id))).collect();
    for task in tasks {
        task.await.unwrap();
    }

    // All of one sequence at once: by the order of arrival.
    let model = &model;
    let mut all = Vec::new();
    for turn in 0..50_i64 {
        all.push((of(99, turn == 0, false), turn));
    }
    let mut answers = Vec::new();
    for (context, _) in &all {
        answers.push(model.infer(context, index(0)));
    }
    let mut polled = Vec::new();
    for answer in &mut answers {
        polled.push(
            std::future::poll_fn(|cx| {
                let poll = answer.as_mut().poll(cx);
                std::task::Poll::Ready(match poll {
                    std::task::Poll::Ready(answer) => Some(answer),
                    std::task::Poll::Pending => None,
                })
            })
            .await,
        );
    }
    for (turn, (answer, polled)) in answers.into_iter().zip(polled).enumerate() {
        let answer = match polled {
            Some(answer) => answer,
            None => answer.await,
        };
        assert_eq!(sum(answer), (turn + 1) as f32 * 10.0);
    }
}

#[tokio::test]
async fn a_sequence_that_rests_too_long_is_forgotten() {
    let site = Site::new();
    let short = "[sequences]\ncapacity = 1\nidle_ms = 1000";
    let model = site.serve(&adder(), &SETTINGS.replace("[sequences]", short));
    assert_eq!(sum(model.infer(&of(1, true, false), index(0)).await), 10.0);
    let full = model
        .infer(&of(2, true, false), index(0))
        .await
        .unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Unavailable);
    let until = Instant::now() + Duration::from_secs(30);
    while model.infer(&of(2, true, false), index(0)).await.is_err() {
        assert!(Instant::now() < until, "it is never forgotten");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let gone = model
        .infer(&of(1, false, false), index(0))
        .await
        .unwrap_err();
    assert_eq!(gone.field(), Some("parameters.sequence_id"));
}

#[tokio::test]
async fn one_request_of_a_sequence_runs_at_a_time() {
    const FOREVER: i64 = 1_000_000_000_000;
    let site = Site::new();
    let settings = "[instances]\ncount = 2\n[sequences]\nidle_ms = 60000";
    let model = site.serve(&onnx::slow(), settings);
    let run = |start: bool, count: i64| {
        let model = Arc::clone(&model);
        tokio::spawn(async move { model.infer(&of(1, start, false), turns(count)).await })
    };
    run(true, 1).await.unwrap().unwrap();
    let first = run(false, FOREVER);
    eventually("it runs", || model.load().in_flight == 1).await;
    let second = run(false, 1);
    // On one thread: it has asked for its turn.
    tokio::task::yield_now().await;
    let since = Instant::now();
    // Nothing tells that it does not run: with a turn it would have its answer by then, or stand in the queue.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let load = model.load();
    assert_eq!((load.in_flight, load.queue_depth), (1, 0), "it has a turn");
    assert!(!second.is_finished(), "it has a turn");
    let waited = since.elapsed();
    first.abort();
    let second = second.await.unwrap().unwrap();
    assert_eq!(second.timings.run_rows, Some(1));
    assert!(
        second.timings.queue >= waited,
        "it waited for its turn: {:?}",
        second.timings
    );
}

#[test]
fn wrong_settings_are_refused_by_their_key() {
    let site = Site::new();
    let error = site.refusal(&adder(), "[sequences]\nstart = \"nope\"");
    assert_eq!(error.key.as_deref(), Some("sequences.start"), "{error}");
    let error = site.refusal(
        &adder(),
        "[sequences]\nstates = [{ input = \"sum_in\", output = \"id\" }]",
    );
    assert_eq!(
        error.key.as_deref(),
        Some("sequences.states[0].output"),
        "{error}"
    );
}
