mod reference;

use wharf_plugin_sdk::{
    Body, Datatype, Error, Payload, Preprocess, Request, Result, Tensor, testing,
};

use crate::settings::Settings;
use crate::{AudioFeatures, wav};

fn run(settings: &str, file: &[u8]) -> Result<Tensor> {
    let plugin: AudioFeatures = testing::plugin(settings)?;
    plugin
        .preprocess(&Request::new("speech"), Body::new("audio/wav", file).into())?
        .tensor("")
}

/// Kaldi's features of so few samples that a test is quick.
const SHORT: &str = r#"{"preset": "kaldi", "mels": 8}"#;

/// A sound without a period: three tones and a little noise.
fn sound(samples: usize) -> Vec<f64> {
    let tone = |time: f64, hertz: f64| (std::f64::consts::TAU * hertz * time).sin();
    let mut noise = 1_u32;
    (0..samples)
        .map(|index| {
            let time = index as f64 / 16_000.0;
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = f64::from(noise) / f64::from(u32::MAX) - 0.5;
            0.4 * tone(time, 440.0)
                + 0.2 * tone(time, 1700.5)
                + 0.1 * tone(time, 6100.0)
                + 0.01 * noise
        })
        .collect()
}

fn chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u32).to_le_bytes();
    let padding = &[0][..content.len() % 2];
    [&name[..], &length, content, padding].concat()
}

fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    let content = [b"WAVE".to_vec(), chunks.concat()].concat();
    chunk(b"RIFF", &content)
}

fn format(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
    let block = channels * bits / 8;
    let mut content = Vec::new();
    content.extend(tag.to_le_bytes());
    content.extend(channels.to_le_bytes());
    content.extend(rate.to_le_bytes());
    content.extend((rate * u32::from(block)).to_le_bytes());
    content.extend(block.to_le_bytes());
    content.extend(bits.to_le_bytes());
    chunk(b"fmt ", &content)
}

fn float_file(rate: u32, samples: &[f64]) -> Vec<u8> {
    let data: Vec<u8> = samples
        .iter()
        .flat_map(|sample| (*sample as f32).to_le_bytes())
        .collect();
    riff(&[format(3, 1, rate, 32), chunk(b"data", &data)])
}

fn close(found: &[f32], wanted: &[f32], distance: f32) {
    assert_eq!(found.len(), wanted.len());
    for (index, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert!(
            (found - wanted).abs() <= distance,
            "{index}: {found}, and {wanted} is right"
        );
    }
}

#[test]
fn whisper_features_are_those_of_a_plain_transform() {
    let sound = sound(4000);
    let settings = r#"{"max_seconds": 0.5}"#;
    let answer = run(settings, &float_file(16_000, &sound)).unwrap();
    assert_eq!(
        (answer.name(), answer.datatype()),
        ("input_features".to_owned(), Datatype::Fp32)
    );
    assert_eq!(answer.shape(), [1, 80, 50]);
    close(
        &answer.fp32().unwrap(),
        &reference::whisper(&sound, 8000),
        1e-4,
    );
}

