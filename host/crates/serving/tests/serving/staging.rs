//! Models that clients bring or change: tried first, and then in the site as a whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use wharf_core::ErrorKind;
use wharf_serving::{Config, ModelChange, ModelControl};
use wharf_testkit::{Site, eventually};

use crate::harness::{Harness, by_order, files, name, settings, watching};

fn site() -> Site {
    let site = Site::new();
    site.put(
        "models/sum/model.toml",
        "# mine\npolicy = \"all\"  # both\n",
    );
    site.put("models/sum/labels.txt", "a\nb\n");
    site.model("sum", 1, "add 1");
    site.model("sum", 2, "add 2");
    site
}

/// Every file of a site with its content.
pub(crate) fn content(site: &Site) -> BTreeMap<String, Vec<u8>> {
    fn add(folder: &Path, base: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add(&path, base, found);
            } else {
                let name = path.strip_prefix(base).unwrap().to_str().unwrap();
                found.insert(name.to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    add(site.path(), site.path(), &mut found);
    found
}

impl Harness {
    async fn change(&self, model: &str, change: ModelChange) -> Result<(), wharf_core::Error> {
        let changed = self.serving.load_model(&name(model), change).await;
        assert!(!self.site.path().join(".staging").exists(), "it is gone");
        changed
    }

    async fn version(&self, model: &str, version: &str) -> f32 {
        let snapshot = self.serving.snapshot();
        let route = snapshot.endpoint(model, Some(version)).unwrap();
        let input = wharf_core::Payload::Tensors(vec![wharf_testkit::tensor("input", &[0.0])]);
        let outcome = route.run(&wharf_testkit::request(model), input).await;
        wharf_testkit::values(&outcome.unwrap().payload)[0]
    }
}

#[tokio::test]
async fn files_replace_a_version_as_a_whole_and_leave_the_others() {
    let harness = Harness::start(site(), watching()).await;
    harness.site.put("models/sum/2/old.bin", "x");
    harness.serving.reload().await;
    let loads = harness.engine.loads();
    let change = files(&[
        (2, "model.onnx", "add 20\nend\n"),
        (2, "data/weights.bin", "w"),
        (4, "model.onnx", "add 40\nend\n"),
    ]);
    harness.change("sum", change).await.unwrap();
    assert_eq!(harness.version("sum", "1").await, 1.0);
    assert_eq!(harness.version("sum", "2").await, 20.0);
    assert_eq!(harness.version("sum", "4").await, 40.0);
    assert_eq!(harness.engine.loads(), loads + 2, "each is loaded once");
    let site = content(&harness.site);
    assert_eq!(site["models/sum/2/data/weights.bin"], b"w");
    assert!(!site.contains_key("models/sum/2/old.bin"));
    assert_eq!(site["models/sum/labels.txt"], b"a\nb\n");
    // What the watcher finds afterwards is what serves already.
    assert!(!harness.serving.reload().await.changed);
    assert_eq!(harness.engine.loads(), loads + 2);
    assert!(harness.errors().is_empty());
    harness.drained().await;
    assert_eq!(harness.engine.live(), 3);
}

#[tokio::test]
async fn files_beside_the_versions_come_along_and_stay_whole() {
    let harness = Harness::start(site(), watching()).await;
    let (serving, gate) = (harness.serving.clone(), harness.engine.gates.get("load"));
    let change = files(&[(3, "model.onnx", "load-gate load\nadd 3\nend\n")]);
    let loading = tokio::spawn(async move { serving.load_model(&name("sum"), change).await });
    gate.arrived(1).await;
    // An engine refuses a file of several names, there and here.
    let staged = fs::read_dir(harness.site.path().join(".staging")).unwrap();
    let staged = staged.last().unwrap().unwrap().path();
    for folder in [staged.as_path(), harness.site.path()] {
        let labels = folder.join("models/sum/labels.txt");
        assert_eq!(fs::read(&labels).unwrap(), b"a\nb\n");
        assert_eq!(fs::metadata(&labels).unwrap().nlink(), 1);
    }
    gate.open();
    loading.await.unwrap().unwrap();
    assert_eq!(harness.version("sum", "3").await, 3.0);
}

#[tokio::test]
async fn what_was_staged_is_watched_in_its_place() {
    let harness = Harness::start(site(), watching()).await;
    for round in 3..6_u8 {
        let script = format!("add {round}0\nend\n");
        let change = files(&[(2, "model.onnx", &script), (3, "model.onnx", &script)]);
        harness.change("sum", change).await.unwrap();
        for version in ["2", "3"] {
            let path = format!("models/sum/{version}/model.onnx");
            harness.site.write(&path, &format!("add {round}\nend\n"));
            let mut generation = harness.serving.snapshot().generation();
            while harness.version("sum", version).await != f32::from(round) {
                eventually("it is noticed", || {
                    let now = harness.serving.snapshot().generation();
                    std::mem::replace(&mut generation, now) != now
                })
                .await;
            }
        }
    }
}

#[tokio::test]
async fn settings_change_keys_and_nothing_else() {
    let harness = Harness::start(site(), watching()).await;
    let loads = harness.engine.loads();
    harness
        .change("sum", settings(&[("batching.max_rows", 8)]))
        .await
        .unwrap();
    let text = &content(&harness.site)["models/sum/model.toml"];
    assert_eq!(
        String::from_utf8_lossy(text),
        "# mine\npolicy = \"all\"  # both\n\n[batching]\nmax_rows = 8\n"
    );
    // Both versions were tried with them, each once.
    assert_eq!(harness.engine.loads(), loads + 2);
    assert!(!harness.serving.reload().await.changed);
    let error = harness.change("sum", settings(&[("policy.x", 1)])).await;
    let error = error.unwrap_err();
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::InvalidArgument, Some("config"))
    );
}

