//! The resource `body`.

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, WasmStr};
use wharf_core::Body;

use super::convert::range;
use crate::bindings::lent::Lent;
use crate::guest::GuestState;

type Store<'a> = StoreContextMut<'a, GuestState>;

pub(super) fn link(types: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    types.func_wrap(
        "[constructor]body",
        |mut store: Store<'_>, (media_type, data): (WasmStr, Vec<u8>)| {
            let body = Body {
                media_type: media_type.to_str(&store)?.into(),
                data: store.data().growth.hold(Bytes::from(data))?,
            };
            Ok((store.data_mut().keep(body)?,))
        },
    )?;
    types.func_wrap("[method]body.media-type", |store: Store<'_>, (body,)| {
        Ok((store.data().body(&body)?.media_type.clone(),))
    })?;
    types.func_wrap("[method]body.byte-length", |store: Store<'_>, (body,)| {
        Ok((store.data().body(&body)?.data.len() as u64,))
    })?;
    types.func_wrap("[method]body.read", |store: Store<'_>, (body,)| {
        Ok((Lent::<u8>::new(store.data().body(&body)?.data.clone()),))
    })?;
    types.func_wrap(
        "[method]body.read-range",
        |store: Store<'_>, (body, offset, length)| {
            let data = &store.data().body(&body)?.data;
            Ok((range(data, offset, length).map(Lent::<u8>::new),))
        },
    )?;
    types.func_wrap(
        "[method]body.with-media-type",
        |mut store: Store<'_>, (body, media_type): (Resource<Body>, WasmStr)| {
            let retyped = Body {
                media_type: media_type.to_str(&store)?.into(),
                data: store.data().body(&body)?.data.clone(),
            };
            Ok((store.data_mut().keep(retyped)?,))
        },
    )
}