#[test]
fn kaldi_features_are_those_of_a_plain_transform() {
    let sound = sound(2000);
    let answer = run(r#"{"preset": "kaldi"}"#, &float_file(16_000, &sound)).unwrap();
    assert_eq!(answer.shape(), [1, 11, 80]);
    close(&answer.fp32().unwrap(), &reference::kaldi(&sound), 1e-4);
}

#[test]
fn every_length_of_small_factors_is_transformed() {
    // 2 alone, 3, 5, 7, and all of them.
    for n_fft in [16, 64, 48, 100, 400, 98, 420, 512] {
        let spectrum = crate::fft::Spectrum::new(n_fft);
        let frame: Vec<f64> = sound(n_fft);
        let mut power = vec![0.0; n_fft / 2 + 1];
        spectrum.power(&frame, &mut spectrum.scratch(), &mut power);
        for (bin, found) in power.iter().enumerate() {
            let wanted = reference::power(&frame, n_fft, bin);
            assert!(
                (found - wanted).abs() < 1e-9,
                "{n_fft}, {bin}: {found}, {wanted}"
            );
        }
    }
}

#[test]
fn every_encoding_gives_the_same_features() {
    let sound: Vec<f64> = sound(1200)
        .iter()
        .map(|value| (value * 100.0).round() / 128.0)
        .collect();
    let wanted = run(SHORT, &float_file(16_000, &sound))
        .unwrap()
        .fp32()
        .unwrap();
    for (tag, bits) in [(1, 8), (1, 16), (1, 24), (1, 32)] {
        let data: Vec<u8> = sound
            .iter()
            .flat_map(|value| {
                let integer = (value * f64::from(1_u32 << (bits - 1))) as i64;
                let integer = if bits == 8 { integer + 128 } else { integer };
                integer.to_le_bytes()[..usize::from(bits) / 8].to_vec()
            })
            .collect();
        let file = riff(&[format(tag, 1, 16_000, bits), chunk(b"data", &data)]);
        close(&run(SHORT, &file).unwrap().fp32().unwrap(), &wanted, 1e-4);
    }
}

#[test]
fn channels_are_mixed_down() {
    let sound = sound(800);
    let wanted = run(SHORT, &float_file(16_000, &sound))
        .unwrap()
        .fp32()
        .unwrap();
    let both = sound
        .iter()
        .flat_map(|value| [*value as f32 + 0.125, *value as f32 - 0.125]);
    let data: Vec<u8> = both.flat_map(f32::to_le_bytes).collect();
    let file = riff(&[format(3, 2, 16_000, 32), chunk(b"data", &data)]);
    close(&run(SHORT, &file).unwrap().fp32().unwrap(), &wanted, 1e-2);
}

#[test]
fn chunks_that_mean_nothing_here_are_passed_over() {
    let data = chunk(b"data", &[0; 1600]);
    let odd = chunk(b"LIST", b"odd");
    // An extensible format, and a writer that did not know how long its data would be.
    let mut extensible = format(0xfffe, 1, 16_000, 16);
    extensible.extend([22, 0, 16, 0, 4, 0, 0, 0, 1, 0]);
    extensible.extend([0; 14]);
    extensible[4] = 40;
    let mut unknown = riff(&[odd, extensible, data.clone()]);
    let place = unknown.len() - data.len() + 4;
    unknown[place..place + 4].fill(0xff);
    let answer = run(SHORT, &unknown).unwrap();
    assert_eq!(answer.shape(), [1, 3, 8]);
    let silence = f32::EPSILON.ln();
    close(&answer.fp32().unwrap(), &[silence; 24], 1e-6);
}

#[test]
fn another_sample_rate_is_refused_or_resampled() {
    let low: Vec<f64> = sound(1600).into_iter().step_by(2).collect();
    let file = float_file(8000, &low);
    let error = run(SHORT, &file).unwrap_err();
    assert_eq!(error.field(), Some("body"));
    assert!(
        error.message().contains("8000") && error.message().contains("16000"),
        "{error}"
    );

    let settings = r#"{"preset": "kaldi", "mels": 8, "resample": "linear"}"#;
    assert_eq!(run(settings, &file).unwrap().shape(), [1, 8, 8]);
    let settings: Settings = serde_json::from_str(settings).unwrap();
    let ramp = float_file(12_000, &[0.0, 0.25, 0.5, 0.75]);
    let samples = wav::decode(&ramp, &settings.check().unwrap()).unwrap();
    close(&samples, &[0.0, 0.1875, 0.375, 0.5625, 0.75, 0.75], 1e-6);
}

#[test]
fn layouts_and_normalisations_are_kept() {
    let file = float_file(16_000, &sound(1600));
    let run = |extra: &str| {
        let settings = format!(r#"{{"preset": "kaldi", "mels": 4, "name": "x"{extra}}}"#);
        run(&settings, &file).unwrap()
    };
    let (frames, mels) = (run(""), run(r#", "layout": "mels-frames""#));
    assert_eq!(
        (frames.shape(), mels.shape()),
        (vec![1, 8, 4], vec![1, 4, 8])
    );
    let (by_frame, by_mel) = (frames.fp32().unwrap(), mels.fp32().unwrap());
    assert!((0..32).all(|place| by_frame[place] == by_mel[place % 4 * 8 + place / 4]));

    for layout in ["frames-mels", "mels-frames"] {
        let text = format!(r#", "layout": "{layout}", "normalise": "mean-variance""#);
        let values = run(&text).fp32().unwrap();
        let first: Vec<f32> = match layout {
            "frames-mels" => values.into_iter().step_by(4).collect(),
            _ => values[..8].to_vec(),
        };
        let (sum, squares) = first.iter().fold((0.0, 0.0), |(sum, squares), value| {
            (sum + value, squares + value * value)
        });
        assert!(
            sum.abs() < 1e-4 && (squares - 8.0).abs() < 1e-3,
            "{layout}: {sum}, {squares}"
        );
    }
}

#[test]
fn every_truncation_is_refused_without_a_panic() {
    let file = float_file(16_000, &sound(500));
    assert!(run(SHORT, &file).is_ok());
    for length in 0..file.len() {
        let error = run(SHORT, &file[..length]).unwrap_err();
        assert_eq!(error.field(), Some("body"), "{length}");
    }
}

#[test]
fn a_file_that_lies_is_refused() {
    let data = || chunk(b"data", &[0; 1600]);
    let nan: Vec<u8> = [f32::NAN; 400]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let infinite: Vec<u8> = [f32::MAX; 800]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let mut block = format(1, 1, 16_000, 16);
    block[20] = 7;
    for (what, file) in [
        ("no format", riff(&[data()])),
        (
            "format after data",
            riff(&[data(), format(1, 1, 16_000, 16)]),
        ),
        ("no channel", riff(&[format(1, 0, 16_000, 16), data()])),
        (
            "too many channels",
            riff(&[format(1, 2000, 16_000, 16), data()]),
        ),
        ("no rate", riff(&[format(1, 1, 0, 16), data()])),
        ("MP3 in WAV", riff(&[format(0x55, 1, 16_000, 16), data()])),
        ("12 bits", riff(&[format(1, 1, 16_000, 12), data()])),
        ("wrong block", riff(&[block, data()])),
        ("short format", riff(&[chunk(b"fmt ", &[1, 0]), data()])),
        (
            "no sample",
            riff(&[format(1, 1, 16_000, 16), chunk(b"data", &[])]),
        ),
        (
            "too few samples",
            riff(&[format(1, 1, 16_000, 16), chunk(b"data", &[0; 100])]),
        ),
        (
            "no number",
            riff(&[format(3, 1, 16_000, 32), chunk(b"data", &nan)]),
        ),
        (
            "infinite sum",
            riff(&[format(3, 2, 16_000, 32), chunk(b"data", &infinite)]),
        ),
        (
            "too slow for its bytes",
            riff(&[format(1, 1, 100, 16), chunk(b"data", &[0; 8000])]),
        ),
        ("text", b"RIFF of a guitar".to_vec()),
    ] {
        let settings = r#"{"preset": "kaldi", "mels": 8, "resample": "linear"}"#;
        let error = run(settings, &file).unwrap_err();
        assert_eq!(error.field(), Some("body"), "{what}: {error}");
    }
}

#[test]
fn what_is_too_long_is_refused_before_it_is_decoded() {
    let file = float_file(16_000, &sound(1600));
    let error = run(r#"{"max_seconds": 0.05, "n_fft": 64, "hop": 64}"#, &file).unwrap_err();
    assert!(error.message().contains("0.1 seconds"), "{error}");
    let settings = format!(r#"{{"max_bytes": {}}}"#, file.len() - 1);
    let error = run(&settings, &file).unwrap_err();
    assert!(
        error.message().contains(&format!("{} bytes", file.len())),
        "{error}"
    );
    let tensors: Payload = Tensor::new("x", &[1], &[0f32]).unwrap().into();
    let plugin: AudioFeatures = testing::plugin("{}").unwrap();
    let error = plugin
        .preprocess(&Request::new("speech"), tensors)
        .unwrap_err();
    assert!(matches!(error, Error::InvalidInput(_)));
}

#[test]
fn a_wrong_setting_is_refused_by_its_name() {
    for (settings, field) in [
        (r#"{"preset": "htk"}"#, "preset"),
        (r#"{"sample_rate": 0}"#, "sample_rate"),
        (r#"{"n_fft": 401}"#, "n_fft"),
        (r#"{"n_fft": 22}"#, "n_fft"),
        (r#"{"n_fft": 65536}"#, "n_fft"),
        (r#"{"win_length": 500}"#, "win_length"),
        (r#"{"hop": 0}"#, "hop"),
        (r#"{"mels": 0}"#, "mels"),
        (r#"{"scale": 0}"#, "scale"),
        (r#"{"preemphasis": 1}"#, "preemphasis"),
        (r#"{"fmin": -1}"#, "fmin"),
        (r#"{"fmax": 9000}"#, "fmax"),
        (r#"{"floor": 0}"#, "floor"),
        (r#"{"max_seconds": 0}"#, "max_seconds"),
        (r#"{"max_seconds": 3600, "hop": 1}"#, "max_seconds"),
        (r#"{"max_bytes": 0}"#, "max_bytes"),
        (r#"{"name": ""}"#, "name"),
        (r#"{"log": "log2"}"#, "log"),
        (r#"{"n_mels": 80}"#, "n_mels"),
    ] {
        let error = testing::plugin::<AudioFeatures>(settings).err().unwrap();
        assert_eq!(error.field(), Some(field), "{settings}: {error}");
    }
}
