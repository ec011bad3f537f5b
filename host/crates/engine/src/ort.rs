//! ONNX Runtime: the library, sessions and values. Nothing outside this module knows of it.

mod environment;
mod library;
mod session;
mod value;

pub(crate) use environment::environment;
pub(crate) use library::{LibraryError, find};
pub(crate) use session::{RunError, Session, SessionOptions, build};
