//! Models that clients load and unload.

use std::fs;
use std::os::unix::fs::symlink;

use wharf_core::ErrorKind;
use wharf_serving::{Author, Config, EventKind, Missing, ModelChange, ModelControl, ModelState};
use wharf_testkit::{Site, eventually};

use crate::harness::{Harness, by_order, files, name, watching};

pub(crate) fn site() -> Site {
    let site = Site::new();
    site.model("sum", 1, "add 1");
    site.model("other", 1, "add 5");
    site
}

pub(crate) fn explicit(models: &[&str]) -> Config {
    Config {
        model_control: ModelControl::Explicit,
        load_models: models.iter().map(|name| (*name).to_owned()).collect(),
        ..watching()
    }
}

impl Harness {
    pub(crate) async fn load(&self, model: &str) -> Result<(), wharf_core::Error> {
        let change = ModelChange::default();
        self.serving.load_model(&name(model), change).await
    }

    pub(crate) async fn unload(&self, model: &str) -> Result<(), wharf_core::Error> {
        self.serving
            .unload_model(&name(model), Author::Operator)
            .await
    }

    pub(crate) fn serves(&self, route: &str) -> bool {
        self.serving.snapshot().route(route).is_some()
    }

    /// `version state reason` of each entry of a name.
    pub(crate) fn index(&self, of: &str) -> Vec<(Option<u64>, ModelState, String)> {
        let index = self.serving.index();
        index
            .into_iter()
            .filter(|entry| entry.name.as_str() == of)
            .map(|entry| (entry.version, entry.state, entry.reason))
            .collect()
    }
}

pub(crate) fn entry(
    version: u64,
    state: ModelState,
    reason: &str,
) -> (Option<u64>, ModelState, String) {
    (Some(version), state, reason.to_owned())
}

#[tokio::test]
async fn an_unloaded_model_stays_out_until_it_is_loaded() {
    let harness = Harness::start(site(), watching()).await;
    harness.unload("sum").await.unwrap();
    assert!(!harness.serves("sum"));
    assert_eq!(harness.engine.live(), 1, "its memory is given back");
    assert_eq!(harness.happened(EventKind::Removed, "models/sum/1"), 1);
    let unloaded = entry(1, ModelState::Unavailable, "unloaded by request");
    assert_eq!(harness.index("sum"), [unloaded]);
    // Neither a look at everything nor new content brings it back.
    harness.serving.reload().await;
    harness.site.model("sum", 2, "add 2");
    harness.site.model("other", 1, "add 6");
    harness.serving.reload().await;
    assert_eq!(harness.number("other", 0.0).await, 6.0);
    assert!(!harness.serves("sum"));
    assert!(harness.errors().is_empty());
    harness.load("sum").await.unwrap();
    assert_eq!(harness.number("sum", 0.0).await, 2.0);
    harness.load("sum").await.unwrap();
    assert_eq!(harness.number("sum", 0.0).await, 2.0);
    // From now on it is watched again.
    harness.site.model("sum", 3, "add 3");
    harness.serving.reload().await;
    assert_eq!(harness.number("sum", 0.0).await, 3.0);
    for error in [
        harness.load("none").await.unwrap_err(),
        harness.unload("none").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.field(), Some("model"));
    }
}

#[tokio::test]
async fn routes_of_an_unloaded_model_say_why_and_come_back() {
    let site = site();
    site.plugin("choose", "stages router");
    site.route("alias", "model = 'sum'");
    site.route(
        "either",
        "router = 'choose'\n[[candidates]]\nmodel = 'sum'\n[[candidates]]\nmodel = 'other'",
    );
    let harness = Harness::start(site, by_order()).await;
    harness.unload("sum").await.unwrap();
    assert!(!harness.serves("alias"));
    assert_eq!(harness.number("either", 0.0).await, 5.0);
    let errors = harness.serving.status().errors;
    assert_eq!(errors.len(), 2);
    for error in &errors {
        assert!(error.message.contains("unloaded by request"), "{error:?}");
    }
    let alias = &harness.index("alias")[0];
    assert_eq!((alias.0, alias.1), (None, ModelState::Unavailable));
    assert!(alias.2.contains("unloaded by request"), "{alias:?}");
    let either = &harness.index("either")[0];
    assert_eq!((either.0, either.1), (Some(1), ModelState::Ready));
    harness.load("sum").await.unwrap();
    assert_eq!(harness.number("alias", 0.0).await, 1.0);
    assert_eq!(harness.number("either", 0.0).await, 1.0);
    assert!(harness.errors().is_empty());
    assert_eq!(harness.index("alias"), [entry(1, ModelState::Ready, "")]);
}

