//! The ability `secret`: values that the operator keeps for a plugin, in files or in the host's environment.
//!
//! What a plugin was granted is taken out of whatever the host writes about it: its lines, its output, its errors, its traps. A
//! file is looked at again every second, so a secret that was rotated reaches the next read without a reload.

mod hiding;
mod source;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use memchr::memmem;
use parking_lot::{Mutex, RwLock};
use serde::Deserialize;

use super::Granted;
use crate::Config;
pub use source::SecretSource;
use source::{Place, SecretText};

/// The values that a secret had before, and that an instance may still hold.
const VALUES_BEFORE: usize = 4;

/// `[grants.secret]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Grant {
    names: Vec<String>,
}

impl Granted for Grant {
    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.names.is_empty() {
            let message = "must name the secrets, each of a [plugins.secrets.NAME] of wharf.toml";
            return Err(("names", message.to_owned()));
        }
        Ok(())
    }
}

/// Where the secrets come from, and those that plugins have open.
pub(crate) struct Secrets {
    sources: BTreeMap<String, SecretSource>,
    open: Mutex<Vec<Weak<Kept>>>,
}

/// A secret that a plugin has open.
struct Kept {
    name: String,
    place: Place,
    values: RwLock<Arc<Values>>,
    /// Whether the log has said that it cannot be read again.
    complained: AtomicBool,
}

struct Values {
    now: SecretText,
    /// The last ones first.
    before: Vec<SecretText>,
}

impl Secrets {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            sources: config.secrets.clone(),
            open: Mutex::default(),
        }
    }

    /// Reads what is granted, for a plugin of a site.
    ///
    /// # Errors
    /// The key of the grant, and which secret is missing.
    pub(crate) fn open(&self, grant: Grant, site: &Path) -> Result<Secret, (String, String)> {
        let refused = |message: String| ("names".to_owned(), message);
        let mut kept = Vec::new();
        for name in grant.names {
            let source = self.sources.get(&name).ok_or_else(|| {
                refused(format!(
                    "there is no secret {name:?}: set [plugins.secrets.{name}] in wharf.toml, with env or file"
                ))
            })?;
            let place = source.place(site);
            let now = place.read().map_err(|problem| {
                let setting = place.setting();
                refused(format!(
                    "the secret {name:?} is missing: plugins.secrets.{name}.{setting} of wharf.toml names {problem}"
                ))
            })?;
            kept.push(Arc::new(Kept {
                name,
                place,
                values: RwLock::new(Arc::new(Values {
                    now,
                    before: Vec::new(),
                })),
                complained: AtomicBool::new(false),
            }));
        }
        let mut open = self.open.lock();
        open.retain(|secret| secret.strong_count() > 0);
        open.extend(kept.iter().map(Arc::downgrade));
        Ok(Secret { kept })
    }

    /// Reads the files again.
    pub(crate) fn refresh(&self) {
        let open: Vec<_> = {
            let mut open = self.open.lock();
            open.retain(|secret| secret.strong_count() > 0);
            open.iter().filter_map(Weak::upgrade).collect()
        };
        for secret in open {
            secret.refresh();
        }
    }
}

impl Kept {
    fn refresh(&self) {
        if !self.place.may_change() {
            return;
        }
        let secret = &self.name;
        match self.place.read() {
            Ok(now) => {
                self.complained.store(false, Ordering::Relaxed);
                if self.take_over(now) {
                    tracing::info!(%secret, "secret has a new value");
                }
            }
            Err(problem) => {
                if !self.complained.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%secret, %problem, "secret cannot be read again, and keeps its value; mend its file");
                }
            }
        }
    }

    /// Says whether the value is another one.
    fn take_over(&self, now: SecretText) -> bool {
        let old = self.values.read().clone();
        if *old.now == *now {
            return false;
        }
        let before = std::iter::once(&old.now).chain(&old.before);
        let before = before.take(VALUES_BEFORE).cloned().collect();
        *self.values.write() = Arc::new(Values { now, before });
        true
    }
}

/// What a plugin was granted.
pub(crate) struct Secret {
    kept: Vec<Arc<Kept>>,
}

impl Secret {
    /// The value of a secret; none where it is not granted.
    pub(crate) fn read(&self, name: &str) -> Option<String> {
        let kept = self.kept.iter().find(|kept| kept.name == name)?;
        let values = kept.values.read().clone();
        Some(values.now.to_string())
    }

    /// Whether bytes have a secret in them.
    pub(crate) fn is_in(&self, bytes: &[u8]) -> bool {
        let values = self.values();
        (patterns(&values).iter()).any(|pattern| memmem::find(bytes, pattern.as_bytes()).is_some())
    }

    /// The first bytes of a text, without secrets.
    pub(crate) fn hide<'t>(&self, text: &'t str, bytes: usize) -> Cow<'t, str> {
        let values = self.values();
        hiding::hide(&patterns(&values), text, bytes)
    }

    /// A text whose beginning is lost, without secrets and without what the loss left of one.
    pub(crate) fn hide_in_rest(&self, text: &str) -> String {
        let values = self.values();
        let patterns = patterns(&values);
        hiding::hide(&patterns, hiding::without_rest(&patterns, text), usize::MAX).into_owned()
    }

    fn values(&self) -> Vec<Arc<Values>> {
        let now = |kept: &Arc<Kept>| Arc::clone(&kept.values.read());
        self.kept.iter().map(now).collect()
    }
}

/// What must not be seen: the values, and the lines of those that have several.
fn patterns(values: &[Arc<Values>]) -> Vec<&str> {
    let texts = values
        .iter()
        .flat_map(|values| std::iter::once(&values.now).chain(&values.before));
    texts.flat_map(|text| hiding::patterns(text)).collect()
}

#[cfg(test)]
mod tests;
