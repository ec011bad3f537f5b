//! The settings, and what they mean once they are checked.

use serde::Deserialize;
use wharf_plugin_sdk::{Error, Result};

/// The most boxes that an image may keep, so that their comparison stays short.
const MAX_BOXES: usize = 10_000;

/// `[settings]` of `plugins/detect-boxes.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    layout: Layout,
    #[serde(default)]
    name: String,
    #[serde(default)]
    boxes: String,
    #[serde(default)]
    scores: String,
    box_format: Option<BoxFormat>,
    #[serde(default)]
    units: Units,
    answer_units: Option<Units>,
    width: Option<f32>,
    height: Option<f32>,
    background: Option<usize>,
    #[serde(default = "default_score_threshold")]
    score_threshold: f32,
    #[serde(default = "default_iou_threshold")]
    iou_threshold: f32,
    #[serde(default)]
    across_classes: bool,
    #[serde(default = "default_max_boxes")]
    max_boxes: usize,
    #[serde(default = "default_max_candidates")]
    max_candidates: usize,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    answer: Answer,
}

/// How the model's outputs are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Layout {
    /// `[images, boxes, 4 + 1 + classes]`: a box, whether it is an object, and a score each class.
    Yolov5,
    /// `[images, 4 + classes, boxes]`.
    Yolov8,
    /// Two outputs: boxes `[images, boxes, 4]` and scores `[images, boxes, classes]`.
    Ssd,
}

/// What the four numbers of a box are.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BoxFormat {
    /// Left, top, right, bottom.
    Xyxy,
    /// Top, left, bottom, right.
    Yxyx,
    /// Left, top, width, height.
    Xywh,
    /// The middle, width, height.
    Cxcywh,
}

/// What the numbers of a box count.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Units {
    #[default]
    Pixels,
    /// Parts of the image's width and height, 0 to 1.
    Normalised,
}

/// What the client gets.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    #[default]
    Json,
    Tensors,
}

/// A number for each axis: across, and down.
type Pair = (f32, f32);

/// Settings that were checked.
pub(crate) struct Ready {
    pub(crate) layout: Layout,
    /// The output of `Yolov5` and `Yolov8`; empty for the only one.
    pub(crate) name: String,
    /// The outputs of `Ssd`.
    pub(crate) boxes: String,
    pub(crate) scores: String,
    pub(crate) box_format: BoxFormat,
    /// The right and bottom end of the image in the units of the model, where they are known: boxes end there.
    pub(crate) clip: Option<Pair>,
    /// What the numbers of the model are multiplied by for the answer.
    pub(crate) scale: Pair,
    pub(crate) background: Option<usize>,
    pub(crate) score_threshold: f32,
    pub(crate) iou_threshold: f32,
    pub(crate) across_classes: bool,
    pub(crate) max_boxes: usize,
    pub(crate) max_candidates: usize,
    pub(crate) labels: Vec<String>,
    pub(crate) answer: Answer,
}

impl Settings {
    pub(crate) fn check(self) -> Result<Ready> {
        self.check_names()?;
        for (name, threshold) in [
            ("score_threshold", self.score_threshold),
            ("iou_threshold", self.iou_threshold),
        ] {
            if !(0.0..=1.0).contains(&threshold) {
                return Err(Error::invalid_field(name, "give a number from 0 to 1"));
            }
        }
        if !(1..=MAX_BOXES).contains(&self.max_boxes) {
            return Err(Error::invalid_field(
                "max_boxes",
                format!("give a number from 1 to {MAX_BOXES}"),
            ));
        }
        if self.max_candidates < self.max_boxes {
            return Err(Error::invalid_field(
                "max_candidates",
                "give at least `max_boxes`: those are chosen among the candidates",
            ));
        }
        let (clip, scale) = self.sizes()?;
        let centred = !matches!(self.layout, Layout::Ssd);
        Ok(Ready {
            layout: self.layout,
            box_format: self.box_format.unwrap_or(if centred {
                BoxFormat::Cxcywh
            } else {
                BoxFormat::Xyxy
            }),
            name: self.name,
            boxes: self.boxes,
            scores: self.scores,
            clip,
            scale,
            background: self.background,
            score_threshold: self.score_threshold,
            iou_threshold: self.iou_threshold,
            across_classes: self.across_classes,
            max_boxes: self.max_boxes,
            max_candidates: self.max_candidates,
            labels: self.labels,
            answer: self.answer,
        })
    }

    fn check_names(&self) -> Result<()> {
        let ssd = self.layout == Layout::Ssd;
        for (setting, name) in [("boxes", &self.boxes), ("scores", &self.scores)] {
            if ssd && name.is_empty() {
                return Err(Error::invalid_field(
                    setting,
                    format!("name the model's output with the {setting}"),
                ));
            }
            if !ssd && !name.is_empty() {
                return Err(Error::invalid_field(
                    setting,
                    "is for the layout `ssd` alone: give `name`",
                ));
            }
        }
        if ssd && !self.name.is_empty() {
            return Err(Error::invalid_field(
                "name",
                "is not for the layout `ssd`: give `boxes` and `scores`",
            ));
        }
        if ssd && self.boxes == self.scores {
            return Err(Error::invalid_field(
                "scores",
                "is the output that `boxes` names: name another one",
            ));
        }
        Ok(())
    }

    /// Where boxes end, and the factors for the answer.
    fn sizes(&self) -> Result<(Option<Pair>, Pair)> {
        for (name, side) in [("width", self.width), ("height", self.height)] {
            if side.is_some_and(|side| !(1.0..=1e6).contains(&side)) {
                return Err(Error::invalid_field(
                    name,
                    "give the pixels of the image that the model takes",
                ));
            }
        }
        let size = match (self.width, self.height) {
            (Some(width), Some(height)) => Some((width, height)),
            (None, None) => None,
            (None, _) => {
                return Err(Error::invalid_field(
                    "width",
                    "goes with `height`: give both",
                ));
            }
            (_, None) => {
                return Err(Error::invalid_field(
                    "height",
                    "goes with `width`: give both",
                ));
            }
        };
        let scale = match (self.units, self.answer_units.unwrap_or(self.units), size) {
            (from, to, _) if from == to => (1.0, 1.0),
            (_, _, None) => {
                return Err(Error::invalid_field(
                    "answer_units",
                    "differs from `units`: give `width` and `height` too",
                ));
            }
            (Units::Pixels, _, Some((width, height))) => (1.0 / width, 1.0 / height),
            (Units::Normalised, _, Some(size)) => size,
        };
        let clip = match self.units {
            Units::Pixels => size,
            Units::Normalised => Some((1.0, 1.0)),
        };
        Ok((clip, scale))
    }
}

fn default_score_threshold() -> f32 {
    0.25
}

fn default_iou_threshold() -> f32 {
    0.45
}

fn default_max_boxes() -> usize {
    300
}

fn default_max_candidates() -> usize {
    4096
}
