//! What operators see.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wharf_e2e::{Site, Wharf, quickstart};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_change_is_reported_until_it_is_mended() -> Result<()> {
    let site = quickstart()?;
    let wharf = Wharf::serve(&site).await?;
    let good = site.read("routes/digits.toml")?;
    let refused = "outcome=\"refused\"";

    site.write("routes/digits.toml", format!("timeout = 5\n{good}"))?;
    let reload = wharf.reload().await?;
    let error = error_of(&reload, "routes/digits.toml")?;
    ensure!(
        error["message"]
            .as_str()
            .is_some_and(|message| message.contains("timeout")),
        "{error}"
    );
    error_of(&wharf.snapshot().await?, "routes/digits.toml")?;
    event_of(&wharf.snapshot().await?, "routes/digits.toml")?;
    let metrics = wharf.metrics().await?;
    ensure!(
        metrics.sum("reload_total", &["kind=\"route\"", refused]) >= 1.0,
        "the metric does not count it"
    );
    wharf.wait_for_log("routes/digits.toml").await?;
    wharf
        .client()
        .send(&crate::demo::picture(&site, 4)?)
        .await?
        .ok()?;

    site.write("routes/digits.toml", good)?;
    wharf.reload().await?;
    ensure!(
        error_of(&wharf.snapshot().await?, "routes/digits.toml").is_err(),
        "the error stays"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_clients_make_up_become_no_series() -> Result<()> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    let wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    client
        .send(&crate::one_to_four("made-up"))
        .await?
        .problem(404)?;
    client.get("/made/up").await?.problem(404)?;
    client.send(&crate::one_to_four("adder")).await?.ok()?;
    // The first scrape is itself a series of the next.
    wharf.metrics().await?;
    let before = wharf.metrics().await?.len();
    for number in 0..50 {
        client
            .send(&crate::one_to_four(&format!("made-up-{number}")))
            .await?
            .problem(404)?;
        client
            .get(&format!("/made/up/{number}"))
            .await?
            .problem(404)?;
    }
    assert_eq!(wharf.metrics().await?.len(), before);
    Ok(())
}

/// The present error of a file or folder, in `/admin/snapshot` or the answer of `/admin/reload`.
pub(crate) fn error_of(document: &Value, file: &str) -> Result<Value> {
    find(document, "errors", file)
}

/// The newest event about a file or folder.
pub(crate) fn event_of(snapshot: &Value, file: &str) -> Result<Value> {
    find(snapshot, "events", file)
}

fn find(document: &Value, list: &str, file: &str) -> Result<Value> {
    let items = document[list]
        .as_array()
        .with_context(|| format!("no list `{list}`"))?;
    let about = |item: &&Value| {
        item["file"]
            .as_str()
            .is_some_and(|name| name.starts_with(file))
    };
    let found = items.iter().rev().find(about);
    found
        .cloned()
        .with_context(|| format!("nothing about {file} in `{list}`: {items:#?}"))
}
