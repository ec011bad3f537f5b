//! Takes a new release of a plugin that fails where the release before it does not out again.
//!
//! What a client sends must not decide which release serves. So a call that fails says nothing by itself: the release before
//! is asked the same, here and not in the request's way. Only where it answers does the failure count against the new one.
//! A plugin whose abilities reach outside does so a second time then, for an input that came to nothing the first time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::guarded::Suspect;
use crate::in_force::InForce;

/// How often a probation is looked at without a failure that says so: for its end.
const TICK: Duration = Duration::from_secs(1);

/// The least time between two looks, so that a storm of failures is not answered by a storm of looks.
const PAUSE: Duration = Duration::from_millis(10);

/// What asking the release before may take of a thread: one part of so many. Inputs that keep both releases busy for long
/// would double the work that a client can cause otherwise.
const SHARE: u32 = 5;

/// Watches the plugins on probation until it is stopped.
pub(crate) async fn watch(in_force: Arc<InForce>, stop: CancellationToken) {
    stop.run_until_cancelled(async {
        loop {
            let tick = in_force.read(|state| state.plugins.keep_any());
            tokio::select! {
                () = in_force.faults.notified() => {}
                () = tokio::time::sleep(TICK), if tick => {}
            }
            look(&in_force);
            while let Some(suspect) = in_force.guards.suspect() {
                let began = Instant::now();
                compare(&in_force, &suspect).await;
                look(&in_force);
                tokio::time::sleep(began.elapsed() * (SHARE - 1)).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
}

/// Asks the release before what a new one failed at.
async fn compare(in_force: &InForce, suspect: &Suspect) {
    let probation = in_force.config.load().probation();
    let before = in_force.read(|state| state.plugins.release_before(suspect, probation));
    let Some(before) = before else { return };
    let answered = suspect.is_answered_by(&before).await;
    tracing::debug!(
        plugin = %suspect.plugin, release = %suspect.release, request_id = %suspect.request.id, answered,
        "the release before was asked what a new one failed at"
    );
    if answered {
        in_force.read(|state| state.plugins.regressed(suspect, probation));
    }
}

fn look(in_force: &InForce) {
    if !in_force.read(|state| state.plugins.keep_any()) {
        return;
    }
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
