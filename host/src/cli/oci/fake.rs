//! A registry in memory: the part of the OCI distribution API that push and pull use.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::digest;

/// What the registry asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    Basic,
    Token,
}

#[derive(Clone)]
pub(crate) struct Fake {
    address: SocketAddr,
    gate: Gate,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    manifests: HashMap<String, Bytes>,
    blobs: HashMap<String, Bytes>,
    uploads: usize,
    elsewhere: Option<String>,
    blob_asked: bool,
    login_seen: bool,
}

impl Fake {
    pub(crate) async fn start(gate: Gate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            address: listener.local_addr().unwrap(),
            gate,
            kept: Arc::default(),
        };
        let serving = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let fake = serving.clone();
                let service = service_fn(move |request| {
                    let fake = fake.clone();
                    async move { Ok::<_, Infallible>(fake.answer(request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        fake
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn manifest(&self, version: &str) -> Bytes {
        self.kept.lock().unwrap().manifests[version].clone()
    }

    pub(crate) fn blob(&self, digest: &str) -> Bytes {
        self.kept.lock().unwrap().blobs[digest].clone()
    }

    pub(crate) fn uploads(&self) -> usize {
        self.kept.lock().unwrap().uploads
    }

    pub(crate) fn put_manifest(&self, version: &str, text: &[u8]) {
        let text = Bytes::copy_from_slice(text);
        self.kept
            .lock()
            .unwrap()
            .manifests
            .insert(version.to_owned(), text);
    }

    pub(crate) fn put_blob(&self, digest: &str, data: &[u8]) {
        let data = Bytes::copy_from_slice(data);
        self.kept
            .lock()
            .unwrap()
            .blobs
            .insert(digest.to_owned(), data);
    }

    pub(crate) fn redirect_blobs_to(&self, host: &str) {
        self.kept.lock().unwrap().elsewhere = Some(host.to_owned());
    }

    pub(crate) fn was_asked_for_a_blob(&self) -> bool {
        self.kept.lock().unwrap().blob_asked
    }

    pub(crate) fn saw_a_login(&self) -> bool {
        self.kept.lock().unwrap().login_seen
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let login = parts
            .headers
            .get(header::AUTHORIZATION)
            .map(|value| value.to_str().unwrap().to_owned());
        let basic = format!("Basic {}", BASE64_STANDARD.encode("user:word"));
        let plain = |status: StatusCode, body: Bytes| {
            Response::builder()
                .status(status)
                .body(Full::new(body))
                .unwrap()
        };
        let mut kept = self.kept.lock().unwrap();
        kept.login_seen |= login.is_some();
        if parts.uri.path() == "/token" {
            let query = parts.uri.query().unwrap_or_default();
            let scoped =
                query.contains("scope=repository%3Atop-k%3Apull") && query.contains("service=fake");
            return match login == Some(basic) && scoped {
                true => plain(StatusCode::OK, Bytes::from_static(b"{\"token\": \"t-1\"}")),
                false => plain(StatusCode::UNAUTHORIZED, Bytes::new()),
            };
        }
        let (expected, challenge) = match self.gate {
            Gate::Open => (None, String::new()),
            Gate::Basic => (Some(basic), "Basic realm=\"fake\"".to_owned()),
            Gate::Token => (
                Some("Bearer t-1".to_owned()),
                format!(
                    "Bearer realm=\"http://{}/token\",service=\"fake\"",
                    self.address
                ),
            ),
        };
        if expected.is_some() && login != expected {
            return Response::builder()
                .status(401)
                .header("www-authenticate", challenge)
                .body(Full::default())
                .unwrap();
        }
        let path = parts.uri.path().to_owned();
        let last = path.rsplit('/').next().unwrap().to_owned();
        if path.contains("/manifests/") {
            if parts.method == Method::PUT {
                let digest = digest(&body);
                kept.manifests.insert(last, body.clone());
                kept.manifests.insert(digest.clone(), body);
                return Response::builder()
                    .status(201)
                    .header("docker-content-digest", digest)
                    .body(Full::default())
                    .unwrap();
            }
            return match kept.manifests.get(&last) {
                Some(manifest) => plain(StatusCode::OK, manifest.clone()),
                None => plain(StatusCode::NOT_FOUND, Bytes::new()),
            };
        }
        match parts.method {
            Method::POST => {
                kept.uploads += 1;
                let place = format!("{path}{}?state=1", kept.uploads);
                Response::builder()
                    .status(202)
                    .header("location", place)
                    .body(Full::default())
                    .unwrap()
            }
            Method::PUT => {
                let digest = digest(&body);
                let query = parts.uri.query().unwrap_or_default().replace("%3A", ":");
                if query != format!("state=1&digest={digest}") {
                    return plain(StatusCode::BAD_REQUEST, Bytes::new());
                }
                kept.blobs.insert(digest, body);
                plain(StatusCode::CREATED, Bytes::new())
            }
            _ => {
                kept.blob_asked = true;
                if parts.method == Method::GET
                    && let Some(host) = &kept.elsewhere
                {
                    let place = format!("http://{host}{path}");
                    return Response::builder()
                        .status(307)
                        .header("location", place)
                        .body(Full::default())
                        .unwrap();
                }
                match kept.blobs.get(&last) {
                    Some(blob) => plain(StatusCode::OK, blob.clone()),
                    None => plain(StatusCode::NOT_FOUND, Bytes::new()),
                }
            }
        }
    }
}
