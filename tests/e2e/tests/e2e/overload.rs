//! More load than the server can bear: what it takes it does as ever, and the rest it refuses at once.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::task::JoinSet;
use wharf_e2e::{Client, Request, Site, Wharf, onnx};

use crate::expect_recovered;

/// What the clients of one phase saw.
#[derive(Default)]
struct Seen {
    accepted: Vec<Duration>,
    refused: Vec<Duration>,
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

    let calm = phase(&wharf, 1, Duration::from_secs(2)).await?;
    ensure!(calm.refused.is_empty() && calm.accepted.len() > 10);
    let crowded = phase(&wharf, 20, Duration::from_secs(3)).await?;
    ensure!(!crowded.refused.is_empty(), "nothing was refused");
    ensure!(!crowded.accepted.is_empty(), "nothing was accepted");

    // One before it and itself: twice the time; the other half is for a machine that has the clients to run as well.
    let bound = percentile(&calm.accepted, 99) * 2 + percentile(&calm.accepted, 50) * 2;
    let accepted = percentile(&crowded.accepted, 90);
    ensure!(
        accepted < bound,
        "accepted requests took {accepted:?}, over {bound:?}"
    );
    let refused = percentile(&crowded.refused, 50);
    let usual = percentile(&crowded.accepted, 50);
    ensure!(
        refused < usual / 2,
        "a refusal took {refused:?}, and an answer {usual:?}"
    );

    let begun = Instant::now();
    wharf.client().send(&ask()).await?.ok()?;
    ensure!(
        begun.elapsed() < Duration::from_secs(1),
        "it did not recover: {:?}",
        begun.elapsed()
    );
    expect_recovered(&mut wharf, "adder").await
}

/// Clients that ask again as soon as they are answered, or soon after a refusal.
async fn phase(wharf: &Wharf, clients: usize, length: Duration) -> Result<Seen> {
    let address = wharf.listen();
    let end = Instant::now() + length;
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        tasks.spawn(async move {
            let mut client = Client::new(address);
            let mut seen = Seen::default();
            while Instant::now() < end {
                let begun = Instant::now();
                let answer = client.send(&ask()).await?;
                if answer.status == 200 {
                    seen.accepted.push(begun.elapsed());
                    continue;
                }
                seen.refused.push(begun.elapsed());
                answer.problem(503)?;
                ensure!(
                    answer.headers.contains_key("retry-after"),
                    "no Retry-After: {}",
                    answer.text()
                );
                // A client with manners; the load is ten times what the model can do all the same.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            anyhow::Ok(seen)
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

fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    let rank = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(rank).copied().unwrap_or_default()
}
