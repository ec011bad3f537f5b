//! Follows what upstreams tell of themselves between two looks at the site.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::in_force::InForce;

/// The least time between two swaps, so that peers that come and go are no storm of them.
const PAUSE: Duration = Duration::from_millis(10);

/// Puts in force what upstreams learnt, until it is stopped.
pub(crate) async fn watch(in_force: Arc<InForce>, stop: CancellationToken) {
    stop.run_until_cancelled(async {
        loop {
            in_force.upstreams_changed.notified().await;
            in_force.change(|_, _| {});
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
}
