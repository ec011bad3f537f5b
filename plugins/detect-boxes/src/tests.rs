use half::f16;
use serde_json::{Value, json};
use wharf_plugin_sdk::{
    Body, Datatype, Error, Payload, Postprocess, Request, Result, Tensor, testing,
};

use crate::DetectBoxes;

fn call(settings: &str, output: impl Into<Payload>) -> Result<Payload> {
    let plugin: DetectBoxes = testing::plugin(settings)?;
    plugin.postprocess(&Request::new("detect"), output.into())
}

fn run(settings: &str, output: impl Into<Payload>) -> Result<Value> {
    call(settings, output)?.body()?.parse_json()
}

/// The classes of the objects, in their order.
fn classes(answer: &Value) -> Vec<u64> {
    let boxes = answer["boxes"].as_array().unwrap();
    boxes
        .iter()
        .map(|one| one["class"].as_u64().unwrap())
        .collect()
}

fn tensor(shape: &[u64], values: &[f32]) -> Tensor {
    Tensor::new("output0", shape, values).unwrap()
}

/// Four boxes of two classes: two that overlap, one of the other class at the same place, and one that is no object.
const ROWS: [[f32; 7]; 4] = [
    [50.0, 50.0, 20.0, 20.0, 1.0, 0.75, 0.0],
    [51.0, 50.0, 20.0, 20.0, 1.0, 0.875, 0.125],
    [50.0, 50.0, 20.0, 20.0, 0.5, 0.0, 1.0],
    [10.0, 10.0, 5.0, 5.0, 0.125, 1.0, 1.0],
];

fn yolov5() -> Tensor {
    tensor(&[1, 4, 7], ROWS.as_flattened())
}

#[test]
fn the_best_of_overlapping_boxes_stays_in_each_class() {
    let settings = r#"{"layout": "yolov5", "labels": ["cat", "dog"]}"#;
    let cat = json!({"label": "cat", "class": 0, "score": 0.875, "box": [41.0, 40.0, 61.0, 60.0]});
    let dog = json!({"label": "dog", "class": 1, "score": 0.5, "box": [40.0, 40.0, 60.0, 60.0]});
    assert_eq!(
        run(settings, yolov5()).unwrap(),
        json!({"boxes": [cat, dog]})
    );
}

#[test]
fn classes_can_hide_each_other() {
    let settings = r#"{"layout": "yolov5", "across_classes": true}"#;
    assert_eq!(classes(&run(settings, yolov5()).unwrap()), [0]);
}

