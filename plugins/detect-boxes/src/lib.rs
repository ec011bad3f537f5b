//! Turns the boxes and scores of a detector into the objects that it found: the best class of each box, a threshold, and
//! non-maximum suppression. `README.md` has the settings.

mod answer;
mod candidates;
mod outputs;
mod settings;
mod suppress;
#[cfg(test)]
mod tests;

use wharf_plugin_sdk::{Lifecycle, Metric, Payload, Plugin, Postprocess, Request, Result};

use settings::{Ready, Settings};

/// Objects that were found.
const OBJECTS: Metric = Metric::counter("detect_boxes_objects_total", "Objects found.");

struct DetectBoxes {
    settings: Ready,
}

impl Plugin for DetectBoxes {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self {
            settings: settings.check()?,
        })
    }
}

impl Postprocess for DetectBoxes {
    fn postprocess(&self, _request: &Request, output: Payload) -> Result<Payload> {
        let settings = &self.settings;
        let outputs = outputs::read(settings, output)?;
        let images = (0..outputs.images())
            .map(|image| {
                let found = candidates::of(settings, &outputs, image)?;
                Ok(suppress::suppress(settings, found))
            })
            .collect::<Result<Vec<_>>>()?;
        OBJECTS.add(images.iter().map(|objects| objects.len() as u64).sum());
        answer::answer(settings, &images)
    }
}

impl Lifecycle for DetectBoxes {
    const METRICS: &'static [Metric] = &[OBJECTS];
}

wharf_plugin_sdk::export!(DetectBoxes: postprocess, lifecycle);
