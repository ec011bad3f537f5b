//! Push and pull against a registry that the test serves.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::cli::oci::fake::{Fake, Gate};

/// The smallest component: a header and no section.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

fn artifact(settings: Option<&str>) -> Artifact {
    let name: Name = "top-k".parse().unwrap();
    let text = settings.unwrap_or_default();
    let summary = Summary::of(&name, COMPONENT, text, &Config::default()).unwrap();
    let beside = Beside {
        settings: settings.map(str::to_owned),
        signature: None,
    };
    Artifact::new(COMPONENT.to_vec(), beside, &summary).unwrap()
}

/// The configuration of logins with one for the registry.
fn logins(folder: &Path, host: &str, pair: &str) -> Credentials {
    let file = folder.join("config.json");
    let auths = json!({"auths": {host: {"auth": BASE64_STANDARD.encode(pair)}}});
    fs::write(&file, auths.to_string()).unwrap();
    Credentials::of_file(file)
}

async fn push_to(reference: &str, credentials: Credentials, artifact: &Artifact) -> Result<String> {
    let reference = reference.parse().unwrap();
    artifact
        .push(Registry::connect(&reference, credentials)?)
        .await
}

async fn pull_from(reference: &str, credentials: Credentials) -> Result<(String, Artifact)> {
    let reference = reference.parse().unwrap();
    Artifact::pull(Registry::connect(&reference, credentials)?).await
}

fn nothing(folder: &Path) -> Credentials {
    Credentials::of_file(folder.join("missing.json"))
}

#[tokio::test]
async fn what_is_pushed_is_pulled() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::start(Gate::Open).await);
    let settings = "[grants.http]\norigins = [\"https://a.b\"]\n";
    let reference = format!("{}/plugins/top-k:1.0", fake.host());
    let pushed = push_to(
        &reference,
        nothing(folder.path()),
        &artifact(Some(settings)),
    )
    .await
    .unwrap();
    // The layout of Wasm OCI artifacts.
    let manifest: Value = serde_json::from_slice(&fake.manifest("1.0")).unwrap();
    assert_eq!(manifest["schemaVersion"], 2);
    assert_eq!(
        manifest["config"]["mediaType"],
        "application/vnd.wasm.config.v0+json"
    );
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    let config: Value =
        serde_json::from_slice(&fake.blob(manifest["config"]["digest"].as_str().unwrap())).unwrap();
    assert_eq!(
        (&config["architecture"], &config["os"]),
        (&json!("wasm"), &json!("wasip2"))
    );
    assert_eq!(config["layerDigests"][0], manifest["layers"][0]["digest"]);
    for version in [
        reference.clone(),
        format!("{}/plugins/top-k@{pushed}", fake.host()),
    ] {
        let (digest, pulled) = pull_from(&version, nothing(folder.path())).await.unwrap();
        assert_eq!(digest, pushed);
        assert_eq!(pulled.component, COMPONENT);
        assert_eq!(pulled.beside.settings.as_deref(), Some(settings));
    }
    // The same again is the same artifact, and uploads nothing.
    let uploads = fake.uploads();
    let again = push_to(
        &reference,
        nothing(folder.path()),
        &artifact(Some(settings)),
    )
    .await
    .unwrap();
    assert_eq!((again, fake.uploads()), (pushed, uploads));
}

#[tokio::test]
async fn registries_ask_for_a_login_in_two_ways() {
    for gate in [Gate::Basic, Gate::Token] {
        let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::start(gate).await);
        let reference = format!("{}/top-k:1", fake.host());
        let good = || logins(folder.path(), &fake.host(), "user:word");
        let pushed = push_to(&reference, good(), &artifact(None)).await.unwrap();
        assert_eq!(pull_from(&reference, good()).await.unwrap().0, pushed);
        let bad = logins(folder.path(), &fake.host(), "user:wrong");
        let error = pull_from(&reference, bad).await.unwrap_err();
        assert!(error.to_string().contains("docker login"), "{error}");
        assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
        let error = pull_from(&reference, nothing(folder.path()))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("docker login"), "{error}");
    }
}

