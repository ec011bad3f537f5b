//! The ability `codec`: images and tokenizers. What takes longer than a thread hop runs on threads that may block, and never more
//! of it at one time than there are cores and memory for; plugins take turns.

mod workers;

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use opentelemetry::metrics::Meter;
use parking_lot::Mutex;
use serde::Deserialize;
use wharf_codec::{CodecError, Encoded, EncodingOptions, Image, ImageTarget, SpecialIds};
use wharf_core::{Digest, Name, SiteFile, Tensor};

use super::Granted;
use crate::metrics::CodecInstruments;
use workers::{Load, Places, Workers};

/// The folders of the site that a file may lie in: those that are watched.
const FOLDERS: [&str; 2] = ["models", "plugins"];

/// The most pixels that a grant may allow.
const MOST_PIXELS: u64 = 1 << 28;

/// The most text of a call that a grant may allow, in KiB.
const MOST_TEXT_KB: u32 = 64 << 10;

/// What each text costs beside its bytes, however short it is.
const TEXT_OVERHEAD_BYTES: usize = 16;

/// About the memory that tokenising takes for a byte of text: where each byte is a token, each has a text, a place and a split of its own.
const TOKENISING_BYTES: u64 = 256;

/// The most ids that become a text at once, and the most that they may become.
const MOST_IDS: usize = 1 << 20;
const MOST_DECODED_BYTES: u64 = 1 << 30;

/// Work below these runs at once, on the thread of the request: it takes less than some hundred microseconds.
const SHORT_TEXT_BYTES: usize = 2048;
const SHORT_IDS: usize = 1024;
const SHORT_DECODED_BYTES: u64 = 4 << 20;
const SHORT_SOURCE_PIXELS: u64 = 64 * 64;
const SHORT_SOURCE_BYTES: usize = 64 << 10;
const SHORT_TARGET_BYTES: usize = 64 << 10;

/// A file up to this size has its header read at once. It is short, unless what stands before the pixels is not.
const SHORT_HEADER_BYTES: usize = 4 << 20;

/// `[grants.codec]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Grant {
    /// The most pixels of an image that is decoded.
    max_pixels: u64,
    /// The most text of one call, in KiB.
    max_text_kb: u32,
    /// Tokenizers by name: the path of a `tokenizer.json` in the site.
    tokenizers: BTreeMap<String, String>,
}

impl Default for Grant {
    fn default() -> Self {
        Self {
            max_pixels: 64_000_000,
            max_text_kb: 1024,
            tokenizers: BTreeMap::new(),
        }
    }
}

impl Granted for Grant {
    fn check(&self) -> Result<(), (&'static str, String)> {
        if !(1..=MOST_PIXELS).contains(&self.max_pixels) {
            let message = format!("must be a whole number from 1 to {MOST_PIXELS}");
            return Err(("max_pixels", message));
        }
        if !(1..=MOST_TEXT_KB).contains(&self.max_text_kb) {
            let message = format!("must be a whole number from 1 to {MOST_TEXT_KB}");
            return Err(("max_text_kb", message));
        }
        for (name, path) in &self.tokenizers {
            if name.is_empty() || name.len() > 64 {
                let message = "a name has 1 to 64 bytes".to_owned();
                return Err(("tokenizers", message));
            }
            if !is_inside(path) {
                return Err((
                    "tokenizers",
                    format!(
                        "{name:?} must be a path inside the site, in {}, such as \"models/bert/tokenizer.json\"",
                        FOLDERS.join("/ or ") + "/"
                    ),
                ));
            }
        }
        Ok(())
    }
}

impl Grant {
    /// The files that the grant names.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.tokenizers.values().map(String::as_str)
    }
}

/// Whether a path names something in a folder of the site that is watched, by its text alone.
fn is_inside(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    let first = parts.next();
    let in_folder = FOLDERS
        .iter()
        .any(|folder| first == Some(Component::Normal(folder.as_ref())));
    let rest: Vec<_> = parts.collect();
    in_folder
        && !rest.is_empty()
        && rest.iter().all(|part| matches!(part, Component::Normal(_)))
        && !path.contains(['\0', '\\'])
}

