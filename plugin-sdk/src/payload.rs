//! What enters or leaves a stage: tensors, or bytes with a media type.

use crate::{Error, Result, Tensor, raw};

/// Bytes with a media type: what a client sent, or what it is answered. A handle, like a tensor.
#[derive(Debug)]
pub struct Body(raw::Body);

impl Body {
    /// Makes a body. The media type is that of the `Content-Type` field, such as `application/json`.
    pub fn new(media_type: &str, data: &[u8]) -> Self {
        Self(raw::Body::new(media_type, data))
    }

    /// Makes an `application/json` body.
    ///
    /// # Errors
    /// `failed` where the value has no form in JSON, such as a map whose keys are not texts.
    pub fn json(value: &impl serde::Serialize) -> Result<Self> {
        let data = serde_json::to_vec(value).map_err(|error| {
            Error::failed(format!("the answer cannot be written as JSON: {error}"))
        })?;
        Ok(Self::new("application/json", &data))
    }

    /// The media type, with its parameters, as the client sent it.
    pub fn media_type(&self) -> String {
        self.0.media_type()
    }

    /// The size in bytes.
    pub fn byte_length(&self) -> u64 {
        self.0.byte_length()
    }

    /// Copies the bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.read()
    }

    /// Copies `length` bytes from `offset` on.
    ///
    /// # Errors
    /// `invalid-input` where they are not all inside the body.
    pub fn byte_range(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        self.0.read_range(offset, length)
    }

    /// The same bytes with another media type. Copies nothing.
    pub fn with_media_type(&self, media_type: &str) -> Self {
        Self(self.0.with_media_type(media_type))
    }

    /// Reads the bytes as JSON, whatever the media type says.
    ///
    /// # Errors
    /// `invalid-input` where they are not the JSON of a `T`.
    pub fn parse_json<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_slice(&self.bytes())?)
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn from_raw(raw: raw::Body) -> Self {
        Self(raw)
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn into_raw(self) -> raw::Body {
        self.0
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn raw(&self) -> &raw::Body {
        &self.0
    }
}

/// What enters or leaves a stage.
#[derive(Debug)]
pub enum Payload {
    /// Named tensors, in the order in which the model or the client gave them.
    Tensors(Vec<Tensor>),
    /// Bytes with a media type.
    Body(Body),
}

impl Payload {
    /// Other handles of the same data, for one who takes it beside the next stage. Copies nothing.
    ///
    /// ```
    /// use wharf_plugin_sdk::{Body, Payload};
    ///
    /// let payload = Payload::from(Body::new("text/plain", b"a ship"));
    /// assert_eq!(payload.share().body()?.bytes(), payload.body()?.bytes());
    /// # Ok::<(), wharf_plugin_sdk::Error>(())
    /// ```
    #[must_use]
    pub fn share(&self) -> Self {
        match self {
            Self::Tensors(tensors) => {
                let share = |tensor: &Tensor| tensor.with_name(&tensor.name());
                Self::Tensors(tensors.iter().map(share).collect())
            }
            Self::Body(body) => Self::Body(body.with_media_type(&body.media_type())),
        }
    }

    /// The tensors.
    ///
    /// # Errors
    /// `invalid-input` where the payload is a body.
    pub fn tensors(self) -> Result<Vec<Tensor>> {
        match self {
            Self::Tensors(tensors) => Ok(tensors),
            Self::Body(body) => Err(Error::invalid(format!(
                "this stage takes tensors, and was given a body of media type `{}`",
                body.media_type()
            ))),
        }
    }

    /// The tensor of this name; with an empty name the only tensor.
    ///
    /// # Errors
    /// `invalid-input` where the payload is a body, has no tensor of this name, or, for an empty name, has not one.
    pub fn tensor(self, name: &str) -> Result<Tensor> {
        let mut tensors = self.tensors()?;
        if name.is_empty() && tensors.len() == 1 {
            return Ok(tensors.remove(0));
        }
        match tensors.iter().position(|tensor| tensor.name() == name) {
            Some(index) => Ok(tensors.swap_remove(index)),
            None => {
                let names: Vec<String> = tensors.iter().map(Tensor::name).collect();
                let given = if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                };
                if name.is_empty() {
                    return Err(Error::invalid(format!(
                        "one tensor is needed, and these were given: {given}"
                    )));
                }
                Err(Error::invalid_field(
                    name,
                    format!("there is no tensor of this name; given: {given}"),
                ))
            }
        }
    }

    /// The body.
    ///
    /// # Errors
    /// `invalid-input` where the payload is tensors.
    pub fn body(self) -> Result<Body> {
        match self {
            Self::Body(body) => Ok(body),
            Self::Tensors(tensors) => Err(Error::invalid(format!(
                "this stage takes a body, and was given {} tensors",
                tensors.len()
            ))),
        }
    }
}

impl From<Tensor> for Payload {
    fn from(tensor: Tensor) -> Self {
        Self::Tensors(vec![tensor])
    }
}

impl From<Vec<Tensor>> for Payload {
    fn from(tensors: Vec<Tensor>) -> Self {
        Self::Tensors(tensors)
    }
}

impl From<Body> for Payload {
    fn from(body: Body) -> Self {
        Self::Body(body)
    }
}

#[cfg(target_arch = "wasm32")]
impl From<crate::bindings::types::Payload> for Payload {
    fn from(raw: crate::bindings::types::Payload) -> Self {
        match raw {
            // Both are one handle wide, so the collection reuses the list's allocation.
            crate::bindings::types::Payload::Tensors(tensors) => {
                Self::Tensors(tensors.into_iter().map(Tensor::from_raw).collect())
            }
            crate::bindings::types::Payload::Body(body) => Self::Body(Body(body)),
        }
    }
}

#[cfg(target_arch = "wasm32")]
impl From<Payload> for crate::bindings::types::Payload {
    fn from(payload: Payload) -> Self {
        match payload {
            Payload::Tensors(tensors) => {
                Self::Tensors(tensors.into_iter().map(Tensor::into_raw).collect())
            }
            Payload::Body(body) => Self::Body(body.0),
        }
    }
}
