//! Signals that end the program.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Gives a token that SIGTERM or SIGINT cancels. A second signal ends the program at once: the operator insists.
pub(crate) fn on_signal() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let cancelled = token.clone();
    // Owned by the runtime, which ends after everything else: the task waits for signals as long as the program lives.
    tokio::spawn(async move {
        for insisted in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if insisted {
                tracing::warn!("second signal: ending at once");
                std::process::exit(130);
            }
            tracing::info!("draining: no new connections, requests in flight finish");
            cancelled.cancel();
        }
    });
    Ok(token)
}