/// What all plugins share: tokenizers of the same content, and the threads.
pub(crate) struct Codecs {
    tokenizers: Mutex<HashMap<Digest, Weak<wharf_codec::Tokenizer>>>,
    places: Places,
    instruments: CodecInstruments,
}

/// What a plugin was granted.
pub(crate) struct Codec {
    max_pixels: u64,
    max_text_bytes: usize,
    tokenizers: BTreeMap<String, Tokenizer>,
    workers: Workers,
}

/// A tokenizer that a guest holds.
#[derive(Clone)]
#[expect(
    unreachable_pub,
    reason = "the generated bindings re-export it, which takes a public type"
)]
pub struct Tokenizer(Arc<wharf_codec::Tokenizer>);

impl Codecs {
    pub(crate) fn new(meter: &Meter) -> Self {
        Self {
            tokenizers: Mutex::default(),
            places: Places::default(),
            instruments: CodecInstruments::new(meter),
        }
    }

    /// Opens the grant of a plugin, whose files were read.
    ///
    /// # Errors
    /// The key within the grant, and what is wrong with it.
    pub(crate) fn open(
        &self,
        grant: Grant,
        plugin: &Name,
        files: &[SiteFile],
    ) -> Result<Codec, (String, String)> {
        let tokenizers = (grant.tokenizers)
            .into_iter()
            .map(|(name, path)| {
                let tokenizer = self
                    .tokenizer(&path, files)
                    .map_err(|message| (format!("tokenizers.{name}"), message))?;
                Ok((name, tokenizer))
            })
            .collect::<Result<_, (String, String)>>()?;
        Ok(Codec {
            max_pixels: grant.max_pixels,
            max_text_bytes: grant.max_text_kb as usize * 1024,
            tokenizers,
            workers: self.places.for_plugin(self.instruments.bind(plugin)),
        })
    }

    /// The tokenizer of a file: one that is open already, where its content is the same.
    fn tokenizer(&self, path: &str, files: &[SiteFile]) -> Result<Tokenizer, String> {
        let file = SiteFile::named(path, files)?;
        let content = file.content()?;
        // Nothing that serves requests waits here: names are resolved when a plugin is loaded.
        let mut open = self.tokenizers.lock();
        open.retain(|_, tokenizer| tokenizer.strong_count() > 0);
        if let Some(digest) = file.digest
            && let Some(tokenizer) = open.get(&digest).and_then(Weak::upgrade)
        {
            return Ok(Tokenizer(tokenizer));
        }
        let tokenizer = wharf_codec::Tokenizer::from_json(content)
            .map(Arc::new)
            .map_err(|error| format!("{path}: {error}"))?;
        if let Some(digest) = file.digest {
            open.insert(digest, Arc::downgrade(&tokenizer));
        }
        Ok(Tokenizer(tokenizer))
    }
}

impl Codec {
    /// The tokenizer that the grant names so.
    pub(crate) fn tokenizer(&self, name: &str) -> Option<Tokenizer> {
        self.tokenizers.get(name).cloned()
    }

    /// Prepares the reading of an image's header.
    pub(crate) fn open_image(&self, data: Bytes) -> Work<Image> {
        if data.len() <= SHORT_HEADER_BYTES {
            return Work::Done(Image::open(data));
        }
        Work::long(&self.workers, Load::default(), move |_| Image::open(data))
    }

    /// Prepares the decoding of an image.
    pub(crate) fn decode_image(&self, image: Image, target: ImageTarget) -> Work<Tensor> {
        let most = self.max_pixels;
        let short = image.pixels() <= SHORT_SOURCE_PIXELS
            && image.file_bytes() <= SHORT_SOURCE_BYTES
            && target
                .byte_len()
                .is_ok_and(|bytes| bytes <= SHORT_TARGET_BYTES);
        if short || image.pixels() > most {
            // An image that is refused takes no memory.
            return Work::Done(image.tensor(&target, most));
        }
        let load = Load::of_bytes(image.working_bytes(&target));
        Work::long(&self.workers, load, move |_| image.tensor(&target, most))
    }

