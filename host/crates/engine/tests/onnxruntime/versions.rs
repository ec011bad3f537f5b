//! Version folders, policies and digests.

use std::fs;
use std::os::unix::fs::symlink;

use wharf_core::{Cancel, Engine, LoadError};

use crate::support::{Site, floats, infer, onnx};

fn numbers(site: &Site) -> Result<Vec<u64>, LoadError> {
    Ok(site
        .versions()?
        .into_iter()
        .map(|version| version.version)
        .collect())
}

#[test]
fn the_policy_picks() {
    let site = Site::new();
    for version in ["1", "2", "10"] {
        site.write(&format!("{version}/model.onnx"), onnx::add(1.0));
    }
    // None of these is a version: one without a model, names that are no numbers, and hidden ones.
    fs::create_dir(site.model("11")).unwrap();
    for folder in ["010", "1.bak", "latest", ".tmp", "+3"] {
        site.write(&format!("{folder}/model.onnx"), onnx::add(1.0));
    }
    assert_eq!(numbers(&site).unwrap(), [10]);
    for (settings, picked) in [
        ("policy = \"latest\"\ncount = 2", &[2, 10][..]),
        ("policy = \"latest\"\ncount = 9", &[1, 2, 10]),
        ("policy = \"all\"", &[1, 2, 10]),
        ("policy = \"listed\"\nlist = [10, 1]", &[1, 10]),
    ] {
        site.write("model.toml", format!("[versions]\n{settings}"));
        assert_eq!(numbers(&site).unwrap(), picked, "{settings}");
    }
    site.write(
        "model.toml",
        "[versions]\npolicy = \"listed\"\nlist = [1, 3]",
    );
    let error = numbers(&site).unwrap_err();
    assert_eq!(
        (error.file.as_str(), error.key.as_deref()),
        ("models/m/model.toml", Some("versions.list"))
    );
    assert!(error.message.contains("version 3"), "{error}");
}

#[test]
fn a_model_without_versions_or_with_wrong_settings_says_so() {
    let site = Site::new();
    let error = site.versions().unwrap_err();
    assert_eq!(error.file, "models/m");
    assert!(error.message.contains("1/model.onnx"), "{error}");

    site.write("1/model.onnx", onnx::add(1.0));
    site.write("model.toml", "[batching]\nmax_row = 3");
    let error = site.versions().unwrap_err();
    assert_eq!(
        (error.file.as_str(), error.key.as_deref()),
        ("models/m/model.toml", Some("batching.max_row"))
    );

    fs::remove_dir_all(site.model("")).unwrap();
    assert!(
        site.versions()
            .unwrap_err()
            .message
            .contains("cannot be opened")
    );
}

#[test]
fn the_digest_is_of_content() {
    let site = Site::new();
    site.write("1/model.onnx", onnx::add(1.0));
    let digest = || site.versions().unwrap()[0].digest;
    let first = digest();
    // The same bytes at another time, and a setting that only picks versions.
    site.write("1/model.onnx", onnx::add(1.0));
    assert_eq!(digest(), first);
    site.write("model.toml", "[versions]\npolicy = \"all\"");
    assert_eq!(digest(), first);

    // As many bytes, in place.
    site.write("1/model.onnx", onnx::add(2.0));
    let second = digest();
    assert_ne!(second, first);
    site.write("model.toml", "[instances]\ncount = 3");
    assert_ne!(digest(), second);
}

#[test]
fn external_data_is_part_of_the_digest() {
    let site = Site::new();
    site.write("1/model.onnx", with_weights("weights.bin"));
    let missing = site.versions().unwrap()[0].digest;
    site.write("1/weights.bin", [0; 8]);
    let zeros = site.versions().unwrap()[0].digest;
    site.write("1/weights.bin", [1; 8]);
    let ones = site.versions().unwrap()[0].digest;
    assert!(missing != zeros && zeros != ones);
}

