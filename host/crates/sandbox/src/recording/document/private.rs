//! What a recording must not show: secrets that the plugin was granted, and header fields that are credentials.

use wharf_core::{Body, Headers};

use serde_json::{Map, Value};

use super::HoldsSecret;
use crate::bindings::v1::Piece;
use crate::guest::PluginFacts;

/// Header fields whose names have one of these in them are taken for credentials. Those that the protocols know are gone before a
/// stage sees the request; these are the ones that applications make up.
const CREDENTIALS: [&str; 10] = [
    "auth",
    "cookie",
    "credential",
    "jwt",
    "key",
    "passw",
    "secret",
    "session",
    "signature",
    "token",
];

/// Keeps what is private to a plugin and its clients out of a recording.
pub(super) struct Private<'a>(&'a PluginFacts);

impl<'a> Private<'a> {
    pub(super) fn of(plugin: &'a PluginFacts) -> Self {
        Self(plugin)
    }

    /// A text without secrets.
    pub(super) fn text(&self, text: &str) -> String {
        self.cut(text, usize::MAX)
    }

    /// The first bytes of a text, without secrets.
    pub(super) fn cut(&self, text: &str, bytes: usize) -> String {
        self.0.abilities.hide(text, bytes).into_owned()
    }

    /// Fails where bytes have a secret in them. They cannot be shown without, or the stage would be given something else.
    pub(super) fn check(&self, bytes: &[u8]) -> Result<(), HoldsSecret> {
        if self.0.abilities.has_secret(bytes) {
            return Err(HoldsSecret);
        }
        Ok(())
    }

    pub(super) fn check_body(&self, body: &Body) -> Result<(), HoldsSecret> {
        self.check(body.media_type.as_bytes())?;
        self.check(&body.data)
    }

    /// The same for the pieces of a text or a body, which may have a secret together.
    pub(super) fn check_pieces<'p>(
        &self,
        pieces: impl IntoIterator<Item = &'p Piece>,
    ) -> Result<(), HoldsSecret> {
        let mut bytes = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Tokens(tokens) => {
                    bytes.extend(tokens.iter().flat_map(|token| token.text.bytes()));
                }
                Piece::Chunk(chunk) => bytes.extend_from_slice(chunk),
            }
        }
        self.check(&bytes)
    }

    /// The header fields that may be shown, and the names of those that are left out.
    pub(super) fn headers(&self, headers: &Headers) -> (Value, Vec<String>) {
        let mut shown = Map::new();
        let mut left_out = Vec::new();
        for (name, value) in headers.iter() {
            let is_credential = CREDENTIALS.iter().any(|word| name.contains(word));
            if is_credential || self.check(value.as_bytes()).is_err() {
                if left_out.last().is_none_or(|last| last != name) {
                    left_out.push(name.to_owned());
                }
                continue;
            }
            match shown.get_mut(name) {
                Some(Value::Array(values)) => values.push(value.into()),
                Some(first) => *first = Value::from(vec![first.take(), value.into()]),
                None => {
                    shown.insert(name.to_owned(), value.into());
                }
            }
        }
        (shown.into(), left_out)
    }
}
