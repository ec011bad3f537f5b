//! The macro that makes a component of a plugin.

/// Exports a plugin's stages: any of `preprocess`, `postprocess`, `router`, `token_filter`, `chunk_filter`,
/// `lifecycle`.
///
/// ```
/// # use wharf_plugin_sdk::{NoSettings, Lifecycle, Payload, Plugin, Preprocess, Request, Result};
/// struct Pass;
/// # impl Plugin for Pass {
/// #     type Settings = NoSettings;
/// #     fn new(_: NoSettings) -> Result<Self> { Ok(Self) }
/// # }
/// # impl Preprocess for Pass {
/// #     fn preprocess(&self, _: &Request, input: Payload) -> Result<Payload> { Ok(input) }
/// # }
/// # impl Lifecycle for Pass {}
/// wharf_plugin_sdk::export!(Pass: preprocess, lifecycle);
/// ```
///
/// Use it once in a crate, a `cdylib`. The component exports these stages and no others. Natively the macro checks that
/// the plugin has the traits, and exports nothing, so that tests link.
#[macro_export]
macro_rules! export {
    ($plugin:ty: $($stage:ident),+ $(,)?) => {
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            $($crate::__check_stage!($stage $plugin);)+
        };
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            ::std::thread_local! {
                static PLUGIN: $crate::glue::Slot<$plugin> = const { $crate::glue::Slot::new() };
            }

            struct Exports;

            impl $crate::glue::Instance for Exports {
                type Plugin = $plugin;
                const VERSION: &'static str = ::std::env!("CARGO_PKG_VERSION");
                const SUMMARY: &'static str = ::std::env!("CARGO_PKG_DESCRIPTION");

                fn with<T>(work: impl ::std::ops::FnOnce(&$crate::glue::Slot<$plugin>) -> T) -> T {
                    PLUGIN.with(work)
                }
            }

            $($crate::__export_stage!($stage Exports);)+
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_stage {
    (preprocess $ty:ident) => { $crate::bindings::preprocess::export_preprocess!($ty with_types_in $crate::bindings::preprocess); };
    (postprocess $ty:ident) => { $crate::bindings::postprocess::export_postprocess!($ty with_types_in $crate::bindings::postprocess); };
    (router $ty:ident) => { $crate::bindings::router::export_router!($ty with_types_in $crate::bindings::router); };
    (token_filter $ty:ident) => { $crate::bindings::token_filter::export_token_filter!($ty with_types_in $crate::bindings::token_filter); };
    (chunk_filter $ty:ident) => { $crate::bindings::chunk_filter::export_chunk_filter!($ty with_types_in $crate::bindings::chunk_filter); };
    (lifecycle $ty:ident) => { $crate::bindings::lifecycle::export_lifecycle!($ty with_types_in $crate::bindings::lifecycle); };
    ($other:ident $ty:ident) => { $crate::__unknown_stage!($other); };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __check_stage {
    (preprocess $plugin:ty) => { $crate::__check_stage!(@ Preprocess $plugin); };
    (postprocess $plugin:ty) => { $crate::__check_stage!(@ Postprocess $plugin); };
    (router $plugin:ty) => { $crate::__check_stage!(@ Router $plugin); };
    (token_filter $plugin:ty) => { $crate::__check_stage!(@ TokenFilter $plugin); };
    (chunk_filter $plugin:ty) => { $crate::__check_stage!(@ ChunkFilter $plugin); };
    (lifecycle $plugin:ty) => { $crate::__check_stage!(@ Lifecycle $plugin); };
    (@ $stage:ident $plugin:ty) => {
        const _: fn() = || {
            fn implemented<P: $crate::$stage>() {}
            implemented::<$plugin>();
        };
    };
    ($other:ident $plugin:ty) => { $crate::__unknown_stage!($other); };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __unknown_stage {
    ($other:ident) => {
        ::std::compile_error!(::std::concat!(
            "`",
            ::std::stringify!($other),
            "` is no stage: the stages are preprocess, postprocess, router, token_filter, chunk_filter, lifecycle"
        ));
    };
}
