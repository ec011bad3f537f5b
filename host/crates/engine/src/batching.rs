//! Brings requests and instances together.
//!
//! A request that finds an instance idle and nobody waiting runs at once: on its own thread where the model is short, on an
//! instance's thread otherwise. Every other waits in one bounded queue; what has gathered there while the instances were
//! busy is joined by rows into the next run.

mod join;
mod pace;
mod queue;
mod scheduler;
mod watchdog;
mod worker;

pub(crate) use join::is_joinable;
pub(crate) use scheduler::{Limits, Scheduler};
pub(crate) use watchdog::Watchdog;
