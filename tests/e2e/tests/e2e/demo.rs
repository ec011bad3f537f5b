//! The quickstart site.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wharf_e2e::{Client, Protocol, Request, Site, Wharf, quickstart};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_digit_picture_comes_back_as_its_label() -> Result<()> {
    let site = quickstart()?;
    let wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    for label in 0..10 {
        let answer = client.send(&picture(&site, label)?).await?.ok()?;
        assert_eq!(best_label(&answer), Some(label.to_string()), "{answer}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_canary_spreads_users_over_both_versions_and_keeps_each_on_its_own() -> Result<()> {
    let site = quickstart()?;
    let wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    let picture = picture(&site, 7)?;

    for user in 0..100 {
        let request = picture.clone().header("x-user", user.to_string());
        let answer = client.send(&request).await?.ok()?;
        assert_eq!(best_label(&answer).as_deref(), Some("7"));
    }
    let [stable, canary] = requests_by_version(&wharf).await?;
    assert_eq!(stable + canary, 100.0);
    assert!(
        stable > canary && canary > 0.0,
        "stable {stable}, canary {canary}"
    );

    for _ in 0..20 {
        client
            .send(&picture.clone().header("x-user", "faithful"))
            .await?
            .ok()?;
    }
    let [stable_after, canary_after] = requests_by_version(&wharf).await?;
    let to_one_version = BTreeSet::from([
        (stable_after - stable) as u64,
        (canary_after - canary) as u64,
    ]);
    assert_eq!(to_one_version, BTreeSet::from([0, 20]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn iris_takes_plain_json_over_both_protocols() -> Result<()> {
    let site = quickstart()?;
    let wharf = Wharf::serve(&site).await?;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut client = Client::with_protocol(wharf.listen(), protocol);
        let answer = client
            .post("/v1/infer/iris", &json!({"input": [5.1, 3.5, 1.4, 0.2]}))
            .await?
            .ok()?;
        ensure!(most_likely(&answer["output"]) == Some(0), "{answer}");

        let flowers = json!({"input": [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]});
        let answer = client.post("/v1/infer/iris", &flowers).await?.ok()?;
        let rows = answer["output"].as_array().context("no rows")?;
        let species: Vec<_> = rows.iter().map(most_likely).collect();
        assert_eq!(species, [Some(0), Some(2)], "{answer}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_picture_is_refused_with_the_reason() -> Result<()> {
    let site = quickstart()?;
    let wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    let whole = std::fs::read(site.path().join("images/3.png"))?;
    for broken in [&b"not a picture"[..], &[], &whole[..whole.len() / 2]] {
        let request = Request::post("/v1/infer/digits", "image/png", broken.to_vec());
        client.send(&request).await?.problem(400)?;
    }
    client.send(&picture(&site, 3)?).await?.ok()?;
    Ok(())
}

/// The committed picture of a digit, as a client posts it.
pub(crate) fn picture(site: &Site, label: u32) -> Result<Request> {
    let picture = std::fs::read(site.path().join(format!("images/{label}.png")))?;
    Ok(Request::post("/v1/infer/digits", "image/png", picture))
}

/// The first label in the answer: the classes are sorted, the most likely one first.
pub(crate) fn best_label(answer: &Value) -> Option<String> {
    match answer {
        Value::Object(members) => match members.get("label") {
            Some(label) => label.as_str().map(str::to_owned),
            None => members.values().find_map(best_label),
        },
        Value::Array(items) => items.iter().find_map(best_label),
        _ => None,
    }
}

async fn requests_by_version(wharf: &Wharf) -> Result<[f64; 2]> {
    let metrics = wharf.metrics().await?;
    Ok([1, 2].map(|version| {
        let version = format!("model_version=\"{version}\"");
        metrics.sum(
            "model_request_total",
            &[&version, "endpoint=\"digits\"", "outcome=\"ok\""],
        )
    }))
}

fn most_likely(probabilities: &Value) -> Option<usize> {
    let probabilities = probabilities.as_array()?;
    let value = |index: &usize| probabilities[*index].as_f64().unwrap_or(f64::NAN);
    (0..probabilities.len()).max_by(|a, b| value(a).total_cmp(&value(b)))
}
