//! Models and services of other servers as targets of routes: Wharf's own and any that speak the Open Inference Protocol, and
//! plain HTTP services.
//!
//! An upstream is a model like one of this process: it has inputs and outputs, by the peer's own word, and is loaded when the
//! peer has said what they are. What comes back is compared with that, and is bounded before memory is taken for it. Which of
//! its endpoints a request goes to, whether it goes to another one after the first, and when nobody is asked for a while, is
//! decided here and nowhere else. Nothing here follows a redirect, and no credential of a client leaves this server.
//!
//! The reading order is that of a request: [`Peers`] opens an upstream, `exchange` sends a request, the rest is what that needs.

mod peers;

mod settings;

mod model;
mod opened;
mod service;

mod attempt;
mod exchange;
mod peer;

mod breaker;
mod budget;
mod endpoint;
mod health;

mod body;
mod connection;
mod headers;
mod tls;

mod oip;
mod status;

mod fault;
mod metrics;

pub use peers::Peers;
