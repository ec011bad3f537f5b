//! The task that looks at releases on trial, and the writing of what became of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::in_force::InForce;

/// How often a trial is looked at without a fault that says so.
const TICK: Duration = Duration::from_millis(250);

/// The least time between two looks, so that a storm of faults is not answered by a storm of looks.
const PAUSE: Duration = Duration::from_millis(2);

/// Watches the releases on trial until it is stopped.
pub(crate) async fn watch(in_force: Arc<InForce>, stop: CancellationToken) {
    stop.run_until_cancelled(async {
        loop {
            let tick = in_force.read(|state| state.bundles.on_trial());
            tokio::select! {
                () = in_force.noticed.notified() => {}
                () = tokio::time::sleep(TICK), if tick => {}
            }
            if in_force.read(|state| state.bundles.verdict_due()) {
                in_force.change(|state, effects| state.bundles.carry_out(effects));
                save(&in_force).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
}

/// Writes what became of releases, where that is not on disk yet. What cannot be written holds until the process ends.
pub(crate) async fn save(in_force: &Arc<InForce>) {
    if !in_force.read(|state| state.bundles.unsaved()) {
        return;
    }
    let in_force = Arc::clone(in_force);
    if let Err(error) = spawn_blocking(move || in_force.save_bundles()).await
        && error.is_panic()
    {
        tracing::error!(%error, "writing what became of a bundle panicked; this is a bug");
    }
}
