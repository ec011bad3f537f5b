//! The stages of a component: found by name once when it is loaded, by index in every instance.

mod filters;

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre, ResourceAny};
use wharf_core::{Candidate, Payload, Stage, Verdict};

use super::convert::{candidate, lend, request_handle, take};
use super::{exports, types};
use crate::guest::GuestState;

pub(crate) use filters::{Filtering, Piece};

/// Where a component keeps its stages.
pub(crate) struct StageExports {
    preprocess: Option<exports::preprocess::GuestIndices>,
    postprocess: Option<exports::postprocess::GuestIndices>,
    router: Option<exports::router::GuestIndices>,
    token_filter: Option<exports::token_filter::GuestIndices>,
    chunk_filter: Option<exports::chunk_filter::GuestIndices>,
    lifecycle: Option<exports::lifecycle::GuestIndices>,
}

impl StageExports {
    /// Finds the stages. An interface that lacks a function counts as missing: `contract` has said so before.
    pub(crate) fn find(component: &InstancePre<GuestState>) -> Self {
        Self {
            preprocess: exports::preprocess::GuestIndices::new(component).ok(),
            postprocess: exports::postprocess::GuestIndices::new(component).ok(),
            router: exports::router::GuestIndices::new(component).ok(),
            token_filter: exports::token_filter::GuestIndices::new(component).ok(),
            chunk_filter: exports::chunk_filter::GuestIndices::new(component).ok(),
            lifecycle: exports::lifecycle::GuestIndices::new(component).ok(),
        }
    }

    /// The stages that the component has, in the order of a pipeline.
    pub(crate) fn list(&self) -> Vec<Stage> {
        [
            (Stage::Router, self.router.is_some()),
            (Stage::Preprocess, self.preprocess.is_some()),
            (Stage::Postprocess, self.postprocess.is_some()),
            (Stage::TokenFilter, self.token_filter.is_some()),
            (Stage::ChunkFilter, self.chunk_filter.is_some()),
        ]
        .into_iter()
        .filter_map(|(stage, exported)| exported.then_some(stage))
        .collect()
    }

    /// Whether the component is told its settings when an instance begins.
    pub(crate) fn has_lifecycle(&self) -> bool {
        self.lifecycle.is_some()
    }

    /// Gets the typed functions of an instance.
    ///
    /// # Errors
    /// Where the type of one differs from the contract.
    pub(crate) fn of_instance(
        &self,
        store: &mut Store<GuestState>,
        instance: &Instance,
    ) -> wasmtime::Result<Stages> {
        let of =
            |error: wasmtime::Error, interface: &str| error.context(format!("export {interface}"));
        Ok(Stages {
            preprocess: (self.preprocess.as_ref())
                .map(|indices| indices.load(&mut *store, instance))
                .transpose()
                .map_err(|error| of(error, "preprocess"))?,
            postprocess: (self.postprocess.as_ref())
                .map(|indices| indices.load(&mut *store, instance))
                .transpose()
                .map_err(|error| of(error, "postprocess"))?,
            router: (self.router.as_ref())
                .map(|indices| indices.load(&mut *store, instance))
                .transpose()
                .map_err(|error| of(error, "router"))?,
            token_filter: (self.token_filter.as_ref())
                .map(|indices| indices.load(&mut *store, instance))
                .transpose()
                .map_err(|error| of(error, "token-filter"))?,
            chunk_filter: (self.chunk_filter.as_ref())
                .map(|indices| indices.load(&mut *store, instance))
                .transpose()
                .map_err(|error| of(error, "chunk-filter"))?,
            lifecycle: (self.lifecycle.as_ref())
                .map(|indices| indices.load(&mut *store, instance))
                .transpose()
                .map_err(|error| of(error, "lifecycle"))?,
        })
    }
}

/// The functions of an instance, with their types checked.
pub(crate) struct Stages {
    preprocess: Option<exports::preprocess::Guest>,
    postprocess: Option<exports::postprocess::Guest>,
    router: Option<exports::router::Guest>,
    token_filter: Option<exports::token_filter::Guest>,
    chunk_filter: Option<exports::chunk_filter::Guest>,
    lifecycle: Option<exports::lifecycle::Guest>,
}

