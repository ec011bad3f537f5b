//! The interface `http`.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use wasmtime::component::Resource;
use wharf_core::Body;

use super::generated::wharf::plugin::http as wit;
use super::types::Error;
use crate::abilities::http::{Answer, Call, Http, Outgoing, Refusal};
use crate::guest::{Growth, GuestState};
use crate::limits::LimitBroken;
use crate::logging::{Line, Severity};
use crate::recording::Unrecorded;

type Sent = Result<Answer, Refusal>;

impl wit::Host for GuestState {
    async fn send(
        &mut self,
        request: wit::Outgoing,
    ) -> wasmtime::Result<Result<wit::Incoming, Error>> {
        let outgoing = outgoing(self, request)?;
        let sent = match sender(self)? {
            Some(sender) => {
                self.wait(async move { sender.send(outgoing).await })
                    .await??
            }
            None => Err(Refusal::without_request()),
        };
        give(self, sent)
    }

    /// The requests run side by side, at most as many as the grant allows; the others follow as these end.
    async fn send_all(
        &mut self,
        requests: Vec<wit::Outgoing>,
    ) -> wasmtime::Result<Vec<Result<wit::Incoming, Error>>> {
        let most = self.plugin().limits.handles;
        if requests.len() > most as usize {
            return Err(LimitBroken {
                what: "the guest sends more requests at once than it may hold handles of their answers",
                setting: "handles",
                value: most,
            }
            .into());
        }
        let outgoing = requests
            .into_iter()
            .map(|request| outgoing(self, request))
            .collect::<wasmtime::Result<Vec<_>>>()?;
        let sent = match sender(self)? {
            Some(sender) => {
                self.wait(async move { sender.send_all(outgoing).await })
                    .await??
            }
            None => (outgoing.iter())
                .map(|_| Err(Refusal::without_request()))
                .collect(),
        };
        sent.into_iter().map(|sent| give(self, sent)).collect()
    }
}

/// Sends requests for a guest that waits for them.
struct Sender {
    http: Http,
    call: Call,
    growth: Growth,
}

impl Sender {
    /// The answer counts against the guest's memory as soon as it is there.
    async fn send(&self, outgoing: Outgoing) -> wasmtime::Result<Sent> {
        let mut sent = self.http.send(outgoing, &self.call).await;
        if let Ok(answer) = &mut sent {
            answer.body.data = self.growth.hold(std::mem::take(&mut answer.body.data))?;
        }
        Ok(sent)
    }

    async fn send_all(&self, outgoing: Vec<Outgoing>) -> wasmtime::Result<Vec<Sent>> {
        stream::iter(outgoing)
            .map(|outgoing| self.send(outgoing))
            .buffered(self.http.calls())
            .try_collect()
            .await
    }
}

/// What sends for the guest. None outside of a stage call.
fn sender(state: &GuestState) -> wasmtime::Result<Option<Sender>> {
    let Some(request) = state.shared_request() else {
        return Ok(None);
    };
    // A plugin that imports what it was not granted is not loaded.
    let http = state.plugin().abilities.http.clone();
    let http = http.ok_or_else(|| wasmtime::format_err!("the grant http is missing"))?;
    Ok(Some(Sender {
        http,
        call: Call::new(&request),
        growth: state.growth.clone(),
    }))
}

/// Takes a request from the guest, with the handle of its body.
fn outgoing(state: &mut GuestState, request: wit::Outgoing) -> wasmtime::Result<Outgoing> {
    state.note(Unrecorded::Http);
    let body = request
        .body
        .map(|body: Resource<Body>| state.take(body))
        .transpose()?;
    let millis = |millis: u32| Duration::from_millis(millis.into());
    Ok(Outgoing {
        method: request.method,
        url: request.url,
        headers: request.headers,
        body,
        timeout: request.timeout_ms.map(millis),
    })
}

fn give(state: &mut GuestState, sent: Sent) -> wasmtime::Result<Result<wit::Incoming, Error>> {
    match sent {
        Ok(answer) => Ok(Ok(wit::Incoming {
            status: answer.status,
            headers: answer.headers,
            body: state.keep(answer.body)?,
        })),
        Err(Refusal { error, cause, .. }) => {
            if let Some(cause) = cause {
                state.log(&Line {
                    severity: Severity::Warn,
                    message: "outbound request failed",
                    fields: &[("cause".to_owned(), cause)],
                });
            }
            Ok(Err(error))
        }
    }
}
