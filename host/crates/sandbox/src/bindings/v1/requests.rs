//! The resource `request`. A store works for one request at a time, so every handle means that one.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, WasmStr};
use wharf_core::RequestContext;

use crate::guest::GuestState;

type Store<'a> = StoreContextMut<'a, GuestState>;
type Handle = (Resource<RequestContext>,);

pub(super) fn link(types: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    types.func_wrap("[method]request.id", |store: Store<'_>, _: Handle| {
        Ok((Arc::clone(&store.data().request()?.id),))
    })?;
    types.func_wrap("[method]request.route", |store: Store<'_>, _: Handle| {
        Ok((Arc::clone(&store.data().request()?.route),))
    })?;
    types.func_wrap("[method]request.tenant", |store: Store<'_>, _: Handle| {
        Ok((store.data().request()?.tenant.clone(),))
    })?;
    types.func_wrap(
        "[method]request.header",
        |store: Store<'_>, (_, name): (Resource<RequestContext>, WasmStr)| {
            let name = name.to_str(&store)?;
            let value = store.data().request()?.headers.get(&name);
            Ok((value.map(str::to_owned),))
        },
    )?;
    types.func_wrap("[method]request.headers", |store: Store<'_>, _: Handle| {
        let headers: Vec<(String, String)> = store
            .data()
            .request()?
            .headers
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Ok((headers,))
    })?;
    types.func_wrap(
        "[method]request.remaining-ms",
        |store: Store<'_>, _: Handle| {
            let remaining = store.data().request()?.remaining().as_millis();
            Ok((u64::try_from(remaining).unwrap_or(u64::MAX),))
        },
    )
}
