//! Bundles: plugins, models and routes that are released, tried and taken back as one.
//!
//! A release is a small site in `bundles/BUNDLE/NUMBER`, and is loaded as a whole or not at all. The first one serves at once. A newer one
//! is on trial: it gets a share of the requests of the bundle's routes, which grows in steps, until it takes the place of
//! the one in force or is rolled back. Which release a request goes to is drawn by lot where the request takes its route.

mod policy;
mod record;

mod choice;
mod release;
mod slot;

mod lot;
mod odds;
mod tally;
mod verdict;

mod judge;
mod orders;
mod status;

pub(crate) use judge::{save, watch};
pub(crate) use lot::Lot;
pub(crate) use orders::{BundleOrder, Carried};
pub(crate) use policy::{Policy, parse as parse_policy};
pub(crate) use record::Record;
pub(crate) use release::{Kit, Member, Release, ReleaseCalls, ReleaseLoad};
pub(crate) use slot::{Public, Results, Slot, Taken};
pub(crate) use status::Reading;
pub(crate) use tally::{Measuring, Tally};

pub use release::ReleaseName;
pub use status::{BundleStatus, ReleaseCounts, ReleaseState, ReleaseStatus};
