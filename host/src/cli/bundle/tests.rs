//! Releases to a registry that the test serves, and back.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};
use tempfile::TempDir;
use wharf_core::Name;

use super::contents::Contents;
use super::inspect::{contents_of, fetch};
use super::pull::{Pull, Pulled};
use super::push::push;
use super::release::Release;
use crate::cli::oci::fake::{Fake, Gate};
use crate::cli::oci::{Credentials, digest};
use crate::cli::progress::Busy;

/// The smallest component: a header and no section.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// Larger than what is sent or read at a time.
const MODEL_BYTES: usize = (3 << 20) + 5;

fn write(folder: &Path, path: &str, content: &[u8]) {
    let place = folder.join(path);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(place, content).unwrap();
}

/// The folder of a release.
fn release() -> TempDir {
    let folder = TempDir::new().unwrap();
    let model: Vec<u8> = (0..MODEL_BYTES).map(|at| (at % 251) as u8).collect();
    for (path, content) in [
        ("routes/flowers.toml", &b"model = \"iris\"\n"[..]),
        ("models/iris/1/model.onnx", &model),
        ("models/iris/model.toml", b""),
        ("models/iris/tokenizer.json", b"{}"),
        ("plugins/top-k.wasm", COMPONENT),
        ("plugins/top-k.toml", b"[settings]\nk = 3\n"),
    ] {
        write(folder.path(), path, content);
    }
    folder
}

fn open(folder: &Path) -> Result<Release> {
    Release::open(folder, &mut |_| {})
}

/// Everything below a folder, with its content.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let content = fs::read(&path).unwrap();
                found.push((path.strip_prefix(folder).unwrap().to_owned(), content));
            }
        }
    }
    found.sort();
    found
}

fn nobody() -> Credentials {
    Credentials::of_file("/nowhere/config.json".into())
}

async fn push_to(fake: &Fake, folder: &Path) -> Result<String> {
    let reference = format!("{}/bundles/flowers:3", fake.host())
        .parse()
        .unwrap();
    push(&open(folder)?, &reference, nobody(), &Busy::new("pushing")).await
}

async fn pull_from(fake: &Fake, site: &Path, release: Option<u64>) -> Result<Pulled> {
    let pull = Pull {
        reference: format!("{}/bundles/flowers:3", fake.host())
            .parse()
            .unwrap(),
        site: site.to_owned(),
        name: None,
        release,
        max_gb: 1,
        json: false,
    };
    let bundle: Name = "flowers".parse().unwrap();
    pull.pull(&bundle, nobody()).await
}

#[tokio::test]
async fn what_is_pushed_is_pulled() {
    let (folder, site) = (release(), TempDir::new().unwrap());
    let fake = Fake::start(Gate::Open).await;
    let pushed = push_to(&fake, folder.path()).await.unwrap();
    // The layout that ORAS reads.
    let manifest: Value = serde_json::from_slice(&fake.manifest("3")).unwrap();
    assert_eq!(manifest["artifactType"], "application/vnd.wharf.bundle.v1");
    assert_eq!(
        manifest["config"]["mediaType"],
        "application/vnd.oci.empty.v1+json"
    );
    assert_eq!(
        fake.blob(manifest["config"]["digest"].as_str().unwrap()),
        "{}"
    );
    let titles: Vec<&str> = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| {
            layer["annotations"]["org.opencontainers.image.title"]
                .as_str()
                .unwrap()
        })
        .collect();
    assert_eq!(titles.len(), 6);
    assert!(
        titles.is_sorted() && titles.contains(&"models/iris/1/model.onnx"),
        "{titles:?}"
    );
    // The same again is the same artifact, and uploads nothing.
    let uploads = fake.uploads();
    assert_eq!(push_to(&fake, folder.path()).await.unwrap(), pushed);
    assert_eq!(fake.uploads(), uploads);

    for expected in [1, 2] {
        let pulled = pull_from(&fake, site.path(), None).await.unwrap();
        assert_eq!(
            (pulled.digest.as_str(), pulled.release),
            (pushed.as_str(), expected)
        );
        assert_eq!(
            (pulled.files, pulled.bytes),
            (6, pulled_bytes(folder.path()))
        );
        let place = site.path().join(format!("bundles/flowers/{expected}"));
        assert_eq!(pulled.path, place);
        assert_eq!(files(&place), files(folder.path()));
    }
    let taken = pull_from(&fake, site.path(), Some(2)).await.unwrap_err();
    assert!(taken.to_string().contains("already"), "{taken}");
    assert_eq!(fs::read_dir(site.path()).unwrap().count(), 1);
}

