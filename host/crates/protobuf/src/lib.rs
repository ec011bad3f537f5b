//! The wire format of protocol buffers, for messages that must be read in place: files and requests that are not trusted, and
//! whose content must not drive an allocation. Everything else is read by what prost generates.
//!
//! [`Fields`] reads and [`Message`] writes; neither knows what a message means.
#![deny(missing_docs)]

mod read;
mod write;

pub use read::{Field, Fields, Malformed, varint};
pub use write::Message;
