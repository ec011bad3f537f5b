use proptest::prelude::*;

use super::*;

#[test]
fn bytes_must_fit_the_shape() {
    let error = Tensor::new("x", Datatype::Fp32, [2, 3], Bytes::from_static(&[0; 20])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "shape [2, 3] of FP32 takes 24 bytes, but there are 20"
    );
}

#[test]
fn shapes_that_overflow_are_refused() {
    for shape in [vec![u64::MAX, 2], vec![1 << 62, 1]] {
        let error = Tensor::new("x", Datatype::Fp64, &shape, Bytes::new()).unwrap_err();
        assert!(
            matches!(error, TensorError::ShapeOverflow { .. }),
            "{shape:?}: {error}"
        );
    }
}

#[test]
fn a_bool_is_0_or_1() {
    let error = Tensor::new("x", Datatype::Bool, [3], Bytes::from_static(&[0, 1, 2])).unwrap_err();
    assert_eq!(error, TensorError::NotBool { index: 2, value: 2 });
}

#[test]
fn misaligned_bytes_are_copied_and_aligned_ones_shared() {
    let aligned: Bytes = AlignedBytes::copy_from(&[0, 0, 0, 0, 0, 0, 128, 63]).into();
    let shared = Tensor::new("x", Datatype::Fp32, [2], aligned.clone()).unwrap();
    assert_eq!(shared.data().as_ptr(), aligned.as_ptr());

    let shifted: Bytes = AlignedBytes::copy_from(&[9, 0, 0, 128, 63]).into();
    let copied = Tensor::new("x", Datatype::Fp32, [1], shifted.slice(1..)).unwrap();
    assert_eq!(copied.as_slice::<f32>(), Ok(&[1.0][..]));
}

#[test]
fn rows_are_cut_without_a_copy() {
    let tensor = Tensor::from_vec("x", [3, 2], vec![1_i64, 2, 3, 4, 5, 6]).unwrap();
    let row = tensor.slice_rows(1, 2).unwrap();
    assert_eq!(row.as_slice::<i64>(), Ok(&[3, 4, 5, 6][..]));
    assert_eq!(row.shape()[..], [2, 2]);
    assert_eq!(row.data().as_ptr(), tensor.data()[16..].as_ptr());
    assert!(tensor.slice_rows(2, 2).is_none());
    assert!(tensor.slice_rows(u64::MAX, 2).is_none());
}

#[test]
fn elements_must_fill_the_data() {
    let cut = Bytes::from_static(&[2, 0, 0, 0, b'a']);
    assert_eq!(
        Tensor::new("x", Datatype::Bytes, [1], cut).unwrap_err(),
        TensorError::TruncatedElement { index: 0 }
    );
    let spare = Bytes::from_static(&[1, 0, 0, 0, b'a', 0, 0, 0, 0]);
    assert!(matches!(
        Tensor::new("x", Datatype::Bytes, [1], spare),
        Err(TensorError::ElementCount { .. })
    ));
}

#[test]
fn another_shape_must_have_as_many_elements() {
    let tensor = Tensor::from_vec("x", [4], vec![0_f32; 4]).unwrap();
    assert_eq!(tensor.with_shape([2, 2]).unwrap().shape()[..], [2, 2]);
    assert!(tensor.with_shape([3]).is_err());
    assert!(tensor.with_shape([u64::MAX, u64::MAX]).is_err());
}

proptest! {
    #[test]
    fn elements_come_back(elements in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..20)) {
        let tensor = Tensor::from_elements("x", [elements.len() as u64], &elements).unwrap();
        let again = Tensor::new("x", Datatype::Bytes, [elements.len() as u64], tensor.data().clone()).unwrap();
        prop_assert_eq!(again.elements().unwrap().map(<[u8]>::to_vec).collect::<Vec<_>>(), elements);
    }

    #[test]
    fn hostile_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..64), shape in prop::collection::vec(any::<u64>(), 0..4)) {
        for datatype in Datatype::ALL {
            let _ = Tensor::new("x", datatype, &shape, Bytes::from(data.clone())).map(|tensor| tensor.slice_rows(1, 1));
        }
    }
}