fn pulled_bytes(folder: &Path) -> u64 {
    files(folder)
        .iter()
        .map(|(_, content)| content.len() as u64)
        .sum()
}

#[tokio::test]
async fn an_artifact_is_inspected_without_its_models() {
    let (folder, fake) = (release(), Fake::start(Gate::Open).await);
    push_to(&fake, folder.path()).await.unwrap();
    // Nobody reads it.
    let manifest: Value = serde_json::from_slice(&fake.manifest("3")).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    let model = layers
        .iter()
        .find(|layer| layer["size"] == MODEL_BYTES as u64);
    fake.put_blob(model.unwrap()["digest"].as_str().unwrap(), b"damaged");
    let reference = format!("{}/bundles/flowers:3", fake.host())
        .parse()
        .unwrap();
    let (digest, contents) = fetch(&reference, nobody()).await.unwrap();
    assert!(digest.starts_with("sha256:"));
    let document = contents.document();
    assert_eq!(
        document,
        contents_of(&open(folder.path()).unwrap())
            .unwrap()
            .document()
    );
    assert_eq!(
        document["routes"],
        json!([{"name": "flowers", "model": "iris"}])
    );
    assert_eq!(document["models"][0]["versions"], json!([1]));
    assert_eq!(document["plugins"][0]["name"], "top-k");
    assert_eq!(document["plugins"][0]["stages"], json!([]));
    let text = contents.text();
    for line in [
        "route  flowers to iris",
        "model  iris: version 1, 3.0 MiB",
        "grants: none",
    ] {
        assert!(text.contains(line), "{line} is missing:\n{text}");
    }
}

