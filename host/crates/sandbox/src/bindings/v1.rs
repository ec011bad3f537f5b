//! Version 1 of the contract: `wit/v1`.
//!
//! Types, exports and the small imports are generated. The functions of the interface `types` are linked by hand in
//! `tensors`, `bodies` and `requests`: they carry the data, so they read lists in place and lend them without a copy.

mod bodies;
mod codec;
mod convert;
mod http;
mod imports;
mod model;
mod requests;
mod secret;
mod stages;
mod state;
mod tensors;

use wasmtime::component::{Linker, ResourceType};
use wharf_core::{Body, RequestContext, Tensor};

pub(crate) use generated::exports::wharf::plugin as exports;
pub(crate) use generated::wharf::plugin::types;
pub(crate) use stages::{Answer, Filtering, Job, Piece, StageExports, Stages};

use crate::guest::GuestState;

mod generated {
    wasmtime::component::bindgen!({
        path: "../../../wit/v1",
        world: "plugin",
        imports: {
            default: trappable,
            "wharf:plugin/model": async | trappable,
            "wharf:plugin/codec": async | trappable,
            "wharf:plugin/http": async | trappable,
        },
        exports: { default: async },
        with: {
            "wharf:plugin/types.tensor": wharf_core::Tensor,
            "wharf:plugin/types.body": wharf_core::Body,
            "wharf:plugin/types.request": wharf_core::RequestContext,
            "wharf:plugin/codec.tokenizer": crate::abilities::codec::Tokenizer,
        },
    });
}

/// A version of the contract: major, minor, patch.
pub(crate) type Version = (u64, u64, u64);

/// The version of the contract that the host offers.
pub(crate) const VERSION: Version = (1, 1, 0);

/// The interfaces that every plugin may import.
pub(crate) const IMPORTS: [&str; 4] = ["types", "log", "metrics", "settings"];

/// The interfaces that a plugin may export.
pub(crate) const EXPORTS: [&str; 6] = [
    "preprocess",
    "postprocess",
    "router",
    "token-filter",
    "chunk-filter",
    "lifecycle",
];

/// The text of the contract, for error messages that quote it.
pub(crate) const WIT: [&str; 4] = [
    include_str!("../../../../../wit/v1/types.wit"),
    include_str!("../../../../../wit/v1/imports.wit"),
    include_str!("../../../../../wit/v1/abilities.wit"),
    include_str!("../../../../../wit/v1/stages.wit"),
];

/// Links everything that the contract offers to a plugin.
pub(crate) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut types = linker.instance("wharf:plugin/types@1.1.0")?;
    types.resource(
        "tensor",
        ResourceType::host::<Tensor>(),
        |mut store, rep| store.data_mut().forget::<Tensor>(rep),
    )?;
    types.resource("body", ResourceType::host::<Body>(), |mut store, rep| {
        store.data_mut().forget::<Body>(rep)
    })?;
    // A guest only ever borrows the request: there is nothing to drop.
    types.resource("request", ResourceType::host::<RequestContext>(), |_, _| {
        Ok(())
    })?;
    tensors::link(&mut types)?;
    bodies::link(&mut types)?;
    requests::link(&mut types)?;
    imports::link(linker)
}
