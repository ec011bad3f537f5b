//! `wharf bundle`: a release from a folder through a registry into a site, with the real binary.

/// The registry that the program's own tests have.
#[cfg(test)]
#[path = "../../../../host/src/cli/oci/fake.rs"]
#[expect(dead_code, reason = "those tests ask more of it")]
mod fake;

use std::path::Path;
use std::process::Output;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wharf_e2e::{Site, program};

use fake::{Fake, Gate};

/// The digest of bytes, as registries write it.
fn digest(bytes: &[u8]) -> String {
    let digits = Sha256::digest(bytes);
    digits.iter().fold("sha256:".to_owned(), |text, byte| {
        text + &format!("{byte:02x}")
    })
}

/// A release, which is a site by itself.
fn release() -> Result<Site> {
    let release = Site::empty()?;
    release.adder("adder", 1, 1.0)?;
    release.plugin("scale", "scale")?;
    release.plugin("remember", "remember")?;
    release.write("plugins/remember.toml", "[grants]\nstate = true\n")?;
    release.write(
        "routes/double.toml",
        "model = \"adder\"\ninput = \"tensors\"\npre = [\"scale\"]\n",
    )?;
    Ok(release)
}

fn bundle(arguments: &[&str]) -> Result<Output> {
    let output = program()?.arg("bundle").args(arguments).output()?;
    eprintln!("wharf bundle {arguments:?}: {}", output.status);
    eprintln!("{}", String::from_utf8_lossy(&output.stdout));
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}

fn document(arguments: &[&str]) -> Result<Value> {
    let output = bundle(&[arguments, &["--json"]].concat())?;
    ensure!(output.status.success(), "{output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_goes_through_a_registry_into_a_site() -> Result<()> {
    let (release, site) = (release()?, Site::empty()?);
    let fake = Fake::start(Gate::Open).await;
    let reference = format!("{}/bundles/double:1", fake.host());

    let there = document(&["inspect", text(release.path())])?;
    assert_eq!(
        there["routes"],
        json!([{"name": "double", "model": "adder"}])
    );
    let plugins = there["plugins"].as_array().map_or(&[][..], |list| list);
    let names: Vec<_> = plugins.iter().map(|plugin| &plugin["name"]).collect();
    ensure!(names == ["remember", "scale"], "{names:?}");
    let needed = plugins[0]["grants"].as_array().map_or(&[][..], |list| list);
    ensure!(
        needed.contains(&json!({"name": "state", "granted": true})),
        "{needed:?}"
    );
    ensure!(
        needed.contains(&json!({"name": "secret", "granted": false})),
        "{needed:?}"
    );

    let pushed = document(&["push", text(release.path()), &reference])?;
    assert_eq!(pushed["digest"], there["digest"]);
    let inspected = document(&["inspect", &reference])?;
    assert_eq!(inspected, there);

    let pulled = document(&[
        "pull",
        &reference,
        "--site",
        text(site.path()),
        "--name",
        "adders",
    ])?;
    assert_eq!(
        (&pulled["bundle"], &pulled["release"]),
        (&json!("adders"), &json!(1))
    );
    let place = site.path().join("bundles/adders/1");
    assert_eq!(pulled["path"], text(&place));
    assert_eq!(document(&["inspect", text(&place)])?, there);
    assert_eq!(
        site.read("bundles/adders/1/routes/double.toml")?,
        release.read("routes/double.toml")?
    );
    let again = bundle(&[
        "pull",
        &reference,
        "--site",
        text(site.path()),
        "--name",
        "adders",
        "--release",
        "1",
    ])?;
    assert_eq!(again.status.code(), Some(1));
    let said = String::from_utf8(again.stderr)?;
    ensure!(said.contains("already"), "{said}");
    Ok(())
}

#[test]
fn every_command_has_examples_and_wrong_use_exits_with_2() -> Result<()> {
    for command in ["push", "pull", "inspect"] {
        let help = bundle(&[command, "--help"])?;
        let help = String::from_utf8(help.stdout)?;
        let example = format!("\n  wharf bundle {command} ");
        ensure!(
            help.contains("Examples:") && help.contains(&example),
            "{help}"
        );
    }
    for wrong in [
        &["push", "folder", "no reference"][..],
        &["pull", "localhost:5000/a:1"],
        &[
            "pull",
            "localhost:5000/a:1",
            "--site",
            ".",
            "--release",
            "0",
        ],
        &["nothing"],
    ] {
        assert_eq!(bundle(wrong)?.status.code(), Some(2), "{wrong:?}");
    }
    let neither = bundle(&["inspect", "no-folder"])?;
    assert_eq!(neither.status.code(), Some(1));
    let said = String::from_utf8(neither.stderr)?;
    ensure!(said.contains("is no folder"), "{said}");
    Ok(())
}
