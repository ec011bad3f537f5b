//! A request for something else than inference: who sends it, what its path names, and what it carries.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts as _, Path, Request};
use axum::response::Response;
use bytes::Bytes;
use http::Method;
use http::request::Parts;
use parking_lot::Mutex;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use wharf_core::{BoxFuture, Error, ErrorKind};

use crate::access::host;
use crate::app::{App, AppHandle, RequestId, refuse};
use crate::body::{BodyLimits, collect};
use crate::budget::Reservation;
use crate::client::{Asker, Client};
use crate::infer::content::Coding;
use crate::json::shorten;
use crate::problem::Problem;

pub(crate) type Answer = Result<Response, Problem>;

/// The most bytes of a document: it becomes a tree of many times as much.
const MAX_DOCUMENT: usize = 256 << 10;
/// The most characters that an answer repeats of what is wrong with a body.
const MAX_MESSAGE: usize = 256;

/// A request, with what its path names.
pub(crate) struct Call {
    pub(crate) app: Arc<App>,
    pub(crate) client: Client,
    pub(crate) parts: Parts,
    /// In a lock that nobody contends for: a body is not `Sync`, and a call is looked at across awaits.
    body: Mutex<Body>,
    pub(crate) id: RequestId,
    names: Vec<(String, String)>,
}

pub(crate) type Boxed = Arc<dyn Fn(Call) -> BoxFuture<'static, Answer> + Send + Sync>;

/// What answers, of one type whatever it is.
pub(crate) fn boxed<F, A>(answer: F) -> Boxed
where
    F: Fn(Call) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    Arc::new(move |call| Box::pin(answer(call)))
}

/// A handler of the router: every refusal becomes a problem document.
pub(crate) fn handler(
    app: &AppHandle,
    answer: Boxed,
) -> impl FnOnce(Request) -> BoxFuture<'static, Response> + Clone + Send + Sync + use<> {
    let app = app.clone();
    move |request: Request| {
        Box::pin(async move {
            let id = request.extensions().get::<RequestId>().cloned();
            let id = id.unwrap_or_else(|| RequestId("".into()));
            let answered = match Call::of(&app, request, id.clone()).await {
                Ok(call) => answer(call).await,
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
    pub(crate) fn asker(&self) -> Asker<'_> {
        Asker {
            app: &self.app,
            client: &self.client,
            host: host(&self.parts.headers, &self.parts.uri),
        }
    }

    /// A part of the path, as the client wrote it, where this path has it.
    pub(crate) fn part(&self, name: &str) -> Option<&str> {
        let mut names = self.names.iter();
        let (_, value) = names.find(|(known, _)| known == name)?;
        Some(value)
    }

    /// A field, where it is text.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// The body, which is there once.
    pub(crate) fn take_body(&mut self) -> Body {
        std::mem::take(self.body.get_mut())
    }

    /// Puts a body in the place of the one that was taken.
    pub(crate) fn put_body(&mut self, body: Body) {
        *self.body.get_mut() = body;
    }

    /// The whole body, within the limits of every body, with what is set aside for it.
    pub(crate) async fn bytes(&mut self) -> Result<(Bytes, Reservation), Problem> {
        let coding = Coding::of(&self.parts.headers)?;
        let body = self.take_body();
        let limits = BodyLimits::of_server(&self.app.limits);
        let mut reservation = self.app.bodies.reserve();
        let bytes = collect(body, &limits, &mut reservation).await?;
        Ok(coding.decode(bytes, limits, reservation).await?)
    }

    /// A document of JSON, whatever its media type is; an empty body is an object without members.
    pub(crate) async fn document<T: DeserializeOwned>(&mut self) -> Result<T, Problem> {
        let (bytes, _reservation) = self.bytes().await?;
        if bytes.len() > MAX_DOCUMENT {
            let message = "the document is larger than the 262144 bytes that this path takes";
            let error = Error::new(ErrorKind::TooLarge, message);
            return Err(error.with_field("body").into());
        }
        Ok(parse(&bytes)?)
    }
}

/// Reads an object of JSON; without a byte it has no members. What is wrong is named by its member where that is known.
pub(crate) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    let parsed = serde_json::from_slice(bytes).map(|Object(parsed)| parsed);
    parsed.map_err(|error| said(&error, "body"))
}

/// What serde says of a document, with the member that it names.
pub(crate) fn said(error: &serde_json::Error, field: &'static str) -> Error {
    let text = error.to_string();
    let member = text
        .strip_prefix("unknown field `")
        .or_else(|| text.strip_prefix("missing field `"))
        .and_then(|rest| rest.split_once('`'))
        .map(|(member, _)| shorten(member));
    // It repeats what the client sent, however long that is.
    let text: String = text.chars().take(MAX_MESSAGE).collect();
    let message = format!("this is not the JSON that this path takes: {text}");
    match member {
        Some(member) => Error::invalid(member, message),
        None => Error::invalid(field, message),
    }
}

/// What stands in braces, and in no brackets: structures are read from the elements of an array too.
#[derive(Default)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}
