//! The interface `model`.

use wharf_core::{Error as CoreError, ErrorKind, Payload as CorePayload, Result as CoreResult};

use super::convert::{lend, taken};
use super::generated::wharf::plugin::model::{Call, Host};
use super::types::{Error, InvalidInput, Payload};
use crate::abilities::model::{Asked, Caller};
use crate::fault::shortened;
use crate::guest::GuestState;
use crate::limits::LimitBroken;

impl Host for GuestState {
    async fn infer(&mut self, call: Call) -> wasmtime::Result<Result<Payload, Error>> {
        let asked = asked(self, call)?;
        let (caller, mut asked) = match caller(self).and_then(|caller| Ok((caller, asked?))) {
            Ok(ready) => ready,
            Err(error) => return Ok(Err(explain(&error))),
        };
        note(self, &mut asked);
        let given = self.wait(async move { caller.call(asked).await }).await??;
        give(self, given)
    }

    async fn infer_all(
        &mut self,
        calls: Vec<Call>,
    ) -> wasmtime::Result<Vec<Result<Payload, Error>>> {
        let most = self.plugin().limits.handles;
        if calls.len() > most as usize {
            return Err(LimitBroken {
                what: "the guest makes more calls at once than it may hold handles of their answers",
                setting: "handles",
                value: most,
            }
            .into());
        }
        let mut asked = calls
            .into_iter()
            .map(|call| asked(self, call))
            .collect::<wasmtime::Result<Vec<_>>>()?;
        let caller = match caller(self) {
            Ok(caller) => caller,
            Err(error) => {
                let error = explain(&error);
                return Ok(asked.iter().map(|_| Err(error.clone())).collect());
            }
        };
        for asked in asked.iter_mut().flatten() {
            note(self, asked);
        }
        let given = self
            .wait(async move { caller.call_all(asked).await })
            .await??;
        given.into_iter().map(|given| give(self, given)).collect()
    }

    async fn mirror(&mut self, call: Call) -> wasmtime::Result<Result<(), Error>> {
        let asked = asked(self, call)?;
        let left = caller(self).and_then(|caller| caller.mirror(asked?));
        Ok(left.map_err(|error| explain(&error)))
    }
}

fn caller(state: &GuestState) -> CoreResult<Caller> {
    let model = state.plugin().abilities.model.as_ref();
    // A plugin that imports what it was not granted is not loaded.
    let model =
        model.ok_or_else(|| CoreError::internal("a plugin calls models without a grant"))?;
    model.caller(state.shared_request(), state.growth.clone())
}

/// Notes a call whose answer a recording has.
fn note(state: &mut GuestState, asked: &mut Asked) {
    if let Some(journal) = state.journal() {
        asked.slot = journal.calls(&asked.target, asked.version.as_deref());
    }
}

/// Takes the input of a call from the guest, also where the call is refused: its handles are gone either way.
fn asked(state: &mut GuestState, call: Call) -> wasmtime::Result<CoreResult<Asked>> {
    let Call {
        target,
        version,
        input,
    } = call;
    let input = taken(state, input)?;
    let model = state.plugin().abilities.model.as_ref();
    if model.is_some_and(|model| !model.permits(&target)) {
        let message = format!(
            "the grant model does not name {}: the operator adds it to grants.model.targets of the plugin",
            shortened(target)
        );
        return Ok(Err(CoreError::new(ErrorKind::PermissionDenied, message)));
    }
    Ok(Ok(Asked {
        target,
        version,
        input,
        slot: None,
    }))
}

fn give(
    state: &mut GuestState,
    given: CoreResult<CorePayload>,
) -> wasmtime::Result<Result<Payload, Error>> {
    match given {
        Ok(payload) => lend(state, payload).map(Ok),
        Err(error) => Ok(Err(explain(&error))),
    }
}

/// What a guest is told of a call that failed: the kind as far as the contract has it, and the client's message.
fn explain(error: &CoreError) -> Error {
    let message = error.message().to_owned();
    match error.kind() {
        ErrorKind::InvalidArgument | ErrorKind::Unprocessable | ErrorKind::TooLarge => {
            Error::InvalidInput(InvalidInput {
                field: error.field().map(str::to_owned),
                message,
            })
        }
        ErrorKind::NotFound => Error::NotFound(message),
        ErrorKind::Unavailable | ErrorKind::QuotaExceeded | ErrorKind::Deadline => {
            Error::Unavailable(message)
        }
        ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => Error::Denied(message),
        ErrorKind::Conflict
        | ErrorKind::NoRoom
        | ErrorKind::PluginFault
        | ErrorKind::UpstreamFault
        | ErrorKind::Unimplemented
        | ErrorKind::Cancelled
        | ErrorKind::Internal => Error::Failed(message),
    }
}
