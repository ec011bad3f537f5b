//! The sandbox through its public ports, with real guests.

mod calls;
mod site;
mod wat;
