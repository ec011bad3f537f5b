//! API keys, as the program makes them.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wharf_e2e::{Site, Wharf, program, wait_for};

use super::Asking;

const GATEWAY: &str = r#"
[gateway]
auth = "required"
api_keys.file = "api-keys.toml"
[gateway.quota]
default_plan = "enterprise"
"#;

/// A key, and the entry for the file.
fn make(name: &str, scope: &str) -> Result<(String, String)> {
    let output = program()?
        .args([
            "key", "new", "--name", name, "--tenant", "acme", "--scope", scope,
        ])
        .output()?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.success(), "{said}");
    let key = said
        .split_whitespace()
        .find(|word| word.starts_with("wharf_"));
    let key = key.with_context(|| format!("no key: {said}"))?.to_owned();
    Ok((key, String::from_utf8(output.stdout)?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_works_until_it_is_taken_out_of_the_file() -> Result<()> {
    let site = Site::empty()?;
    site.write("wharf.toml", GATEWAY)?;
    site.adder("shift", 1, 2.0)?;
    site.adder("other", 1, 3.0)?;
    let (staying, stays) = make("stays", "infer")?;
    let (going, goes) = make("goes", "infer:shift")?;
    ensure!(!goes.contains(&going), "the file has the key: {goes}");
    site.write("api-keys.toml", format!("{stays}{goes}"))?;
    let wharf = Wharf::serve(&site).await?;
    let asking = || Asking::of("shift");
    for way in [
        asking().bearing(&going),
        asking().with("x-api-key", &going),
        asking().bearing(&staying),
    ] {
        way.send(&wharf).await?.are_shifted_by(2.0)?;
    }
    // Its scope has one name in it.
    let other = Asking::of("other").bearing(&going).send(&wharf).await?;
    let detail = other.are_forbidden()?;
    ensure!(detail.contains("infer:other"), "{detail}");

    site.write("api-keys.toml", stays)?;
    let gone = asking().bearing(&going);
    wait_for("the key to end", async || {
        let answers = gone.send(&wharf).await.ok()?;
        answers.are_unauthenticated().ok()
    })
    .await?;
    let answers = asking().bearing(&staying).send(&wharf).await?;
    answers.are_shifted_by(2.0)
}

/// `wharf bench` makes its requests up of what the server says of the model, and here the server asks for a key each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_load_generator_shows_a_key_over_each_protocol() -> Result<()> {
    let site = Site::empty()?;
    site.write("wharf.toml", GATEWAY)?;
    site.adder("shift", 1, 2.0)?;
    let (key, entry) = make("load", "infer")?;
    site.write("api-keys.toml", entry)?;
    site.write("fields.txt", format!("x-api-key: {key}\n"))?;
    let wharf = Wharf::serve(&site).await?;
    let url = format!("http://{}", wharf.listen());
    let fields = format!("@{}", site.path().join("fields.txt").display());
    let bench = |flags: &[&str]| {
        let mut command = program()?;
        command.args(["bench", "--url", &url, "--model", "shift", "--json"]);
        // Within the plan's rate.
        command.args(["--rate", "50", "--duration", "500ms", "--warmup", "0"]);
        anyhow::Ok(command.args(flags).output()?)
    };
    for (protocol, data) in [("rest", "json"), ("rest", "binary"), ("grpc", "binary")] {
        let flags = ["--protocol", protocol, "--data", data, "--header", &fields];
        let output = bench(&flags)?;
        ensure!(output.status.success(), "{output:?}");
        let summary: Value = serde_json::from_slice(&output.stdout)?;
        let count = |member: &str| summary[member].as_u64();
        ensure!(count("succeeded") > Some(0), "{protocol}: {summary}");
        ensure!(
            count("refused") == Some(0) && count("failed") == Some(0),
            "{protocol}: {summary}"
        );
        let output = bench(&flags[..4])?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{output:?}");
        ensure!(
            said.contains("401") || said.contains("grpc-status 16"),
            "{said}"
        );
    }
    Ok(())
}
