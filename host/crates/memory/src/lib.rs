//! The memory of the program: its allocator, and a thread that sees to it that freed memory goes back to the system.
//!
//! A program takes both, and so does what measures a part of it: what a call costs is also what its allocations cost.

mod allocator;
mod giving_back;

pub use allocator::Allocator;
pub use giving_back::start_giving_back;
