//! What every request of management has in common: what its path names, what its client may do, and how it is answered.

mod idempotency;
mod preconditions;
mod version;

use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wharf_core::{Action, Digest, Error, InvalidName, Name};
use wharf_serving::{ModelRecord, no_such_model};

use crate::call::{Answer, Boxed, Call, boxed};
use crate::client::{Asker, write_quota};
use crate::infer::content::may_be_json;
use crate::problem::Problem;

pub(crate) use idempotency::IdempotencyKeys;
pub(super) use preconditions::{entity_tag, has_tag, precondition};
pub(crate) use version::Version;

/// What answers a request of management: once, where the request has a key. Changes count against the client's quota.
pub(super) fn managed<F, A>(answer: F) -> Boxed
where
    F: Fn(Call) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let answer = boxed(answer);
    boxed(move |call| {
        let answer = answer.clone();
        async move {
            if matches!(call.parts.method, Method::GET | Method::HEAD) {
                return answer(call).await;
            }
            let (app, client) = (Arc::clone(&call.app), call.client.clone());
            let mut left = None;
            let _permit = app.admit(&client, None, &mut left).await?;
            let mut response = idempotency::once(call, answer).await?;
            if let Some(left) = &left {
                write_quota(left, response.headers_mut());
            }
            Ok(response)
        }
    })
}

impl Call {
    /// Refuses what the client may not do. The one place that says what a handler does. A model of another tenant is not there.
    pub(super) fn may(&self, action: Action, name: Option<&Name>) -> Result<(), Error> {
        let asker = self.asker();
        asker.may(action, name.map(Name::as_str))?;
        match (action, name) {
            (Action::WriteModels, Some(name)) => asker.owns(name),
            _ => Ok(()),
        }
    }

    /// Refuses to show what is in files of the site, but to who could read them there: settings may hold what is nobody else's business.
    pub(super) fn may_read_content(&self) -> Result<(), Error> {
        self.asker().operates()?;
        self.app.check_host(self.asker().host)
    }

    /// A model of the site that the client may do this to, by what the folder says of it.
    pub(super) async fn model_for(
        &self,
        action: Action,
        name: &Name,
    ) -> Result<ModelRecord, Error> {
        self.may(action, Some(name))?;
        let record = self.record(name).await?;
        if action == Action::WriteModels {
            self.client.author().check(name, Some(&record.tenants))?;
        }
        Ok(record)
    }

    /// A model of the site that is there for the client.
    pub(super) async fn record(&self, name: &Name) -> Result<ModelRecord, Error> {
        record(self.asker(), name).await
    }

    /// Whether a list shows the client a model.
    pub(super) fn sees(&self, record: &ModelRecord) -> bool {
        self.client.sees(record.name.as_str(), &record.tenants)
    }

    /// A part of the path that is a name. Nothing is made of it before it is checked.
    pub(super) fn name(&self, part: &'static str) -> Result<Name, Error> {
        Name::new(self.part(part).unwrap_or_default())
            .map_err(|InvalidName| Error::invalid(part, InvalidName.to_string()))
    }

    /// The version that the path names.
    pub(super) fn number(&self) -> Result<u64, Error> {
        let text = self.part("version").unwrap_or_default();
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

    /// A document of JSON; an empty body is an object without members.
    pub(super) async fn json_document<T: DeserializeOwned>(&mut self) -> Result<T, Problem> {
        if !may_be_json(&self.parts.headers) {
            return Err(not_json(
                "this path takes JSON; send it as application/json",
            ));
        }
        self.document().await
    }
}

/// A model of the site that is there for who asks.
///
/// # Errors
/// `NotFound` where there is none, or it is another tenant's.
pub(super) async fn record(asker: Asker<'_>, name: &Name) -> Result<ModelRecord, Error> {
    let record = asker.app.serving.model(name).await?;
    match asker.client.is_among(&record.tenants) {
        true => Ok(record),
        false => Err(no_such_model(name)),
    }
}

pub(super) fn not_json(detail: &str) -> Problem {
    Problem::UnsupportedMediaType {
        field: "content-type",
        detail: detail.to_owned(),
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
