//! Calls of filters: both kinds have the same life, and differ in what they are given.

use bytes::Bytes;
use wasmtime::Store;
use wasmtime::component::ResourceAny;
use wharf_core::{Stage, Token, Verdict};

use super::{Answer, Stages};
use crate::bindings::v1::convert::request_handle;
use crate::bindings::v1::types;
use crate::guest::GuestState;

/// What a filter is opened for.
#[derive(Clone, Copy)]
pub(crate) enum Filtering<'a> {
    /// A generated text.
    Tokens,
    /// A body of this media type.
    Chunks(&'a str),
}

/// What a filter is given, and gives.
#[derive(Clone)]
pub(crate) enum Piece {
    Tokens(Vec<Token>),
    Chunk(Bytes),
}

impl Filtering<'_> {
    pub(crate) fn stage(self) -> Stage {
        match self {
            Self::Tokens => Stage::TokenFilter,
            Self::Chunks(_) => Stage::ChunkFilter,
        }
    }
}

impl Piece {
    pub(crate) fn stage(&self) -> Stage {
        match self {
            Self::Tokens(_) => Stage::TokenFilter,
            Self::Chunk(_) => Stage::ChunkFilter,
        }
    }
}

/// None where the plugin does not have the stage.
type Given<T> = wasmtime::Result<Option<Result<T, types::Error>>>;

impl Stages {
    pub(super) async fn open(
        &self,
        store: &mut Store<GuestState>,
        filtering: Filtering<'_>,
    ) -> Given<Answer> {
        let opened = match (filtering, &self.token_filter, &self.chunk_filter) {
            (Filtering::Tokens, Some(stage), _) => {
                stage.call_open(&mut *store, request_handle()).await?
            }
            (Filtering::Chunks(media_type), _, Some(stage)) => {
                stage
                    .call_open(&mut *store, request_handle(), media_type)
                    .await?
            }
            _ => return Ok(None),
        };
        Ok(Some(opened.map(Answer::Filter)))
    }

    /// The guest's filter is dropped where it stops, and where it refuses.
    pub(super) async fn push(
        &self,
        store: &mut Store<GuestState>,
        filter: ResourceAny,
        piece: Piece,
    ) -> Given<Answer> {
        let verdict: Result<Verdict<Piece>, _> =
            match (piece, &self.token_filter, &self.chunk_filter) {
                (Piece::Tokens(tokens), Some(stage), _) => {
                    let tokens: Vec<_> = tokens.into_iter().map(Into::into).collect();
                    let methods = stage.filter();
                    let given = methods.call_push(&mut *store, filter, &tokens).await?;
                    given.map(Into::into)
                }
                (Piece::Chunk(chunk), _, Some(stage)) => {
                    let methods = stage.filter();
                    let given = methods.call_push(&mut *store, filter, &chunk).await?;
                    given.map(Into::into)
                }
                _ => return Ok(None),
            };
        if !matches!(verdict, Ok(Verdict::Emit(_))) {
            filter.resource_drop_async(&mut *store).await?;
        }
        Ok(Some(verdict.map(Answer::Verdict)))
    }

    /// The guest's filter is dropped afterwards.
    pub(super) async fn finish(
        &self,
        store: &mut Store<GuestState>,
        filter: ResourceAny,
        stage: Stage,
    ) -> Given<Answer> {
        let last: Result<Piece, _> = match (stage, &self.token_filter, &self.chunk_filter) {
            (Stage::TokenFilter, Some(stage), _) => {
                let given = stage.filter().call_finish(&mut *store, filter).await?;
                given.map(Into::into)
            }
            (Stage::ChunkFilter, _, Some(stage)) => {
                let given = stage.filter().call_finish(&mut *store, filter).await?;
                given.map(Into::into)
            }
            _ => return Ok(None),
        };
        filter.resource_drop_async(&mut *store).await?;
        Ok(Some(last.map(Answer::Last)))
    }
}
