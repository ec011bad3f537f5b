//! Tenants that share a model which has not enough for all.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::task::JoinHandle;
use wharf_core::{ErrorKind, Inference, Model, Result, Tensor};

use crate::support::{
    SOME_TURNS, Site, calibrate, calibrate_with, eventually, floats, onnx, request, turns,
};

/// A run that is long beside what it takes a client to come back: a crowd of these is too much.
const LONG: Duration = Duration::from_millis(40);

/// A request of a tenant, on its way.
fn send(model: &Arc<dyn Model>, tenant: &str, work: i64) -> JoinHandle<Result<Inference>> {
    send_inputs(model, tenant, turns(work))
}

fn send_inputs(
    model: &Arc<dyn Model>,
    tenant: &str,
    inputs: Vec<Tensor>,
) -> JoinHandle<Result<Inference>> {
    let (model, tenant) = (Arc::clone(model), Arc::from(tenant));
    tokio::spawn(async move {
        let mut context = request(Duration::from_secs(60));
        context.tenant = Some(tenant);
        model.infer(&context, inputs).await
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
    // Long beside what it takes a client to come back.
    let work = calibrate(&model, Duration::from_millis(10)).await;

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
    // Clients that the machine holds up ask for nothing meanwhile, which spoils a look: but not all of them.
    let mut fewest = u64::MAX;
    for _ in 0..3 {
        let before = counts.each_ref().map(|count| count.load(Relaxed));
        eventually("the quiet one has answers", || {
            counts[1].load(Relaxed) >= before[1] + 40
        })
        .await;
        fewest = fewest.min(counts[0].load(Relaxed) - before[0]);
    }
    stop.store(true, Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    // In the order of arrival it would be ten for each.
    assert!(fewest <= 100, "{fewest} answers beside 40 of the quiet one");
}

/// Where a tenant's crowd is refused, so many of its answers that come beside each of another tenant, whose one client is never refused.
async fn beside_a_crowd(model: &Arc<dyn Model>, one_row: Vec<Tensor>, wide: Vec<Tensor>) -> u64 {
    const ANSWERS: u64 = 20;
    let stop = Arc::new(AtomicBool::new(false));
    let overloaded = Arc::new(AtomicBool::new(false));
    let answers = Arc::new(AtomicU64::new(0));
    let crowd: Vec<_> = (0..64)
        .map(|_| {
            let (model, inputs) = (Arc::clone(model), one_row.clone());
            let (stop, overloaded) = (Arc::clone(&stop), Arc::clone(&overloaded));
            let answers = Arc::clone(&answers);
            tokio::spawn(async move {
                while !stop.load(Relaxed) {
                    match send_inputs(&model, "hot", inputs.clone()).await.unwrap() {
                        Ok(_) => drop(answers.fetch_add(1, Relaxed)),
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                            if error.message().contains("more requests come") {
                                overloaded.store(true, Relaxed);
                            }
                            // Far more often than there is a place.
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                }
            })
        })
        .collect();
    eventually("it is too much", || overloaded.load(Relaxed)).await;
    let before = answers.load(Relaxed);
    for _ in 0..ANSWERS {
        let answer = send_inputs(model, "quiet", wide.clone()).await.unwrap();
        answer.unwrap_or_else(|error| panic!("{error}"));
    }
    let beside = answers.load(Relaxed) - before;
    stop.store(true, Relaxed);
    for client in crowd {
        client.await.unwrap();
    }
    beside / ANSWERS
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overload_refuses_the_tenant_that_makes_it() {
    let site = Site::new();
    let model = site.serve(
        &onnx::slow(),
        "[instances]\ncount = 1\n[threads]\nintra = 1",
    );
    let work = calibrate(&model, LONG).await;
    let beside = beside_a_crowd(&model, turns(work), turns(work)).await;
    // One that runs, and one that came before.
    assert!(beside <= 3, "{beside} answers beside each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overload_refuses_the_tenant_that_makes_it_with_batches_too() {
    let settings = "[instances]\ncount = 1\n[threads]\nintra = 1\n[batching]\nmax_rows = 4";
    let rows = |rows: u64| vec![floats("x", &[rows, 2], &vec![1.0; 2 * rows as usize])];
    let site = Site::new();
    let model = site.serve(&onnx::slow_rows(SOME_TURNS), settings);
    let work = calibrate_with(&model, &rows(1), LONG).await;
    let model = site.serve(&onnx::slow_rows(work), settings);
    let beside = beside_a_crowd(&model, rows(1), rows(4)).await;
    assert!(beside <= 3 * 4, "{beside} answers beside each");
}

#[tokio::test]
async fn priority_is_among_the_requests_of_a_tenant() {
    let site = Site::new();
    let model = site.serve(
        &onnx::slow(),
        "[instances]\ncount = 1\n[batching]\nqueue_wait_ms = 600000\npriority_levels = 3",
    );
    let first = send(&model, "hot", 1_000_000_000_000);
    eventually("the first runs", || model.load().in_flight == 1).await;
    let (done, mut order) = tokio::sync::mpsc::unbounded_channel();
    let requests = [
        ("hot", 3),
        ("hot", 1),
        ("hot", 1),
        ("quiet", 3),
        ("quiet", 2),
    ];
    for (index, (tenant, level)) in requests.into_iter().enumerate() {
        let (model_of_task, done) = (Arc::clone(&model), done.clone());
        tokio::spawn(async move {
            let mut context = request(Duration::from_secs(60));
            context.tenant = Some(Arc::from(tenant));
            context.scheduling.priority = NonZeroU32::new(level);
            // Long enough that the answers come one after another.
            model_of_task.infer(&context, turns(2000)).await.unwrap();
            done.send((tenant, level)).unwrap();
        });
        eventually("it waits", || model.load().queue_depth as usize > index).await;
    }
    first.abort();
    let mut found = Vec::new();
    for _ in requests {
        found.push(order.recv().await.unwrap());
    }
    let expected = [
        ("hot", 1),
        ("quiet", 2),
        ("hot", 1),
        ("quiet", 3),
        ("hot", 3),
    ];
    assert_eq!(found, expected);
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