    /// Prepares the encoding of texts.
    pub(crate) fn encode(
        &self,
        tokenizer: Tokenizer,
        texts: Vec<String>,
        options: EncodingOptions,
    ) -> Work<Encoded> {
        let bytes = (texts.iter()).fold(0_usize, |sum, text| {
            sum.saturating_add(text.len() + TEXT_OVERHEAD_BYTES)
        });
        if bytes > self.max_text_bytes {
            return Work::Done(Err(CodecError::Invalid(format!(
                "the texts take {bytes} bytes together; the most is {}: send less",
                self.max_text_bytes
            ))));
        }
        let size = if bytes <= SHORT_TEXT_BYTES {
            Size::Short
        } else {
            let grown = tokenizer.0.grown(bytes as u64);
            Size::Long(Load::of_bytes(grown.saturating_mul(TOKENISING_BYTES)))
        };
        self.tokenise(tokenizer, size, move |tokenizer, cancelled| {
            tokenizer.encode(&texts, &options, cancelled)
        })
    }

    /// Prepares the decoding of ids.
    pub(crate) fn decode(
        &self,
        tokenizer: Tokenizer,
        ids: Vec<u32>,
        special: SpecialIds,
    ) -> Work<String> {
        if ids.len() > MOST_IDS {
            return Work::Done(Err(CodecError::Invalid(format!(
                "there are {} ids; the most is {MOST_IDS}: send less",
                ids.len()
            ))));
        }
        let bytes = tokenizer.0.decoded(ids.len());
        if bytes > MOST_DECODED_BYTES {
            return Work::Done(Err(CodecError::Invalid(format!(
                "the text of {} ids may take {bytes} bytes; the most is {MOST_DECODED_BYTES}: send less",
                ids.len()
            ))));
        }
        let size = if ids.len() <= SHORT_IDS && bytes <= SHORT_DECODED_BYTES {
            Size::Short
        } else {
            Size::Long(Load::of_bytes(bytes))
        };
        self.tokenise(tokenizer, size, move |tokenizer, _| {
            tokenizer.decode(&ids, special)
        })
    }

    /// Prepares work of a tokenizer. What is short is done at once, unless the tokenizer makes it long.
    fn tokenise<T: Send + 'static>(
        &self,
        Tokenizer(tokenizer): Tokenizer,
        size: Size,
        work: impl FnOnce(&wharf_codec::Tokenizer, &AtomicBool) -> Result<T, CodecError>
        + Send
        + 'static,
    ) -> Work<T> {
        if let Size::Long(load) = size {
            let work = move |cancelled: &AtomicBool| work(&tokenizer, cancelled);
            return Work::long(&self.workers, load, work);
        }
        let at_once = tokenizer.is_quick();
        let timed =
            move |cancelled: &AtomicBool| tokenizer.timed(|tokenizer| work(tokenizer, cancelled));
        if at_once {
            return Work::Done(timed(&AtomicBool::new(false)));
        }
        Work::long(&self.workers, Load::default(), timed)
    }
}

/// How long work should take, as far as its input says.
#[derive(Clone, Copy)]
enum Size {
    /// Less than a thread hop, or not much more.
    Short,
    Long(Load),
}

impl Tokenizer {
    /// The id of a token of the vocabulary.
    pub(crate) fn token_id(&self, token: &str) -> Option<u32> {
        self.0.token_id(token)
    }

    /// The size of the vocabulary, with added tokens.
    pub(crate) fn vocabulary_size(&self) -> u32 {
        self.0.vocabulary_size()
    }
}

/// Work that is done already, as it was short, or that takes its time.
pub(crate) enum Work<T> {
    /// Its result.
    Done(Result<T, CodecError>),
    /// A future that gives it. Dropping it gives the work up, which ends at the next step that it notices.
    Takes(std::pin::Pin<Box<dyn Future<Output = Result<T, CodecError>> + Send>>),
}

impl<T: Send + 'static> Work<T> {
    fn long(
        workers: &Workers,
        load: Load,
        job: impl FnOnce(&AtomicBool) -> Result<T, CodecError> + Send + 'static,
    ) -> Self {
        Self::Takes(Box::pin(workers.clone().run(load, job)))
    }
}

#[cfg(test)]
mod tests;
