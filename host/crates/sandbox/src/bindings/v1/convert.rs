//! Between the contract's types and core's.

use wasmtime::component::Resource;
use wharf_core::{Candidate, Datatype, Payload, TensorError, Token, Verdict};

use super::{Piece, exports, types};
use crate::fault::shortened;
use crate::guest::GuestState;
use crate::limits::LimitBroken;

/// Gives a guest handles of a payload.
pub(crate) fn lend(state: &mut GuestState, payload: Payload) -> wasmtime::Result<types::Payload> {
    match payload {
        Payload::Tensors(tensors) => tensors
            .into_iter()
            .map(|tensor| state.keep(tensor))
            .collect::<wasmtime::Result<_>>()
            .map(types::Payload::Tensors),
        Payload::Body(body) => state.keep(body).map(types::Payload::Body),
    }
}

/// Takes what a stage gives.
///
/// # Errors
/// Where it is larger than the plugin's limit.
pub(crate) fn take(state: &mut GuestState, payload: types::Payload) -> wasmtime::Result<Payload> {
    let payload = taken(state, payload)?;
    let limit = state.plugin().limits.output_mb;
    if payload.byte_len() as u64 > u64::from(limit) << 20 {
        return Err(LimitBroken {
            what: "the stage gave too much data",
            setting: "output_mb",
            value: limit,
        }
        .into());
    }
    Ok(payload)
}

/// Takes a payload back with its handles, whatever its size.
pub(super) fn taken(state: &mut GuestState, payload: types::Payload) -> wasmtime::Result<Payload> {
    match payload {
        types::Payload::Tensors(tensors) => tensors
            .into_iter()
            .map(|tensor| state.take(tensor))
            .collect::<wasmtime::Result<_>>()
            .map(Payload::Tensors),
        types::Payload::Body(body) => state.take(body).map(Payload::Body),
    }
}

impl From<types::Datatype> for Datatype {
    fn from(datatype: types::Datatype) -> Self {
        match datatype {
            types::Datatype::Boolean => Self::Bool,
            types::Datatype::Uint8 => Self::Uint8,
            types::Datatype::Uint16 => Self::Uint16,
            types::Datatype::Uint32 => Self::Uint32,
            types::Datatype::Uint64 => Self::Uint64,
            types::Datatype::Int8 => Self::Int8,
            types::Datatype::Int16 => Self::Int16,
            types::Datatype::Int32 => Self::Int32,
            types::Datatype::Int64 => Self::Int64,
            types::Datatype::Fp16 => Self::Fp16,
            types::Datatype::Bf16 => Self::Bf16,
            types::Datatype::Fp32 => Self::Fp32,
            types::Datatype::Fp64 => Self::Fp64,
            types::Datatype::Bytes => Self::Bytes,
        }
    }
}

impl From<Datatype> for types::Datatype {
    fn from(datatype: Datatype) -> Self {
        match datatype {
            Datatype::Bool => Self::Boolean,
            Datatype::Uint8 => Self::Uint8,
            Datatype::Uint16 => Self::Uint16,
            Datatype::Uint32 => Self::Uint32,
            Datatype::Uint64 => Self::Uint64,
            Datatype::Int8 => Self::Int8,
            Datatype::Int16 => Self::Int16,
            Datatype::Int32 => Self::Int32,
            Datatype::Int64 => Self::Int64,
            Datatype::Fp16 => Self::Fp16,
            Datatype::Bf16 => Self::Bf16,
            Datatype::Fp32 => Self::Fp32,
            Datatype::Fp64 => Self::Fp64,
            Datatype::Bytes => Self::Bytes,
        }
    }
}

/// An error about the tensor of that name.
pub(super) fn invalid_tensor(name: &str, error: &TensorError) -> types::Error {
    invalid(Some(name.to_owned()), error.to_string())
}

pub(super) fn invalid(field: Option<String>, message: String) -> types::Error {
    types::Error::InvalidInput(types::InvalidInput { field, message })
}

/// The part of `data` that a guest asks for.
pub(super) fn range(
    data: &bytes::Bytes,
    offset: u64,
    length: u64,
) -> Result<bytes::Bytes, types::Error> {
    let size = data.len() as u64;
    match offset.checked_add(length) {
        Some(end) if end <= size => Ok(data.slice(offset as usize..end as usize)),
        _ => Err(invalid(
            None,
            format!(
                "{length} bytes from {offset} on are not inside the {size} bytes that there are"
            ),
        )),
    }
}

impl From<Token> for exports::token_filter::Token {
    fn from(token: Token) -> Self {
        Self {
            id: token.id,
            text: token.text,
            logprob: token.logprob,
        }
    }
}

impl From<exports::token_filter::Token> for Token {
    fn from(token: exports::token_filter::Token) -> Self {
        Self {
            id: token.id,
            text: token.text,
            logprob: token.logprob,
        }
    }
}

impl From<exports::token_filter::Verdict> for Verdict<Piece> {
    fn from(verdict: exports::token_filter::Verdict) -> Self {
        match verdict {
            exports::token_filter::Verdict::Emit(given) => Self::Emit(given.into()),
            exports::token_filter::Verdict::Stop((last, reason)) => Self::Stop {
                last: last.into(),
                reason: shortened(reason),
            },
        }
    }
}

impl From<exports::chunk_filter::Verdict> for Verdict<Piece> {
    fn from(verdict: exports::chunk_filter::Verdict) -> Self {
        match verdict {
            exports::chunk_filter::Verdict::Emit(given) => Self::Emit(given.into()),
            exports::chunk_filter::Verdict::Stop((last, reason)) => Self::Stop {
                last: last.into(),
                reason: shortened(reason),
            },
        }
    }
}

impl From<Vec<exports::token_filter::Token>> for Piece {
    fn from(tokens: Vec<exports::token_filter::Token>) -> Self {
        Self::Tokens(tokens.into_iter().map(Into::into).collect())
    }
}

impl From<Vec<u8>> for Piece {
    fn from(chunk: Vec<u8>) -> Self {
        Self::Chunk(chunk.into())
    }
}

/// A candidate as a router sees it.
pub(super) fn candidate(candidate: &Candidate) -> exports::router::Candidate {
    let load = candidate.load;
    exports::router::Candidate {
        model: candidate.model.to_string(),
        version: candidate.version,
        labels: candidate.labels.to_vec(),
        queue_depth: load.queue_depth,
        in_flight: load.in_flight,
        latency_us: u64::try_from(load.latency.as_micros()).unwrap_or(u64::MAX),
        free_memory: load.free_memory,
    }
}

/// A borrowed handle of the request. There is one request at a time, so its number means nothing.
pub(super) fn request_handle() -> Resource<wharf_core::RequestContext> {
    Resource::new_borrow(0)
}
