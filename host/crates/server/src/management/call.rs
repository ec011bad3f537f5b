//! A request of management: what its path names, what it carries, and what it says must be so.

mod idempotency;
mod preconditions;
mod version;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts as _, Path, Request};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wharf_core::{Action, BoxFuture, Digest, Error, ErrorKind, InvalidName, Name};
use wharf_serving::ModelRecord;

use crate::app::{App, AppHandle, RequestId, refuse};
use crate::body::{BodyLimits, collect};
use crate::budget::Reservation;
use crate::client::{Asker, Client};
use crate::infer::content::{Coding, may_be_json};
use crate::json::shorten;
use crate::oip::rest::management::host;
use crate::problem::Problem;

pub(crate) use idempotency::IdempotencyKeys;
pub(super) use preconditions::{entity_tag, has_tag, precondition};
pub(crate) use version::Version;

pub(super) type Answer = Result<Response, Problem>;

/// The most bytes of a document: it becomes a tree of many times as much.
const MAX_DOCUMENT: usize = 256 << 10;
/// The most characters that an answer repeats of what is wrong with a body.
const MAX_MESSAGE: usize = 256;

/// A request, with what its path names.
pub(super) struct Call {
    pub(super) app: Arc<App>,
    pub(super) client: Client,
    pub(super) parts: Parts,
    /// In a lock that nobody contends for: a body is not `Sync`, and a call is looked at across awaits.
    body: Mutex<Body>,
    pub(super) id: RequestId,
    names: Vec<(String, String)>,
}

type Boxed = Arc<dyn Fn(Call) -> BoxFuture<'static, Answer> + Send + Sync>;

/// What answers, of one type whatever it is.
pub(super) fn boxed<F, A>(answer: F) -> Boxed
where
    F: Fn(Call) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    Arc::new(move |call| Box::pin(answer(call)))
}

/// A handler of the router: every refusal becomes a problem document.
pub(super) fn handler(
    app: &AppHandle,
    answer: Boxed,
) -> impl FnOnce(Request) -> BoxFuture<'static, Response> + Clone + Send + Sync + use<> {
    let app = app.clone();
    move |request: Request| {
        Box::pin(async move {
            let id = request.extensions().get::<RequestId>().cloned();
            let id = id.unwrap_or_else(|| RequestId("".into()));
            let answered = match Call::of(&app, request, id.clone()).await {
                Ok(call) => idempotency::once(call, answer).await,
                Err(problem) => Err(problem),
            };
            answered.unwrap_or_else(|problem| refuse(&problem, &id))
        })
    }
}

