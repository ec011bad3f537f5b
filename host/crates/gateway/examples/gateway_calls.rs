//! What it costs to find out who sends a request that was seen before, and to count it against a quota in memory.
//! `cargo xtask bench` prints the lines: `what|figure|unit|at most`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use wharf_core::{Gatekeeper, Prompt};
use wharf_gateway::{ApiKey, Gateway};

/// Calls of a round, and rounds; the median round counts.
const CALLS: u32 = 100_000;
const ROUNDS: usize = 9;

const SETTINGS: &str = "auth = 'required'
api_keys.file = 'api-keys.toml'
[[issuers]]
issuer = 'https://id.example'
audience = 'wharf'
pem = 'key.pem'
[tenants.acme]
plan = 'large'
[plans.large]
requests_per_s = 1e6
burst = 1000000000
[plans.large.models.digits]
requests_per_s = 1e6
burst = 1000000000
";

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let _entered = runtime.enter();
    let site = tempfile::tempdir().expect("a folder");
    let pair = Ed25519KeyPair::generate().expect("random bits");
    let public = pair.public_key().as_der().expect("a public key");
    let public = BASE64_STANDARD.encode(public.as_ref());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{public}\n-----END PUBLIC KEY-----\n");
    let (key, entry) = ApiKey::generate("bench", "acme").expect("random bits");
    let entry = entry.to_toml().expect("it is plain text");
    for (file, text) in [("key.pem", pem), ("api-keys.toml", entry)] {
        std::fs::write(site.path().join(file), text).expect("the folder can be written");
    }
    let settings = toml::from_str(SETTINGS).expect("the settings are well formed");
    let meter = opentelemetry::global::meter("bench");
    let gateway = Gateway::open(&settings, site.path(), &meter).expect("a gateway");
    // Some 900 bytes, as tokens of the common issuers have.
    let claims = json!({
        "iss": "https://id.example", "aud": "wharf", "exp": 4_000_000_000_u64, "nbf": 0, "sub": "ada",
        "tenant_id": "acme", "scope": "infer models:read", "roles": ["dev", "ops"], "more": "x".repeat(400)
    });
    let private = pair.to_pkcs8v1().expect("a private key");
    let private = EncodingKey::from_ed_der(private.as_ref());
    let token = jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &private)
        .expect("it is signed");
    let (with_token, with_key) = (bearer(&token), bearer(&key));
    for (what, fields) in [("token", &with_token), ("API key", &with_key)] {
        let time = median_of(|| match gateway.identify(black_box(fields)) {
            Prompt::Now(Ok(principal)) => drop(black_box(principal)),
            Prompt::Now(Err(error)) => panic!("it is refused: {error}"),
            Prompt::Later(_) => panic!("it is waited for"),
        });
        let what = format!("finding out who sends a request by a {what} that is known");
        println!("{what}|{:.3}|us|5", time.as_secs_f64() * 1e6);
    }
    let Prompt::Now(Ok(principal)) = gateway.identify(&with_key) else {
        panic!("the key is known");
    };
    for (what, route) in [("a plan", "faces"), ("a plan and of a model", "digits")] {
        let time = median_of(|| match gateway.admit(black_box(&principal), route) {
            Prompt::Now(admission) => assert!(black_box(admission).outcome.is_ok()),
            Prompt::Later(_) => panic!("it is waited for"),
        });
        let what = format!("counting a request against the quota of {what} in memory");
        println!("{what}|{:.3}|us|1", time.as_secs_f64() * 1e6);
    }
    runtime.block_on(gateway.shutdown());
}

fn bearer(credential: &str) -> HeaderMap {
    let value = format!("Bearer {credential}").parse().expect("a field");
    HeaderMap::from_iter([(http::header::AUTHORIZATION, value)])
}

fn median_of(call: impl Fn()) -> Duration {
    let mut rounds: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..CALLS {
                call();
            }
            began.elapsed() / CALLS
        })
        .collect();
    rounds.sort_unstable();
    rounds[ROUNDS / 2]
}
