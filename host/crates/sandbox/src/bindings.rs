//! What guests and host say to each other, one module for each major version of the contract.
//!
//! A new major is a new module beside `v1`, with its own generated types and host functions over the same guest state.

mod lent;
pub(crate) mod v1;
