//! What operators order of bundles: done by the task of the site between its looks.

use tokio::time::sleep;
use wharf_core::{Error, Name, Result};

use super::SiteTask;
use crate::bundle::{BundleOrder, Carried, save};
use crate::site::Look;

/// The most looks at a release that is ordered while it is written.
const MOST_LOOKS: u32 = 3;

impl SiteTask {
    /// Carries an order out. Where it needs a release that is not loaded, that is loaded first, and nothing changes where it cannot be.
    pub(super) async fn order(&mut self, bundle: &Name, order: BundleOrder) -> Result<()> {
        let quiet = self.in_force.config.load().debounce();
        let mut order = order;
        for look in 1..=MOST_LOOKS {
            let mut carried = Err(Error::internal("the order was not carried out"));
            self.in_force.change(|state, effects| {
                carried = state.bundles.order(bundle, order, effects);
            });
            let Carried::ToLoad(release) = carried? else {
                break;
            };
            let (_, unsettled) = self.pass(Look::Rescan(quiet)).await;
            // This look took the changes that would have led to another one.
            self.unsettled |= unsettled && self.watch;
            let carried = self
                .in_force
                .read(|state| state.bundles.carried(bundle, release));
            let again = carried.is_err() && unsettled && look < MOST_LOOKS;
            if !again {
                carried?;
                break;
            }
            // It was written just now. What was meant is settled: there may be a trial by then.
            order = BundleOrder::Promote(Some(release));
            let stop = self.stop.clone();
            if stop.run_until_cancelled(sleep(quiet)).await.is_none() {
                return carried;
            }
        }
        save(&self.in_force).await;
        Ok(())
    }
}