/// What a stage is called with.
pub(crate) enum Job<'a> {
    /// Preprocess this.
    Preprocess(Payload),
    /// Postprocess this.
    Postprocess(Payload),
    /// Choose one of these.
    Route(&'a [Candidate]),
    /// Begin a text or a body.
    Open(Filtering<'a>),
    /// Filter this piece of it.
    Push(ResourceAny, Piece),
    /// End it.
    Finish(ResourceAny, Stage),
}

/// What a stage gives.
pub(crate) enum Answer {
    /// What preprocess and postprocess give.
    Payload(Payload),
    /// The index that a router chose, inside the candidates.
    Index(usize),
    /// The filter of the text or body that begins.
    Filter(ResourceAny),
    /// What becomes of a piece. Once the text or body is stopped, the filter is gone.
    Verdict(Verdict<Piece>),
    /// The last piece. The filter is gone.
    Last(Piece),
}

impl Job<'_> {
    pub(crate) fn stage(&self) -> Stage {
        match self {
            Self::Preprocess(_) => Stage::Preprocess,
            Self::Postprocess(_) => Stage::Postprocess,
            Self::Route(_) => Stage::Router,
            Self::Open(filtering) => filtering.stage(),
            Self::Push(_, piece) => piece.stage(),
            Self::Finish(_, stage) => *stage,
        }
    }
}

impl Answer {
    /// What preprocess and postprocess give; none where it is something else.
    pub(crate) fn payload(self) -> Option<Payload> {
        match self {
            Self::Payload(payload) => Some(payload),
            _ => None,
        }
    }

    /// What a router gives; none where it is something else.
    pub(crate) fn index(self) -> Option<usize> {
        match self {
            Self::Index(index) => Some(index),
            _ => None,
        }
    }
}

impl Stages {
    /// Calls a stage. None where the plugin does not have it.
    pub(crate) async fn call(
        &self,
        store: &mut Store<GuestState>,
        job: Job<'_>,
    ) -> wasmtime::Result<Option<Result<Answer, types::Error>>> {
        let given = match job {
            Job::Preprocess(payload) => {
                let Some(stage) = &self.preprocess else {
                    return Ok(None);
                };
                let payload = lend(store.data_mut(), payload)?;
                stage
                    .call_process(&mut *store, request_handle(), &payload)
                    .await?
            }
            Job::Postprocess(payload) => {
                let Some(stage) = &self.postprocess else {
                    return Ok(None);
                };
                let payload = lend(store.data_mut(), payload)?;
                stage
                    .call_process(&mut *store, request_handle(), &payload)
                    .await?
            }
            Job::Route(candidates) => {
                let Some(stage) = &self.router else {
                    return Ok(None);
                };
                let candidates: Vec<_> = candidates.iter().map(candidate).collect();
                let index = stage
                    .call_route(&mut *store, request_handle(), &candidates)
                    .await?;
                let index = index.map(|index| index as usize);
                if let Ok(index) = index
                    && index >= candidates.len()
                {
                    wasmtime::bail!("the router chose candidate {index} of {}", candidates.len());
                }
                return Ok(Some(index.map(Answer::Index)));
            }
            // In boxes, so that the other stages do not carry the room for these along.
            Job::Open(filtering) => return Box::pin(self.open(store, filtering)).await,
            Job::Push(filter, piece) => return Box::pin(self.push(store, filter, piece)).await,
            Job::Finish(filter, stage) => {
                return Box::pin(self.finish(store, filter, stage)).await;
            }
        };
        match given {
            Ok(payload) => Ok(Some(Ok(Answer::Payload(take(store.data_mut(), payload)?)))),
            Err(error) => Ok(Some(Err(error))),
        }
    }

    /// Asks the plugin what it is. None where it has no lifecycle.
    pub(crate) async fn describe(
        &self,
        store: &mut Store<GuestState>,
    ) -> wasmtime::Result<Option<exports::lifecycle::Description>> {
        match &self.lifecycle {
            Some(lifecycle) => lifecycle.call_describe(store).await.map(Some),
            None => Ok(None),
        }
    }

    /// Initialises the instance.
    pub(crate) async fn init(
        &self,
        store: &mut Store<GuestState>,
        settings: &str,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        match &self.lifecycle {
            Some(lifecycle) => lifecycle.call_init(store, settings).await,
            None => Ok(Ok(())),
        }
    }

    /// Lets the instance test itself.
    pub(crate) async fn self_test(
        &self,
        store: &mut Store<GuestState>,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        match &self.lifecycle {
            Some(lifecycle) => lifecycle.call_self_test(store).await,
            None => Ok(Ok(())),
        }
    }
}
