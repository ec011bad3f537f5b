//! Loads of models that must be what the client says.

use std::sync::Arc;

use parking_lot::Mutex;
use wharf_core::{Error, ErrorKind};
use wharf_serving::{ModelChange, ModelCheck, ModelState};
use wharf_testkit::Site;

use crate::harness::{Harness, by_order, files, name, settings};
use crate::lifecycle::{entry, explicit};
use crate::staging::content;

/// What a check was shown: the version and the name of its first output.
type Shown = Arc<Mutex<Vec<(u64, String)>>>;

/// A check that every version has an output of this name.
fn gives(output: &'static str) -> (Option<ModelCheck>, Shown) {
    let shown = Shown::default();
    let seen = Arc::clone(&shown);
    let check = ModelCheck::new(move |model| {
        let first = model.outputs[0].name.to_string();
        seen.lock().push((model.version, first.clone()));
        if first == output {
            return Ok(());
        }
        Err(Error::invalid(
            "config.output[0].name",
            format!("the model has {first}"),
        ))
    });
    (Some(check), shown)
}

fn site() -> Site {
    let site = Site::new();
    site.put("models/sum/model.toml", "policy = \"all\"\n");
    site.model("sum", 1, "add 1");
    site
}

const TOTAL: &str = "input input FP32 *\noutput total FP32 *\nadd 2\nend\n";

/// The load of `sum` with a change is refused for what its outputs are, and nothing is left of it.
async fn refused(harness: &Harness, change: ModelChange, shown: &Shown) {
    let before = (content(&harness.site), harness.index("sum"));
    let generation = harness.serving.snapshot().generation();
    let live = harness.engine.live();
    let error = harness.serving.load_model(&name("sum"), change).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert_eq!(error.field(), Some("config.output[0].name"));
    assert!(!shown.lock().is_empty());
    // What was loaded for the check is in the index until it is let go.
    harness.drained().await;
    assert_eq!((content(&harness.site), harness.index("sum")), before);
    assert!(!harness.site.path().join(".staging").exists());
    assert_eq!(harness.serving.snapshot().generation(), generation);
    assert_eq!(harness.engine.live(), live, "what was loaded is let go");
    assert!(harness.errors().is_empty());
}

#[tokio::test]
async fn new_files_that_are_not_what_was_said_change_nothing() {
    let harness = Harness::start(site(), by_order()).await;
    let ready = entry(1, ModelState::Ready, "");
    // A version beside the one that serves, and one in its place.
    for version in [2, 1] {
        let (check, shown) = gives("output");
        let change = ModelChange {
            check,
            ..files(&[(version, "model.onnx", TOTAL)])
        };
        refused(&harness, change, &shown).await;
        assert!(shown.lock().contains(&(version, "total".to_owned())));
        assert_eq!(harness.index("sum"), std::slice::from_ref(&ready));
        assert_eq!(harness.number("sum", 0.0).await, 1.0);
    }
    // What is so is loaded, and every version that would serve is looked at.
    let (check, shown) = gives("output");
    let change = ModelChange {
        check,
        ..files(&[(2, "model.onnx", "add 2\nend\n")])
    };
    let loads = harness.engine.loads();
    let loaded = harness.serving.load_model(&name("sum"), change).await;
    loaded.unwrap();
    let versions: Vec<u64> = shown.lock().iter().map(|(version, _)| *version).collect();
    assert_eq!(versions, [1, 2]);
    assert_eq!(harness.engine.loads(), loads + 1);
    assert_eq!(harness.number("sum", 0.0).await, 2.0);
}

#[tokio::test]
async fn settings_and_nothing_at_all_are_checked_alike() {
    let harness = Harness::start(site(), by_order()).await;
    for change in [settings(&[("a", 1)]), ModelChange::default()] {
        let (check, shown) = gives("total");
        refused(&harness, ModelChange { check, ..change }, &shown).await;
        assert_eq!(*shown.lock(), [(1, "output".to_owned())]);
    }
    // Without a change nothing is loaded for the check.
    let loads = harness.engine.loads();
    let (check, shown) = gives("output");
    let change = ModelChange {
        check,
        ..ModelChange::default()
    };
    let loaded = harness.serving.load_model(&name("sum"), change).await;
    loaded.unwrap();
    assert_eq!((shown.lock().len(), harness.engine.loads()), (1, loads));
}

#[tokio::test]
async fn a_model_that_does_not_serve_is_loaded_for_the_check_and_let_go() {
    let harness = Harness::start(site(), explicit(&[])).await;
    let (check, shown) = gives("total");
    let change = ModelChange {
        check,
        ..ModelChange::default()
    };
    refused(&harness, change, &shown).await;
    assert!(!harness.serves("sum"));
    assert_eq!((harness.engine.loads(), harness.engine.live()), (1, 0));
    let (check, _) = gives("output");
    let change = ModelChange {
        check: check.clone(),
        ..ModelChange::default()
    };
    let sum = name("sum");
    let loaded = harness.serving.load_model(&sum, change.clone()).await;
    loaded.unwrap();
    assert_eq!(harness.number("sum", 0.0).await, 1.0);
    assert_eq!(
        harness.engine.loads(),
        2,
        "loaded once for the check and for good"
    );
    // What cannot be loaded is refused for that, and noted as without a check.
    harness.site.model("sum", 2, "broken");
    let error = harness.serving.load_model(&name("sum"), change).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unprocessable);
    assert_eq!(harness.index("sum").len(), 2);
    assert_eq!(harness.number("sum", 0.0).await, 1.0);
    let none = ModelChange {
        check,
        ..ModelChange::default()
    };
    let error = harness.serving.load_model(&name("none"), none).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_setting_of_the_client_that_is_refused_is_named() {
    let harness = Harness::start(site(), by_order()).await;
    let change = settings(&[("a", 1), ("broken", 1)]);
    let error = harness.serving.load_model(&name("sum"), change).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(error.field(), Some("config.broken"));
    // One that stands in the site is the operator's.
    harness.site.put("models/sum/model.toml", "broken = 1\n");
    let change = settings(&[("a", 1)]);
    let error = harness.serving.load_model(&name("sum"), change).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unprocessable);
}
