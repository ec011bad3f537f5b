//! `/openapi.json`, and at `/docs` the page that shows it. The page's parts are in the program, and it asks nobody else for
//! anything.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, StatusCode};
use utoipa_swagger_ui::Config;
use wharf_core::{Error, ErrorKind};
use wharf_serving::Serving;

use crate::app::{RequestId, refuse};
use crate::client::Client;

/// What the page may do: run its own scripts, and ask this server. The hash is that of the one style that a script of it puts into
/// the page; a browser that meets another one says so on its console, with its hash.
const POLICY: &str = "default-src 'none'; script-src 'self'; \
    style-src 'self' 'sha256-RL3ie0nH+Lzz2YNqQN83mnU0J1ot4QL7b99vMdIX99w='; img-src 'self' data:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How the page is set up. The document is found from the page, so that both may lie under a prefix of a proxy. It asks no
/// other server to judge the document.
static PAGE: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    let config = Config::from("../openapi.json")
        .validator_url("none")
        .deep_linking(true)
        .display_operation_id(true)
        .default_models_expand_depth(0);
    Arc::new(config)
});

/// The document as it was written last, and the state of the site that it is of.
#[derive(Default)]
pub(crate) struct Written(Mutex<Option<(u64, Bytes)>>);

impl Written {
    fn of(&self, serving: &Serving) -> Bytes {
        let snapshot = serving.snapshot();
        let generation = snapshot.generation();
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*written {
            Some((of, bytes)) if *of == generation => bytes.clone(),
            _ => {
                let bytes = Bytes::from(super::of_site(&snapshot));
                *written = Some((generation, bytes.clone()));
                bytes
            }
        }
    }
}

/// The paths of a listener; with a site, the document is that of the site.
pub(crate) fn router(serving: Option<Serving>) -> axum::Router {
    let document = match serving {
        Some(serving) => {
            let state = (serving, Arc::new(Written::default()));
            get(of_site).with_state(state)
        }
        None => get(|| async { json(Bytes::from(super::admin())) }),
    };
    axum::Router::new()
        .route("/openapi.json", document)
        .route("/docs", get(to_page))
        .route("/docs/", get(page))
        .route("/docs/{asset}", get(asset))
}

/// The routes are those that the client may see; a stranger sees none.
async fn of_site(
    State((serving, written)): State<(Serving, Arc<Written>)>,
    Extension(client): Extension<Client>,
) -> Response {
    // Some thousand routes take a while to write.
    let made = tokio::task::spawn_blocking(move || match client {
        Client::Stranger => Bytes::from(super::public()),
        client if client.sees_all() => written.of(&serving),
        client => Bytes::from(super::of_some(&serving.snapshot(), |route| {
            client.sees_route(route)
        })),
    });
    let made = made.await;
    match made {
        Ok(bytes) => json(bytes),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn json(bytes: Bytes) -> Response {
    let media_type = HeaderValue::from_static("application/json");
    let no_cache = HeaderValue::from_static("no-cache");
    (
        [(CONTENT_TYPE, media_type), (CACHE_CONTROL, no_cache)],
        bytes,
    )
        .into_response()
}

/// The page's parts are found from a folder.
async fn to_page() -> Response {
    let place = HeaderValue::from_static("docs/");
    (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, place)]).into_response()
}

async fn page(id: Extension<RequestId>) -> Response {
    part("index.html", &id)
}

async fn asset(id: Extension<RequestId>, Path(name): Path<String>) -> Response {
    part(&name, &id)
}

fn part(name: &str, id: &RequestId) -> Response {
    let found = utoipa_swagger_ui::serve(name, Arc::clone(&PAGE));
    let file = match found {
        Ok(Some(file)) => file,
        Ok(None) => {
            let message = "the page has no such part; it begins at /docs/";
            return refuse(&Error::new(ErrorKind::NotFound, message).into(), id);
        }
        Err(error) => {
            let error = Error::internal(std::io::Error::other(error.to_string()));
            return refuse(&error.into(), id);
        }
    };
    let media_type = HeaderValue::from_str(&file.content_type)
        .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
    let fields = [
        (CONTENT_TYPE, media_type),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    let bytes = match file.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    (fields, bytes).into_response()
}
