//! Images against what is known of them, and files that are not what they say.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use wharf_core::Datatype;

use super::*;

const MOST: u64 = 1 << 20;

fn target(width: u32, height: u32) -> ImageTarget {
    ImageTarget {
        name: "pixels".into(),
        width,
        height,
        fit: Fit::Stretch,
        filter: Filter::Nearest,
        channels: Channels::Rgb,
        layout: Layout::Nhwc,
        datatype: Datatype::Uint8,
        scale: 1.0,
        mean: Vec::new(),
        deviation: Vec::new(),
    }
}

/// A picture whose every pixel is another.
fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([(x * 7 + y) as u8, (y * 11 + x) as u8, (x * y + 3) as u8])
    })
}

fn file(image: impl Into<DynamicImage>, format: ImageFormat) -> Bytes {
    let mut file = Cursor::new(Vec::new());
    image.into().write_to(&mut file, format).unwrap();
    file.into_inner().into()
}

fn png(image: impl Into<DynamicImage>) -> Bytes {
    file(image, ImageFormat::Png)
}

#[track_caller]
fn bytes(data: Bytes, target: &ImageTarget) -> Vec<u8> {
    let tensor = Image::open(data).unwrap().tensor(target, MOST).unwrap();
    assert_eq!(tensor.name(), "pixels");
    tensor.data().to_vec()
}

fn refusal(data: impl Into<Bytes>) -> String {
    let tensor = Image::open(data.into()).and_then(|image| image.tensor(&target(4, 4), MOST));
    match tensor.unwrap_err() {
        CodecError::Invalid(message) => message,
        error => panic!("{error:?} is not the sender's"),
    }
}

#[test]
fn every_format_is_read_and_named() {
    let picture = picture(9, 6);
    for (format, name) in [
        (ImageFormat::Png, "png"),
        (ImageFormat::Bmp, "bmp"),
        (ImageFormat::Tiff, "tiff"),
        (ImageFormat::WebP, "webp"),
        (ImageFormat::Gif, "gif"),
        (ImageFormat::Jpeg, "jpeg"),
    ] {
        let data = file(picture.clone(), format);
        let image = Image::open(data.clone()).unwrap();
        assert_eq!((image.width(), image.height()), (9, 6));
        assert_eq!(image.format().name(), name);
        let given = bytes(data.clone(), &target(9, 6));
        // What the image crate reads by itself; of a lossless format the very picture.
        let reference = image::load_from_memory(&data).unwrap().into_rgb8();
        assert_eq!(&given, reference.as_raw(), "{name}");
        if !matches!(format, ImageFormat::Gif | ImageFormat::Jpeg) {
            assert_eq!(&given, picture.as_raw(), "{name}");
        }
    }
}

#[test]
fn gray_wide_and_transparent_pixels_become_eight_bits() {
    let gray = image::GrayImage::from_raw(2, 1, vec![7, 200]).unwrap();
    assert_eq!(bytes(png(gray), &target(2, 1)), [7, 7, 7, 200, 200, 200]);
    let wide = image::ImageBuffer::<Rgb<u16>, _>::from_raw(1, 1, vec![65_535, 257 * 9, 0]);
    assert_eq!(bytes(png(wide.unwrap()), &target(1, 1)), [255, 9, 0]);
    let glass = image::RgbaImage::from_raw(1, 1, vec![200, 100, 50, 128]).unwrap();
    assert_eq!(bytes(png(glass), &target(1, 1)), [100, 50, 25]);
}