/// `y = x + w`, the two floats of `w` in another file.
fn with_weights(location: &str) -> Vec<u8> {
    let graph = onnx::graph(
        &[onnx::node("Add", &["x", "w"], &["y"], &[])],
        &[onnx::value("x", onnx::FLOAT, &[2])],
        &[onnx::value("y", onnx::FLOAT, &[2])],
        &[onnx::external(
            "w",
            &[2],
            &[("location", location), ("offset", "0"), ("length", "8")],
        )],
    );
    onnx::model(&graph).into_bytes()
}

#[test]
fn what_changed_since_it_was_looked_at_is_not_loaded() {
    let site = Site::new();
    site.write("1/model.onnx", onnx::add(1.0));
    let version = site.versions().unwrap().remove(0);
    site.write("1/model.onnx", onnx::add(2.0));
    let error = site
        .engine
        .load(&version, &Cancel::default())
        .err()
        .unwrap();
    assert!(
        error.message.contains("changed while it was read"),
        "{error}"
    );
    let version = site.versions().unwrap().remove(0);
    assert_eq!(
        site.engine
            .load(&version, &Cancel::default())
            .unwrap()
            .info()
            .digest,
        version.digest
    );
}

#[tokio::test]
async fn external_data_beside_the_model_is_used() {
    let site = Site::new();
    site.write("1/model.onnx", with_weights("data/weights.bin"));
    let weights: Vec<u8> = [10.0_f32, 20.0]
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    site.write("1/data/weights.bin", weights);
    let model = site.load().unwrap_or_else(|error| panic!("{error}"));
    // The session has its own copy: the file may go.
    fs::remove_dir_all(site.model("1")).unwrap();
    let outputs = infer(&model, vec![floats("x", &[2], &[1.0, 2.0])])
        .await
        .unwrap();
    assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [11.0, 22.0]);
}

#[tokio::test]
async fn symbolic_links_within_the_folder_are_followed() {
    // As Kubernetes mounts a ConfigMap.
    let site = Site::new();
    site.write("..2026/1/model.onnx", onnx::add(5.0));
    symlink("..2026", site.model("..data")).unwrap();
    symlink("..data/1", site.model("1")).unwrap();
    let model = site.load().unwrap_or_else(|error| panic!("{error}"));
    let outputs = infer(&model, vec![floats("x", &[1, 2], &[0.0; 2])])
        .await
        .unwrap();
    assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [5.0, 5.0]);
}

#[test]
fn symbolic_links_out_of_the_site_are_refused() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("model.onnx"), onnx::add(1.0)).unwrap();
    let site = Site::new();
    symlink(outside.path(), site.model("1")).unwrap();
    let error = site.load().err().unwrap();
    assert!(
        !error.message.contains(outside.path().to_str().unwrap()),
        "{error}"
    );

    fs::remove_file(site.model("1")).unwrap();
    fs::create_dir(site.model("1")).unwrap();
    symlink(
        outside.path().join("model.onnx"),
        site.model("1/model.onnx"),
    )
    .unwrap();
    let error = site.load().err().unwrap();
    assert!(error.message.contains("symbolic link"), "{error}");

    fs::remove_dir_all(site.model("")).unwrap();
    symlink(outside.path(), site.path("models/m")).unwrap();
    assert!(
        site.versions()
            .unwrap_err()
            .message
            .contains("symbolic link")
    );
}

#[test]
fn the_version_below_is_for_the_policy_latest_alone() {
    let site = Site::new();
    for version in [1, 2, 4] {
        site.write(&format!("{version}/model.onnx"), onnx::add(1.0));
    }
    let below = |version| {
        let found = site.engine.version_below(&site.folder(), version).unwrap();
        found.map(|found| found.version)
    };
    assert_eq!(below(4), Some(2));
    assert_eq!(below(2), Some(1));
    assert_eq!(below(1), None);
    site.write("model.toml", "[versions]\npolicy = \"all\"");
    assert_eq!(below(4), None);
}
