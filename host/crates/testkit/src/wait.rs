//! Waiting on conditions.

use std::time::{Duration, Instant};

/// What is not there by then will not come. Long, because a busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until a condition holds.
///
/// # Panics
/// Where it does not hold in time; `what` says what was waited for.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let latest = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < latest, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits for a future, but not for ever.
///
/// # Panics
/// Where it takes too long.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it takes too long")
}
