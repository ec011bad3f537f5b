//! Keeps the artifacts of models: weights and what belongs to them, as clients upload them.
//!
//! An upload is spooled to the local disk, where it survives broken connections and restarts. Once it is whole and what it was said to be,
//! its content goes into the store under its digest, and an entry says whose it is. The store is a folder or any store of objects. No
//! content is ever held in memory as a whole. This crate knows nothing of models beyond their names.
#![deny(missing_docs)]

mod config;
mod store;

mod blobs;
mod entries;
mod spool;

mod fault;
mod locks;
mod room;

pub use config::{Config, OpenError};
pub use store::Artifacts;
