//! The handles of the host, in the guest.

pub(crate) use crate::bindings::types::{Body, Tensor};
pub(crate) use crate::datatype::{lift, lower};