#[test]
fn channels_and_layouts_are_orders_of_the_same_pixels() {
    let picture = png(RgbImage::from_raw(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap());
    let given = |channels, layout| {
        let target = ImageTarget {
            channels,
            layout,
            ..target(2, 1)
        };
        let tensor = Image::open(picture.clone()).unwrap().tensor(&target, MOST);
        let tensor = tensor.unwrap();
        (tensor.shape().to_vec(), tensor.data().to_vec())
    };
    use {Channels::*, Layout::*};
    assert_eq!(given(Rgb, Nhwc), (vec![1, 1, 2, 3], vec![1, 2, 3, 4, 5, 6]));
    assert_eq!(given(Bgr, Nhwc), (vec![1, 1, 2, 3], vec![3, 2, 1, 6, 5, 4]));
    assert_eq!(given(Rgb, Nchw), (vec![1, 3, 1, 2], vec![1, 4, 2, 5, 3, 6]));
    assert_eq!(given(Bgr, Nchw), (vec![1, 3, 1, 2], vec![3, 6, 2, 5, 1, 4]));
    assert_eq!(given(Gray, Nchw), (vec![1, 1, 1, 2], vec![2, 5]));
}

#[test]
fn the_nearest_pixel_is_the_one_at_the_middle() {
    let source = picture(10, 8);
    for (width, height) in [(4, 3), (5, 4), (20, 16), (1, 1)] {
        let reference: Vec<u8> = (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .flat_map(|(x, y)| {
                let at = |to: u32, from: u32, count: u32| {
                    ((f64::from(to) + 0.5) * f64::from(from) / f64::from(count)) as u32
                };
                source.get_pixel(at(x, 10, width), at(y, 8, height)).0
            })
            .collect();
        assert_eq!(
            bytes(png(source.clone()), &target(width, height)),
            reference
        );
    }
}

/// The weights of the pixels of a line for one of the new ones: a triangle as wide as a new pixel, at least as an old one.
fn triangle(to: u32, from: u32, count: u32) -> Vec<f64> {
    let scale = f64::from(from) / f64::from(count);
    let reach = scale.max(1.0);
    let middle = (f64::from(to) + 0.5) * scale;
    let weights: Vec<f64> = (0..from)
        .map(|at| (1.0 - ((f64::from(at) + 0.5 - middle) / reach).abs()).max(0.0))
        .collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

#[test]
fn bilinear_weighs_all_that_falls_into_a_pixel() {
    let source = picture(12, 9);
    for (width, height) in [(5, 4), (3, 3), (24, 18), (12, 4)] {
        let given = bytes(
            png(source.clone()),
            &ImageTarget {
                filter: Filter::Bilinear,
                ..target(width, height)
            },
        );
        for (at, &value) in given.iter().enumerate() {
            let (pixel, channel) = (at as u32 / 3, at % 3);
            let (across, down) = (
                triangle(pixel % width, 12, width),
                triangle(pixel / width, 9, height),
            );
            let expected: f64 = source
                .enumerate_pixels()
                .map(|(x, y, pixel)| {
                    across[x as usize] * down[y as usize] * f64::from(pixel.0[channel])
                })
                .sum();
            // Each of the two passes rounds to whole numbers.
            assert!(
                (f64::from(value) - expected).abs() <= 1.01,
                "{value} for {expected}"
            );
        }
    }
}

#[test]
fn a_single_colour_stays_what_it_is() {
    let source = png(RgbImage::from_pixel(31, 17, Rgb([9, 130, 255])));
    for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos3] {
        let given = bytes(
            source.clone(),
            &ImageTarget {
                filter,
                ..target(8, 8)
            },
        );
        assert!(
            given.chunks(3).all(|pixel| pixel == [9, 130, 255]),
            "{filter:?}"
        );
    }
}

#[test]
fn cover_cuts_evenly_and_contain_leaves_black() {
    // Four columns: 10, 20, 30, 40.
    let wide = png(image::GrayImage::from_raw(4, 2, vec![10, 20, 30, 40, 10, 20, 30, 40]).unwrap());
    let fitted = |fit, width, height| {
        let target = ImageTarget {
            fit,
            channels: Channels::Gray,
            ..target(width, height)
        };
        bytes(wide.clone(), &target)
    };
    assert_eq!(fitted(Fit::Cover, 2, 2), [20, 30, 20, 30]);
    assert_eq!(
        fitted(Fit::Contain, 4, 4),
        [[0; 4], [10, 20, 30, 40], [10, 20, 30, 40], [0; 4]].concat()
    );
    assert_eq!(fitted(Fit::Contain, 2, 3), [0, 0, 20, 40, 0, 0]);
    assert_eq!(fitted(Fit::Stretch, 2, 1), [20, 40]);
}

#[test]
fn floats_are_scaled_and_normalised_and_so_is_black() {
    let source = png(RgbImage::from_raw(1, 1, vec![255, 51, 0]).unwrap());
    let floats = ImageTarget {
        datatype: Datatype::Fp32,
        fit: Fit::Contain,
        layout: Layout::Nchw,
        scale: 1.0 / 255.0,
        mean: vec![0.5, 0.25, 0.0],
        deviation: vec![0.5, 0.5, 2.0],
        ..target(1, 3)
    };
    let tensor = Image::open(source.clone()).unwrap().tensor(&floats, MOST);
    let tensor = tensor.unwrap();
    let value = |pixel: f32, mean, deviation| (pixel * (1.0 / 255.0) - mean) / deviation;
    let [red, green, blue] = [
        [0.0, 255.0, 0.0].map(|pixel| value(pixel, 0.5, 0.5)),
        [0.0, 51.0, 0.0].map(|pixel| value(pixel, 0.25, 0.5)),
        [0.0, 0.0, 0.0].map(|pixel| value(pixel, 0.0, 2.0)),
    ];
    assert_eq!(
        tensor.as_slice::<f32>().unwrap(),
        [red, green, blue].concat()
    );
    assert!((tensor.data().as_ptr() as usize).is_multiple_of(64));

    let halves = ImageTarget {
        datatype: Datatype::Fp16,
        ..floats
    };
    let tensor = Image::open(source).unwrap().tensor(&halves, MOST).unwrap();
    let expected: Vec<half::f16> = [red, green, blue]
        .concat()
        .into_iter()
        .map(half::f16::from_f32)
        .collect();
    assert_eq!(
        &tensor.data()[..],
        bytemuck::cast_slice::<half::f16, u8>(&expected)
    );
}

/// Puts an EXIF block with an orientation behind the first marker of a JPEG.
fn turned(jpeg: &[u8], orientation: u8) -> Bytes {
    let mut exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let length = (exif.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]]
        .concat()
        .into()
}

#[test]
fn an_image_stands_upright_by_its_exif() {
    let stored = file(picture(16, 8), ImageFormat::Jpeg);
    let pixels = image::load_from_memory(&stored).unwrap();
    for exif in 1..=8 {
        let mut upright = pixels.clone();
        upright.apply_orientation(image::metadata::Orientation::from_exif(exif).unwrap());
        let upright = upright.into_rgb8();
        let target = target(upright.width(), upright.height());
        assert_eq!(
            &bytes(turned(&stored, exif), &target),
            upright.as_raw(),
            "{exif}"
        );
    }
    // Turned and fitted: 16 x 8 that stands on its side covers a square by its middle.
    let square = ImageTarget {
        fit: Fit::Contain,
        ..target(8, 8)
    };
    let given = bytes(turned(&stored, 6), &square);
    let columns: Vec<bool> = (0..8)
        .map(|column| (0..8).all(|row| given[(row * 8 + column) * 3..][..3] == [0, 0, 0]))
        .collect();
    assert_eq!(
        columns,
        [true, true, false, false, false, false, true, true]
    );
}

#[test]
fn brightness_of_a_jpeg_is_that_of_its_colours() {
    let stored = file(picture(32, 16), ImageFormat::Jpeg);
    let gray = ImageTarget {
        channels: Channels::Gray,
        ..target(32, 16)
    };
    let direct = bytes(stored.clone(), &gray);
    let colours = RgbImage::from_raw(32, 16, bytes(stored, &target(32, 16))).unwrap();
    let from_colours = bytes(png(colours), &gray);
    // Colours that are out of range were clamped before they were weighed.
    let close = direct
        .iter()
        .zip(&from_colours)
        .filter(|(direct, colours)| direct.abs_diff(**colours) <= 2)
        .count();
    assert!(
        close >= direct.len() * 9 / 10,
        "{close} of {}",
        direct.len()
    );
}

#[test]
fn of_an_animation_it_is_the_first_frame() {
    let mut file = Vec::new();
    let mut encoder = image::codecs::gif::GifEncoder::new(&mut file);
    for shade in [200, 10, 90] {
        let pixels = image::RgbaImage::from_pixel(2, 2, image::Rgba([shade, shade, shade, 255]));
        encoder.encode_frame(image::Frame::new(pixels)).unwrap();
    }
    drop(encoder);
    assert_eq!(bytes(file.into(), &target(1, 1)), [200; 3]);
}

#[test]
fn what_is_no_image_is_refused() {
    assert!(refusal(&b""[..]).contains("no image of a known format"));
    assert!(refusal(&b"GIF or not"[..]).contains("send JPEG, PNG"));
    assert!(refusal(&b"<svg/>"[..]).contains("no image of a known format"));
}

#[test]
fn every_cut_and_every_flipped_byte_is_survived() {
    for format in [
        ImageFormat::Png,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Jpeg,
    ] {
        let whole = file(picture(16, 16), format);
        for length in 0..whole.len() {
            let cut = whole.slice(..length);
            let tensor = Image::open(cut).and_then(|image| image.tensor(&target(4, 4), MOST));
            // The last bytes of some formats say nothing of pixels.
            assert!(
                tensor.is_err() || length + 24 > whole.len(),
                "{format:?} {length}"
            );
        }
        for at in 0..whole.len().min(600) {
            for bit in [0x01, 0x80, 0xff] {
                let mut flipped = whole.to_vec();
                flipped[at] ^= bit;
                let image = Image::open(flipped.into());
                if let Err(error) = image.and_then(|image| image.tensor(&target(4, 4), MOST)) {
                    assert!(matches!(error, CodecError::Invalid(_)), "{error:?}");
                }
            }
        }
    }
}

#[test]
fn a_header_that_promises_too_much_is_refused_before_memory_is_taken() {
    let mut bmp = file(picture(4, 4), ImageFormat::Bmp).to_vec();
    bmp[18..22].copy_from_slice(&60_000_u32.to_le_bytes());
    bmp[22..26].copy_from_slice(&60_000_u32.to_le_bytes());
    let message = refusal(bmp);
    assert!(
        message.contains("60000 x 60000 pixels; the most is 1048576"),
        "{message}"
    );

    let mut gif = file(picture(4, 4), ImageFormat::Gif).to_vec();
    gif[6..10].copy_from_slice(&[0xff; 4]);
    assert!(refusal(gif).contains("65535 x 65535 pixels; the most is"));

    let mut empty = file(picture(4, 4), ImageFormat::Gif).to_vec();
    empty[6..10].copy_from_slice(&[0; 4]);
    assert!(refusal(empty).contains("no pixels"));

    // The frame header of JPEG: 0xffc0, length, precision, height, width.
    let mut jpeg = file(picture(4, 4), ImageFormat::Jpeg).to_vec();
    let frame = memchr::memmem::find(&jpeg, &[0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
    assert!(refusal(jpeg).contains("65535 x 65535 pixels"));
}

#[test]
fn a_line_is_refused_where_resizing_would_take_too_much() {
    let line = png(image::GrayImage::from_pixel(60_000, 1, image::Luma([9])));
    let message = refusal_of(
        &line,
        &ImageTarget {
            filter: Filter::Bilinear,
            ..target(4, 4000)
        },
    );
    assert!(message.contains("too far from the shape"), "{message}");
}

fn refusal_of(data: &Bytes, target: &ImageTarget) -> String {
    let image = Image::open(data.clone()).unwrap();
    image.tensor(target, MOST).unwrap_err().to_string()
}

#[test]
fn an_impossible_target_is_the_callers() {
    let image = png(picture(2, 2));
    for (target, message) in [
        (target(0, 4), "give sides from 1 to 16384"),
        (target(4, 20_000), "give sides from 1 to 16384"),
        (
            ImageTarget {
                datatype: Datatype::Int64,
                ..target(4, 4)
            },
            "UINT8, FP16 or FP32, and not INT64",
        ),
        (
            ImageTarget {
                scale: 0.5,
                ..target(4, 4)
            },
            "UINT8 leaves pixels as they are",
        ),
        (
            ImageTarget {
                datatype: Datatype::Fp32,
                mean: vec![1.0],
                ..target(4, 4)
            },
            "there are 3 channels: give the mean 3 values",
        ),
        (
            ImageTarget {
                datatype: Datatype::Fp32,
                deviation: vec![1.0, 0.0, 1.0],
                ..target(4, 4)
            },
            "a deviation must not be 0",
        ),
        (
            ImageTarget {
                datatype: Datatype::Fp32,
                scale: f32::NAN,
                ..target(4, 4)
            },
            "finite numbers",
        ),
    ] {
        let error = Image::open(image.clone())
            .unwrap()
            .tensor(&target, MOST)
            .unwrap_err();
        assert!(matches!(error, CodecError::Misused(_)), "{error:?}");
        assert!(error.to_string().contains(message), "{error}");
    }
}
