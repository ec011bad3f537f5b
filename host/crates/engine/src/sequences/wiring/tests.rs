use std::num::NonZeroU64;

use wharf_core::{Datatype, ErrorKind, SequenceId};

use super::*;

fn spec(name: &str, datatype: Datatype, shape: &[Option<u64>]) -> TensorSpec {
    TensorSpec::new(name, datatype, shape.to_vec())
}

fn inputs() -> Vec<TensorSpec> {
    vec![
        spec("h_in", Datatype::Fp32, &[None, Some(2), None]),
        spec("x", Datatype::Fp32, &[None, Some(1)]),
        spec("begins", Datatype::Bool, &[None, Some(1)]),
        spec("ends", Datatype::Int32, &[Some(1)]),
        spec("name", Datatype::Int32, &[None]),
    ]
}

fn outputs() -> Vec<TensorSpec> {
    vec![
        spec("h_out", Datatype::Fp32, &[None, Some(2), None]),
        spec("y", Datatype::Fp32, &[None, Some(1)]),
    ]
}

fn settings(text: &str) -> Sequences {
    let text = format!("[sequences]\n{text}");
    crate::Settings::parse("model.toml", &text)
        .unwrap()
        .sequences
        .unwrap()
}

const ALL: &str = r#"start = "begins"
end = "ends"
id = "name"
states = [{ input = "h_in", output = "h_out" }]"#;

fn sequence(id: u64, start: bool) -> Sequence {
    Sequence {
        id: SequenceId::Number(NonZeroU64::new(id).unwrap()),
        start,
        end: !start,
    }
}

fn x(rows: u64) -> Vec<Tensor> {
    vec![Tensor::from_vec("x", [rows, 1], vec![5_f32; rows as usize]).unwrap()]
}

#[test]
fn clients_see_what_is_theirs() {
    let wiring = Wiring::new(&settings(ALL), &inputs(), &outputs()).unwrap();
    assert_eq!(wiring.visible_inputs(), inputs()[1..2]);
    assert_eq!(wiring.visible_outputs(outputs()), outputs()[1..]);
}

#[test]
fn a_request_is_completed_and_its_state_taken_out() {
    let wiring = Wiring::new(&settings(ALL), &inputs(), &outputs()).unwrap();
    let all = wiring.inputs(x(3), None, &sequence(7, true)).unwrap();
    let shapes: Vec<_> = all
        .iter()
        .map(|tensor| (tensor.name().to_owned(), tensor.shape().to_vec()))
        .collect();
    assert_eq!(
        shapes,
        [
            ("h_in".to_owned(), vec![3, 2, 1]),
            ("x".to_owned(), vec![3, 1]),
            ("begins".to_owned(), vec![3, 1]),
            ("ends".to_owned(), vec![1]),
            ("name".to_owned(), vec![3]),
        ]
    );
    assert_eq!(all[0].as_slice::<f32>().unwrap(), [0.0; 6]);
    assert_eq!(all[2].data()[..], [1, 1, 1]);
    assert_eq!(all[3].as_slice::<i32>().unwrap(), [0]);
    assert_eq!(all[4].as_slice::<i32>().unwrap(), [7, 7, 7]);

    let produced = vec![
        Tensor::from_vec("h_out", [1, 2, 1], vec![1.0_f32, 2.0]).unwrap(),
        Tensor::from_vec("y", [1, 1], vec![9.0_f32]).unwrap(),
    ];
    let (visible, state) = wiring.outputs(produced).unwrap();
    assert_eq!((visible.len(), visible[0].name()), (1, "y"));
    let next = wiring
        .inputs(x(1), Some(&state), &sequence(7, false))
        .unwrap();
    assert_eq!(next[0].name(), "h_in");
    assert_eq!(next[0].as_slice::<f32>().unwrap(), [1.0, 2.0]);
    assert_eq!(next[2].data()[..], [0]);
    assert_eq!(next[3].as_slice::<i32>().unwrap(), [1]);
}

#[test]
fn every_wrong_setting_is_named() {
    for (text, key, says) in [
        ("start = \"nope\"", "sequences.start", "no input"),
        (
            "start = \"begins\"\nend = \"begins\"",
            "sequences.end",
            "named twice",
        ),
        ("id = \"x\"", "sequences.id", "takes one of INT64"),
        (
            "states = [{ input = \"nope\", output = \"h_out\" }]",
            "sequences.states[0].input",
            "no input",
        ),
        (
            "states = [{ input = \"h_in\", output = \"nope\" }]",
            "sequences.states[0].output",
            "no output",
        ),
        (
            "states = [{ input = \"h_in\", output = \"y\" }]",
            "sequences.states[0].output",
            "differ in datatype or shape",
        ),
        (
            "states = [{ input = \"h_in\", output = \"h_out\" }, { input = \"x\", output = \"h_out\" }]",
            "sequences.states[1].output",
            "named twice",
        ),
    ] {
        let Err((found, message)) = Wiring::new(&settings(text), &inputs(), &outputs()) else {
            panic!("{text} is taken");
        };
        assert!(
            found == key && message.contains(says),
            "{text}: {found}: {message}"
        );
    }
}

#[test]
fn names_that_do_not_fit_are_the_clients_fault() {
    let wiring = Wiring::new(&settings(ALL), &inputs(), &outputs()).unwrap();
    let text = Sequence {
        id: SequenceId::Text("a".into()),
        start: true,
        end: false,
    };
    for wrong in [text, sequence(1 << 40, true)] {
        let error = wiring.inputs(x(1), None, &wrong).unwrap_err();
        assert_eq!(
            (error.kind(), error.field()),
            (ErrorKind::InvalidArgument, Some("parameters.sequence_id"))
        );
    }
}

#[test]
fn rows_without_data_take_no_memory() {
    let inputs = vec![
        spec("x", Datatype::Fp32, &[None, None]),
        spec("h_in", Datatype::Fp32, &[None, Some(64)]),
    ];
    let outputs = vec![spec("h_out", Datatype::Fp32, &[None, Some(64)])];
    let states = "states = [{ input = \"h_in\", output = \"h_out\" }]";
    let wiring = Wiring::new(&settings(states), &inputs, &outputs).unwrap();
    for rows in [1 << 40, u64::MAX >> 1] {
        let x = vec![Tensor::from_vec("x", [rows, 0], Vec::<f32>::new()).unwrap()];
        let error = wiring.inputs(x, None, &sequence(1, true)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}