#[tokio::test]
async fn a_registry_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(Gate::Open).await;
    let reference = format!("{}/top-k:1", fake.host());
    let pushed = push_to(&reference, nothing(folder.path()), &artifact(None))
        .await
        .unwrap();
    let manifest: Value = serde_json::from_slice(&fake.manifest("1")).unwrap();
    let with = |path: &str, value: Value| {
        let mut changed = manifest.clone();
        *changed.pointer_mut(path).unwrap() = value;
        changed
    };
    let with_annotation = |name: &str, value: &str| {
        let mut changed = manifest.clone();
        changed["annotations"] = json!({name: value});
        changed
    };
    for (changed, expected) in [
        (
            with(
                "/config/mediaType",
                json!("application/vnd.oci.image.config.v1+json"),
            ),
            "no Wasm artifact",
        ),
        (
            with("/layers/0/mediaType", json!("text/plain")),
            "text/plain",
        ),
        (with("/layers", json!([])), "one layer"),
        (
            with("/layers/0/digest", json!("sha256:../../etc")),
            "no SHA-256",
        ),
        (
            with(
                "/layers/0/digest",
                json!(format!("sha256:{}", "0".repeat(64))),
            ),
            "refuses the component: 404",
        ),
        (
            with("/layers/0/size", json!(u64::MAX)),
            "the most that is taken",
        ),
        (with("/layers/0/size", json!(7)), "damaged"),
        (
            with_annotation("dev.wharf.plugin.signature", "c2hvcnQ="),
            "none of Ed25519",
        ),
        (json!({"manifests": []}), "no manifest"),
    ] {
        fake.put_manifest("1", changed.to_string().as_bytes());
        let error = pull_from(&reference, nothing(folder.path()))
            .await
            .unwrap_err();
        assert!(
            format!("{error:#}").contains(expected),
            "{expected}: {error:#}"
        );
    }
    // A digest in the reference is checked, whatever the registry says.
    fake.put_manifest(&pushed, b"{}");
    let pinned = format!("{}/top-k@{pushed}", fake.host());
    let error = pull_from(&pinned, nothing(folder.path()))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("for the digest of the reference"),
        "{error}"
    );
    // Other content under the component's digest.
    fake.put_manifest("1", manifest.to_string().as_bytes());
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    fake.put_blob(layer, b"\0asm\x0d\0\x01\x01");
    let error = pull_from(&reference, nothing(folder.path()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
}

#[tokio::test]
async fn logins_stay_with_their_registry() {
    let (folder, fake, other) = (
        tempfile::tempdir().unwrap(),
        Fake::start(Gate::Basic).await,
        Fake::start(Gate::Open).await,
    );
    let reference = format!("{}/top-k:1", fake.host());
    let good = || logins(folder.path(), &fake.host(), "user:word");
    push_to(&reference, good(), &artifact(None)).await.unwrap();
    push_to(
        &format!("{}/top-k:1", other.host()),
        nothing(folder.path()),
        &artifact(None),
    )
    .await
    .unwrap();
    fake.redirect_blobs_to(&other.host());
    let (_, pulled) = pull_from(&reference, good()).await.unwrap();
    assert_eq!(pulled.component, COMPONENT);
    assert!(other.was_asked_for_a_blob() && !other.saw_a_login());
}

#[test]
fn the_commands_write_files_in_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let server = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let fake = server.block_on(Fake::start(Gate::Open));
    let path = |name: &str| folder.path().join(name);
    fs::write(path("own.wasm"), COMPONENT).unwrap();
    fs::write(path("own.toml"), "[settings]\nk = 3\n").unwrap();
    fs::write(path("own.wasm.sig"), [7; 64]).unwrap();
    let reference: Reference = format!("{}/top-k:2", fake.host()).parse().unwrap();
    push(&Push {
        component: path("own.wasm"),
        reference: reference.clone(),
        settings: Some(path("own.toml")),
        json: true,
    })
    .unwrap();
    let take = |settings, force| {
        pull(&Pull {
            reference: reference.clone(),
            output: path("plugins"),
            name: None,
            settings,
            force,
            json: false,
        })
    };
    take(false, false).unwrap();
    assert_eq!(fs::read(path("plugins/top-k.wasm")).unwrap(), COMPONENT);
    // Settings can hold grants: nobody gets them unasked.
    assert!(!path("plugins/top-k.toml").exists());
    take(true, false).unwrap();
    assert!(
        fs::read_to_string(path("plugins/top-k.toml"))
            .unwrap()
            .contains("k = 3")
    );
    assert!(
        take(true, false)
            .unwrap_err()
            .to_string()
            .contains("--force")
    );
    take(true, true).unwrap();
    let names: Vec<_> = fs::read_dir(path("plugins"))
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let signature = path("plugins/top-k.wasm.sig");
    assert_eq!(fs::read(&signature).unwrap(), [7; 64]);

    // What has no signature leaves none of another component's behind.
    let again = || {
        push(&Push {
            component: path("own.wasm"),
            reference: reference.clone(),
            settings: None,
            json: false,
        })
    };
    fs::remove_file(path("own.wasm.sig")).unwrap();
    again().unwrap();
    take(false, false).unwrap();
    assert!(signature.exists(), "it signs what is there");
    fs::write(path("plugins/top-k.wasm"), "another component").unwrap();
    take(false, false).unwrap();
    assert!(!signature.exists());
    fs::write(path("own.wasm.sig"), "of other length").unwrap();
    assert!(again().is_err());
    fs::remove_file(path("own.wasm.sig")).unwrap();

    fs::write(path("own.wasm"), b"no component").unwrap();
    assert!(again().is_err());
}
