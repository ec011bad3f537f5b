//! The same steps on the host's memory, which is what a session on the CPU gives in place of pinned memory.

use ort::session::RunOptions;
use wharf_core::{Datatype, Tensor, TensorSpec};

use super::*;
use crate::ort::{environment, find};
use crate::sample as onnx;

fn bound(model: &[u8]) -> Bound {
    let library = find(None).expect("the variable names a library");
    let environment = environment(&library)
        .unwrap_or_else(|error| panic!("run `cargo xtask setup` first: {error}"));
    let session = Session::builder(&environment)
        .and_then(|mut builder| builder.commit_from_memory(model))
        .expect("the model is sound");
    Bound::pinned(session, 0).expect("the host's memory can be allocated")
}

fn run(bound: &mut Bound, input: Tensor, output: &TensorSpec) -> Tensor {
    let options = RunOptions::new().unwrap();
    let mut values = bound
        .run(&[input], std::slice::from_ref(output), &options)
        .unwrap()
        .unwrap();
    let value = values.pop().expect("the model has an output");
    value::output(output, value, &[], None).unwrap()
}

#[test]
fn inputs_are_staged_and_outputs_come_back() {
    let mut bound = bound(&onnx::add(1.0));
    let output = TensorSpec::new("y", Datatype::Fp32, vec![None, Some(2)]);
    for rows in [1_u16, 300, 0, 2] {
        let numbers: Vec<f32> = (0..rows * 2).map(f32::from).collect();
        let input = Tensor::from_vec("x", [u64::from(rows), 2], numbers.clone()).unwrap();
        let y = run(&mut bound, input, &output);
        let expected: Vec<f32> = numbers.iter().map(|number| number + 1.0).collect();
        assert_eq!(y.as_slice::<f32>().unwrap(), expected, "{rows} rows");
    }
}

#[test]
fn outputs_outlive_the_session() {
    let mut bound = bound(&onnx::add(1.0));
    let output = TensorSpec::new("y", Datatype::Fp32, vec![None, Some(2)]);
    let input = Tensor::from_vec("x", [1000, 2], vec![1.0_f32; 2000]).unwrap();
    let y = run(&mut bound, input, &output);
    drop(bound);
    assert!(
        y.as_slice::<f32>()
            .unwrap()
            .iter()
            .all(|number| *number == 2.0)
    );
}

#[test]
fn text_stays_on_the_host() {
    let mut bound = bound(&onnx::identity(onnx::STRING, &[-1]));
    let output = TensorSpec::new("y", Datatype::Bytes, vec![None]);
    let input = Tensor::from_elements("x", [2], &["grüße", ""]).unwrap();
    let y = run(&mut bound, input.clone(), &output);
    assert_eq!(y.data(), input.data());
}

#[test]
fn a_terminated_run_is_an_error_and_the_next_one_is_fine() {
    let mut bound = bound(&onnx::add(1.0));
    let output = TensorSpec::new("y", Datatype::Fp32, vec![None, Some(2)]);
    let input = Tensor::from_vec("x", [1, 2], vec![1.0_f32; 2]).unwrap();
    let options = RunOptions::new().unwrap();
    options.terminate().unwrap();
    let error = bound
        .run(
            std::slice::from_ref(&input),
            std::slice::from_ref(&output),
            &options,
        )
        .unwrap()
        .err()
        .expect("it was terminated before it began");
    assert!(error.to_string().contains("terminate flag"), "{error}");
    let y = run(&mut bound, input, &output);
    assert_eq!(y.as_slice::<f32>().unwrap(), [2.0, 2.0]);
}
