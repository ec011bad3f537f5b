//! What plugins and upstreams are told of the client: what its credentials prove, never what it says itself.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use wharf_e2e::{Client, Protocol, Request, Site, Wharf};

use super::signer::signer;
use super::{Asking, claims, site_of};

/// A route whose router picks by a field of the request.
fn route_by(site: &Site, name: &str, settings: &str) -> Result<()> {
    site.plugin(name, "ab-test")?;
    let variants = "[settings.variants]\nacme = { weight = 50 }\nglobex = { weight = 50 }\n";
    site.write(
        &format!("plugins/{name}.toml"),
        format!("[settings]\nexperiment = \"{name}\"\n{settings}\n{variants}"),
    )?;
    site.write(
        &format!("routes/{name}.toml"),
        format!(
            "router = \"{name}\"\n[[candidates]]\nmodel = \"one\"\nlabels = [\"acme\"]\n\
             [[candidates]]\nmodel = \"two\"\nlabels = [\"globex\"]\n"
        ),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugins_see_whom_the_token_proves_and_never_what_the_client_says() -> Result<()> {
    let signer = signer()?;
    let site = site_of(signer)?;
    site.adder("one", 1, 1.0)?;
    site.adder("two", 1, 2.0)?;
    // The field names the variant; a name that is none is refused.
    route_by(&site, "by-tenant", "force_header = \"x-tenant-id\"")?;
    // All that have the same in the field get the same variant.
    route_by(
        &site,
        "by-context",
        "sticky_by = \"header\"\nsticky_header = \"x-request-context\"",
    )?;
    let wharf = Wharf::serve(&site).await?;
    let acme = signer.sign(&claims("acme")?)?;
    let globex = signer.sign(&claims("globex")?)?;
    for (token, amount) in [(&acme, 1.0), (&globex, 2.0)] {
        for forged in ["acme", "globex", "nobody", ""] {
            let asking = Asking::of("by-tenant").bearing(token);
            let answers = asking.with("X-Tenant-ID", forged).send(&wharf).await?;
            answers.are_shifted_by(amount).context(forged)?;
        }
    }

    let mut client = wharf.client();
    let mut seen = Vec::new();
    for user in 0..24 {
        let forged = json!({"user": format!("user-{user}"), "roles": ["admin"]});
        let request = super::bearing(crate::one_to_four("by-context"), &acme);
        let request = request.header("X-Request-Context", forged.to_string());
        let answer = client.send(&request).await?.ok()?;
        seen.extend(crate::output(&answer).first().copied());
    }
    ensure!(seen.len() == 24, "{seen:?}");
    ensure!(seen.iter().all(|first| *first == seen[0]), "{seen:?}");
    // And the field is there: none was drawn without.
    let metrics = wharf.metrics().await?;
    let count = |what: &str| {
        let name = format!("plugin_ab_test_{what}_total");
        metrics.sum(&name, &["plugin=\"by-context\""])
    };
    assert_eq!(count("acme_exposures") + count("globex_exposures"), 24.0);
    assert_eq!(count("unkeyed"), 0.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_are_told_whom_the_token_proves() -> Result<()> {
    let asked = Asked::listen().await?;
    let signer = signer()?;
    let site = site_of(signer)?;
    site.write(
        "upstreams/scores.toml",
        format!(
            "protocol = \"http\"\nendpoints = [\"http://{}/score\"]\n",
            asked.address
        ),
    )?;
    let wharf = Wharf::serve(&site).await?;
    let token = signer.sign(&claims("acme")?)?;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let request = Request::json("/v1/infer/scores", &json!({}))
            .header("authorization", format!("Bearer {token}"))
            .header("x-tenant-id", "globex")
            .header("x-tenant-id", "initech")
            .header("X_Tenant_ID", "globex")
            .header("x-request-context", r#"{"user":"root","roles":["admin"]}"#)
            .header("baggage", "tenant.id=globex");
        let mut client = Client::with_protocol(wharf.listen(), protocol);
        client.send(&request).await?.accepted()?;
        let fields = asked.take()?;
        let all = |name: &str| -> Vec<_> { fields.get_all(name).iter().cloned().collect() };
        assert_eq!(all("x-tenant-id"), ["acme"]);
        let context = [r#"{"user":"ada","roles":["dev"]}"#];
        assert_eq!(all("x-request-context"), context);
        assert_eq!(all("baggage"), ["tenant.id=acme"]);
        for name in ["authorization", "x_tenant_id"] {
            ensure!(!fields.contains_key(name), "{name} is sent on: {fields:?}");
        }
    }
    Ok(())
}

/// A server that keeps the fields of the last request.
struct Asked {
    address: std::net::SocketAddr,
    fields: Arc<Mutex<Option<HeaderMap>>>,
}

impl Asked {
    async fn listen() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let fields = Arc::new(Mutex::new(None));
        let kept = Arc::clone(&fields);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let fields = request.headers().clone();
                    *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(fields);
                    let mut answer = hyper::Response::new(Full::new(Bytes::from_static(b"{}")));
                    let json = hyper::header::HeaderValue::from_static("application/json");
                    answer
                        .headers_mut()
                        .insert(hyper::header::CONTENT_TYPE, json);
                    async move { Ok::<_, Infallible>(answer) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Ok(Self { address, fields })
    }

    fn take(&self) -> Result<HeaderMap> {
        let mut fields = self.fields.lock().unwrap_or_else(PoisonError::into_inner);
        fields.take().context("nothing was asked")
    }
}
