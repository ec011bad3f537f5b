//! Long work that a client asked for: it is answered at once with an operation, which tells how far it is and what came of it.
//!
//! Operations are kept in memory, bounded and for an hour after they ended: what they did is in the site.

mod document;
mod table;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use wharf_core::{Action, Error, ErrorKind, Name};
use wharf_serving::{Progress, Promotion};

use super::call::{json as answer, located};
use crate::call::{Answer, Call};
use document::OperationResult;
use table::Work;

pub(crate) use document::{OperationDocument, OperationList};
pub(crate) use table::{Operation, Operations};

/// The longest that a request waits for an operation.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How a version is promoted.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
#[schema(as = Promotion)]
pub(crate) struct PromoteInput {
    /// The label that the version gets: `stable`. Without, it serves alone.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    label: Option<String>,
}

pub(super) async fn promote(mut call: Call) -> Answer {
    let (name, version) = (call.name("model")?, call.number()?);
    call.model_for(Action::WriteModels, &name).await?;
    let input: PromoteInput = call.json_document().await?;
    let promotion = match input.label {
        None => Promotion::Serve,
        Some(label) if label.parse::<u64>().is_ok() => {
            let message = "a label is no number: where a path names one, it is a version";
            return Err(Error::invalid("label", message).into());
        }
        Some(label) => Promotion::Label(
            Name::new(&label).map_err(|error| Error::invalid("label", error.to_string()))?,
        ),
    };
    let operation = land(&call, &name, version, promotion)?;
    accepted(&call, &operation).await
}

pub(super) async fn roll_back(call: Call) -> Answer {
    let name = call.name("model")?;
    let record = call.model_for(Action::WriteModels, &name).await?;
    if record.document.registration.history.is_empty() {
        let message = "no version of this model was promoted before the present one; promote the one that is to serve";
        return Err(Error::new(ErrorKind::Conflict, message)
            .with_field("model")
            .into());
    }
    let (serving, model) = (call.app.serving.clone(), name.clone());
    let by = call.client.author();
    let work = |progress: Progress| async move {
        let version = serving.roll_back_model(&model, by, progress).await?;
        Ok(outcome(&model, version))
    };
    let operation = begin(&call, "rollback", &name, work)?;
    accepted(&call, &operation).await
}

pub(super) async fn list(call: Call) -> Answer {
    let operations = call.app.operations.all();
    let operations = operations
        .iter()
        .filter(|operation| sees(&call, operation))
        .map(|operation| operation.document())
        .collect();
    answer(StatusCode::OK, &OperationList { operations })
}

pub(super) async fn read(call: Call) -> Answer {
    let id = call.name("operation")?;
    let found = call.app.operations.get(&id);
    let seen = found.filter(|operation| sees(&call, operation));
    let operation = seen.ok_or_else(|| {
        let message = "there is no such operation: it ended more than an hour ago, or never was";
        Error::new(ErrorKind::NotFound, message).with_field("operation")
    })?;
    if let Some(wait) = wait(&call) {
        operation.ended(wait).await;
    }
    answer(StatusCode::OK, &operation.document())
}

/// Whether a client sees an operation: those of its own tenant, whoever's the model is now.
fn sees(call: &Call, operation: &Operation) -> bool {
    let tenant = call.client.tenant();
    let is_own = tenant.is_none() || tenant == operation.tenant();
    is_own
        && call
            .may(Action::ReadModels, Some(operation.model()))
            .is_ok()
}

/// Brings a version into the site, as an operation.
pub(super) fn land(
    call: &Call,
    name: &Name,
    version: u64,
    promotion: Promotion,
) -> Result<Arc<Operation>, Error> {
    let kind = match promotion {
        Promotion::None => "load",
        Promotion::Serve | Promotion::Label(_) => "promote",
    };
    let (serving, model) = (call.app.serving.clone(), name.clone());
    let by = call.client.author();
    let work = move |progress: Progress| async move {
        serving
            .land(&model, version, promotion, by, progress)
            .await?;
        Ok(outcome(&model, version))
    };
    begin(call, kind, name, work)
}

fn outcome(model: &Name, version: u64) -> Value {
    let result = OperationResult {
        model: model.to_string(),
        version,
    };
    serde_json::to_value(result).unwrap_or_default()
}

fn begin<W, F>(
    call: &Call,
    kind: &'static str,
    model: &Name,
    work: W,
) -> Result<Arc<Operation>, Error>
where
    W: FnOnce(Progress) -> F + Send + 'static,
    F: Future<Output = wharf_core::Result<Value>> + Send + 'static,
{
    let what = Work {
        kind,
        model: model.clone(),
        tenant: call.client.tenant().cloned(),
        request: Arc::clone(&call.id.0),
    };
    call.app.operations.begin(what, work)
}

/// Answers with an operation: at once, or where the client prefers to wait, when it ended.
async fn accepted(call: &Call, operation: &Operation) -> Answer {
    let wait = wait(call);
    if let Some(wait) = wait {
        operation.ended(wait).await;
    }
    let response = answer(StatusCode::ACCEPTED, &operation.document())?;
    let mut response = located(response, &operation.path());
    if let Some(applied) =
        wait.and_then(|wait| HeaderValue::from_str(&format!("wait={}", wait.as_secs())).ok())
    {
        response.headers_mut().insert("preference-applied", applied);
    }
    Ok(response)
}

/// How long the client prefers to wait (RFC 7240).
fn wait(call: &Call) -> Option<Duration> {
    let preferences = call.field("prefer")?.split([',', ';']);
    let mut waits = preferences.filter_map(|one| one.trim().strip_prefix("wait="));
    let seconds: u64 = waits.next()?.trim_matches('"').parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_WAIT))
}
