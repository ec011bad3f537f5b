use super::*;

fn input(name: &str, datatype: Datatype, shape: &[i64]) -> InputMetadata {
    InputMetadata {
        name: name.to_owned(),
        datatype,
        shape: shape.to_vec(),
    }
}

fn specs(texts: &[&str]) -> Vec<InputSpec> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn inputs_of_every_datatype_have_the_length_of_their_shape() {
    for datatype in Datatype::ALL {
        let inputs = [input("x", datatype, &[-1, 3])];
        let random = make(&inputs, &specs(&["x=shape:20x3"])).unwrap().remove(0);
        assert_eq!(random.shape, [20, 3]);
        assert_eq!(
            random.data.len(),
            60 * datatype.size().unwrap_or(4 + WORD),
            "{datatype}"
        );
        assert!(random.data.iter().any(|&byte| byte != 0), "{datatype}");
        assert_eq!(
            random,
            make(&inputs, &specs(&["x=shape:20x3"])).unwrap().remove(0)
        );

        let zeros = make(&inputs, &specs(&["x=zeros"])).unwrap().remove(0);
        assert_eq!(zeros.shape, [1, 3]);
        assert_eq!(
            zeros.data,
            vec![0; 3 * datatype.size().unwrap_or(4)],
            "{datatype}"
        );
    }
}

#[test]
fn random_floats_lie_between_zero_and_one() {
    let tensor = make(&[input("x", Datatype::Fp32, &[1000])], &[])
        .unwrap()
        .remove(0);
    let values: Vec<f32> = tensor
        .data
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    assert!(values.iter().all(|value| (0.0..1.0).contains(value)));
    assert!(values.iter().any(|&value| value < 0.1) && values.iter().any(|&value| value > 0.9));
}

#[test]
fn a_file_is_taken_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x=1.bin");
    std::fs::write(&path, 7_i64.to_le_bytes()).unwrap();
    let spec = format!("x=file:{}", path.display());
    let numbers = make(&[input("x", Datatype::Int64, &[-1])], &specs(&[&spec])).unwrap();
    assert_eq!(&numbers[0].data[..], 7_i64.to_le_bytes());
    let texts = make(&[input("x", Datatype::Bytes, &[1])], &specs(&[&spec])).unwrap();
    assert_eq!(&texts[0].data[..4], 8_u32.to_le_bytes());
    assert_eq!(&texts[0].data[4..], 7_i64.to_le_bytes());

    let error = make(&[input("x", Datatype::Int32, &[3])], &specs(&[&spec])).unwrap_err();
    assert!(
        format!("{error:#}").contains("3 elements of INT32 have 12"),
        "{error:#}"
    );
    let error = make(&[input("x", Datatype::Bytes, &[2])], &specs(&[&spec])).unwrap_err();
    assert!(format!("{error:#}").contains("--shape"), "{error:#}");
}

#[test]
fn a_wish_that_does_not_fit_is_refused_with_the_name() {
    let inputs = [
        input("x", Datatype::Fp32, &[-1, 4]),
        input("y", Datatype::Fp32, &[]),
    ];
    for (wish, said) in [
        ("z=random", "`x`, `y`"),
        ("x=shape:1x5", "[-1, 4]"),
        ("x=shape:4", "[-1, 4]"),
        ("x=shape:18446744073709551615x4", "1 GiB"),
        ("x=shape:1073741824x4", "1 GiB"),
        ("x=file:/no/such/file", "/no/such/file"),
    ] {
        let error = format!("{:#}", make(&inputs, &specs(&[wish])).unwrap_err());
        assert!(error.contains(said), "{wish}: {error}");
    }
}

#[test]
fn what_is_no_wish_is_refused() {
    for text in [
        "x",
        "=random",
        "x=",
        "x=ones",
        "x=shape:",
        "x=shape:1x-1",
        "x=file:",
    ] {
        assert!(text.parse::<InputSpec>().is_err(), "{text}");
    }
    assert_eq!(InputSpec::of_shape("x=2x3"), "x=shape:2x3".parse());
    assert!(InputSpec::of_shape("x=2,3").is_err());
}
