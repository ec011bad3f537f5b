//! Models that share the cores.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use wharf_core::{Model, Tensor};

use crate::support::{Site, calibrate, eventually, infer, onnx, turns};

/// How long a request of a quiet client takes on average.
async fn ask(model: &Arc<dyn Model>, inputs: &[Tensor]) -> Duration {
    let started = Instant::now();
    for _ in 0..60 {
        infer(model, inputs.to_vec()).await.unwrap();
        tokio::task::yield_now().await;
    }
    started.elapsed() / 60
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_model_does_not_starve_a_quiet_one() {
    let site = Site::new();
    // Far more instances than cores, each with work all the time.
    let cores = std::thread::available_parallelism().unwrap().get();
    let instances = 8 * cores;
    let settings = format!(
        "[instances]\ncount = {instances}\n[threads]\nintra = 1\n[batching]\nqueue_wait_ms = 600000"
    );
    let hot = site.serve(&onnx::slow(), &settings);
    let quiet = site.serve(&onnx::slow(), "[instances]\ncount = 1");
    let long = calibrate(&quiet, Duration::from_millis(20)).await;
    let (alone, long_alone) = (
        ask(&quiet, &turns(long / 5)).await,
        ask(&quiet, &turns(long)).await,
    );

    // Something else on the machine may spoil a look, but not all of them: without the gate none would do.
    let mut seen = Vec::new();
    for _ in 0..5 {
        let (long_beside, beside) = look(&hot, &quiet, long, instances).await;
        seen.push((long_beside, beside));
        // Eight threads on a core would make each run take eight times as long, and the quiet one wait for its slice of them.
        if long_beside < long_alone * 5 && beside < alone * 5 + Duration::from_millis(10) {
            return;
        }
    }
    panic!("alone {long_alone:?} and {alone:?}, beside each other {seen:?}");
}

/// How long runs of the hot model take, and requests of the quiet one beside them.
async fn look(
    hot: &Arc<dyn Model>,
    quiet: &Arc<dyn Model>,
    long: i64,
    instances: usize,
) -> (Duration, Duration) {
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..2 * instances)
        .map(|_| {
            let (hot, stop) = (Arc::clone(hot), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Relaxed) {
                    infer(&hot, turns(long)).await.unwrap();
                }
            })
        })
        .collect();
    eventually("the hot model works", || {
        hot.load().in_flight > 0 && hot.load().queue_depth > 0
    })
    .await;
    let beside = ask(quiet, &turns(long / 5)).await;
    let long_beside = hot.load().latency;
    stop.store(true, Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    (long_beside, beside)
}
