//! Models that are registered, and what lands in the site by request beside loads.

use std::fs;
use std::sync::Arc;

use bytes::Bytes;
use wharf_core::{
    ArtifactKind, ArtifactPlace, ArtifactStore, Digest, Error, ErrorKind, Modality, NewUpload,
};
use wharf_serving::{
    Author, IF_MATCH, IF_NONE_MATCH, ModelChange, ModelDocument, ModelState, PartContent,
    Precondition, Progress, Promotion, Registration, SettingValue, SiteChange, SitePart,
};
use wharf_testkit::{FakeArtifacts, Site};

use crate::harness::{Harness, by_order, name};
use crate::lifecycle::explicit;
use crate::staging::content;

/// The artifact of a version of `sum`.
fn artifact(version: u8) -> NewUpload {
    NewUpload {
        place: ArtifactPlace {
            model: name("sum"),
            version: version.into(),
            file: name("model.onnx"),
        },
        kind: ArtifactKind::Weights,
        size: 10,
        digest: Digest::new([version; 32]),
        only_if: Precondition::None,
        tenant: None,
    }
}

fn document(description: &str) -> ModelDocument {
    ModelDocument {
        registration: Registration {
            description: description.to_owned(),
            modalities: vec![Modality::Tabular],
            ..Registration::default()
        },
        settings: vec![(
            "cache".to_owned(),
            SettingValue::Table(vec![("enabled".to_owned(), SettingValue::Bool(true))]),
        )],
    }
}

impl Harness {
    async fn say(
        &self,
        model: &str,
        description: &str,
        only_if: Precondition,
    ) -> Result<(), Error> {
        let change = ModelChange {
            document: Some(document(description)),
            only_if,
            ..ModelChange::default()
        };
        self.serving.load_model(&name(model), change).await
    }

    async fn put(&self, part: SitePart, content: PartContent) -> Result<(), Error> {
        let change = SiteChange {
            part,
            content,
            only_if: Precondition::None,
            by: Author::Operator,
        };
        let changed = self.serving.change_site(change).await;
        assert!(!self.site.path().join(".staging").exists(), "it is gone");
        changed
    }

    fn model_toml(&self, model: &str) -> String {
        let path = self.site.path().join(format!("models/{model}/model.toml"));
        fs::read_to_string(path).unwrap()
    }
}

fn nobody() -> Progress {
    Arc::new(|_| {})
}

#[tokio::test]
async fn a_registered_model_is_no_error_and_nothing_to_wait_for() {
    let site = Site::new();
    site.put(
        "models/mine/model.toml",
        "[registry]\ndescription = 'by hand'\n",
    );
    let harness = Harness::start(site, by_order()).await;
    assert!(harness.errors().is_empty() && harness.serving.ready());
    harness
        .say("new", "by request", Precondition::Absent)
        .await
        .unwrap();
    let models = harness.serving.models().await.unwrap();
    let described: Vec<_> = models
        .iter()
        .map(|model| {
            (
                model.name.as_str(),
                &*model.document.registration.description,
                model.state(),
            )
        })
        .collect();
    let registered = ModelState::Registered;
    assert_eq!(
        described,
        [
            ("mine", "by hand", registered),
            ("new", "by request", registered)
        ]
    );
    harness.serving.reload().await;
    assert!(harness.errors().is_empty() && harness.serving.ready());
    harness.site.model("new", 1, "add 1");
    harness.serving.reload().await;
    assert_eq!(harness.number("new", 0.0).await, 1.0);
    let model = harness.serving.model(&name("new")).await.unwrap();
    assert_eq!(
        (model.state(), model.serving()),
        (ModelState::Ready, Some(1))
    );
    let error = harness.serving.model(&name("none")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::NotFound, Some("model"))
    );
}

