//! From the numbers of one image to its candidates: the boxes whose best class reaches the threshold.

use wharf_plugin_sdk::{Error, Result};

use crate::outputs::{Image, Outputs};
use crate::settings::{BoxFormat, Layout, Ready};

/// A box with its best class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    /// Its index among the image's boxes.
    pub(crate) index: usize,
    pub(crate) class: usize,
    pub(crate) score: f32,
    /// Left, top, right, bottom, in the units of the model.
    pub(crate) corners: [f32; 4],
}

/// The candidates of an image, in the order of the model.
pub(crate) fn of(settings: &Ready, outputs: &Outputs, image: usize) -> Result<Vec<Candidate>> {
    let image = outputs.image(image);
    let best = match settings.layout {
        Layout::Yolov5 => objects(settings, &image)?,
        Layout::Yolov8 => columns(settings, &image)?,
        Layout::Ssd => rows(settings, &image)?,
    };
    let mut candidates = Vec::with_capacity(best.len());
    for Best {
        index,
        class,
        score,
    } in best
    {
        let numbers = match settings.layout {
            Layout::Yolov8 => std::array::from_fn(|side| image.values[side * image.boxes + index]),
            layout => {
                let width = if layout == Layout::Ssd {
                    4
                } else {
                    5 + image.classes
                };
                std::array::from_fn(|side| image.values[index * width + side])
            }
        };
        let corners = corners(settings, numbers).ok_or_else(|| {
            Error::failed(format!(
                "the model gave no finite numbers for the box {index}"
            ))
        })?;
        // A box without area is no object, and would overlap with none.
        if corners[2] > corners[0] && corners[3] > corners[1] {
            candidates.push(Candidate {
                index,
                class,
                score,
                corners,
            });
        }
    }
    Ok(candidates)
}

/// The best class of a box.
struct Best {
    index: usize,
    class: usize,
    score: f32,
}

/// `Yolov5`: most boxes are no objects, which one number of theirs says.
fn objects(settings: &Ready, image: &Image<'_>) -> Result<Vec<Best>> {
    let mut found = Vec::new();
    for (index, row) in image.values.chunks_exact(5 + image.classes).enumerate() {
        let object = row[4];
        if object < settings.score_threshold {
            continue;
        }
        let (class, score) = best_of(settings, &row[5..]);
        keep(settings, &mut found, (index, class, object * score))?;
    }
    Ok(found)
}

/// `Ssd`: a row of scores a box.
fn rows(settings: &Ready, image: &Image<'_>) -> Result<Vec<Best>> {
    let mut found = Vec::new();
    for (index, row) in image.scores.chunks_exact(image.classes).enumerate() {
        let (class, score) = best_of(settings, row);
        keep(settings, &mut found, (index, class, score))?;
    }
    Ok(found)
}

/// `Yolov8`: a row of scores a class. All boxes advance together, so that the loops are vector instructions.
fn columns(settings: &Ready, image: &Image<'_>) -> Result<Vec<Best>> {
    let boxes = image.boxes;
    if boxes == 0 {
        return Ok(Vec::new());
    }
    let mut scores = vec![f32::NEG_INFINITY; boxes];
    let mut classes = vec![0_u32; boxes];
    for (class, row) in image.values.chunks_exact(boxes).skip(4).enumerate() {
        if settings.background == Some(class) {
            continue;
        }
        let mut numbers = true;
        for ((best, best_class), score) in scores.iter_mut().zip(&mut classes).zip(row) {
            let better = *score > *best;
            *best_class = if better { class as u32 } else { *best_class };
            *best = if better { *score } else { *best };
            numbers &= !score.is_nan();
        }
        if !numbers {
            let index = row.iter().position(|score| score.is_nan()).unwrap_or(0);
            return Err(no_number(index));
        }
    }
    let mut found = Vec::new();
    for (index, (score, class)) in scores.into_iter().zip(classes).enumerate() {
        keep(settings, &mut found, (index, class as usize, score))?;
    }
    Ok(found)
}

fn keep(settings: &Ready, found: &mut Vec<Best>, best: (usize, usize, f32)) -> Result<()> {
    let (index, class, score) = best;
    if score.is_nan() {
        return Err(no_number(index));
    }
    // An infinite score is no number for an answer either; where there is only the background, it is the negative one.
    if score >= settings.score_threshold && score.is_finite() {
        found.push(Best {
            index,
            class,
            score,
        });
    }
    Ok(())
}

fn no_number(index: usize) -> Error {
    Error::failed(format!(
        "the model gave a score that is no number for the box {index}"
    ))
}

/// The best class and its score; of equal ones the lower class. A score that is no number wins, so that it is found.
fn best_of(settings: &Ready, scores: &[f32]) -> (usize, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (class, score) in scores.iter().enumerate() {
        if settings.background == Some(class) {
            continue;
        }
        if score.is_nan() {
            return (class, *score);
        }
        if *score > best.1 {
            best = (class, *score);
        }
    }
    best
}

/// Left, top, right, bottom; none where one is not finite.
fn corners(settings: &Ready, numbers: [f32; 4]) -> Option<[f32; 4]> {
    let [a, b, c, d] = numbers;
    let mut corners = match settings.box_format {
        BoxFormat::Xyxy => [a, b, c, d],
        BoxFormat::Yxyx => [b, a, d, c],
        BoxFormat::Xywh => [a, b, a + c, b + d],
        BoxFormat::Cxcywh => [a - c / 2.0, b - d / 2.0, a + c / 2.0, b + d / 2.0],
    };
    if !corners.iter().all(|corner| corner.is_finite()) {
        return None;
    }
    if let Some((right, bottom)) = settings.clip {
        for (corner, end) in corners.iter_mut().zip([right, bottom, right, bottom]) {
            *corner = corner.clamp(0.0, end);
        }
    }
    Some(corners)
}
