//! Tenants that share a model which more is asked of than it can do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::task::JoinSet;
use wharf_e2e::{Client, LONG_PATIENCE, Request, Site, Wharf, onnx, wait_within};

use super::signer::{key_set, signer};
use super::{GATEWAY, KEY_SET, bearing, claims};

/// Quotas are not what keeps tenants apart here.
const PLANS: &str = r#"
[gateway.plans.enterprise]
requests_per_s = 100000
burst = 100000
"#;

/// The answers of the one client, during which those of the crowd are counted.
const ANSWERS: u64 = 30;

fn asking_for(tenant: &str) -> Result<Request> {
    let token = signer()?.sign(&claims(tenant)?)?;
    let input = json!({"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]});
    let request = Request::json("/v2/models/busy/infer", &json!({"inputs": [input]}));
    Ok(bearing(request, &token))
}

/// A client that asks again as soon as it is answered, or soon after a refusal, until it is aborted.
async fn ask_for_ever(mut client: Client, request: Request, answers: Arc<AtomicU64>) -> Result<()> {
    loop {
        let answer = client.send(&request).await?;
        if answer.status == 200 {
            answers.fetch_add(1, Relaxed);
            continue;
        }
        answer.problem(503)?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_with_one_client_has_its_part_beside_a_crowd() -> Result<()> {
    let site = Site::empty()?;
    site.write("wharf.toml", GATEWAY.to_owned() + PLANS)?;
    site.write(KEY_SET, key_set(&[signer()?])?.to_string())?;
    // A run takes some tens of milliseconds: a crowd waits longer than it may.
    site.write("models/busy/1/model.onnx", onnx::slow(20))?;
    site.write(
        "models/busy/model.toml",
        "[instances]\ncount = 1\n[threads]\nintra = 1\n",
    )?;
    let wharf = Wharf::serve(&site).await?;

    let answers = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    let requests = [(asking_for("acme")?, 24), (asking_for("globex")?, 1)];
    for ((request, clients), answers) in requests.iter().zip(&answers) {
        for _ in 0..*clients {
            let client = wharf.client();
            tasks.spawn(ask_for_ever(client, request.clone(), Arc::clone(answers)));
        }
    }
    wharf
        .wait_for_metrics("more to come than the model can answer", |metrics| {
            metrics.sum("model_refused_total", &["reason=\"overload\""]) > 0.0
        })
        .await?;
    let count = || answers.each_ref().map(|count| count.load(Relaxed));
    let before = count();
    let answered = wait_within(LONG_PATIENCE, "answers of the one client", async || {
        (count()[1] >= before[1] + ANSWERS).then_some(())
    });
    tokio::select! {
        answered = answered => answered?,
        Some(ended) = tasks.join_next() => ended??,
    }
    let [crowd, single] = [0, 1].map(|tenant| count()[tenant] - before[tenant]);
    // A third of the half that is its own.
    ensure!(
        6 * single >= crowd + single,
        "{single} answers beside {crowd}"
    );
    Ok(())
}
