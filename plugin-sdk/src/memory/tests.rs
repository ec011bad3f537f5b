use crate::{Body, Datatype, Payload, Tensor};

#[test]
fn every_number_type_round_trips() {
    macro_rules! check {
        ($($rust:ty),+) => {$({
            let values = [<$rust>::MIN, 0 as $rust, <$rust>::MAX];
            let tensor = Tensor::new("x", &[3], &values).unwrap();
            assert_eq!(tensor.values::<$rust>().unwrap(), values);
            assert_eq!(tensor.byte_length(), size_of_val(&values) as u64);
        })+};
    }
    check!(f32, f64, i8, i16, i32, i64, u8, u16, u32, u64);
}

#[test]
fn a_wrong_datatype_names_the_tensor_and_both_types() {
    let tensor = Tensor::new("pixels", &[2], &[1u8, 2]).unwrap();
    let error = tensor.fp32().unwrap_err();
    assert_eq!(error.field(), Some("pixels"));
    assert!(
        error.message().contains("UINT8") && error.message().contains("FP32"),
        "{error}"
    );
    assert_eq!(tensor.values::<i16>().unwrap_err().field(), Some("pixels"));
}

#[test]
fn a_shape_must_fit_the_data() {
    assert_eq!(
        Tensor::new("x", &[2, 2], &[1.0f32]).unwrap_err().field(),
        Some("x")
    );
    assert_eq!(
        Tensor::new("x", &[u64::MAX, 2], &[1.0f32])
            .unwrap_err()
            .field(),
        Some("x")
    );
    assert_eq!(Tensor::new("x", &[], &[1.0f32]).unwrap().shape(), [0u64; 0]);
    let tensor = Tensor::new("x", &[2, 3], &[0i64; 6]).unwrap();
    assert_eq!(tensor.with_shape(&[6]).unwrap().shape(), [6]);
    assert_eq!(tensor.with_shape(&[5]).unwrap_err().field(), Some("x"));
    assert_eq!(tensor.with_name("y").name(), "y");
}

#[test]
fn bytes_tensors_keep_their_elements() {
    let tensor = Tensor::from_elements("names", &[2], &["a", "wharf"]).unwrap();
    assert_eq!(tensor.datatype(), Datatype::Bytes);
    assert_eq!(
        tensor.elements().unwrap(),
        [b"a".to_vec(), b"wharf".to_vec()]
    );
    assert_eq!(tensor.byte_range(4, 1).unwrap(), b"a");
    assert!(Tensor::from_elements("names", &[3], &["a"]).is_err());
    assert!(Tensor::from_bytes("names", Datatype::Bytes, &[1], &[9, 0, 0, 0, 1]).is_err());
    assert!(Tensor::from_bytes("names", Datatype::Bytes, &[1], &[1, 0]).is_err());
}

#[test]
fn a_range_must_lie_inside() {
    let body = Body::new("text/plain", b"hello");
    assert_eq!(body.byte_range(1, 3).unwrap(), b"ell");
    assert_eq!(body.byte_range(5, 0).unwrap(), b"");
    assert!(body.byte_range(4, 2).is_err());
    assert!(body.byte_range(u64::MAX, 2).is_err());
}

#[test]
fn a_payload_gives_what_it_holds() {
    let two = || {
        let make = |name| Tensor::new(name, &[1], &[1.0f32]).unwrap();
        Payload::Tensors(vec![make("a"), make("b")])
    };
    assert_eq!(two().tensor("b").unwrap().name(), "b");
    let error = two().tensor("c").unwrap_err();
    assert_eq!(error.field(), Some("c"));
    assert!(error.message().contains("a, b"), "{error}");
    assert!(two().tensor("").unwrap_err().message().contains("a, b"));
    assert!(two().body().is_err());
    let body = Payload::from(Body::new("text/plain", b"x"));
    assert!(body.tensors().unwrap_err().message().contains("text/plain"));
    let one = Payload::from(Tensor::new("a", &[1], &[1.0f32]).unwrap());
    assert_eq!(one.tensor("").unwrap().name(), "a");
}
