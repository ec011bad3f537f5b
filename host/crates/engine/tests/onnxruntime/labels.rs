//! Labels of versions, and the classes of outputs.

use std::os::unix::fs::symlink;

use wharf_core::Engine;

use crate::support::{Site, onnx};

#[test]
fn a_labelled_version_serves_whatever_the_policy_says() {
    let site = Site::new();
    for version in [1, 2, 3, 7] {
        site.write(&format!("{version}/model.onnx"), onnx::add(1.0));
    }
    let versions = |settings: &str| {
        site.write("model.toml", settings);
        let versions = site.engine.versions(&site.folder()).unwrap();
        let serve: Vec<u64> = versions.serve.iter().map(|it| it.version).collect();
        let labels: Vec<_> = versions.labels.into_iter().collect();
        let only_labelled: Vec<u64> = versions.only_labelled.into_iter().collect();
        (serve, versions.idle, only_labelled, labels)
    };
    assert_eq!(versions(""), (vec![7], vec![1, 2, 3], vec![], vec![]));
    let (serve, idle, only_labelled, labels) =
        versions("[versions]\nlabels.stable = 2\nlabels.canary = 7\nlabels.old = 2");
    assert_eq!((serve, idle), (vec![2, 7], vec![1, 3]));
    assert_eq!(only_labelled, [2]);
    assert_eq!(
        labels,
        [
            ("canary".into(), 7),
            ("old".into(), 2),
            ("stable".into(), 2)
        ]
    );
    let (serve, idle, only_labelled, _) =
        versions("[versions]\npolicy = \"listed\"\nlist = [1]\nlabels.stable = 3");
    assert_eq!((serve, idle), (vec![1, 3], vec![2, 7]));
    assert_eq!(only_labelled, [3]);
}

#[test]
fn a_label_that_moves_reloads_nothing() {
    let site = Site::new();
    for version in [1, 2] {
        site.write(&format!("{version}/model.onnx"), onnx::add(1.0));
    }
    let digests = |label: u64| {
        site.write(
            "model.toml",
            format!("[versions]\npolicy = \"all\"\nlabels.stable = {label}"),
        );
        site.versions().unwrap()
    };
    assert_eq!(digests(1), digests(2));
}

#[test]
fn a_label_of_a_version_that_is_not_there_is_named() {
    let site = Site::new();
    let error = site.refusal(&onnx::add(1.0), "[versions]\nlabels.canary = 9");
    assert_eq!(
        (error.file.as_str(), error.key.as_deref()),
        ("models/m/model.toml", Some("versions.labels.canary"))
    );
    assert!(error.message.contains("version 9 is not there"), "{error}");
}

#[test]
fn classes_come_with_their_output() {
    let site = Site::new();
    site.write("labels.txt", "cat\ndog\n");
    let model = site.serve(&onnx::add(1.0), "[outputs.y]\nclasses = \"labels.txt\"");
    let classes = model.info().outputs[0].classes.clone().unwrap();
    assert_eq!(
        classes.iter().map(|class| &**class).collect::<Vec<_>>(),
        ["cat", "dog"]
    );
    // They are part of the version.
    let before = site.versions().unwrap();
    site.write("labels.txt", "dog\ncat\n");
    assert_ne!(site.versions().unwrap(), before);
    assert_eq!(site.load().unwrap().info().outputs[0].name.as_ref(), "y");
}

#[test]
fn wrong_classes_are_named() {
    let site = Site::new();
    site.write("empty.txt", "");
    site.write("latin.txt", [b'g', 0xfc]);
    site.write("folder/inside.txt", "a");
    for (settings, key, says) in [
        ("[outputs.z]", Some("outputs.z"), "its outputs are \"y\""),
        (
            "[outputs.'y.z']",
            Some("outputs.\"y.z\""),
            "its outputs are \"y\"",
        ),
        (
            "[outputs.'y.z']\nclass = \"labels.txt\"",
            Some("outputs.\"y.z\".class"),
            "unknown field",
        ),
        (
            "[outputs.y]\nclasses = \"empty.txt\"",
            Some("outputs.y.classes"),
            "is empty",
        ),
        (
            "[outputs.y]\nclasses = \"latin.txt\"",
            Some("outputs.y.classes"),
            "UTF-8",
        ),
        (
            "[outputs.y]\nclasses = \"none.txt\"",
            None,
            "there is no such file",
        ),
        ("[outputs.y]\nclasses = \"folder\"", None, "no regular file"),
    ] {
        let error = site.refusal(&onnx::add(1.0), settings);
        assert_eq!(error.key.as_deref(), key, "{settings}: {error}");
        assert_eq!(error.file, "models/m/model.toml", "{settings}: {error}");
        assert!(error.message.contains(says), "{settings}: {error}");
    }
}

#[test]
fn no_file_outside_the_models_folder_is_read() {
    let secret = "top secret";
    let site = Site::new();
    let outside = tempfile::tempdir().unwrap();
    let secret_file = outside.path().join("secret.txt");
    std::fs::write(&secret_file, secret).unwrap();
    std::fs::write(site.path("wharf.toml"), secret).unwrap();
    symlink(&secret_file, {
        site.write("keep", "");
        site.model("link.txt")
    })
    .unwrap();
    symlink("../../wharf.toml", site.model("up.txt")).unwrap();
    std::fs::hard_link(site.path("wharf.toml"), site.model("hard.txt")).unwrap();
    for path in [
        "../../wharf.toml",
        secret_file.to_str().unwrap(),
        "link.txt",
        "up.txt",
        "hard.txt",
        "a\\\\u0000b",
        "",
        ".",
        "./..",
    ] {
        for settings in [
            format!("[outputs.y]\nclasses = {path:?}"),
            format!("[[warmup.samples]]\ninputs.x = {{ shape = [1, 2], data = {path:?} }}"),
        ] {
            let error = site.refusal(&onnx::add(1.0), &settings);
            assert!(!error.to_string().contains(secret), "{settings}: {error}");
        }
    }
}

#[test]
fn a_file_is_not_made_room_for_by_what_it_claims() {
    let site = Site::new();
    site.write("1/model.onnx", onnx::add(1.0));
    let file = std::fs::File::create(site.model("sparse.txt")).unwrap();
    file.set_len(1 << 40).unwrap();
    let error = site.refusal(&onnx::add(1.0), "[outputs.y]\nclasses = \"sparse.txt\"");
    assert!(error.message.contains("the most is"), "{error}");
}
