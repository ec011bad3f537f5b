//! Upstreams against servers of every kind: good, slow, hanging, lying, dying.
#![expect(clippy::unwrap_used, reason = "tests")]

mod balance;
mod hostile;
mod oip;
mod peer;
mod service;
mod site;
mod tls;
