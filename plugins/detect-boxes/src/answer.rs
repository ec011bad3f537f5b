//! What the client gets: JSON, or tensors.

use serde::Serialize;
use wharf_plugin_sdk::{Body, Payload, Result, Tensor};

use crate::candidates::Candidate;
use crate::settings::{Answer, Ready};

/// What the client gets for one image.
#[derive(Serialize)]
struct Found<'a> {
    boxes: Vec<Object<'a>>,
}

#[derive(Serialize)]
struct Object<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    class: usize,
    score: f32,
    /// Left, top, right, bottom.
    #[serde(rename = "box")]
    corners: [f32; 4],
}

/// What the client gets for several images.
#[derive(Serialize)]
struct Results<'a> {
    results: Vec<Found<'a>>,
}

pub(crate) fn answer(settings: &Ready, images: &[Vec<Candidate>]) -> Result<Payload> {
    match settings.answer {
        Answer::Json => json(settings, images),
        Answer::Tensors => tensors(settings, images),
    }
}

fn json(settings: &Ready, images: &[Vec<Candidate>]) -> Result<Payload> {
    let found = |objects: &Vec<Candidate>| Found {
        boxes: objects
            .iter()
            .map(|object| Object {
                label: settings.labels.get(object.class).map(String::as_str),
                class: object.class,
                score: object.score,
                corners: scaled(settings, object),
            })
            .collect(),
    };
    let body = match images {
        [objects] => Body::json(&found(objects)),
        _ => Body::json(&Results {
            results: images.iter().map(found).collect(),
        }),
    };
    Ok(body?.into())
}

/// A row each object, of all images: `images` says which one it is of.
fn tensors(settings: &Ready, images: &[Vec<Candidate>]) -> Result<Payload> {
    let objects = || images.iter().flatten();
    let count = objects().count() as u64;
    let corners: Vec<f32> = objects()
        .flat_map(|object| scaled(settings, object))
        .collect();
    let scores: Vec<f32> = objects().map(|object| object.score).collect();
    let classes: Vec<i64> = objects().map(|object| object.class as i64).collect();
    let numbers: Vec<i64> = images
        .iter()
        .enumerate()
        .flat_map(|(image, objects)| objects.iter().map(move |_| image as i64))
        .collect();
    Ok(vec![
        Tensor::new("boxes", &[count, 4], &corners)?,
        Tensor::new("scores", &[count], &scores)?,
        Tensor::new("classes", &[count], &classes)?,
        Tensor::new("images", &[count], &numbers)?,
    ]
    .into())
}

fn scaled(settings: &Ready, object: &Candidate) -> [f32; 4] {
    let [left, top, right, bottom] = object.corners;
    let (x, y) = settings.scale;
    [left * x, top * y, right * x, bottom * y]
}
