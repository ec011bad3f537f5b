//! More load than the server can bear: what it takes it does as ever, and the rest it refuses at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;
use wharf_e2e::{Client, LONG_PATIENCE, Request, Site, Wharf, onnx};

use crate::expect_recovered;

/// The answers after which a crowd goes.
const ANSWERS: usize = 60;

/// Of each request of a crowd, how many answers were given between it and its own: however fast a machine is just now, and
/// whatever else it does, that is how long one waited.
#[derive(Default)]
struct Seen {
    /// Its own is one of them.
    accepted: Vec<usize>,
    refused: Vec<usize>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_is_refused_at_once_and_the_rest_goes_on() -> Result<()> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    // A run takes some tens of milliseconds, and one request may wait for it.
    site.write("models/busy/1/model.onnx", onnx::slow(10))?;
    site.write(
        "models/busy/model.toml",
        "[instances]\ncount = 1\n[batching]\nqueue_capacity = 1\n",
    )?;
    let mut wharf = Wharf::serve(&site).await?;

    ask_in_turn(&wharf).await?;
    let seen = timeout(LONG_PATIENCE, crowd(&wharf))
        .await
        .context("too few requests were accepted")??;
    ensure!(!seen.refused.is_empty(), "nothing was refused");

    // One that was on its way back, one that ran, and its own.
    let accepted = median(seen.accepted);
    ensure!(accepted <= 3, "half waited for {accepted} answers");
    let refused = median(seen.refused);
    ensure!(
        refused <= 1,
        "half were refused after {refused} other answers"
    );

    // It is over at once.
    ask_in_turn(&wharf).await?;
    expect_recovered(&mut wharf, "adder").await
}

/// One client that waits for each answer: nothing is too much.
async fn ask_in_turn(wharf: &Wharf) -> Result<()> {
    let mut client = wharf.client();
    for _ in 0..20 {
        client.send(&ask()).await?.ok()?;
    }
    Ok(())
}

/// Clients that ask again as soon as they are answered, or soon after a refusal.
async fn crowd(wharf: &Wharf) -> Result<Seen> {
    let address = wharf.listen();
    let answered = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let answered = Arc::clone(&answered);
        tasks.spawn(async move {
            let mut client = Client::new(address);
            let mut seen = Seen::default();
            loop {
                let before = answered.load(Relaxed);
                if before >= ANSWERS {
                    return anyhow::Ok(seen);
                }
                let answer = client.send(&ask()).await?;
                if answer.status == 200 {
                    let with_its_own = answered.fetch_add(1, Relaxed) + 1;
                    seen.accepted.push(with_its_own - before);
                    continue;
                }
                seen.refused.push(answered.load(Relaxed) - before);
                answer.problem(503)?;
                ensure!(
                    answer.headers.contains_key("retry-after"),
                    "no Retry-After: {}",
                    answer.text()
                );
                // A client with manners; the load is ten times what the model can do all the same.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    let mut all = Seen::default();
    while let Some(seen) = tasks.join_next().await {
        let seen = seen??;
        all.accepted.extend(seen.accepted);
        all.refused.extend(seen.refused);
    }
    Ok(all)
}

fn ask() -> Request {
    let input = json!({"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]});
    Request::json("/v2/models/busy/infer", &json!({"inputs": [input]}))
}

fn median(mut counts: Vec<usize>) -> usize {
    counts.sort_unstable();
    counts.get(counts.len() / 2).copied().unwrap_or_default()
}
