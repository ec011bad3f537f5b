//! ONNX Runtime: the library, sessions and values. Nothing outside this module knows of it.

mod bound;
mod call;
mod environment;
mod library;
mod session;
mod usual;
mod value;
mod words;

pub(crate) use environment::environment;
pub(crate) use library::{LibraryError, find};
pub(crate) use session::{RunError, Session, SessionOptions, build};
