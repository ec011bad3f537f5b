//! Sends each user to one variant of an experiment, and counts who saw which. `README.md` has the settings.

mod exposures;
mod settings;
#[cfg(test)]
mod tests;

use wharf_plugin_sdk::{
    Candidate, Error, Lifecycle, Metric, Plugin, Request, Result, Router, sticky,
};

use exposures::{Exposures, FORCED, METRICS, UNKEYED};
use settings::{Settings, StickyBy};

struct AbTest {
    settings: Settings,
    exposures: Exposures,
}

impl Plugin for AbTest {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        settings.check()?;
        Ok(Self {
            exposures: Exposures::of(&settings),
            settings,
        })
    }
}

impl Router for AbTest {
    fn route(&self, request: &Request, candidates: &[Candidate]) -> Result<usize> {
        let key = self.key(request);
        let forced = self.forced(request)?;
        let variant = match (forced, &key) {
            (Some(variant), _) => variant,
            (None, Some(key)) => self.drawn(key)?,
            (None, None) => self.drawn(&request.id())?,
        };
        let chosen = self.candidate(variant, request, candidates)?;
        // Counted once the request has somewhere to go: what is refused has seen nothing.
        match (forced, &key) {
            (Some(_), _) => FORCED.add(1),
            (None, key) => {
                self.exposures.add(variant);
                if key.is_none() {
                    UNKEYED.add(1);
                }
            }
        }
        Ok(chosen)
    }
}

impl Lifecycle for AbTest {
    const METRICS: &'static [Metric] = METRICS;

    fn metrics(settings: &Settings) -> Vec<Metric> {
        // Names that make no metric are refused by `new`, which says what is wrong with them.
        if settings.check().is_err() {
            return Self::METRICS.to_vec();
        }
        let own = Self::METRICS.iter().copied();
        own.chain(Exposures::of(settings).metrics()).collect()
    }
}

wharf_plugin_sdk::export!(AbTest: router, lifecycle);

impl AbTest {
    /// What a user is known by; none where the request does not say.
    fn key(&self, request: &Request) -> Option<String> {
        let settings = &self.settings;
        let key = match settings.sticky_by {
            StickyBy::Header => {
                let name = settings.sticky_header.as_ref();
                name.and_then(|name| request.header(name.as_str()))
            }
            StickyBy::Tenant => request.tenant(),
            StickyBy::Request => Some(request.id()),
        };
        key.filter(|key| !key.is_empty())
    }

    /// The place of the variant that the request asks for by name.
    fn forced(&self, request: &Request) -> Result<Option<usize>> {
        let Some(header) = &self.settings.force_header else {
            return Ok(None);
        };
        let Some(asked) = request.header(header.as_str()) else {
            return Ok(None);
        };
        let mut names = self.settings.variants.keys();
        let found = names.position(|name| *name == asked);
        let known = || {
            let names: Vec<&str> = self.settings.variants.keys().map(String::as_str).collect();
            names.join(", ")
        };
        match found {
            Some(variant) => Ok(Some(variant)),
            None => Err(Error::invalid_field(
                header.as_str(),
                format!(
                    "names no variant of this experiment; there are: {}",
                    known()
                ),
            )),
        }
    }

    /// The place of the variant that a key is drawn to.
    fn drawn(&self, key: &str) -> Result<usize> {
        let experiment = &self.settings.experiment;
        let options = self.settings.variants.iter().map(|(name, variant)| {
            let parts = [experiment.as_bytes(), key.as_bytes(), name.as_bytes()];
            (sticky::number(&parts), variant.weight)
        });
        sticky::choose(options).ok_or_else(|| Error::failed("no variant has a weight above 0"))
    }

    /// A candidate of the variant. Where several have its label, the request says which: users stay with the variant.
    fn candidate(
        &self,
        variant: usize,
        request: &Request,
        candidates: &[Candidate],
    ) -> Result<usize> {
        let label = self.settings.label(variant);
        // The id of a request costs a call of the host, which a variant with one candidate does not need.
        let mut named = candidates
            .iter()
            .filter(|candidate| candidate.is_called(label));
        let id = match (named.next(), named.next()) {
            (Some(_), Some(_)) => request.id(),
            _ => String::new(),
        };
        let options = candidates.iter().map(|candidate| {
            let (model, version) = (&candidate.model, candidate.version.to_le_bytes());
            let number = sticky::number(&[id.as_bytes(), model.as_bytes(), &version]);
            (number, if candidate.is_called(label) { 1.0 } else { 0.0 })
        });
        // Another variant in its place would spoil the experiment without a word.
        sticky::choose(options).ok_or_else(|| {
            Error::unavailable(format!(
                "no candidate of this route has the label `{label}`, which this request's variant needs"
            ))
        })
    }
}
