//! Brings requests and instances together.
//!
//! A request that finds an instance idle and nobody waiting runs at once: on its own thread where the model is short, on an
//! instance's thread otherwise. Every other waits in one bounded queue; what has gathered there while the instances were
//! busy is joined by rows into the next run.
//!
//! Who may wait is a matter of [`admission`], and of [`demand`] where more requests come than the model can answer. What models
//! take of a device is shared out by [`compute`], so that a hot one does not starve the others.

mod admission;
mod compute;
mod demand;
mod dispatch;
mod gather;
mod inline;
mod join;
mod pace;
mod queue;
mod scheduler;
mod ticket;
mod watchdog;
mod worker;

pub(crate) use compute::{Gates, Share};
pub(crate) use pace::Ran;
pub(crate) use scheduler::{Limits, Scheduler, deadline_passed};
pub(crate) use watchdog::{Sweep, Watchdog};
