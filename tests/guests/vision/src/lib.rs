//! Looks at images and reads texts through the host's codec. Header fields say what is done with the body:
//!
//! - `x-do: decode`, as where nothing is said: an image becomes a tensor of `x-size` (`WxH`), with `x-fit`, `x-filter`, `x-channels`,
//!   `x-layout` and `x-datatype`;
//! - `x-do: inspect`: its header, as text;
//! - `x-do: encode`: each line becomes a row of ids, by `x-tokenizer`, `x-max-length`, `x-pad-to` and `x-special: no`;
//! - `x-do: join`: ids with spaces between become text again; `x-special: no` leaves special ones out;
//! - `x-do: look-up`: each line as a token: its id or `-`, and the size of the vocabulary at last.

use serde::Deserialize;
use wharf_plugin_sdk::codec::{
    Channels, EncodingOptions, Filter, Fit, ImageTensor, Layout, Tokenizer, decode_image,
    inspect_image,
};
use wharf_plugin_sdk::{
    Body, Error, Lifecycle, Payload, Plugin, Preprocess, Request, Result, Tensor,
};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// The tokenizer that each instance opens when it starts.
    tokenizer: Option<String>,
}

struct Vision {
    tokenizer: Option<Tokenizer>,
}

impl Plugin for Vision {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        let tokenizer = settings.tokenizer.as_deref().map(Tokenizer::open);
        Ok(Self {
            tokenizer: tokenizer.transpose()?,
        })
    }
}

impl Preprocess for Vision {
    fn preprocess(&self, request: &Request, input: Payload) -> Result<Payload> {
        let body = input.body()?;
        match field(request, "x-do").as_str() {
            "" | "decode" => Ok(decode_image(&body, &target(request)?)?.into()),
            "inspect" => {
                let info = inspect_image(&body)?;
                text(format!("{} {} {}", info.width, info.height, info.format))
            }
            "encode" => self.encode(request, &body),
            "join" => {
                let words = String::from_utf8(body.bytes())?;
                let ids = words
                    .split_whitespace()
                    .map(|id| id.parse().map_err(|_| Error::invalid("an id is a number")))
                    .collect::<Result<Vec<u32>>>()?;
                let special = field(request, "x-special") != "no";
                self.with_tokenizer(request, |tokenizer| {
                    text(if special {
                        tokenizer.decode_with_special(&ids)?
                    } else {
                        tokenizer.decode(&ids)?
                    })
                })
            }
            "look-up" => {
                let tokens = String::from_utf8(body.bytes())?;
                self.with_tokenizer(request, |tokenizer| {
                    let ids = tokens.lines().map(|token| {
                        let id = tokenizer.token_id(token);
                        id.map_or("-".to_owned(), |id| id.to_string())
                    });
                    let size = tokenizer.vocabulary_size().to_string();
                    text(ids.chain([size]).collect::<Vec<String>>().join(" "))
                })
            }
            other => Err(Error::invalid_field(
                "x-do",
                format!("no such deed: {other}"),
            )),
        }
    }
}

impl Vision {
    fn encode(&self, request: &Request, body: &Body) -> Result<Payload> {
        let texts = String::from_utf8(body.bytes())?;
        let texts: Vec<&str> = texts.lines().collect();
        let mut options = EncodingOptions::default();
        if let Some(ids) = number(request, "x-max-length")? {
            options = options.with_max_length(ids);
        }
        if let Some(ids) = number(request, "x-pad-to")? {
            options = options.with_padding_to(ids);
        }
        if field(request, "x-special") == "no" {
            options = options.without_special();
        }
        self.with_tokenizer(request, |tokenizer| {
            let tensors: Vec<Tensor> = tokenizer.encode(&texts, &options)?.into_tensors();
            Ok(tensors.into())
        })
    }

    fn with_tokenizer(
        &self,
        request: &Request,
        work: impl FnOnce(&Tokenizer) -> Result<Payload>,
    ) -> Result<Payload> {
        match (request.header("x-tokenizer"), &self.tokenizer) {
            (Some(name), _) => work(&Tokenizer::open(&name)?),
            (None, Some(tokenizer)) => work(tokenizer),
            (None, None) => Err(Error::invalid_field("x-tokenizer", "name one")),
        }
    }
}

fn target(request: &Request) -> Result<ImageTensor> {
    let size = field(request, "x-size");
    let (width, height) = size
        .split_once('x')
        .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)))
        .unwrap_or((224, 224));
    let target = ImageTensor::new("pixels", width, height)
        .with_fit(match field(request, "x-fit").as_str() {
            "cover" => Fit::Cover,
            "contain" => Fit::Contain,
            _ => Fit::Stretch,
        })
        .with_filter(match field(request, "x-filter").as_str() {
            "bilinear" => Filter::Bilinear,
            "bicubic" => Filter::Bicubic,
            "lanczos3" => Filter::Lanczos3,
            _ => Filter::Nearest,
        })
        .with_channels(match field(request, "x-channels").as_str() {
            "bgr" => Channels::Bgr,
            "gray" => Channels::Gray,
            _ => Channels::Rgb,
        })
        .with_layout(match field(request, "x-layout").as_str() {
            "nhwc" => Layout::Nhwc,
            _ => Layout::Nchw,
        });
    Ok(match field(request, "x-datatype").as_str() {
        "uint8" => target.with_pixels(),
        "fp16" => target.with_halves(),
        "normal" => target.with_normalization(&[0.5; 3], &[0.25; 3]),
        "wrong" => target.with_normalization(&[0.5; 2], &[]),
        _ => target,
    })
}

fn field(request: &Request, name: &str) -> String {
    request.header(name).unwrap_or_default()
}

fn number(request: &Request, name: &str) -> Result<Option<u32>> {
    let number = request.header(name).map(|value| value.parse());
    number
        .transpose()
        .map_err(|_| Error::invalid_field(name, "is a number"))
}

fn text(text: impl AsRef<str>) -> Result<Payload> {
    Ok(Body::new("text/plain", text.as_ref().as_bytes()).into())
}

impl Lifecycle for Vision {}

wharf_plugin_sdk::export!(Vision: preprocess, lifecycle);
