//! Chooses the candidate with a label, where the request asks for it by a header, and else the one with the least to do.

use serde::Deserialize;
use wharf_plugin_sdk::{Candidate, Error, Lifecycle, Plugin, Request, Result, Router};

struct LeastBusy {
    settings: Settings,
}

/// `[settings]` of the plugin's settings file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The header whose value is a label.
    header: String,
}

impl Plugin for LeastBusy {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.header.is_empty() {
            return Err(Error::invalid_field("header", "give the name of a header"));
        }
        Ok(Self { settings })
    }
}

impl Router for LeastBusy {
    fn route(&self, request: &Request, candidates: &[Candidate]) -> Result<usize> {
        if let Some(label) = request.header(&self.settings.header) {
            return candidates
                .iter()
                .position(|candidate| candidate.labels.contains(&label))
                .ok_or_else(|| Error::not_found(format!("no candidate has the label `{label}`")));
        }
        let busy = |index: &usize| {
            let candidate = &candidates[*index];
            u64::from(candidate.queue_depth) + u64::from(candidate.in_flight)
        };
        (0..candidates.len())
            .min_by_key(busy)
            .ok_or_else(|| Error::unavailable("there is no candidate"))
    }
}

impl Lifecycle for LeastBusy {}

wharf_plugin_sdk::export!(LeastBusy: router, lifecycle);

#[cfg(test)]
mod tests {
    use wharf_plugin_sdk::testing;

    use super::*;

    fn candidate(label: &str, queue_depth: u32) -> Candidate {
        Candidate {
            labels: vec![label.to_owned()],
            queue_depth,
            ..Candidate::default()
        }
    }

    #[test]
    fn the_least_busy_is_chosen_unless_a_label_is_asked_for() {
        let plugin: LeastBusy = testing::plugin(r#"{"header": "x-model"}"#).unwrap();
        let candidates = [candidate("stable", 7), candidate("canary", 1)];
        let request = Request::new("demo");
        assert_eq!(plugin.route(&request, &candidates).unwrap(), 1);
        let request = request.with_header("x-model", "stable");
        assert_eq!(plugin.route(&request, &candidates).unwrap(), 0);
    }
}
