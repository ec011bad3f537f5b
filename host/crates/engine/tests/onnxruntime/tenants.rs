//! Tenants that share a model which has not enough for all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use wharf_core::{ErrorKind, Inference, Model, Result, Tensor};

use crate::support::{Site, eventually, floats, infer, onnx, request};

fn turns(turns: i64) -> Vec<Tensor> {
    vec![
        floats("x", &[1, 64], &[1.0; 64]),
        Tensor::from_vec("turns", [1], vec![turns]).unwrap(),
    ]
}

/// A request of a tenant, on its way.
fn send(model: &Arc<dyn Model>, tenant: &str, work: i64) -> JoinHandle<Result<Inference>> {
    let (model, tenant) = (Arc::clone(model), Arc::from(tenant));
    tokio::spawn(async move {
        let mut context = request(Duration::from_secs(60));
        context.tenant = Some(tenant);
        model.infer(&context, turns(work)).await
    })
}

/// A client of a tenant that sends one request after another, and counts the answers.
fn client(
    model: &Arc<dyn Model>,
    tenant: &str,
    work: i64,
    (stop, answers): (&Arc<AtomicBool>, &Arc<AtomicU64>),
) -> JoinHandle<()> {
    let (model, tenant) = (Arc::clone(model), tenant.to_owned());
    let (stop, answers) = (Arc::clone(stop), Arc::clone(answers));
    tokio::spawn(async move {
        while !stop.load(Relaxed) {
            send(&model, &tenant, work).await.unwrap().unwrap();
            answers.fetch_add(1, Relaxed);
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_sends_ten_times_as_much_gets_no_more_of_the_model() {
    let site = Site::new();
    let model = site.serve(
        &onnx::slow(),
        "[instances]\ncount = 1\n[threads]\nintra = 1\n[batching]\nqueue_wait_ms = 600000",
    );
    let started = Instant::now();
    infer(&model, turns(10_000)).await.unwrap();
    let per_turn = started.elapsed().as_nanos() / 10_000;
    // Long beside what it takes a client to come back.
    let work = (Duration::from_millis(10).as_nanos() / per_turn.max(1)) as i64;

    let stop = Arc::new(AtomicBool::new(false));
    let counts = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    let tenants = [("hot", 40, &counts[0]), ("quiet", 4, &counts[1])];
    let clients: Vec<_> = tenants
        .into_iter()
        .flat_map(|(tenant, clients, answers)| (0..clients).map(move |_| (tenant, answers)))
        .map(|(tenant, answers)| client(&model, tenant, work, (&stop, answers)))
        .collect();
    eventually("both wait", || {
        model.load().queue_depth > 40 && counts[1].load(Relaxed) > 0
    })
    .await;
    let before = counts.each_ref().map(|count| count.load(Relaxed));
    eventually("the quiet one has answers", || {
        counts[1].load(Relaxed) >= before[1] + 40
    })
    .await;
    let hot = counts[0].load(Relaxed) - before[0];
    stop.store(true, Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    // In the order of arrival it would be ten for each.
    assert!(hot <= 100, "{hot} answers beside 40 of the quiet one");
}

#[tokio::test]
async fn a_full_queue_refuses_the_tenant_that_fills_it() {
    let site = Site::new();
    let model = site.serve(
        &onnx::slow(),
        "[instances]\ncount = 1\n[batching]\nqueue_wait_ms = 600000\nqueue_capacity = 4",
    );
    let first = send(&model, "hot", 1_000_000_000_000);
    eventually("the first runs", || model.load().in_flight == 1).await;
    let mut waiting = Vec::new();
    for index in 0..4 {
        waiting.push(send(&model, "hot", 1));
        eventually("it waits", || model.load().queue_depth > index).await;
    }
    let own = send(&model, "hot", 1).await.unwrap().unwrap_err();
    assert_eq!(own.kind(), ErrorKind::Unavailable);
    // Who asks is not known yet, and might be somebody else.
    model.check_room().unwrap();

    let quiet = send(&model, "quiet", 1);
    let newest = waiting.pop().unwrap();
    let displaced = newest.await.unwrap().unwrap_err();
    assert_eq!(displaced.kind(), ErrorKind::Unavailable);
    assert!(displaced.retry_after().is_some());
    assert_eq!(model.load().queue_depth, 4);
    first.abort();
    quiet.await.unwrap().unwrap();
    for one in waiting {
        one.await.unwrap().unwrap();
    }
    eventually("nobody waits", || model.load().queue_depth == 0).await;
}

#[tokio::test]
async fn a_tenant_that_leaves_the_queue_leaves_nothing_behind() {
    let site = Site::new();
    let model = site.serve(
        &onnx::slow(),
        "[instances]\ncount = 1\n[batching]\nqueue_wait_ms = 600000",
    );
    let first = send(&model, "hot", 1_000_000_000_000);
    eventually("the first runs", || model.load().in_flight == 1).await;
    let mut waiting = Vec::new();
    for index in 0..6 {
        let tenant = ["hot", "quiet", "other"][index as usize % 3];
        waiting.push(send(&model, tenant, 1));
        eventually("it waits", || model.load().queue_depth > index).await;
    }
    for one in waiting.drain(..).step_by(2) {
        one.abort();
    }
    eventually("half of them are gone", || model.load().queue_depth <= 3).await;
    first.abort();
    eventually("nobody waits", || model.load().queue_depth == 0).await;
    send(&model, "last", 1).await.unwrap().unwrap();
}
