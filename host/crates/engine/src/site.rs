//! The model's folder in the site: which versions it has, what they are made of, and their bytes.
//!
//! Every path is resolved beneath the folder that it belongs to, by the kernel where it can: neither `..` nor a symbolic
//! link leads out of it.

mod digests;
mod files;
mod source;
mod versions;

pub(crate) use digests::DigestCache;
pub(crate) use files::ModelDir;
pub(crate) use source::Source;
pub(crate) use versions::{pick, pick_below, read_settings};
