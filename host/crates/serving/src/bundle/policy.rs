//! `bundles/NAME/bundle.toml`: how new releases are tried.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use wharf_core::{LoadError, Name};

/// How the releases of a bundle follow each other. Every key is optional.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Policy {
    /// The release that serves, whatever others there are.
    pub(crate) release: Option<u64>,
    /// Who promotes.
    pub(crate) mode: Mode,
    /// The shares of the traffic that a new release gets, one after the other.
    share_percent: Vec<f64>,
    /// How long each of them holds at least, in seconds.
    step_s: u64,
    /// The requests that the new release has answered before the next one begins.
    pub(crate) min_requests: u64,
    /// How much higher its rate of faults may be than that of the release in force.
    pub(crate) max_error_increase: f64,
    /// How many times as long its slowest requests may take; 0 for any time.
    pub(crate) max_latency_ratio: f64,
    /// The header field whose value decides which release a request goes to.
    pub(crate) sticky_header: Option<Arc<str>>,
}

/// Who promotes a release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// The host, when its last step is over.
    #[default]
    Auto,
    /// An operator. What does badly is rolled back all the same.
    Manual,
}

impl Mode {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Manual => "manual",
        }
    }
}

/// A day; a longer step is a mistake of unit.
const MAX_STEP_S: u64 = 86_400;

impl Default for Policy {
    fn default() -> Self {
        Self {
            release: None,
            mode: Mode::Auto,
            share_percent: vec![5.0, 25.0, 50.0],
            step_s: 60,
            min_requests: 100,
            max_error_increase: 0.01,
            max_latency_ratio: 1.5,
            sticky_header: None,
        }
    }
}

impl Policy {
    /// What holds while the settings of a bundle have never been read: nothing new is tried.
    pub(crate) fn unread() -> Self {
        Self {
            mode: Mode::Manual,
            share_percent: Vec::new(),
            ..Self::default()
        }
    }

    /// The shares of the steps, from 0 to 1. Without any, a release that the host promotes has all of the traffic at once,
    /// and the one before it is kept for one step.
    pub(crate) fn shares(&self) -> Vec<f64> {
        match (self.share_percent.is_empty(), self.mode) {
            (true, Mode::Auto) => vec![1.0],
            _ => self
                .share_percent
                .iter()
                .map(|share| share / 100.0)
                .collect(),
        }
    }

    pub(crate) fn step(&self) -> Duration {
        Duration::from_secs(self.step_s)
    }

    /// The first key that is out of its range, and what is wrong.
    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let rising = self.share_percent.is_sorted_by(|a, b| a < b);
        let shares = self.share_percent.iter();
        if !rising || !shares.clone().all(|share| *share > 0.0 && *share <= 100.0) {
            return Err(("share_percent", "use rising numbers above 0 and up to 100"));
        }
        if self.release == Some(0) {
            return Err(("release", "releases count from 1"));
        }
        if self.step_s > MAX_STEP_S {
            return Err(("step_s", "use 0 to 86400"));
        }
        if self.min_requests > 1_000_000_000 {
            return Err(("min_requests", "use 0 to 1000000000"));
        }
        if !(0.0..=1.0).contains(&self.max_error_increase) {
            return Err(("max_error_increase", "is a rate: use 0 to 1"));
        }
        let ratio = self.max_latency_ratio;
        if ratio != 0.0 && !(1.0..=1000.0).contains(&ratio) {
            return Err((
                "max_latency_ratio",
                "use 1 to 1000, or 0 to judge by faults alone",
            ));
        }
        let is_token = |name: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            !name.is_empty() && name.len() <= 128 && name.bytes().all(plain)
        };
        if !self.sticky_header.as_deref().is_none_or(is_token) {
            return Err(("sticky_header", "is no name of a header field"));
        }
        Ok(())
    }
}

/// Parses the text of a bundle's settings.
///
/// # Errors
/// Where it is no TOML of this schema, or a value is out of its range.
pub(crate) fn parse(bundle: &Name, text: &str) -> Result<Policy, LoadError> {
    let file = format!("bundles/{bundle}/bundle.toml");
    let wrong = |error: &toml::de::Error, key: Option<String>| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| 1 + before.matches('\n').count());
        let refused = LoadError::new(&file, format!("line {line}: {}", error.message().trim()));
        match key {
            Some(key) => refused.with_key(key),
            None => refused,
        }
    };
    let document = toml::Deserializer::parse(text).map_err(|error| wrong(&error, None))?;
    let policy: Policy = serde_path_to_error::deserialize(document).map_err(|error| {
        let key = Some(error.path().to_string()).filter(|path| path != ".");
        wrong(error.inner(), key)
    })?;
    policy
        .check()
        .map_err(|(key, message)| LoadError::new(&file, message).with_key(key))?;
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use wharf_testkit::{Reference, known_keys};

    use super::*;

    const REFERENCE: &str = include_str!("../../../../reference/bundle.toml");

    fn parsed(text: &str) -> Result<Policy, LoadError> {
        parse(&Name::new("b").unwrap(), text)
    }

    #[test]
    fn each_refusal_names_the_key() {
        for (text, key) in [
            ("share = 1", "share"),
            ("share_percent = [5, 5]", "share_percent"),
            ("share_percent = [0]", "share_percent"),
            ("share_percent = [50, 101]", "share_percent"),
            ("share_percent = [nan]", "share_percent"),
            ("release = 0", "release"),
            ("mode = 'none'", "mode"),
            ("step_s = 100000", "step_s"),
            ("step_s = -1", "step_s"),
            ("max_error_increase = 1.5", "max_error_increase"),
            ("max_latency_ratio = 0.5", "max_latency_ratio"),
            ("sticky_header = 'a b'", "sticky_header"),
        ] {
            let error = parsed(text).unwrap_err();
            assert_eq!(error.key.as_deref(), Some(key), "{text}: {error}");
            assert_eq!(error.file, "bundles/b/bundle.toml");
        }
        assert!(parsed("mode = ").unwrap_err().key.is_none());
    }

    #[test]
    fn without_steps_a_release_has_all_at_once_unless_an_operator_promotes() {
        assert_eq!(parsed("").unwrap().shares(), [0.05, 0.25, 0.5]);
        assert_eq!(parsed("share_percent = []").unwrap().shares(), [1.0]);
        let manual = parsed("share_percent = []\nmode = 'manual'").unwrap();
        assert!(manual.shares().is_empty());
    }

    #[test]
    fn the_reference_has_every_key_with_its_default() {
        let reference = Reference::new(REFERENCE);
        let error = parsed("unknown_key = 1").unwrap_err();
        for key in known_keys(&error.message) {
            assert!(
                reference.has("", key),
                "host/reference/bundle.toml lacks {key}"
            );
        }
        assert!(parsed(reference.text()).is_ok());
        assert_eq!(parsed(REFERENCE).unwrap(), Policy::default());
    }
}
