//! Listeners that other machines reach: what they need to be opened.

use std::process::{Output, Stdio};

use anyhow::{Result, ensure};
use wharf_e2e::{Site, program, wait_for};

/// Serves a site that is to be refused.
async fn refused(site: &Site, flags: &[&str]) -> Result<Output> {
    let mut child = program()?
        .args(["serve", "--site"])
        .arg(site.path())
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let ended = wait_for("the server to be refused", async || {
        child.try_wait().ok().flatten()
    });
    if let Err(error) = ended.await {
        child.kill()?;
        child.wait()?;
        return Err(error);
    }
    Ok(child.wait_with_output()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_serves_other_machines_without_asking_who_they_are() -> Result<()> {
    let site = Site::empty()?;
    let (all, local) = ("0.0.0.0:0", "127.0.0.1:0");
    for (listen, admin, advice) in [
        (all, local, ["gateway.auth", "set auth to \"required\""]),
        ("[::]:0", local, ["gateway.auth", "listen on 127.0.0.1"]),
        (local, all, ["server.admin_token", "admin_listen"]),
    ] {
        let output = refused(&site, &["--listen", listen, "--admin-listen", admin]).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(78),
            "{}: {said}",
            output.status
        );
        for words in advice {
            ensure!(said.contains(words), "no {words:?}: {said}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_set_that_is_not_there_is_named() -> Result<()> {
    let site = Site::empty()?;
    site.write("wharf.toml", super::GATEWAY)?;
    let local = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let output = refused(&site, &local).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(78),
        "{}: {said}",
        output.status
    );
    ensure!(said.contains("gateway.issuers[0].jwks"), "{said}");
    let checked = wharf_e2e::check(&site)?;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    ensure!(
        checked.status.code() == Some(78),
        "{}: {said}",
        checked.status
    );
    ensure!(said.contains("gateway.issuers[0].jwks"), "{said}");
    Ok(())
}
