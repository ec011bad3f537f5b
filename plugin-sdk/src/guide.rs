//! The Rust of the plugin guide, `examples/plugins/guide`, as doc tests. A test of the guide checks that no chapter with Rust is missing.

#[doc = include_str!("../../examples/plugins/guide/src/stages.md")]
mod stages {}

#[doc = include_str!("../../examples/plugins/guide/src/settings.md")]
mod settings {}

#[doc = include_str!("../../examples/plugins/guide/src/tensors.md")]
mod tensors {}

#[doc = include_str!("../../examples/plugins/guide/src/abilities.md")]
mod abilities {}

#[doc = include_str!("../../examples/plugins/guide/src/errors.md")]
mod errors {}

#[doc = include_str!("../../examples/plugins/guide/src/testing.md")]
mod testing {}

#[doc = include_str!("../../examples/plugins/guide/src/speed.md")]
mod speed {}

#[doc = include_str!("../../examples/plugins/guide/src/versions.md")]
mod versions {}
