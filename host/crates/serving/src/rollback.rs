//! Takes a new plugin that keeps failing out again.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::in_force::InForce;

/// How often a probation is looked at without a failure that says so: for faults that no route saw, and for its end.
const TICK: Duration = Duration::from_secs(1);

/// The least time between two looks, so that a storm of failures is not answered by a storm of looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Watches the plugins on probation until it is stopped.
pub(crate) async fn watch(in_force: Arc<InForce>, stop: CancellationToken) {
    loop {
        let tick = in_force.read(|state| state.plugins.keep_any());
        tokio::select! {
            () = stop.cancelled() => return,
            () = in_force.faults.notified() => {}
            () = tokio::time::sleep(TICK), if tick => {}
        }
        if in_force.read(|state| state.plugins.keep_any()) {
            look(&in_force);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn look(in_force: &InForce) {
    let config = in_force.config.load_full();
    let (faults, probation) = (config.rollback_after_faults, config.probation());
    let due = in_force.read(|state| {
        state.plugins.roll_back_due(faults, probation) || state.probation_over(probation)
    });
    if due {
        in_force.change(|state, effects| {
            state.plugins.roll_back(faults, probation, effects);
            state.end_probation(probation, effects);
        });
    }
}
