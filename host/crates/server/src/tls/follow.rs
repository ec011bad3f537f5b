//! Follows the files of a listener's certificate.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use wharf_core::Digest;

use super::credentials::{Loaded, Wrong, load_other};
use super::{Tls, expiry};

/// How often the files are compared. They have a few kilobytes, so that reading them is cheaper than any cleverness, which
/// file systems of secrets defeat anyway.
const PERIOD: Duration = Duration::from_secs(1);

/// What was seen of the files.
struct Seen {
    in_force: Digest,
    /// Content that is wrong, once seen: whoever writes the certificate has perhaps still to write the key.
    suspect: Option<Digest>,
    /// Content that was refused: said once.
    refused: Option<Digest>,
}

impl Tls {
    /// Puts new content in force until the listener ends.
    pub(crate) async fn follow(self: Arc<Self>, ended: CancellationToken) {
        let mut period = tokio::time::interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = Seen {
            in_force: self.opened,
            suspect: None,
            refused: None,
        };
        loop {
            tokio::select! {
                biased;
                () = ended.cancelled() => return,
                _ = period.tick() => {}
            }
            let (this, in_force) = (Arc::clone(&self), seen.in_force);
            let looking = move || load_other(&this.config, in_force);
            match tokio::task::spawn_blocking(looking).await {
                Ok(None) => (seen.suspect, seen.refused) = (None, None),
                Ok(Some((digest, loaded))) => self.consider(&mut seen, digest, loaded),
                Err(error) => tracing::error!(%error, "the files of TLS were not read"),
            }
        }
    }

    fn consider(&self, seen: &mut Seen, digest: Digest, loaded: Result<Loaded, Wrong>) {
        let loaded = loaded.and_then(|loaded| match expiry::is_past(loaded.expires) {
            // It would take the place of one that may still be good.
            true => Err(Wrong {
                key: "certificate",
                message: "has expired; put a renewed one there".to_owned(),
            }),
            false => Ok(loaded),
        });
        let section = self.section.name();
        match loaded {
            Ok(Loaded { server, expires }) => {
                // Sessions that were agreed on with the old one are not resumed: the cache of sessions is the new one's.
                self.current.store(server);
                self.metrics.in_force(expires);
                self.metrics.reloaded();
                *seen = Seen {
                    in_force: digest,
                    suspect: None,
                    refused: None,
                };
                tracing::info!(section, "a new certificate is in force");
            }
            Err(_) if seen.suspect != Some(digest) => seen.suspect = Some(digest),
            Err(Wrong { key, message }) if seen.refused != Some(digest) => {
                seen.refused = Some(digest);
                self.metrics.refused();
                let key = format!("server.{section}.{key}");
                tracing::warn!(
                    key,
                    message,
                    "the new certificate is refused, and the one before stays in force"
                );
            }
            Err(_) => {}
        }
    }
}
