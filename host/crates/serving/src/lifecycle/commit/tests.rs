//! A process that is killed at any step of a change leaves the old content or the new one.

use std::sync::Arc;

use bytes::Bytes;
use opentelemetry::metrics::noop::NoopMeterProvider;
use opentelemetry::metrics::{Meter, MeterProvider};
use wharf_core::Payload;
use wharf_testkit::{FakeEngine, FakePluginHost, Site, request, tensor, values};

use super::*;
use crate::lifecycle::{ModelChange, ModelFile, SettingEdit, SettingValue, Staged};
use crate::{Config, Serving};

/// Two versions that both serve.
fn site() -> Site {
    let site = Site::new();
    site.put("models/sum/model.toml", "# mine\npolicy = \"all\"\n");
    site.model("sum", 1, "add 1");
    site.model("sum", 2, "add 2");
    site
}

/// Version 2 becomes another, version 3 is new, and so are the settings.
fn change() -> ModelChange {
    let file = |version: u64| ModelFile {
        version,
        path: "model.onnx".to_owned(),
        data: Bytes::from(format!("add {version}0\nend\n")).into(),
    };
    ModelChange {
        settings: vec![SettingEdit {
            key: "extra.key".to_owned(),
            value: SettingValue::Bool(true),
        }],
        files: vec![file(2), file(3)],
        ..ModelChange::default()
    }
}

fn name() -> Name {
    Name::new("sum").unwrap()
}

fn meter() -> Meter {
    NoopMeterProvider::new().meter("test")
}

/// What each version makes of 0 after a start, and whether the settings are the new ones.
async fn started(site: &Site) -> (Vec<f32>, bool) {
    let serving = Serving::start(
        Config::default(),
        site.path().to_owned(),
        Arc::new(FakeEngine::default()),
        Arc::new(FakePluginHost::default()),
        &meter(),
    )
    .unwrap();
    serving.loaded().await;
    assert!(serving.status().errors.is_empty());
    let snapshot = serving.snapshot();
    let mut answers = Vec::new();
    for version in snapshot.route("sum").unwrap().versions() {
        let route = snapshot.endpoint("sum", Some(&version.to_string()));
        let input = Payload::Tensors(vec![tensor("input", &[0.0])]);
        let outcome = route.unwrap().run(&request("sum"), input).await.unwrap();
        answers.push(values(&outcome.payload)[0]);
    }
    drop(snapshot);
    serving.shutdown().await;
    let settings = std::fs::read_to_string(site.path().join("models/sum/model.toml")).unwrap();
    assert!(settings.starts_with("# mine\n"), "{settings}");
    assert!(!site.path().join(STAGING).exists());
    (answers, settings.contains("extra"))
}

fn old() -> (Vec<f32>, bool) {
    (vec![1.0, 2.0], false)
}

fn new() -> (Vec<f32>, bool) {
    (vec![1.0, 20.0, 30.0], true)
}

/// Prepares the change as the server does, and leaves it as a killed process would: nothing is cleaned up.
fn killed(site: &Site, at: impl FnOnce(&mut Workspace, &Change)) {
    let engine = FakeEngine::default();
    let mut staged = Staged::prepare(site.path(), &name(), &change(), &engine).unwrap();
    assert_eq!(staged.serve().len(), 3);
    let (workspace, change) = staged.parts();
    at(workspace, change);
    workspace.keep = true;
}

#[tokio::test]
async fn a_kill_before_the_marker_leaves_the_old() {
    let site = site();
    killed(&site, |_, _| {});
    assert!(site.path().join(STAGING).exists());
    assert_eq!(started(&site).await, old());
    // Or after all was done but for the last folder.
    std::fs::create_dir(site.path().join(STAGING)).unwrap();
    assert_eq!(started(&site).await, old());
    // The marker under its first name is none yet.
    killed(&site, |workspace, change| {
        let unfinished = format!("{}/{MARKER}.new", workspace.folder());
        workspace.root.write(unfinished, change.to_text()).unwrap();
    });
    assert_eq!(started(&site).await, old());
}