#[tokio::test]
async fn explicit_mode_loads_what_it_is_asked_for_and_nothing_else() {
    let site = site();
    site.plugin("tens", "scale 10");
    let harness = Harness::start(site, explicit(&["sum"])).await;
    assert_eq!(harness.engine.loads(), 1);
    assert!(!harness.serves("other"));
    let reason = "nobody asked for it to be loaded";
    let other = entry(1, ModelState::Unavailable, reason);
    assert_eq!(harness.index("other"), [other]);

    // New content waits for a load; plugins and routes are watched.
    harness.site.model("sum", 2, "add 2");
    harness.site.remove("models/sum/1");
    harness
        .site
        .route("tens", "model = 'sum'\npre = ['tens']\ninput = 'tensors'");
    eventually("the route is there", || harness.serves("tens")).await;
    harness.serving.reload().await;
    assert_eq!(harness.number("tens", 1.0).await, 11.0);
    let newer = "it is served when the model is loaded again";
    let expected = [
        entry(1, ModelState::Ready, ""),
        entry(2, ModelState::Unavailable, newer),
    ];
    assert_eq!(harness.index("sum"), expected);
    harness.load("sum").await.unwrap();
    assert_eq!(harness.number("tens", 1.0).await, 12.0);

    // What is gone from the site serves on, and cannot be loaded.
    harness.site.remove("models/sum");
    harness.serving.reload().await;
    assert_eq!(harness.number("sum", 0.0).await, 2.0);
    let error = harness.load("sum").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    harness.unload("sum").await.unwrap();
    harness.serving.reload().await;
    assert!(harness.index("sum").is_empty());
    harness.load("other").await.unwrap();
    assert_eq!(harness.number("other", 0.0).await, 5.0);
    assert_eq!(
        harness.errors(),
        [
            "routes/tens.toml [model]",
            "wharf.toml [serving.load_models]"
        ]
    );
}

#[tokio::test]
async fn a_load_that_fails_says_why_and_changes_nothing() {
    let site = site();
    site.put("models/sum/model.toml", "policy = \"all\"");
    let harness = Harness::start(site, explicit(&["sum"])).await;
    harness.site.model("other", 2, "broken");
    let error = harness.load("other").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unprocessable);
    let message = "version 2: broken by script";
    assert_eq!(error.message(), message);
    assert!(!harness.serves("other"), "nothing serves in its place");
    let reason = "not among those that the version policy serves";
    let of_other = harness.index("other");
    assert_eq!(of_other[0].1, ModelState::Unavailable);
    assert_eq!(of_other[1], entry(2, ModelState::Unavailable, message));
    assert!(harness.errors().is_empty(), "it is not asked for");
    let file = "models/other/2/model.onnx";
    assert_eq!(harness.happened(EventKind::Refused, file), 1);

    // A version of a model that serves: the others go on.
    harness.site.model("sum", 2, "broken");
    let error = harness.load("sum").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unprocessable);
    assert_eq!(harness.number("sum", 0.0).await, 1.0);
    harness.site.put("models/sum/model.toml", "broken");
    let error = harness.load("sum").await.unwrap_err();
    assert_eq!(error.message(), "broken: broken by script");
    assert_eq!(harness.number("sum", 0.0).await, 1.0);
    let of_sum = harness.index("sum");
    assert_eq!(of_sum[0].1, ModelState::Ready);
    let refused = "newer content was refused: broken: broken by script";
    assert_eq!(of_sum[0].2, refused);
    harness.site.put("models/sum/model.toml", "");
    harness.site.remove("models/sum/2");
    harness.site.model("sum", 3, "add 3");
    harness.load("sum").await.unwrap();
    harness.drained().await;
    let expected = [
        entry(1, ModelState::Unavailable, reason),
        entry(3, ModelState::Ready, ""),
    ];
    assert_eq!(harness.index("sum"), expected);
}

#[tokio::test]
async fn a_link_in_the_place_of_a_model_is_read_and_never_changed() {
    let site = site();
    symlink("sum", site.path().join("models/alias")).unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("kept"), "mine").unwrap();
    symlink(outside.path(), site.path().join("models/out")).unwrap();
    let harness = Harness::start(site, by_order()).await;
    harness.load("alias").await.unwrap();
    for model in ["alias", "out"] {
        let change = files(&[(1, "model.onnx", "add 9\nend\n")]);
        let error = harness.serving.load_model(&name(model), change).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unprocessable, "{error}");
        assert!(error.message().contains("link"), "{error}");
    }
    assert_eq!(harness.number("sum", 0.0).await, 1.0);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    let none = harness.serving.snapshot();
    assert_eq!(none.endpoint("out", None).err(), Some(Missing::Name));
}
