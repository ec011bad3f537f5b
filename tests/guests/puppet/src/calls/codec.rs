//! Images and tokenizers, with numbers that no image has.

use std::hint::black_box;

use wharf_plugin_sdk::bindings::imports::codec::{
    self, Channels, EncodingOptions, Filter, Fit, ImageTensor, Layout, Tokenizer,
};
use wharf_plugin_sdk::bindings::types::Body;

use super::Machine;
use super::tensors::any_datatype;
use crate::program::Program;

/// Small images, to be changed: a format that is right at its beginning gets further than noise.
const IMAGES: [&[u8]; 3] = [
    // One pixel as PNG.
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde\0\0\0\x0cIDAT\x08\xd7c\xf8\xff\xff?\0\x05\xfe\x02\xfe\xdc\xccY\xe7\0\0\0\0IEND\xaeB`\x82",
    // One pixel as GIF.
    b"GIF89a\x01\0\x01\0\x80\0\0\xff\xff\xff\0\0\0!\xf9\x04\0\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;",
    // Two by two pixels as BMP.
    b"BMF\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x02\0\0\0\x02\0\0\0\x01\0\x18\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\0\0\xff\0\0\0\xff\0\0\0",
];

/// Keeps an image, with some of its bytes changed.
pub(super) fn image(machine: &mut Machine<'_>) {
    let program = &mut machine.program;
    let mut data = program.one_of(&IMAGES).to_vec();
    for (at, byte) in program.list(6, |program| (program.byte(), program.byte())) {
        let at = usize::from(at) % data.len();
        data[at] = byte;
    }
    if program.flag() {
        data.truncate(program.below(data.len()));
    }
    machine.keep_body(Body::new("image/png", &data));
}

pub(super) fn inspect(machine: &mut Machine<'_>) {
    black_box(codec::inspect_image(machine.body())).ok();
}

pub(super) fn decode_image(machine: &mut Machine<'_>) {
    let program = &mut machine.program;
    let target = ImageTensor {
        name: program.text(),
        width: program.word(),
        height: program.word(),
        fit: program.one_of(&[Fit::Stretch, Fit::Cover, Fit::Contain]),
        filter: program.one_of(&[
            Filter::Nearest,
            Filter::Bilinear,
            Filter::Bicubic,
            Filter::Lanczos3,
        ]),
        channels: program.one_of(&[Channels::Rgb, Channels::Bgr, Channels::Gray]),
        layout: program.one_of(&[Layout::Nchw, Layout::Nhwc]),
        datatype: any_datatype(program),
        scale: program.float() as f32,
        mean: program.list(4, |program| program.float() as f32),
        deviation: program.list(4, |program| program.float() as f32),
    };
    let decoded = codec::decode_image(machine.body(), &target);
    machine.keep_tensor(decoded);
}

pub(super) fn open(machine: &mut Machine<'_>) {
    let opened = Tokenizer::open(&machine.program.text());
    machine.tokenizers.extend(opened);
    machine.tokenizers.truncate(4);
}

/// A tokenizer of the shelf, or the one that the grant names.
fn tokenizer<'m>(machine: &'m mut Machine<'_>) -> Option<&'m Tokenizer> {
    if machine.tokenizers.is_empty() {
        machine.tokenizers.extend(Tokenizer::open("words"));
    }
    machine.tokenizers.last()
}

pub(super) fn encode(machine: &mut Machine<'_>) {
    let program = &mut machine.program;
    let texts = program.list(4, Program::text);
    let options = EncodingOptions {
        max_length: program.maybe(Program::word),
        pad_to: program.maybe(Program::word),
        special: program.flag(),
    };
    let encoded = tokenizer(machine).and_then(|words| words.encode(&texts, options).ok());
    if let Some(encoded) = encoded {
        for tensor in [encoded.ids, encoded.mask, encoded.segments] {
            machine.keep_tensor(Ok::<_, ()>(tensor));
        }
    }
}

pub(super) fn decode(machine: &mut Machine<'_>) {
    let ids = machine.program.list(16, Program::word);
    let skip = machine.program.flag();
    black_box(tokenizer(machine).map(|words| words.decode(&ids, skip)));
}

pub(super) fn token_id(machine: &mut Machine<'_>) {
    let token = machine.program.text();
    black_box(tokenizer(machine).map(|words| words.token_id(&token)));
}

pub(super) fn vocabulary_size(machine: &mut Machine<'_>) {
    black_box(tokenizer(machine).map(Tokenizer::vocabulary_size));
}
