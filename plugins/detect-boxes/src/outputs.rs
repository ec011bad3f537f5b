//! The model's outputs, checked against the layout. What is wrong with them is the model's or the operator's doing, never the
//! client's.

use wharf_plugin_sdk::{Error, Payload, Result, Tensor};

use crate::settings::{Layout, Ready};

/// The most images of one call. An output without boxes may claim any number without having any data.
const MAX_IMAGES: u64 = 4096;

/// What the model gave.
pub(crate) struct Outputs {
    dimensions: Dimensions,
    /// Boxes, and for all layouts but `Ssd` scores beside them.
    values: Vec<f32>,
    /// The scores of `Ssd`.
    scores: Vec<f32>,
}

#[derive(Clone, Copy)]
struct Dimensions {
    images: usize,
    boxes: usize,
    classes: usize,
}

/// The numbers of one image.
pub(crate) struct Image<'a> {
    pub(crate) boxes: usize,
    pub(crate) classes: usize,
    /// Boxes, and for all layouts but `Ssd` scores beside them.
    pub(crate) values: &'a [f32],
    /// The scores of `Ssd`.
    pub(crate) scores: &'a [f32],
}

impl Outputs {
    pub(crate) fn images(&self) -> usize {
        self.dimensions.images
    }

    pub(crate) fn image(&self, image: usize) -> Image<'_> {
        let Dimensions {
            images,
            boxes,
            classes,
        } = self.dimensions;
        let part = |values: &'_ [f32]| {
            let length = values.len() / images;
            image * length..(image + 1) * length
        };
        Image {
            boxes,
            classes,
            values: &self.values[part(&self.values)],
            scores: &self.scores[part(&self.scores)],
        }
    }
}

/// Reads what the settings name.
pub(crate) fn read(settings: &Ready, output: Payload) -> Result<Outputs> {
    match settings.layout {
        Layout::Ssd => {
            let tensors = output.tensors().map_err(of_the_model)?;
            let find = |name: &str| {
                let found = tensors.iter().find(|tensor| tensor.name() == name);
                found.ok_or_else(|| Error::failed(format!("the model gives no output `{name}`")))
            };
            let (boxes, scores) = (find(&settings.boxes)?, find(&settings.scores)?);
            let dimensions = ssd(settings, boxes, scores)?;
            Ok(Outputs {
                dimensions,
                values: floats(boxes)?,
                scores: floats(scores)?,
            })
        }
        Layout::Yolov5 | Layout::Yolov8 => {
            let tensor = output.tensor(&settings.name).map_err(|error| {
                let hint = "name the model's output in the setting `name`";
                Error::failed(format!("{}; {hint}", error.message()))
            })?;
            Ok(Outputs {
                dimensions: yolo(settings, &tensor)?,
                values: floats(&tensor)?,
                scores: Vec::new(),
            })
        }
    }
}

fn yolo(settings: &Ready, tensor: &Tensor) -> Result<Dimensions> {
    let (form, before) = match settings.layout {
        Layout::Yolov5 => ("[images, boxes, 5 + classes]", 5),
        _ => ("[images, 4 + classes, boxes]", 4),
    };
    let shape = tensor.shape();
    let sides = match (&shape[..], settings.layout) {
        ([images, boxes, row], Layout::Yolov5) => Some((*images, *boxes, *row)),
        ([images, row, boxes], _) => Some((*images, *boxes, *row)),
        _ => None,
    };
    let checked = sides.and_then(|(images, boxes, row)| {
        checked(settings, images, boxes, row.checked_sub(before)?)
    });
    checked.ok_or_else(|| unfit(settings, tensor, form))
}

fn ssd(settings: &Ready, boxes: &Tensor, scores: &Tensor) -> Result<Dimensions> {
    let (images, count) = match boxes.shape()[..] {
        [images, count, 4] => (images, count),
        _ => return Err(unfit(settings, boxes, "[images, boxes, 4]")),
    };
    let classes = match scores.shape()[..] {
        [of, boxes, classes] if (of, boxes) == (images, count) => classes,
        _ => {
            return Err(unfit(
                settings,
                scores,
                "[images, boxes, classes] with the boxes' first two",
            ));
        }
    };
    checked(settings, images, count, classes)
        .ok_or_else(|| unfit(settings, scores, "[images, boxes, classes]"))
}

/// The dimensions, where there is at least one image and one class, and a label each class.
fn checked(settings: &Ready, images: u64, boxes: u64, classes: u64) -> Option<Dimensions> {
    let labels = settings.labels.len() as u64;
    let fits = (1..=MAX_IMAGES).contains(&images)
        && classes > 0
        && (labels == 0 || labels == classes)
        && settings
            .background
            .is_none_or(|class| (class as u64) < classes);
    fits.then_some(Dimensions {
        images: usize::try_from(images).ok()?,
        boxes: usize::try_from(boxes).ok()?,
        classes: usize::try_from(classes).ok()?,
    })
}

fn unfit(settings: &Ready, tensor: &Tensor, form: &str) -> Error {
    let mut text = format!(
        "the tensor `{}` has the shape {:?}, and {form} is needed",
        tensor.name(),
        tensor.shape()
    );
    if !settings.labels.is_empty() {
        text += &format!(
            ", with {} classes for the setting `labels`",
            settings.labels.len()
        );
    }
    if let Some(class) = settings.background {
        text += &format!(", with more than {class} classes for the setting `background`");
    }
    Error::failed(text)
}

/// The elements of an output.
fn floats(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.floats().map_err(of_the_model)
}

fn of_the_model(error: Error) -> Error {
    Error::failed(error.to_string())
}