#[tokio::test]
async fn a_document_replaces_what_it_says_and_keeps_comments() {
    let site = Site::new();
    site.put(
        "models/sum/model.toml",
        "# mine\n[cache]\nenabled = true  # always\n[registry]\nhistory = [3]\n",
    );
    site.model("sum", 1, "add 1");
    let harness = Harness::start(site, by_order()).await;
    let loads = harness.engine.loads();
    let before = harness.serving.model(&name("sum")).await.unwrap();
    harness
        .say("sum", "one", Precondition::Is(before.digest))
        .await
        .unwrap();
    let text = harness.model_toml("sum");
    assert!(
        text.starts_with("# mine\n[cache]\nenabled = true  # always\n"),
        "{text}"
    );
    assert!(
        text.contains("history = [3]") && text.contains("description = \"one\""),
        "{text}"
    );
    assert_eq!(
        harness.engine.loads(),
        loads,
        "what people say is no reason to load anew"
    );
    // Of two changes, the later one learns of the earlier.
    let site_before = content(&harness.site);
    let error = harness
        .say("sum", "two", Precondition::Is(before.digest))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::Conflict, Some(IF_MATCH))
    );
    let error = harness
        .say("sum", "two", Precondition::Absent)
        .await
        .unwrap_err();
    assert_eq!(error.field(), Some(IF_NONE_MATCH));
    assert_eq!(content(&harness.site), site_before);
}

#[tokio::test]
async fn a_model_is_taken_out_whole_in_every_mode() {
    for config in [by_order(), explicit(&["sum"])] {
        let site = Site::new();
        site.model("sum", 1, "add 1");
        site.model("other", 1, "add 5");
        site.route("alias", "model = 'other'");
        let harness = Harness::start(site, config).await;
        harness
            .put(SitePart::Model(name("sum")), PartContent::Nothing)
            .await
            .unwrap();
        assert!(!harness.serves("sum") && !harness.site.path().join("models/sum").exists());
        let error = harness
            .put(SitePart::Model(name("sum")), PartContent::Nothing)
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.field()),
            (ErrorKind::NotFound, Some("model"))
        );
        if harness.serves("alias") {
            let error = harness
                .put(SitePart::Model(name("other")), PartContent::Nothing)
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict);
        }
    }
}

#[tokio::test]
async fn what_would_be_refused_does_not_land() {
    let site = Site::new();
    site.model("sum", 1, "add 1");
    site.plugin("tens", "scale 10");
    let harness = Harness::start(site, by_order()).await;
    let before = content(&harness.site);
    let bytes = |text: &'static str| PartContent::Bytes(Bytes::from_static(text.as_bytes()));
    for (part, refused, key) in [
        (SitePart::Plugin(name("tens")), "broken\nend\n", "plugin"),
        (
            SitePart::PluginSettings(name("tens")),
            "broken = 1",
            "broken",
        ),
        (SitePart::Route(name("r")), "model = 'none'", "model"),
        (
            SitePart::Route(name("r")),
            "model = 'sum'\npre = ['none']",
            "pre[0]",
        ),
    ] {
        let error = harness.put(part, bytes(refused)).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.field()),
            (ErrorKind::Unprocessable, Some(key)),
            "{error}"
        );
    }
    assert_eq!(content(&harness.site), before);
    harness
        .put(SitePart::Route(name("r")), bytes("# mine\nmodel = 'sum'\n"))
        .await
        .unwrap();
    assert_eq!(harness.number("r", 0.0).await, 1.0);
    let entries = vec![
        ("model".to_owned(), SettingValue::Text("sum".to_owned())),
        ("timeout_ms".to_owned(), SettingValue::Integer(500)),
    ];
    harness
        .put(SitePart::Route(name("r")), PartContent::Entries(entries))
        .await
        .unwrap();
    let text = harness
        .serving
        .site_part(&SitePart::Route(name("r")))
        .await
        .unwrap()
        .unwrap();
    // Comments stay where the keys stay.
    assert_eq!(text, "# mine\nmodel = \"sum\"\ntimeout_ms = 500\n");
}

