use wharf_plugin_sdk::{Body, Datatype, Payload, Preprocess, Request, Result, Tensor, testing};

use crate::ImageToTensor;

fn run(settings: &str, media_type: &str, bytes: &[u8]) -> Result<Tensor> {
    let plugin: ImageToTensor = testing::plugin(settings)?;
    let input = Payload::from(Body::new(media_type, bytes));
    plugin
        .preprocess(&Request::new("digits"), input)?
        .tensor("")
}

fn png(color: png::ColorType, width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    encoder
        .write_header()
        .unwrap()
        .write_image_data(pixels)
        .unwrap();
    bytes
}

/// A 1x1 red JPEG, 4:4:4, written by libjpeg.
const RED_JPEG: &[u8] = include_bytes!("../testdata/red.jpg");

#[test]
fn a_grey_png_becomes_a_normalised_tensor() {
    let file = png(png::ColorType::Grayscale, 2, 2, &[0, 255, 51, 102]);
    let settings = r#"{"width": 2, "height": 2, "channels": "grayscale", "name": "pixels"}"#;
    let tensor = run(settings, "image/png", &file).unwrap();
    assert_eq!(
        (tensor.name().as_str(), tensor.shape()),
        ("pixels", vec![1, 1, 2, 2])
    );
    let values = tensor.fp32().unwrap();
    for (value, wanted) in values.iter().zip([0.0, 1.0, 0.2, 0.4]) {
        assert!((value - wanted).abs() < 1e-6, "{values:?}");
    }
    assert_eq!(
        testing::take_values(),
        [("image_to_tensor_pictures_total", 1.0)]
    );
}