#[tokio::test]
async fn a_kill_after_the_marker_leaves_the_new_whatever_was_moved() {
    let mut steps = 0;
    loop {
        let site = site();
        let mut left = steps;
        let mut finished = false;
        killed(&site, |workspace, change| {
            workspace.mark(change).unwrap();
            let folder = workspace.folder();
            let moved = roll_forward(&workspace.root, &folder, change, &mut || match left {
                0 => Err(io::Error::other("killed")),
                _ => {
                    left -= 1;
                    Ok(())
                }
            });
            finished = moved.is_ok();
        });
        assert_eq!(started(&site).await, new(), "killed at step {steps}");
        if finished {
            break;
        }
        steps += 1;
    }
    // The folder, both moves of what is replaced, twice; the new version; the end.
    assert_eq!(steps, 7);
}

#[tokio::test]
async fn what_cannot_be_finished_is_taken_back_from_any_step() {
    for steps in 0..7 {
        let site = site();
        killed(&site, |workspace, change| {
            workspace.mark(change).unwrap();
            let folder = workspace.folder();
            let mut left = steps;
            let moved = roll_forward(&workspace.root, &folder, change, &mut || match left {
                0 => Err(io::Error::other("disk full")),
                _ => {
                    left -= 1;
                    Ok(())
                }
            });
            moved.unwrap_err();
            roll_back(&workspace.root, &folder, change).unwrap();
        });
        assert_eq!(started(&site).await, old(), "failed at step {steps}");
    }
}

#[tokio::test]
async fn a_new_model_that_is_taken_back_leaves_no_folder() {
    let site = site();
    let engine = FakeEngine::default();
    let fresh = Name::new("fresh").unwrap();
    let files = ModelChange {
        settings: Vec::new(),
        ..change()
    };
    let mut staged = Staged::prepare(site.path(), &fresh, &files, &engine).unwrap();
    let (workspace, change) = staged.parts();
    workspace.mark(change).unwrap();
    let folder = workspace.folder();
    roll_forward(&workspace.root, &folder, change, &mut || Ok(())).unwrap();
    assert!(site.path().join("models/fresh/3/model.onnx").exists());
    roll_back(&workspace.root, &folder, change).unwrap();
    assert!(!site.path().join("models/fresh").exists());
    drop(staged);
    assert!(!site.path().join(STAGING).exists());
}

#[test]
fn only_our_folders_are_touched_and_a_broken_marker_stops_the_start() {
    let site = site();
    site.put(".staging/notes/keep.txt", "mine");
    recover(site.path()).unwrap();
    assert!(site.path().join(".staging/notes/keep.txt").exists());
    for marker in [
        "",
        "model ../x\n",
        "model a\nversion x\n",
        "model a\nrm -rf\n",
    ] {
        site.put(".staging/12-ab/commit", marker);
        let error = recover(site.path()).unwrap_err();
        assert_eq!(error.file, STAGING, "{marker:?}");
        assert!(!error.to_string().contains(site.path().to_str().unwrap()));
    }
    site.remove(".staging/12-ab");
    site.remove(".staging");
    site.put(".staging", "a file");
    recover(site.path()).unwrap_err();
}

#[test]
fn one_process_at_a_time_changes_a_site() {
    let site = site();
    let engine = FakeEngine::default();
    let first = Staged::prepare(site.path(), &name(), &change(), &engine).unwrap();
    let second = Staged::prepare(site.path(), &name(), &change(), &engine);
    assert_eq!(second.err().unwrap().kind(), ErrorKind::Unavailable);
    // Nor does a start take away what another process stages.
    recover(site.path()).unwrap();
    first.commit().unwrap();
    assert!(site.path().join("models/sum/3/model.onnx").exists());
}

#[test]
fn a_marker_says_what_it_was_made_of() {
    let change = Change {
        model: name(),
        versions: [1, u64::MAX].into(),
        settings: true,
        new: true,
    };
    assert_eq!(Change::parse(&change.to_text()), Some(change));
}

#[test]
fn a_full_disk_is_no_passing_fault() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
        assert_eq!(not_written(kind.into()).kind(), ErrorKind::NoRoom);
    }
    let other = not_written(io::ErrorKind::ReadOnlyFilesystem.into());
    assert_eq!(other.kind(), ErrorKind::Unavailable);
}