#[tokio::test]
async fn what_is_no_toml_is_replaced_as_a_whole() {
    let site = Site::new();
    site.model("sum", 1, "add 1");
    site.put("models/sum/model.toml", "[cache\nenabled = = true\n");
    site.put("routes/r.toml", "model = = 'sum'\n");
    let harness = Harness::start(site, by_order()).await;
    let before = harness.serving.model(&name("sum")).await.unwrap();
    assert!(!before.is_readable);
    harness
        .say("sum", "mended", Precondition::Is(before.digest))
        .await
        .unwrap();
    assert!(harness.model_toml("sum").contains("mended"));
    let entries = vec![("model".to_owned(), SettingValue::Text("sum".to_owned()))];
    harness
        .put(SitePart::Route(name("r")), PartContent::Entries(entries))
        .await
        .unwrap();
    assert_eq!(harness.number("r", 0.0).await, 1.0);
    assert_eq!(harness.errors(), Vec::<String>::new());
}

#[tokio::test]
async fn a_version_lands_from_the_store_and_is_rolled_back() {
    let store = FakeArtifacts::default();
    let harness = Harness::start(Site::new(), by_order()).await;
    let error = harness.serving.artifacts().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unimplemented);
    harness.serving.keep_artifacts_in(Arc::new(store.clone()));
    harness.say("sum", "", Precondition::None).await.unwrap();
    store.leave(&artifact(1), "add 1\nend\n");
    store.leave(&artifact(2), "add 2\nend\n");
    let sum = name("sum");
    let land = |version, promotion| {
        harness
            .serving
            .land(&sum, version, promotion, Author::Operator, nobody())
    };
    land(1, Promotion::Serve).await.unwrap();
    assert_eq!(harness.number("sum", 0.0).await, 1.0);
    land(2, Promotion::None).await.unwrap();
    assert_eq!(harness.number("sum", 0.0).await, 1.0);
    land(2, Promotion::Serve).await.unwrap();
    assert_eq!(harness.number("sum", 0.0).await, 2.0);
    assert_eq!(
        harness
            .serving
            .roll_back_model(&sum, Author::Operator, nobody())
            .await
            .unwrap(),
        1
    );
    assert_eq!(harness.number("sum", 0.0).await, 1.0);
    let error = harness
        .serving
        .roll_back_model(&sum, Author::Operator, nobody())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let error = land(7, Promotion::Serve).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::NotFound, Some("version"))
    );
    assert!(!harness.site.path().join(".landing").exists());
}

#[tokio::test]
async fn a_version_lands_although_others_change_the_model_meanwhile() {
    let store = FakeArtifacts::default();
    let harness = Harness::start(Site::new(), by_order()).await;
    harness.serving.keep_artifacts_in(Arc::new(store.clone()));
    let sum = name("sum");
    harness.say("sum", "", Precondition::None).await.unwrap();
    let others: Progress = {
        let site = harness.site.path().to_owned();
        Arc::new(move |_| {
            let text = "[registry]\ndescription = 'changed'\n";
            fs::write(site.join("models/sum/model.toml"), text).unwrap();
        })
    };
    let land = |version, promotion| {
        let others = Arc::clone(&others);
        harness
            .serving
            .land(&sum, version, promotion, Author::Operator, others)
    };
    store.leave(&artifact(1), "add 1\nend\n");
    store.leave(&artifact(2), "add 2\nend\n");
    land(1, Promotion::None).await.unwrap();
    land(1, Promotion::Serve).await.unwrap();
    land(2, Promotion::Serve).await.unwrap();
    assert_eq!(harness.number("sum", 0.0).await, 2.0);
    let text = harness.model_toml("sum");
    assert!(text.contains("changed"), "{text}");
    for (version, description) in [(1, "one"), (2, "two"), (1, "three"), (2, "four")] {
        let (landed, said) = tokio::join!(
            harness
                .serving
                .land(&sum, version, Promotion::Serve, Author::Operator, nobody()),
            harness.say("sum", description, Precondition::None)
        );
        landed.unwrap();
        said.unwrap();
        let text = harness.model_toml("sum");
        assert!(text.contains(description), "{text}");
    }
    // A model that goes meanwhile does not come back with its version.
    let gone: Progress = {
        let site = harness.site.path().to_owned();
        Arc::new(move |_| drop(fs::remove_dir_all(site.join("models/sum"))))
    };
    let landed = harness
        .serving
        .land(&sum, 2, Promotion::None, Author::Operator, gone);
    let error = landed.await.unwrap_err();
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::NotFound, Some("model"))
    );
}

