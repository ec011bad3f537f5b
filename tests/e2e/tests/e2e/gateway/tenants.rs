//! What tenants see: their own and everybody's, and nothing of others.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use wharf_e2e::{Request, Wharf, grpc, onnx};

use super::signer::signer;
use super::{Asking, bearing, claims_with, site_of};

/// All that tenants do here.
const SCOPES: &str = "infer models:read models:write";

/// The token of a user of a tenant.
fn token_of(tenant: &str) -> Result<String> {
    signer()?.sign(&claims_with(tenant, "scope", SCOPES)?)
}

/// Every list that a client can ask for, as one text.
async fn lists(wharf: &Wharf, token: &str) -> Result<String> {
    let mut client = wharf.client();
    let mut all = String::new();
    let gets = [
        "/v1/models",
        "/v2/models",
        "/v1/routes",
        "/v1/plugins",
        "/v2/models/stats",
    ];
    for request in gets.map(Request::get) {
        let answer = client.send(&bearing(request, token)).await?;
        all += &answer.ok()?.to_string();
    }
    let index = Request::json("/v2/repository/index", &json!({}));
    all += &client.send(&bearing(index, token)).await?.ok()?.to_string();
    let mut http2 = wharf_e2e::Client::with_protocol(wharf.listen(), wharf_e2e::Protocol::Http2);
    for method in ["RepositoryIndex", "ModelStatistics"] {
        let call = bearing(grpc::call(method, &[]), token);
        let answer = http2.send(&call).await?;
        let (code, message) = grpc::status(&answer)?;
        ensure!(code == 0, "{method}: {code} {message}");
        all += &answer.text();
    }
    Ok(all)
}

/// What is said of a name by everything that takes one, with `NAME` in its place.
async fn said_of(wharf: &Wharf, name: &str, token: &str) -> Result<Vec<(u16, Value)>> {
    let asking = Asking::of(name).bearing(token);
    let inference = asking.send(wharf).await?.are_not_found()?;
    let mut said = vec![(404, json!(inference.replace(name, "NAME")))];
    let mut client = wharf.client();
    for path in [
        format!("/v1/models/{name}"),
        format!("/v2/models/{name}"),
        format!("/v2/models/{name}/ready"),
        format!("/v2/models/{name}/config"),
        format!("/v2/models/{name}/stats"),
        format!("/v2/models/{name}/versions/1"),
        format!("/v1/models/{name}/artifacts"),
    ] {
        let answer = client.send(&bearing(Request::get(path), token)).await?;
        let text = answer.text().replace(name, "NAME");
        let mut document = serde_json::from_str(&text).unwrap_or(Value::Null);
        if let Some(members) = document.as_object_mut() {
            // Each request has its own.
            members.remove("request_id");
        }
        said.push((answer.status.as_u16(), document));
    }
    let unload = Request::json(format!("/v2/repository/models/{name}/unload"), &json!({}));
    let answer = client.send(&bearing(unload, token)).await?;
    said.push((answer.status.as_u16(), Value::Null));
    Ok(said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_another_tenants_is_as_if_it_were_not() -> Result<()> {
    let site = site_of(signer()?)?;
    site.adder("everybodys", 1, 1.0)?;
    site.adder("ledger", 1, 2.0)?;
    site.write("models/ledger/model.toml", "tenants = [\"acme\"]\n")?;
    site.write(
        "routes/report.toml",
        "model = \"everybodys\"\ntenants = [\"acme\"]\n",
    )?;
    let wharf = Wharf::serve(&site).await?;
    let (acme, globex) = (token_of("acme")?, token_of("globex")?);
    for token in [&acme, &globex] {
        let answers = Asking::of("everybodys").bearing(token).send(&wharf).await?;
        answers.are_shifted_by(1.0)?;
    }
    for (own, amount) in [("ledger", 2.0), ("report", 1.0)] {
        let answers = Asking::of(own).bearing(&acme).send(&wharf).await?;
        answers.are_shifted_by(amount)?;
    }
    let (seen, unseen) = (lists(&wharf, &acme).await?, lists(&wharf, &globex).await?);
    for name in ["ledger", "report"] {
        ensure!(seen.contains(name), "{name} is not there: {seen}");
        ensure!(!unseen.contains(name), "{name} is there: {unseen}");
    }
    ensure!(unseen.contains("everybodys"), "{unseen}");
    // To the letter what is said of a name that nothing has.
    let nothing = said_of(&wharf, "nothing", &globex).await?;
    for name in ["ledger", "report"] {
        assert_eq!(said_of(&wharf, name, &globex).await?, nothing, "{name}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_its_tenants_that_registered_it() -> Result<()> {
    let site = site_of(signer()?)?;
    site.adder("everybodys", 1, 1.0)?;
    let wharf = Wharf::serve(&site).await?;
    let (acme, globex) = (token_of("acme")?, token_of("globex")?);
    let mut client = wharf.client();
    let document =
        json!({"name": "faces", "modalities": ["image"], "settings": {"tenants": ["globex"]}});
    let register = bearing(Request::json("/v1/models", &document), &acme);
    let answer = client.send(&register).await?;
    ensure!(answer.status == 201, "{}", answer.text());
    // Whatever it says of itself.
    let settings = site.read("models/faces/model.toml")?;
    ensure!(settings.contains("tenants = [\"acme\"]"), "{settings}");
    let path = "/v1/models/faces";
    let own = client.send(&bearing(Request::get(path), &acme)).await?;
    ensure!(own.ok()?["name"] == "faces", "{}", own.text());
    let others = client.send(&bearing(Request::get(path), &globex)).await?;
    others.problem(404)?;

    // Its first version, by the other API.
    let model = BASE64_STANDARD.encode(onnx::adder(5.0));
    let load = json!({"parameters": {"config": "{}", "file:1/model.onnx": model}});
    let load = |token: &str, name: &str| {
        let path = format!("/v2/repository/models/{name}/load");
        bearing(Request::json(path, &load), token)
    };
    let loaded = client.send(&load(&acme, "faces")).await?;
    loaded.accepted().context("the load of the own model")?;
    let answers = Asking::of("faces").bearing(&acme).send(&wharf).await?;
    answers.are_shifted_by(5.0)?;
    let answers = Asking::of("faces").bearing(&globex).send(&wharf).await?;
    answers.are_not_found()?;
    let refused = client.send(&load(&globex, "faces")).await?;
    ensure!(refused.status == 404, "{}", refused.text());
    let refused = client.send(&load(&globex, "everybodys")).await?;
    ensure!(refused.status == 403, "{}", refused.text());
    Ok(())
}
