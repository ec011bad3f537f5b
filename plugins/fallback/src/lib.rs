//! Chooses the first candidate that is well, in an order of preference. `README.md` has the settings.

mod choices;
mod health;
mod settings;
#[cfg(test)]
mod tests;

use wharf_plugin_sdk::{
    Candidate, Error, Lifecycle, Metric, Plugin, Request, Result, Router, sticky,
};

use choices::{Choices, METRICS, NONE_WELL, PROBES};
use health::{Cause, Health, PassedOver};
use settings::{Otherwise, Settings};

struct Fallback {
    settings: Settings,
    health: Health,
    choices: Choices,
}

impl Plugin for Fallback {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        settings.check()?;
        Ok(Self {
            health: Health::default(),
            choices: Choices::of(&settings),
            settings,
        })
    }
}

impl Router for Fallback {
    fn route(&self, request: &Request, candidates: &[Candidate]) -> Result<usize> {
        let ordered = self.ordered(candidates);
        let mut passed = Vec::new();
        let mut well = None;
        for place in &ordered {
            match self.health.of(&self.settings, place) {
                Some(why) => passed.push((place, why)),
                None => {
                    well = Some(place);
                    break;
                }
            }
        }
        // A latency is known by the requests that go there: without any it would never be seen to mend.
        let chosen = match (self.probed(request, &passed), well) {
            (Some(slow), _) => {
                PROBES.add(1);
                slow
            }
            (None, Some(well)) => well,
            (None, None) => self.otherwise(&ordered)?,
        };
        if let Some((preferred, why)) = passed.first()
            && preferred.index != chosen.index
        {
            choices::passed_over(why);
        }
        self.choices.chosen(chosen.label);
        Ok(chosen.index)
    }
}

impl Lifecycle for Fallback {
    const METRICS: &'static [Metric] = METRICS;

    fn metrics(settings: &Settings) -> Vec<Metric> {
        // Labels that make no metric are refused by `new`, which says what is wrong with them.
        if settings.check().is_err() {
            return Self::METRICS.to_vec();
        }
        let own = Self::METRICS.iter().copied();
        own.chain(Choices::of(settings).metrics()).collect()
    }
}

wharf_plugin_sdk::export!(Fallback: router, lifecycle);

/// A candidate that the order names.
struct Place<'a> {
    candidate: &'a Candidate,
    /// Its place among those that are offered.
    index: usize,
    /// The place of its label in the order.
    label: usize,
}

impl Fallback {
    /// The candidates that the order names, the preferred one first. Those of one label are in the order of the route file.
    fn ordered<'a>(&self, candidates: &'a [Candidate]) -> Vec<Place<'a>> {
        let place = |(index, candidate): (usize, &'a Candidate)| {
            let mut order = self.settings.order.iter();
            let label = order.position(|label| candidate.is_called(label))?;
            Some(Place {
                candidate,
                index,
                label,
            })
        };
        let mut places: Vec<Place<'_>> = candidates.iter().enumerate().filter_map(place).collect();
        places.sort_by_key(|place| place.label);
        places
    }

    /// The one that is chosen where none is well.
    fn otherwise<'p, 'c>(&self, ordered: &'p [Place<'c>]) -> Result<&'p Place<'c>> {
        let (Some(first), Some(last)) = (ordered.first(), ordered.last()) else {
            return Err(Error::unavailable(
                "no candidate of this route has a label that `order` names",
            ));
        };
        NONE_WELL.add(1);
        match self.settings.otherwise {
            Otherwise::First => Ok(first),
            Otherwise::Last => Ok(last),
            Otherwise::Refuse => Err(Error::unavailable(
                "every model of this route is busy or slow; try again later",
            )),
        }
    }

    /// One that was passed over for its latency alone, and gets this request all the same.
    fn probed<'p, 'c>(
        &self,
        request: &Request,
        passed: &[(&'p Place<'c>, PassedOver)],
    ) -> Option<&'p Place<'c>> {
        let share = self.settings.probe_percent / 100.0;
        let mut slow = passed
            .iter()
            .filter(|(_, why)| why.cause == Cause::Latency)
            .peekable();
        // The id costs a call of the host, so it is asked for only where it counts.
        slow.peek()?;
        let id = request.id();
        slow.find(|(place, _)| {
            let (model, version) = (
                place.candidate.model.as_bytes(),
                place.candidate.version.to_le_bytes(),
            );
            sticky::number(&[b"probe", id.as_bytes(), model, &version]) < share
        })
        .map(|(place, _)| *place)
    }
}
