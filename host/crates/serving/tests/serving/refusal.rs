//! What is refused, and what serves meanwhile.

use std::os::unix::ffi::OsStrExt;

use wharf_serving::{Config, EventKind, Serving};
use wharf_testkit::{FakeEngine, FakePluginHost, Site};

use crate::harness::{Harness, by_order, check, places};

fn site() -> Site {
    let site = Site::new();
    site.model("sum", 1, "add 1");
    site.plugin("tens", "scale 10");
    site.route("sum", "model = 'sum'\npre = ['tens']\npost = ['tens']");
    site
}

#[tokio::test]
async fn what_cannot_be_served_leaves_the_old_state() {
    let harness = Harness::start(site(), by_order()).await;
    let cases = [
        ("plugins/tens.wasm", "scale 2", "plugins/tens.wasm"),
        ("plugins/tens.wasm", "broken\nend", "plugins/tens.wasm"),
        ("plugins/tens.wasm", "panic\nend", "plugins/tens.wasm"),
        (
            "plugins/tens.wasm",
            "stages router\nend",
            "routes/sum.toml [post[0]]",
        ),
        (
            "models/sum/1/model.onnx",
            "add 7",
            "models/sum/1/model.onnx",
        ),
        ("models/sum/1/model.onnx", "panic\nend", "models/sum/1"),
        (
            "models/sum/2/model.onnx",
            "broken\nend",
            "models/sum/2/model.onnx",
        ),
        (
            "models/sum/model.toml",
            "broken",
            "models/sum/model.toml [broken]",
        ),
        ("plugins/tens.toml", "broken", "plugins/tens.toml [broken]"),
        ("routes/sum.toml", "", "routes/sum.toml [model]"),
        ("routes/sum.toml", "model = 'no'", "routes/sum.toml [model]"),
        (
            "routes/sum.toml",
            "model = '../x'",
            "routes/sum.toml [model]",
        ),
    ];
    for (file, content, place) in cases {
        let old = std::fs::read_to_string(harness.site.path().join(file)).ok();
        harness.site.put(file, content);
        harness.serving.reload().await;
        let errors = harness.errors();
        assert!(errors.contains(&place.to_owned()), "{file}: {errors:?}");
        assert_eq!(harness.ask("sum", "1").await, "110", "{file}: {content}");
        let refused = place.split(' ').next().unwrap();
        assert!(harness.happened(EventKind::Refused, refused) > 0);
        match old {
            Some(old) => harness.site.put(file, &old),
            None => harness.site.remove(file),
        }
        harness.serving.reload().await;
        assert!(
            harness.errors().is_empty(),
            "{file}: {:?}",
            harness.errors()
        );
        assert_eq!(harness.ask("sum", "1").await, "110", "{file}");
    }
}

#[tokio::test]
async fn a_refusal_is_one_event_however_often_it_is_looked_at() {
    let harness = Harness::start(site(), by_order()).await;
    harness.site.plugin("tens", "broken");
    for _ in 0..3 {
        harness.serving.reload().await;
    }
    assert_eq!(harness.happened(EventKind::Refused, "plugins/tens.wasm"), 1);
    let labels = [("kind", "plugin"), ("outcome", "refused")];
    assert_eq!(harness.metric("reload_total", &labels), Some(1.0));
}

#[tokio::test]
async fn hostile_names_are_refused_before_any_path_is_made() {
    let site = site();
    let long = "x".repeat(200);
    site.put("plugins/a b.wasm", "end");
    site.put("plugins/..x.wasm", "end");
    site.put(&format!("plugins/{long}.wasm"), "end");
    site.put("routes/%2e%2e.toml", "model = 'sum'");
    site.model("ünï", 1, "");
    let raw = std::ffi::OsStr::from_bytes(b"\xff\n.wasm");
    std::fs::write(site.path().join("plugins").join(raw), "end").unwrap();
    let harness = Harness::start(site, by_order()).await;
    assert_eq!(harness.errors().len(), 5);
    assert!(harness.errors().iter().all(|error| !error.contains('\n')));
    assert_eq!((harness.plugins.reads(), harness.engine.looks()), (1, 1));
    for name in ["../sum", "sum\0", "", "..", &long] {
        assert!(harness.serving.snapshot().route(name).is_none());
        assert!(harness.serving.snapshot().model(name, None).is_none());
    }
    assert_eq!(harness.ask("sum", "1").await, "110");
}

#[tokio::test]
async fn a_site_that_goes_away_removes_nothing() {
    let harness = Harness::start(site(), by_order()).await;
    let (path, aside) = (
        harness.site.path(),
        harness.site.path().with_extension("aside"),
    );
    std::fs::rename(path, &aside).unwrap();
    let report = harness.serving.reload().await;
    assert!(!report.changed);
    assert_eq!(report.errors[0].file, ".");
    assert_eq!(harness.ask("sum", "1").await, "110");
    std::fs::rename(&aside, path).unwrap();
    assert!(harness.serving.reload().await.errors.is_empty());
}

#[tokio::test]
async fn a_start_needs_a_folder_and_nothing_in_it() {
    let site = Site::new();
    site.put("wharf.toml", "");
    let meter = opentelemetry::global::meter("test");
    let start = |path: std::path::PathBuf| {
        Serving::start(
            Config::default(),
            path,
            std::sync::Arc::new(FakeEngine::default()),
            std::sync::Arc::new(FakePluginHost::default()),
            &meter,
        )
    };
    assert!(start(site.path().join("wharf.toml")).is_err());
    let serving = start(site.path().to_owned()).unwrap();
    serving.loaded().await;
    assert!(serving.ready());
    assert_eq!(serving.snapshot().routes().count(), 0);
    serving.shutdown().await;
}

#[test]
fn check_says_everything_at_once() {
    let site = site();
    assert!(check(&site).is_empty());
    site.model("bad", 1, "broken");
    site.plugin("bad", "broken");
    site.route("a", "model = 'no'\npre = ['nobody', 'tens']");
    site.route("b", "model = 'sum'\ntimeout_ms = 0");
    site.route("c", "model = 'sum'\nbogus = 1");
    site.route("d", "model = 'sum'\ninput = 'body'");
    assert_eq!(
        places(&check(&site)),
        [
            "models/bad/1/model.onnx []",
            "plugins/bad.wasm []",
            "routes/a.toml [model]",
            "routes/a.toml [pre[0]]",
            "routes/b.toml [timeout_ms]",
            "routes/c.toml [bogus]",
            "routes/d.toml [input]",
        ]
    );
}

#[tokio::test]
async fn after_a_restart_an_earlier_version_serves_for_one_that_does_not_load() {
    let site = site();
    site.model("sum", 2, "add 2");
    site.model("sum", 3, "broken");
    site.write("models/sum/4/model.onnx", "add 4");
    let harness = Harness::start(site, by_order()).await;
    // Version 4 is cut short, and version 3 is broken.
    assert_eq!(harness.ask("sum", "1").await, "120");
    assert_eq!(harness.errors(), ["models/sum/4/model.onnx"]);
    assert_eq!(
        places(&check(&harness.site)),
        ["models/sum/4/model.onnx []"]
    );
    let loads = harness.engine.loads();

    harness.site.model("sum", 4, "add 4");
    harness.serving.reload().await;
    assert_eq!(harness.ask("sum", "1").await, "140");
    assert!(harness.errors().is_empty());
    assert_eq!(harness.engine.loads(), loads + 1);
    harness.drained().await;
    assert_eq!(harness.engine.live(), 1);
}