#[tokio::test]
async fn a_registry_is_not_believed() {
    let (folder, site) = (release(), TempDir::new().unwrap());
    let fake = Fake::start(Gate::Open).await;
    push_to(&fake, folder.path()).await.unwrap();
    let manifest: Value = serde_json::from_slice(&fake.manifest("3")).unwrap();
    const TITLE: &str = "/layers/0/annotations/org.opencontainers.image.title";
    let with = |path: &str, value: Value| {
        let mut changed = manifest.clone();
        *changed.pointer_mut(path).unwrap() = value;
        changed
    };
    let unnamed = with("/layers/0/annotations", json!({}));
    let no_digest = with("/layers/0/digest", json!("sha256:../../etc"));
    let mut two_whole = with("/layers/0/size", json!(u64::MAX));
    two_whole["layers"][1]["size"] = json!(u64::MAX);
    let missing = with(
        "/layers/0/digest",
        json!(format!("sha256:{}", "0".repeat(64))),
    );
    for (changed, expected) in [
        (with("/artifactType", json!("text/plain")), "no bundle"),
        (with("/artifactType", json!("\u{1b}[2J")), "\\u{1b}[2J"),
        (with("/artifactType", Value::Null), "not given"),
        (with(TITLE, json!("../../wharf.toml")), "no name of a file"),
        (with(TITLE, json!("/etc/passwd")), "no name of a file"),
        (with(TITLE, json!("models/../../x")), "no name of a file"),
        (with(TITLE, json!("wharf.toml")), "none of the folders"),
        (with(TITLE, json!("plugins/top-k.wasm")), "there twice"),
        (
            with(TITLE, json!("models/iris/model.toml/x")),
            "is a file, and the folder",
        ),
        (unnamed, "has no name"),
        (no_digest, "no SHA-256"),
        (missing, "refuses models/iris/1/model.onnx: 404"),
        (with("/layers/0/size", json!(2_u64 << 30)), "--max-gb"),
        (with("/layers/0/size", json!(u64::MAX)), "than there can be"),
        (two_whole.clone(), "than there can be"),
        (with("/layers/0/size", json!(7)), "damaged"),
        (with("/layers", json!([])), "at least one route"),
        (json!({"manifests": []}), "no manifest"),
    ] {
        fake.put_manifest("3", changed.to_string().as_bytes());
        let error = pull_from(&fake, site.path(), None).await.unwrap_err();
        assert!(
            format!("{error:#}").contains(expected),
            "{expected}: {error:#}"
        );
        assert_eq!(fs::read_dir(site.path()).unwrap().count(), 0, "{expected}");
    }
    fake.put_manifest("3", two_whole.to_string().as_bytes());
    let reference = format!("{}/bundles/flowers:3", fake.host());
    let error = fetch(&reference.parse().unwrap(), nobody()).await;
    let error = error.err().unwrap().to_string();
    assert!(error.contains("than there can be"), "{error}");
    // Other content under a digest that the manifest names, shorter and longer.
    fake.put_manifest("3", manifest.to_string().as_bytes());
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    for content in [vec![0; MODEL_BYTES], vec![0; 9], vec![0; MODEL_BYTES * 2]] {
        fake.put_blob(layer, &content);
        let error = pull_from(&fake, site.path(), None).await.unwrap_err();
        assert!(format!("{error:#}").contains("damaged"), "{error:#}");
        assert_eq!(fs::read_dir(site.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_folder_that_is_no_release_is_not_pushed() {
    type Change<'a> = &'a dyn Fn(&Path);
    let refusal = |change: Change<'_>| {
        let folder = release();
        change(folder.path());
        let opened = open(folder.path());
        let looked = opened.and_then(|release| contents_of(&release));
        format!("{:#}", looked.err().unwrap())
    };
    let changes: [(Change<'_>, &str); 9] = [
        (
            &|folder| fs::remove_dir_all(folder.join("routes")).unwrap(),
            "at least one route",
        ),
        (&|folder| write(folder, ".git/config", b""), ".git"),
        (
            &|folder| write(folder, "README.md", b""),
            "none of the folders",
        ),
        (
            &|folder| write(folder, "routes/a b.toml", b""),
            "no name of a file",
        ),
        (
            &|folder| write(folder, "routes/broken.toml", b"= 3"),
            "no TOML",
        ),
        (
            &|folder| write(folder, "plugins/top-k.wasm", b"no component"),
            "plugins/top-k.wasm",
        ),
        (
            &|folder| write(folder, "plugins/top-k.toml", b"limit = 3"),
            "limit",
        ),
        (
            &|folder| std::os::unix::fs::symlink("/etc/passwd", folder.join("plugins/x")).unwrap(),
            "a link",
        ),
        (
            &|folder| std::os::unix::fs::symlink("/etc", folder.join("models/iris/2")).unwrap(),
            "a link",
        ),
    ];
    for (change, words) in changes {
        let error = refusal(change);
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(open(Path::new("/nowhere")).is_err());
}

#[test]
fn the_digest_of_a_folder_is_that_of_its_artifact() {
    let folder = release();
    let first = super::artifact::write(&open(folder.path()).unwrap()).unwrap();
    let again = super::artifact::write(&open(folder.path()).unwrap()).unwrap();
    assert_eq!(digest(&first), digest(&again));
    write(folder.path(), "routes/flowers.toml", b"model = \"other\"\n");
    let other = super::artifact::write(&open(folder.path()).unwrap()).unwrap();
    assert_ne!(digest(&first), digest(&other));
    let contents: Contents = contents_of(&open(folder.path()).unwrap()).unwrap();
    assert_eq!(contents.document()["routes"][0]["model"], "other");
    // What a terminal would obey is shown and not written.
    write(
        folder.path(),
        "routes/flowers.toml",
        b"model = \"a\\u001b[2J\"\n",
    );
    let text = contents_of(&open(folder.path()).unwrap()).unwrap().text();
    assert!(text.contains("to a\\u{1b}[2J"), "{text}");
}
