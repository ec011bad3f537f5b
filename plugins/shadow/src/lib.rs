//! Gives another model a share of the requests as well, without the client waiting or noticing. `README.md` has the settings.

mod settings;
#[cfg(test)]
mod tests;

use wharf_plugin_sdk::model::Call;
use wharf_plugin_sdk::{
    Error, Lifecycle, Metric, Payload, Plugin, Preprocess, Request, Result, log, sticky,
};

use settings::Settings;

/// Requests that the target gets.
const MIRRORED: Metric = Metric::counter(
    "shadow_mirrored_total",
    "Requests that were left with the host for the target, too.",
);
/// Requests that it does not get, because as many as may be are under way.
const FULL: Metric = Metric::counter(
    "shadow_full_total",
    "Requests of the share that were not mirrored, because as many as may be were under way.",
);
/// Requests that it does not get for another reason.
const REFUSED: Metric = Metric::counter(
    "shadow_refused_total",
    "Requests of the share that were not mirrored, because the target is not there or not granted.",
);

struct Shadow {
    settings: Settings,
}

impl Plugin for Shadow {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        settings.check()?;
        Ok(Self { settings })
    }
}

impl Preprocess for Shadow {
    /// Gives back the payload that it was given, whatever becomes of the other.
    fn preprocess(&self, request: &Request, input: Payload) -> Result<Payload> {
        if self.is_of_the_share(request) {
            match self.call(&input).mirror() {
                Ok(()) => MIRRORED.add(1),
                Err(Error::Unavailable(_)) => FULL.add(1),
                Err(error) => {
                    REFUSED.add(1);
                    log::warn("a request was not mirrored", &[("error", &error)]);
                }
            }
        }
        Ok(input)
    }
}

impl Lifecycle for Shadow {
    const METRICS: &'static [Metric] = &[MIRRORED, FULL, REFUSED];
}

wharf_plugin_sdk::export!(Shadow: preprocess, lifecycle);

impl Shadow {
    /// Whether the target gets the request. A larger share has all those of a smaller one.
    fn is_of_the_share(&self, request: &Request) -> bool {
        let Settings {
            target, percent, ..
        } = &self.settings;
        if *percent == 100.0 {
            return true;
        }
        let key = self
            .settings
            .sticky_header
            .as_ref()
            .and_then(|name| request.header(name.as_str()))
            .filter(|value| !value.is_empty())
            .unwrap_or_else(|| request.id());
        sticky::number(&[b"shadow", target.as_bytes(), key.as_bytes()]) * 100.0 < *percent
    }

    /// A call with other handles of the same data.
    fn call(&self, input: &Payload) -> Call {
        let call = Call::new(&self.settings.target, input.share());
        match &self.settings.version {
            Some(version) => call.with_version(version),
            None => call,
        }
    }
}