#[tokio::test]
async fn artifacts_go_with_their_model_and_are_none_of_the_next_one() {
    let store = FakeArtifacts::default();
    let harness = Harness::start(Site::new(), by_order()).await;
    harness.serving.keep_artifacts_in(Arc::new(store.clone()));
    let sum = name("sum");
    for _ in 0..2 {
        // As another model of the name left it.
        store.leave(&artifact(1), "add 1\nend\n");
        harness.say("sum", "", Precondition::Absent).await.unwrap();
        assert!(store.list(&sum).await.unwrap().is_empty());
        store.leave(&artifact(1), "add 1\nend\n");
        harness.say("sum", "two", Precondition::None).await.unwrap();
        assert_eq!(store.list(&sum).await.unwrap().len(), 1);
        let upload = store.begin(artifact(2)).await.unwrap();
        harness
            .put(SitePart::Model(sum.clone()), PartContent::Nothing)
            .await
            .unwrap();
        assert!(store.list(&sum).await.unwrap().is_empty());
        assert!(store.upload(&sum, &upload.id).await.is_err());
    }
}

#[tokio::test]
async fn what_a_killed_process_fetched_goes_at_the_next_start() {
    let site = Site::new();
    site.write(".landing/sum-1/model.onnx", "half");
    let harness = Harness::start(site, by_order()).await;
    assert!(!harness.site.path().join(".landing").exists());
}

#[tokio::test]
async fn a_model_is_changed_by_the_tenant_that_it_belongs_to_when_the_change_is_made() {
    let harness = Harness::start(Site::new(), by_order()).await;
    let [acme, globex] = ["acme", "globex"].map(|tenant| Author::Tenant(tenant.into()));
    let register = async |by: &Author| {
        let change = ModelChange {
            document: Some(document("by a tenant")),
            by: by.clone(),
            ..ModelChange::default()
        };
        harness.serving.load_model(&name("prices"), change).await
    };
    register(&acme).await.unwrap();
    assert!(
        harness
            .model_toml("prices")
            .contains("tenants = [\"acme\"]")
    );
    let prices = name("prices");
    let kind = |error: Error| (error.kind(), error.field().map(str::to_owned));
    let gone = (ErrorKind::NotFound, Some("model".to_owned()));
    assert_eq!(kind(register(&globex).await.unwrap_err()), gone);
    let as_it_is = ModelChange {
        by: globex.clone(),
        ..ModelChange::default()
    };
    let error = harness.serving.load_model(&prices, as_it_is).await;
    assert_eq!(kind(error.unwrap_err()), gone);
    let error = harness.serving.unload_model(&prices, globex.clone()).await;
    assert_eq!(kind(error.unwrap_err()), gone);
    let remove = |by: &Author| SiteChange {
        part: SitePart::Model(name("prices")),
        content: PartContent::Nothing,
        only_if: Precondition::None,
        by: by.clone(),
    };
    let error = harness.serving.change_site(remove(&globex)).await;
    assert_eq!(kind(error.unwrap_err()), gone);
    assert!(harness.model_toml("prices").contains("acme"));

    // What the operator puts into the site is nobody's to take, though nobody looked at it yet.
    harness
        .site
        .put("models/late/model.toml", "tenants = ['acme']\n");
    harness.site.put("models/public/model.toml", "");
    let take = async |model: &str| {
        let change = ModelChange {
            document: Some(document("taken")),
            by: globex.clone(),
            ..ModelChange::default()
        };
        harness.serving.load_model(&name(model), change).await
    };
    assert_eq!(kind(take("late").await.unwrap_err()), gone);
    let error = take("public").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(harness.model_toml("public"), "");

    harness.serving.change_site(remove(&acme)).await.unwrap();
    register(&globex).await.unwrap();
    assert!(
        harness
            .model_toml("prices")
            .contains("tenants = [\"globex\"]")
    );
}