#[test]
fn thresholds_and_counts_are_kept() {
    for (settings, wanted) in [
        (r#"{"layout": "yolov5", "score_threshold": 0.6}"#, vec![0]),
        (
            r#"{"layout": "yolov5", "score_threshold": 0.1}"#,
            vec![0, 1, 0],
        ),
        (r#"{"layout": "yolov5", "iou_threshold": 1}"#, vec![0, 0, 1]),
        (r#"{"layout": "yolov5", "max_boxes": 1}"#, vec![0]),
        (
            r#"{"layout": "yolov5", "iou_threshold": 1, "max_boxes": 2, "max_candidates": 2}"#,
            vec![0, 0],
        ),
        (r#"{"layout": "yolov5", "background": 0}"#, vec![1]),
    ] {
        assert_eq!(
            classes(&run(settings, yolov5()).unwrap()),
            wanted,
            "{settings}"
        );
    }
}

#[test]
fn boxes_that_stand_in_columns_are_read() {
    let columns: Vec<f32> = [0, 1, 2, 3, 5, 6]
        .iter()
        .flat_map(|side| ROWS.iter().map(move |row| row[*side]))
        .collect();
    let answer = run(r#"{"layout": "yolov8"}"#, tensor(&[1, 6, 4], &columns)).unwrap();
    // Without the number that says whether it is an object, the last box is one.
    assert_eq!(classes(&answer), [1, 0, 0]);
    assert_eq!(answer["boxes"][2]["box"], json!([41.0, 40.0, 61.0, 60.0]));
    let only_dogs = run(
        r#"{"layout": "yolov8", "background": 0}"#,
        tensor(&[1, 6, 4], &columns),
    );
    assert_eq!(classes(&only_dogs.unwrap()), [1, 1]);
}

#[test]
fn two_outputs_are_read_in_any_box_format() {
    let settings = |format: &str| {
        format!(
            r#"{{"layout": "ssd", "boxes": "b", "scores": "s", "background": 0, "units": "normalised",
                "width": 100, "height": 200, "answer_units": "pixels", "box_format": "{format}"}}"#
        )
    };
    for (format, numbers) in [
        ("xyxy", [0.25f32, 0.5, 0.75, 1.5]),
        ("yxyx", [0.5, 0.25, 1.5, 0.75]),
        ("xywh", [0.25, 0.5, 0.5, 1.0]),
        ("cxcywh", [0.5, 1.0, 0.5, 1.0]),
    ] {
        let outputs = vec![
            Tensor::new("s", &[1, 1, 3], &[0.9f32, 0.0, 0.5]).unwrap(),
            Tensor::new("b", &[1, 1, 4], &numbers).unwrap(),
        ];
        let answer = run(&settings(format), outputs).unwrap();
        // What stands over the image is cut off.
        let wanted = json!([{"class": 2, "score": 0.5, "box": [25.0, 100.0, 75.0, 200.0]}]);
        assert_eq!(answer["boxes"], wanted, "{format}");
    }
}

#[test]
fn several_images_give_several_results() {
    let mut values = ROWS.as_flattened().to_vec();
    values.extend([0.0; 28]);
    let answer = run(r#"{"layout": "yolov5"}"#, tensor(&[2, 4, 7], &values)).unwrap();
    assert_eq!(classes(&answer["results"][0]), [0, 1]);
    assert_eq!(answer["results"][1], json!({"boxes": []}));
}

#[test]
fn tensors_have_a_row_each_object() {
    let settings = r#"{"layout": "yolov5", "answer": "tensors"}"#;
    let two: Vec<f32> = [ROWS, ROWS].as_flattened().as_flattened().to_vec();
    let tensors = call(settings, tensor(&[2, 4, 7], &two))
        .unwrap()
        .tensors()
        .unwrap();
    let names: Vec<String> = tensors.iter().map(Tensor::name).collect();
    assert_eq!(names, ["boxes", "scores", "classes", "images"]);
    assert_eq!(tensors[0].shape(), [4, 4]);
    assert_eq!(tensors[1].fp32().unwrap(), [0.875, 0.5, 0.875, 0.5]);
    assert_eq!(tensors[2].int64().unwrap(), [0, 1, 0, 1]);
    assert_eq!(tensors[3].int64().unwrap(), [0, 0, 1, 1]);
}

#[test]
fn halves_are_read() {
    let halves: Vec<u8> = ROWS
        .as_flattened()
        .iter()
        .flat_map(|value| f16::from_f32(*value).to_le_bytes())
        .collect();
    let input = Tensor::from_bytes("h", Datatype::Fp16, &[1, 4, 7], &halves).unwrap();
    assert_eq!(
        classes(&run(r#"{"layout": "yolov5"}"#, input).unwrap()),
        [0, 1]
    );
}

#[test]
fn no_box_is_an_answer() {
    for (layout, shape) in [("yolov5", [1, 0, 7]), ("yolov8", [1, 6, 0])] {
        let settings = format!(r#"{{"layout": "{layout}"}}"#);
        assert_eq!(
            run(&settings, tensor(&shape, &[])).unwrap(),
            json!({"boxes": []})
        );
    }
}

#[test]
fn a_box_without_area_is_no_object() {
    let flat = [50.0, 50.0, 0.0, 20.0, 1.0, 1.0];
    let inside_out = [50.0, 50.0, -20.0, -20.0, 1.0, 1.0];
    let both: Vec<f32> = [flat, inside_out].as_flattened().to_vec();
    let answer = run(r#"{"layout": "yolov5"}"#, tensor(&[1, 2, 6], &both)).unwrap();
    assert_eq!(answer, json!({"boxes": []}));
}

#[test]
fn many_equal_boxes_are_compared_a_bounded_number_of_times() {
    let row = [50.0, 50.0, 20.0, 20.0, 1.0, 1.0];
    let spread = |index: usize| {
        let mut row = row;
        row[0] = index as f32 * 100.0;
        row
    };
    let apart: Vec<f32> = (0..30_000).flat_map(spread).collect();
    let settings = r#"{"layout": "yolov5", "max_boxes": 50}"#;
    let answer = run(settings, tensor(&[1, 30_000, 6], &apart)).unwrap();
    assert_eq!(classes(&answer).len(), 50);
}

#[test]
fn what_the_model_gives_wrong_is_no_fault_of_the_client() {
    let with = |index: usize, value: f32| {
        let mut row = [50.0, 50.0, 20.0, 20.0, 1.0, 1.0];
        row[index] = value;
        Payload::from(tensor(&[1, 1, 6], &row))
    };
    let v5 = r#"{"layout": "yolov5"}"#;
    let v8 = r#"{"layout": "yolov8"}"#;
    let ssd = r#"{"layout": "ssd", "boxes": "output0", "scores": "s"}"#;
    for (settings, output) in [
        (v5, with(0, f32::NAN)),
        (v5, with(2, f32::INFINITY)),
        (v5, with(4, f32::NAN)),
        (v5, with(5, f32::NAN)),
        (
            v8,
            tensor(&[1, 5, 1], &[1.0, 1.0, 1.0, 1.0, f32::NAN]).into(),
        ),
        (
            v8,
            tensor(&[1, 5, 1], &[1.0, f32::NAN, 1.0, 1.0, 1.0]).into(),
        ),
        (v5, tensor(&[4, 7], ROWS.as_flattened()).into()),
        (v5, tensor(&[1, 7, 4], ROWS.as_flattened()).into()),
        (v5, tensor(&[1 << 40, 0, 7], &[]).into()),
        (v5, tensor(&[0, 4, 7], &[]).into()),
        (v5, Tensor::new("x", &[1, 1, 6], &[0i64; 6]).unwrap().into()),
        (v5, vec![yolov5(), yolov5().with_name("b")].into()),
        (v5, Body::new("text/plain", b"no tensor").into()),
        (
            r#"{"layout": "yolov5", "labels": ["cat"]}"#,
            yolov5().into(),
        ),
        (r#"{"layout": "yolov5", "background": 2}"#, yolov5().into()),
        (ssd, yolov5().into()),
        (
            ssd,
            vec![
                tensor(&[1, 1, 4], &[0.0; 4]),
                tensor(&[1, 2, 1], &[0.0; 2]).with_name("s"),
            ]
            .into(),
        ),
    ] {
        let error = call(settings, output).unwrap_err();
        assert!(matches!(error, Error::Failed(_)), "{settings}: {error:?}");
    }
}

#[test]
fn a_wrong_setting_is_refused_by_its_name() {
    for (settings, field) in [
        ("{}", "layout"),
        (r#"{"layout": "yolov4"}"#, "layout"),
        (r#"{"layout": "yolov5", "boxes": "b"}"#, "boxes"),
        (r#"{"layout": "ssd", "boxes": "b"}"#, "scores"),
        (
            r#"{"layout": "ssd", "boxes": "b", "scores": "b"}"#,
            "scores",
        ),
        (
            r#"{"layout": "ssd", "name": "x", "boxes": "b", "scores": "s"}"#,
            "name",
        ),
        (
            r#"{"layout": "yolov5", "score_threshold": 1.5}"#,
            "score_threshold",
        ),
        (
            r#"{"layout": "yolov5", "iou_threshold": -1}"#,
            "iou_threshold",
        ),
        (r#"{"layout": "yolov5", "max_boxes": 0}"#, "max_boxes"),
        (
            r#"{"layout": "yolov5", "max_candidates": 10}"#,
            "max_candidates",
        ),
        (r#"{"layout": "yolov5", "box_format": "yx"}"#, "box_format"),
        (r#"{"layout": "yolov5", "width": 640}"#, "height"),
        (r#"{"layout": "yolov5", "width": 0, "height": 1}"#, "width"),
        (
            r#"{"layout": "yolov5", "answer_units": "normalised"}"#,
            "answer_units",
        ),
        (r#"{"layout": "yolov5", "treshold": 1}"#, "treshold"),
    ] {
        let error = testing::plugin::<DetectBoxes>(settings).err().unwrap();
        assert_eq!(error.field(), Some(field), "{settings}: {error}");
    }
}
