//! What clients can list.

use anyhow::{Context, Result};
use serde_json::Value;
use wharf_e2e::{Wharf, quickstart};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_plugins_and_models_are_listed() -> Result<()> {
    let site = quickstart()?;
    let wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();

    let routes = client.get("/v1/routes").await?.ok()?;
    assert_eq!(names(&routes, "routes")?, ["digits", "iris"]);
    let plugins = client.get("/v1/plugins").await?.ok()?;
    assert_eq!(
        names(&plugins, "plugins")?,
        ["canary", "image-to-tensor", "top-k"]
    );
    let models = client.get("/v1/models").await?.ok()?;
    assert_eq!(names(&models, "models")?, ["digits", "digits", "iris"]);
    assert_eq!(client.get("/v2/health/live").await?.status, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_exist_is_a_problem_document() -> Result<()> {
    let site = quickstart()?;
    let wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    client.get("/v1/nothing").await?.problem(404)?;
    client.get("/v1/infer/iris").await?.problem(405)?;
    client.get("/metrics").await?.problem(404)?;
    client.get("/admin/snapshot").await?.problem(404)?;
    client
        .send(&crate::one_to_four("nobody"))
        .await?
        .problem(404)?;
    Ok(())
}

/// The names in a list, in its order.
fn names<'a>(answer: &'a Value, list: &str) -> Result<Vec<&'a str>> {
    let items = answer[list]
        .as_array()
        .with_context(|| format!("no list `{list}` in {answer}"))?;
    items
        .iter()
        .map(|item| {
            item["name"]
                .as_str()
                .with_context(|| format!("no name in {item}"))
        })
        .collect()
}