#[test]
fn layouts_order_the_channels() {
    let file = png(png::ColorType::Rgb, 2, 1, &[1, 2, 3, 4, 5, 6]);
    let values = |layout: &str| {
        let settings =
            format!(r#"{{"width": 2, "height": 1, "layout": "{layout}", "datatype": "uint8"}}"#);
        let tensor = run(&settings, "image/png", &file).unwrap();
        (tensor.shape(), tensor.values::<u8>().unwrap())
    };
    assert_eq!(values("nchw"), (vec![1, 3, 1, 2], vec![1, 4, 2, 5, 3, 6]));
    assert_eq!(values("nhwc"), (vec![1, 1, 2, 3], vec![1, 2, 3, 4, 5, 6]));
    assert_eq!(values("flat"), (vec![1, 6], vec![1, 2, 3, 4, 5, 6]));
}

#[test]
fn mean_std_and_inversion_apply_to_each_channel() {
    let file = png(png::ColorType::Rgb, 1, 1, &[255, 0, 255]);
    let settings =
        r#"{"width": 1, "height": 1, "mean": [0.5], "std": [0.5, 1.0, 2.0], "invert": true}"#;
    assert_eq!(
        run(settings, "image/png", &file).unwrap().fp32().unwrap(),
        [-1.0, 0.5, -0.25]
    );
    let settings = r#"{"width": 1, "height": 1, "datatype": "uint8", "invert": true}"#;
    let tensor = run(settings, "image/png", &file).unwrap();
    assert_eq!(
        (tensor.datatype(), tensor.bytes()),
        (Datatype::Uint8, vec![0, 255, 0])
    );
}

#[test]
fn the_background_shows_where_a_picture_is_transparent() {
    let file = png(
        png::ColorType::Rgba,
        2,
        1,
        &[10, 20, 30, 255, 10, 20, 30, 0],
    );
    let settings =
        r#"{"width": 2, "height": 1, "layout": "nhwc", "datatype": "uint8", "background": 7}"#;
    assert_eq!(
        run(settings, "image/png", &file).unwrap().bytes(),
        [10, 20, 30, 7, 7, 7]
    );
    let file = png(png::ColorType::GrayscaleAlpha, 1, 1, &[100, 0]);
    let settings = r#"{"width": 1, "height": 1, "channels": "grayscale", "datatype": "uint8"}"#;
    assert_eq!(run(settings, "image/png", &file).unwrap().bytes(), [255]);
}

#[test]
fn filters_average_what_they_cover() {
    let file = png(png::ColorType::Grayscale, 4, 1, &[0, 100, 200, 60]);
    let shrink = |filter: &str, width: usize| {
        let settings = format!(
            r#"{{"width": {width}, "height": 1, "channels": "grayscale", "datatype": "uint8", "filter": "{filter}"}}"#
        );
        run(&settings, "image/png", &file).unwrap().bytes()
    };
    assert_eq!(shrink("box", 2), [50, 130]);
    assert_eq!(shrink("nearest", 2), [100, 60]);
    // Weights 3:3:1 from the edge inwards: the triangle reaches one pixel into the other half.
    assert_eq!(shrink("bilinear", 2), [71, 126]);
    for filter in ["box", "nearest", "bilinear"] {
        assert_eq!(
            shrink(filter, 4),
            [0, 100, 200, 60],
            "{filter} keeps a picture of the right size"
        );
        assert_eq!(
            shrink(filter, 9).len(),
            9,
            "{filter} makes a picture larger"
        );
    }
}

#[test]
fn a_jpeg_is_decoded_in_colour_and_in_grey() {
    let settings = r#"{"width": 1, "height": 1, "datatype": "uint8"}"#;
    let [red, green, blue] = run(settings, "image/jpeg", RED_JPEG).unwrap().bytes()[..] else {
        panic!("three channels")
    };
    assert!(red > 245 && green < 10 && blue < 10, "{red} {green} {blue}");
    let settings = r#"{"width": 1, "height": 1, "channels": "grayscale", "datatype": "uint8"}"#;
    let [grey] = run(settings, "image/jpeg", RED_JPEG).unwrap().bytes()[..] else {
        panic!("one channel")
    };
    assert!((70..=82).contains(&grey), "{grey}");
}

#[test]
fn what_is_no_picture_is_refused() {
    let settings = r#"{"width": 8, "height": 8}"#;
    for bytes in [
        &b""[..],
        b"GIF89a",
        b"\x89PNG",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\0\x10JFIF",
    ] {
        assert_eq!(
            run(settings, "image/png", bytes).unwrap_err().field(),
            Some("body"),
            "{bytes:?}"
        );
    }
    let plugin: ImageToTensor = testing::plugin(settings).unwrap();
    let tensor = Tensor::new("x", &[1], &[1.0f32]).unwrap();
    assert!(
        plugin
            .preprocess(&Request::new("digits"), tensor.into())
            .is_err()
    );
}

#[test]
fn every_truncation_is_refused_without_a_panic() {
    let settings = r#"{"width": 8, "height": 8, "channels": "grayscale"}"#;
    let pixels: Vec<u8> = (0..64 * 64).map(|index| (index * 7 % 251) as u8).collect();
    let file = png(png::ColorType::Grayscale, 64, 64, &pixels);
    // The last chunk, IEND, holds nothing: without its 12 bytes the picture is whole.
    for length in 0..file.len() - 20 {
        assert_eq!(
            run(settings, "image/png", &file[..length])
                .unwrap_err()
                .field(),
            Some("body"),
            "{length}"
        );
    }
    for length in 0..RED_JPEG.len() {
        // The last bytes may be padding; no length may panic.
        let refused = run(settings, "image/jpeg", &RED_JPEG[..length]).is_err();
        assert!(refused || length + 16 > RED_JPEG.len(), "{length}");
    }
}

#[test]
fn a_bomb_is_refused_by_its_header() {
    let mut file = png(png::ColorType::Rgb, 1, 1, &[1, 2, 3]);
    // Width and height in IHDR, with the checksum of that chunk.
    file[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    let checksum = crc32(&file[12..29]);
    file[29..33].copy_from_slice(&checksum.to_be_bytes());
    let error = run(r#"{"width": 8, "height": 8}"#, "image/png", &file).unwrap_err();
    assert_eq!(error.field(), Some("body"));
    assert!(
        error.message().contains("65535 x 65535") && error.message().contains("16777216"),
        "{error}"
    );
}

#[test]
fn a_body_beyond_max_bytes_is_refused() {
    let file = png(png::ColorType::Rgb, 1, 1, &[1, 2, 3]);
    let settings = |max: usize| format!(r#"{{"width": 1, "height": 1, "max_bytes": {max}}}"#);
    assert!(run(&settings(file.len()), "image/png", &file).is_ok());
    let error = run(&settings(file.len() - 1), "image/png", &file).unwrap_err();
    assert_eq!(error.field(), Some("body"));
    assert!(
        error.message().contains(&format!("{} bytes", file.len())),
        "{error}"
    );
}

#[test]
fn a_broken_jpeg_is_refused_in_a_sentence() {
    let settings = r#"{"width": 8, "height": 8}"#;
    for length in 3..RED_JPEG.len() {
        let Err(error) = run(settings, "image/jpeg", &RED_JPEG[..length]) else {
            continue;
        };
        let message = error.message();
        let (_, reason) = message.rsplit_once(": ").unwrap();
        assert!(
            reason.starts_with("it ") && !message.contains(['"', '(', '_']),
            "{length}: {message}"
        );
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| {
        if crc & 1 == 1 {
            (crc >> 1) ^ 0xedb8_8320
        } else {
            crc >> 1
        }
    };
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc))
    })
}

#[test]
fn a_wrong_setting_is_refused_by_its_name() {
    for (settings, field) in [
        (r#"{"height": 8}"#, "width"),
        (r#"{"width": 0, "height": 8}"#, "width"),
        (r#"{"width": 8, "height": 5000}"#, "height"),
        (r#"{"width": 8, "height": 8, "widht": 8}"#, "widht"),
        (
            r#"{"width": 8, "height": 8, "channels": "bgr"}"#,
            "channels",
        ),
        (r#"{"width": 8, "height": 8, "mean": [1.0, 2.0]}"#, "mean"),
        (r#"{"width": 8, "height": 8, "std": [0.0]}"#, "std"),
        (r#"{"width": 8, "height": 8, "scale": 0}"#, "scale"),
        (
            r#"{"width": 8, "height": 8, "datatype": "uint8", "scale": 2}"#,
            "scale",
        ),
        (r#"{"width": 8, "height": 8, "name": ""}"#, "name"),
        (
            r#"{"width": 8, "height": 8, "max_pixels": 0}"#,
            "max_pixels",
        ),
        (r#"{"width": 8, "height": 8, "max_bytes": 0}"#, "max_bytes"),
    ] {
        let error = testing::plugin::<ImageToTensor>(settings).err().unwrap();
        assert_eq!(error.field(), Some(field), "{settings}: {error}");
    }
}
