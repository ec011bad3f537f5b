//! Tokens: good ones, bad ones, and keys that change.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use wharf_e2e::{Request, Wharf, wait_for};

use super::signer::{Signer, key_set, signer, unsigned};
use super::{Asking, GATEWAY, KEY_SET, bearing, claims, claims_with, now, site_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_token_opens_every_protocol_and_others_are_told_why_not() -> Result<()> {
    let signer = signer()?;
    let site = site_of(signer)?;
    site.adder("shift", 1, 2.0)?;
    let wharf = Wharf::serve(&site).await?;
    let asking = || Asking::of("shift");
    let token = signer.sign(&claims("acme")?)?;
    let answers = asking().bearing(&token).send(&wharf).await?;
    answers.are_shifted_by(2.0)?;
    let list = bearing(Request::get("/v1/models"), &token);
    let list = wharf.client().send(&list).await?.ok()?;
    ensure!(list["models"][0]["name"] == "shift", "{list}");

    let nobody = asking().send(&wharf).await?.are_unauthenticated()?;
    ensure!(nobody.starts_with("no credentials"), "{nobody}");
    let expired = claims_with("acme", "exp", now()? - 120)?;
    let other = claims_with("acme", "aud", "another-server")?;
    for (token, reason) in [
        (
            signer.sign(&expired)?,
            "the token has expired: get a new one",
        ),
        (signer.sign(&other)?, "the token is for another audience"),
        (
            unsigned(&claims("acme")?),
            "the token is not signed: use RS256, ES256 or EdDSA",
        ),
    ] {
        let answers = asking().bearing(&token).send(&wharf).await?;
        let detail = answers.are_unauthenticated()?;
        ensure!(detail == reason, "{detail}");
    }

    // What a token is not for is another matter than who has it.
    let reader = signer.sign(&claims_with("acme", "scope", "models:read")?)?;
    let answers = asking().bearing(&reader).send(&wharf).await?;
    let detail = answers.are_forbidden()?;
    ensure!(detail.contains("infer:shift"), "{detail}");
    // Those who look after the machine have no tokens.
    wharf.client().get("/v2/health/ready").await?.accepted()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_by_their_file_without_a_restart() -> Result<()> {
    let old = signer()?;
    let site = site_of(old)?;
    site.adder("shift", 1, 2.0)?;
    let wharf = Wharf::serve(&site).await?;
    let new = Signer::new("second")?;
    let [by_old, by_new] = [old, &new].map(|signer| -> Result<_> {
        let token = signer.sign(&claims("acme")?)?;
        Ok(Asking::of("shift").bearing(&token))
    });
    let (by_old, by_new) = (by_old?, by_new?);
    by_old.send(&wharf).await?.are_shifted_by(2.0)?;
    let unknown = by_new.send(&wharf).await?.are_unauthenticated()?;
    ensure!(
        unknown.contains("a key that its issuer does not have"),
        "{unknown}"
    );

    site.write(KEY_SET, key_set(&[&new])?.to_string())?;
    wait_for("the new key", async || {
        let answers = by_new.send(&wharf).await.ok()?;
        answers.are_shifted_by(2.0).ok()
    })
    .await?;
    // It was verified before, and is remembered: only by what its issuer has now.
    by_old.send(&wharf).await?.are_unauthenticated()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_by_their_address_when_a_token_names_a_new_one() -> Result<()> {
    let old = signer()?;
    let published = Arc::new(Mutex::new(key_set(&[old])?.to_string()));
    let address = publish(Arc::clone(&published)).await?;
    let site = site_of(old)?;
    site.adder("shift", 1, 2.0)?;
    let settings = GATEWAY.replace(
        "jwks = \"keys/id.json\"",
        &format!("jwks = \"http://{address}/keys\"\nmin_refetch_s = 1"),
    );
    site.write("wharf.toml", settings)?;
    let wharf = Wharf::serve(&site).await?;
    let token = old.sign(&claims("acme")?)?;
    let answers = Asking::of("shift").bearing(&token).send(&wharf).await?;
    answers.are_shifted_by(2.0)?;

    let new = Signer::new("second")?;
    let both = key_set(&[old, &new])?.to_string();
    *published.lock().unwrap_or_else(PoisonError::into_inner) = both;
    let token = new.sign(&claims("acme")?)?;
    let asking = Asking::of("shift").bearing(&token);
    wait_for("the new key", async || {
        let answers = asking.send(&wharf).await.ok()?;
        answers.are_shifted_by(2.0).ok()
    })
    .await
}

/// Serves a key set over HTTP.
async fn publish(document: Arc<Mutex<String>>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let document = Arc::clone(&document);
            let answer = service_fn(move |_| {
                let text = document
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                async move { Ok::<_, Infallible>(hyper::Response::new(Full::new(Bytes::from(text)))) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    Ok(address)
}
