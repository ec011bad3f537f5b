//! The reference of the metrics says what is served, and all of it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use wharf_e2e::{Request, Wharf, quickstart};

const REFERENCE: &str = include_str!("../../../../host/reference/metrics.md");

/// What this test brings about. Other events of the reference need a device, or a load that no test makes for certain.
const BROUGHT_ABOUT: [&str; 2] = ["the start", "a request"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reference_has_every_metric_that_is_served_and_no_other() -> Result<()> {
    let site = quickstart()?;
    let wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    client.send(&crate::demo::picture(&site, 7)?).await?.ok()?;
    let no_picture = Request::post("/v1/infer/digits", "image/png", "no picture");
    client.send(&no_picture).await?.problem(400)?;
    client.get("/no/such/path").await?.problem(404)?;
    site.write("routes/iris.toml", "model = \"iris\"\n")?;
    site.write("routes/broken.toml", "modell = \"iris\"\n")?;
    wharf.reload().await?;
    site.remove("routes/iris.toml")?;
    wharf.reload().await?;

    let reference = reference()?;
    let metrics = wharf.metrics().await?;
    let served = metrics.families();
    let of_a_plugin = |name: &str| name.starts_with("plugin_image_to_tensor_");
    ensure!(
        served.keys().any(|name| of_a_plugin(name)),
        "the metric of a plugin is not served"
    );
    for (name, family) in &served {
        if of_a_plugin(name) {
            continue;
        }
        let row = reference
            .get(name.as_str())
            .with_context(|| format!("{name} is not in the reference"))?;
        assert_eq!(family.kind, row.kind, "the type of {name}");
        assert_eq!(family.labels, row.labels, "the labels of {name}");
    }
    for (name, row) in &reference {
        ensure!(
            !BROUGHT_ABOUT.contains(&row.served_from) || served.contains_key(*name),
            "{name} is in the reference, and was not served"
        );
    }
    Ok(())
}

/// A row of the reference.
struct Row {
    kind: &'static str,
    labels: BTreeSet<String>,
    served_from: &'static str,
}

fn reference() -> Result<BTreeMap<&'static str, Row>> {
    let mut rows = BTreeMap::new();
    for line in REFERENCE.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, _unit, _meaning, served_from] = cells[..] else {
            anyhow::bail!("not six columns: {line}");
        };
        let labels = labels.split_whitespace().map(plain).map(str::to_owned);
        let row = Row {
            kind,
            labels: labels.collect(),
            served_from,
        };
        let before = rows.insert(plain(name), row);
        ensure!(before.is_none(), "{name} is there twice");
    }
    ensure!(!rows.is_empty(), "the reference has no table");
    Ok(rows)
}

fn plain(code: &str) -> &str {
    code.trim_matches('`')
}
