//! The gateway: who is let in, what they see, and how much they may, over every protocol.

mod api_keys;
mod context;
mod fairness;
mod listeners;
mod quotas;
mod signer;
mod tenants;
mod tls;
mod tokens;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wharf_e2e::grpc::{self, Tensor};
use wharf_e2e::{Client, Protocol, Request, Response, Site, Wharf};

use self::signer::{Signer, key_set};

/// Where the key set of the issuer lies in the site.
const KEY_SET: &str = "keys/id.json";

/// Tokens are asked for. The default plan lets tests of something else than quotas through.
const GATEWAY: &str = r#"
[gateway]
auth = "required"
[[gateway.issuers]]
issuer = "https://id.example"
audience = "wharf"
jwks = "keys/id.json"
[gateway.quota]
default_plan = "enterprise"
"#;

/// A site that takes the tokens of a signer.
fn site_of(signer: &Signer) -> Result<Site> {
    let site = Site::empty()?;
    site.write("wharf.toml", GATEWAY)?;
    site.write(KEY_SET, key_set(&[signer])?.to_string())?;
    Ok(site)
}

/// Seconds since 1970.
fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// The claims of a good token.
fn claims(tenant: &str) -> Result<Value> {
    let now = now()?;
    Ok(json!({
        "iss": "https://id.example", "aud": "wharf", "exp": now + 3600, "nbf": now - 10, "sub": "ada",
        "tenant_id": tenant, "scope": "infer models:read", "roles": ["dev"],
    }))
}

/// The same, with a claim of another value.
fn claims_with(tenant: &str, claim: &str, value: impl Into<Value>) -> Result<Value> {
    let mut claims = claims(tenant)?;
    claims[claim] = value.into();
    Ok(claims)
}

/// Adds a token or a key.
fn bearing(request: Request, credential: &str) -> Request {
    request.header("authorization", format!("Bearer {credential}"))
}

/// The requests for inference with an adder: over the REST of this server, over that of the Open Inference Protocol, and over gRPC.
struct Asking {
    rest: Request,
    oip: Request,
    grpc: Request,
}

/// The answers to [`Asking`].
struct Answers {
    rest: Response,
    oip: Response,
    grpc: Response,
}

impl Asking {
    fn of(model: &str) -> Self {
        let data: Vec<u8> = [1_f32, 2.0, 3.0, 4.0]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let tensor = Tensor {
            name: "x",
            datatype: "FP32",
            shape: &[1, 4],
            data: &data,
        };
        let input = json!({"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]});
        Self {
            rest: crate::one_to_four(model),
            oip: Request::json(
                format!("/v2/models/{model}/infer"),
                &json!({"inputs": [input]}),
            ),
            grpc: grpc::infer(model, "", &[tensor]),
        }
    }

    fn with(self, name: &str, value: &str) -> Self {
        Self {
            rest: self.rest.header(name, value),
            oip: self.oip.header(name, value),
            grpc: self.grpc.header(name, value),
        }
    }

    fn bearing(self, credential: &str) -> Self {
        self.with("authorization", &format!("Bearer {credential}"))
    }

    async fn send(&self, wharf: &Wharf) -> Result<Answers> {
        let mut http1 = wharf.client();
        let mut http2 = Client::with_protocol(wharf.listen(), Protocol::Http2);
        Ok(Answers {
            rest: http1.send(&self.rest).await?,
            oip: http1.send(&self.oip).await?,
            grpc: http2.send(&self.grpc).await?,
        })
    }
}

impl Answers {
    /// Checks that every protocol gave `1, 2, 3, 4` plus an amount.
    fn are_shifted_by(&self, amount: f32) -> Result<()> {
        let rest = self.rest.ok()?.to_string();
        ensure!(crate::is_shifted_by(f64::from(amount))(&rest), "{rest}");
        let oip = self.oip.ok()?;
        let expected = json!([1.0 + amount, 2.0 + amount, 3.0 + amount, 4.0 + amount]);
        ensure!(oip["outputs"][0]["data"] == expected, "{oip}");
        let floats = grpc::floats(&self.grpc)?;
        let expected: Vec<_> = [1.0, 2.0, 3.0, 4.0].iter().map(|x| x + amount).collect();
        ensure!(floats == expected, "{floats:?}");
        Ok(())
    }

    /// Checks that every protocol refused, and gives the reason by the REST of this server.
    fn are_refused(&self, status: u16, code: u32) -> Result<String> {
        let rest = self.rest.problem(status)?;
        let oip = self.oip.problem(status)?;
        let (grpc, message) = grpc::status(&self.grpc)?;
        ensure!(grpc == code, "{grpc}: {message}");
        ensure!(oip["error"] == message.as_str(), "{oip}: {message}");
        let detail = rest["detail"].as_str().context("`detail` is a text")?;
        Ok(detail.to_owned())
    }

    /// The same, where all protocols say it in the same words.
    fn are_refused_alike(&self, status: u16, code: u32) -> Result<String> {
        let detail = self.are_refused(status, code)?;
        let oip = self.oip.problem(status)?;
        ensure!(oip["detail"] == detail.as_str(), "not {detail:?}: {oip}");
        Ok(detail)
    }

    fn are_unauthenticated(&self) -> Result<String> {
        ensure!(
            self.rest.headers.contains_key("www-authenticate"),
            "nothing says how to authenticate: {:?}",
            self.rest.headers
        );
        self.are_refused_alike(401, 16)
    }

    fn are_forbidden(&self) -> Result<String> {
        self.are_refused_alike(403, 7)
    }

    fn are_not_found(&self) -> Result<String> {
        self.are_refused(404, 5)
    }
}