#[tokio::test]
async fn a_change_that_cannot_be_served_leaves_everything_as_it_was() {
    let harness = Harness::start(site(), by_order()).await;
    let before = content(&harness.site);
    let generation = harness.serving.snapshot().generation();
    let good = "add 30\nend\n";
    let cases = [
        (
            files(&[(3, "model.onnx", "broken\nend\n"), (4, "model.onnx", good)]),
            ErrorKind::Unprocessable,
        ),
        (
            files(&[(3, "model.onnx", "panic\nend\n"), (4, "model.onnx", good)]),
            ErrorKind::Unprocessable,
        ),
        (
            files(&[(3, "model.onnx", "cut short")]),
            ErrorKind::Unprocessable,
        ),
        (settings(&[("broken", 1)]), ErrorKind::InvalidArgument),
        (
            files(&[(1, "readme.txt", "no model")]),
            ErrorKind::InvalidArgument,
        ),
        (files(&[(1, "../../x", good)]), ErrorKind::InvalidArgument),
        (
            files(&[(3, "a", good), (3, "a/b", good)]),
            ErrorKind::InvalidArgument,
        ),
    ];
    for (change, kind) in cases {
        let shown = format!("{change:?}");
        let error = harness.change("sum", change).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error} {shown}");
        let path = harness.site.path().to_str().unwrap();
        assert!(!error.to_string().contains(path), "{error}");
        assert!(!error.to_string().contains("staging"), "{error}");
        assert_eq!(content(&harness.site), before, "{shown}");
    }
    assert_eq!(harness.serving.snapshot().generation(), generation);
    assert_eq!(harness.version("sum", "2").await, 2.0);
    harness.drained().await;
    assert_eq!(harness.engine.live(), 2, "what loaded of them is let go");
}

#[tokio::test]
async fn a_version_that_is_there_and_does_not_load_stops_a_change_of_settings() {
    let site = site();
    site.model("sum", 3, "broken");
    let harness = Harness::start(site, by_order()).await;
    let before = content(&harness.site);
    let error = harness
        .change("sum", settings(&[("x", 1)]))
        .await
        .unwrap_err();
    assert!(error.message().starts_with("version 3: "), "{error}");
    assert_eq!(content(&harness.site), before);
    // Mending it is a change that can be served.
    let mended = files(&[(3, "model.onnx", "add 3\nend\n")]);
    harness.change("sum", mended).await.unwrap();
    assert_eq!(harness.version("sum", "3").await, 3.0);
}

#[tokio::test]
async fn files_make_a_model_that_is_not_there() {
    let config = Config {
        model_control: ModelControl::Explicit,
        ..watching()
    };
    let harness = Harness::start(Site::new(), config).await;
    let error = harness.change("new", settings(&[("a", 1)])).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    let error = harness.change("new", files(&[(1, "data.bin", "x")])).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unprocessable);
    assert!(content(&harness.site).is_empty());
    let change = ModelChange {
        files: files(&[(7, "model.onnx", "add 7\nend\n")]).files,
        ..settings(&[("a", 1)])
    };
    harness.change("new", change).await.unwrap();
    assert_eq!(harness.number("new", 0.0).await, 7.0);
    assert_eq!(content(&harness.site)["models/new/model.toml"], b"a = 1\n");
    assert_eq!(harness.engine.loads(), 1);
    // A change of a model that is unloaded brings it back.
    harness.unload("new").await.unwrap();
    harness.change("new", settings(&[("a", 2)])).await.unwrap();
    assert_eq!(harness.number("new", 0.0).await, 7.0);
}

#[tokio::test]
async fn a_site_that_cannot_be_written_is_said_and_serves_on() {
    let site = site();
    // A file in the place of the folder cannot be written into, by anyone.
    site.put(".staging", "");
    let harness = Harness::start_refused(&site).await;
    assert_eq!(harness.file, ".staging");
    site.remove(".staging");
    let harness = Harness::start(site, by_order()).await;
    harness.site.put(".staging", "");
    let change = files(&[(3, "model.onnx", "add 3\nend\n")]);
    let error = harness.serving.load_model(&name("sum"), change).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(harness.version("sum", "2").await, 2.0);
}