impl Call {
    async fn of(app: &AppHandle, request: Request, id: RequestId) -> Result<Self, Problem> {
        let app = app.get()?;
        let (mut parts, body) = request.into_parts();
        let names = Path::<Vec<(String, String)>>::from_request_parts(&mut parts, &()).await;
        let Path(names) = names.map_err(|error| {
            Error::invalid("path", "the path is not UTF-8 once it is decoded").with_source(error)
        })?;
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            app.check_origin(&parts.headers, &parts.uri)?;
        }
        Ok(Self {
            app,
            // Whoever puts a request into the router says who sends it.
            client: parts.extensions.remove().unwrap_or_default(),
            parts,
            body: Mutex::new(body),
            id,
            names,
        })
    }

    /// Who asks.
    pub(super) fn asker(&self) -> Asker<'_> {
        Asker {
            app: &self.app,
            client: &self.client,
            host: host(&self.parts.headers, &self.parts.uri),
        }
    }

    /// Refuses what the client may not do. The one place that says what a handler does. A model of another tenant is not there, nor
    /// a route of one.
    pub(super) fn may(&self, action: Action, name: Option<&Name>) -> Result<(), Error> {
        let asker = self.asker();
        asker.may(action, name.map(Name::as_str))?;
        match (action, name) {
            (Action::WriteModels, Some(name)) => asker.owns(name).map(drop),
            (Action::Infer | Action::ReadModels, Some(name)) => asker.sees(name),
            (Action::WritePlugins | Action::WriteRoutes, _) => asker.operates(),
            _ => Ok(()),
        }
    }

    /// Whether a list shows the client a model.
    pub(super) fn sees(&self, record: &ModelRecord) -> bool {
        let name = record.name.as_str();
        let mut entries = record.versions.iter();
        // One that is not known yet is the operator's.
        (self.client.tenant().is_none() || !record.versions.is_empty())
            && entries.all(|entry| self.client.sees(name, &entry.tenants))
            && self.client.check(Action::ReadModels, Some(name)).is_ok()
    }

    /// A part of the path, as the client wrote it.
    pub(super) fn part(&self, name: &str) -> &str {
        let mut names = self.names.iter();
        let found = names.find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// A part of the path that is a name. Nothing is made of it before it is checked.
    pub(super) fn name(&self, part: &'static str) -> Result<Name, Error> {
        Name::new(self.part(part))
            .map_err(|InvalidName| Error::invalid(part, InvalidName.to_string()))
    }

    /// The version that the path names.
    pub(super) fn number(&self) -> Result<u64, Error> {
        let text = self.part("version");
        let number = text
            .parse()
            .ok()
            .filter(|number: &u64| number.to_string() == text);
        number
            .filter(|number| (1..=i64::MAX as u64).contains(number))
            .ok_or_else(|| Error::invalid("version", "a version is a whole number from 1 on"))
    }

    /// The parameters of the query.
    pub(super) fn query(&self) -> Vec<(String, String)> {
        let query = self.parts.uri.query().unwrap_or_default();
        let decoded = |part: &str| {
            let part = part.replace('+', " ");
            let decoded = percent_encoding::percent_decode_str(&part).decode_utf8_lossy();
            decoded.into_owned()
        };
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decoded(name), decoded(value))
            })
            .collect()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// A field, where it is text.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// The body, which is there once.
    pub(super) fn take_body(&mut self) -> Body {
        std::mem::take(self.body.get_mut())
    }

    /// The whole body, within the limits of every body.
    pub(super) async fn bytes(&mut self) -> Result<(Bytes, Reservation), Problem> {
        let coding = Coding::of(&self.parts.headers)?;
        let body = self.take_body();
        let limits = BodyLimits::of_server(&self.app.limits);
        let mut reservation = self.app.bodies.reserve();
        let bytes = collect(body, &limits, &mut reservation).await?;
        Ok(coding.decode(bytes, limits, reservation).await?)
    }

    /// A document of JSON; an empty body is an object without members.
    pub(super) async fn document<T: DeserializeOwned>(&mut self) -> Result<T, Problem> {
        if !may_be_json(&self.parts.headers) {
            return Err(not_json(
                "this path takes JSON; send it as application/json",
            ));
        }
        self.any_document().await
    }

    /// The same, whatever its media type is.
    pub(super) async fn any_document<T: DeserializeOwned>(&mut self) -> Result<T, Problem> {
        let (bytes, _reservation) = self.bytes().await?;
        if bytes.len() > MAX_DOCUMENT {
            let message = "the document is larger than the 262144 bytes that this path takes";
            let error = Error::new(ErrorKind::TooLarge, message);
            return Err(error.with_field("body").into());
        }
        let bytes = if bytes.is_empty() { b"{}" } else { &*bytes };
        Ok(parse(bytes)?)
    }
}

pub(super) fn not_json(detail: &str) -> Problem {
    Problem::UnsupportedMediaType {
        field: "content-type",
        detail: detail.to_owned(),
    }
}

/// Reads a document. What is wrong is named by its member where that is known.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| said(&error, "body"))
}

/// What serde says of a document, with the member that it names.
pub(super) fn said(error: &serde_json::Error, field: &'static str) -> Error {
    let text = error.to_string();
    let member = text
        .strip_prefix("unknown field `")
        .or_else(|| text.strip_prefix("missing field `"))
        .and_then(|rest| rest.split_once('`'))
        .map(|(member, _)| shorten(member));
    let text: String = text.chars().take(MAX_MESSAGE).collect();
    let message = format!("this is not the JSON that this path takes: {text}");
    match member {
        Some(member) => Error::invalid(member, message),
        None => Error::invalid(field, message),
    }
}

/// An answer with a document.
pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(document).map_err(Error::internal)?;
    let mut response = (status, body).into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

/// An answer without one.
pub(super) fn empty(status: StatusCode) -> Response {
    status.into_response()
}

/// Names the content of what is answered with.
pub(super) fn tagged(mut response: Response, content: Digest) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&entity_tag(content)) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// Says where it is what was made.
pub(super) fn located(mut response: Response, path: &str) -> Response {
    if let Ok(path) = HeaderValue::from_str(path) {
        response.headers_mut().insert(LOCATION, path);
    }
    response
}
