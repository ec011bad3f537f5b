//! Principals, made of what was proved.

use std::io::{self, Write};
use std::sync::Arc;

use http::HeaderValue;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use wharf_core::{Principal, Scope};

/// The most that the field `x-request-context` may have. It goes to every stage and upstream with every request.
pub(super) const CONTEXT_BYTES: usize = 4 << 10;

/// Whom credentials prove, before it is known whether that fits a header field.
pub(super) struct Proved<'a> {
    pub(super) tenant: Option<&'a str>,
    pub(super) subject: &'a str,
    pub(super) roles: Vec<Arc<str>>,
    pub(super) scopes: Vec<Scope>,
}

/// User and roles do not fit [`CONTEXT_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// What stages and upstreams read.
#[derive(Serialize)]
struct Context<'a> {
    user: &'a str,
    roles: &'a [Arc<str>],
}

impl Proved<'_> {
    /// # Errors
    /// Where there are too many roles. Leaving some out would make the user somebody else.
    pub(super) fn principal(self) -> Result<Arc<Principal>, TooLarge> {
        let context = context(self.subject, &self.roles)?;
        Ok(Arc::new(Principal {
            tenant: self.tenant.map(Into::into),
            subject: self.subject.into(),
            roles: self.roles,
            scopes: self.scopes,
            context,
        }))
    }
}

/// Whoever sends a request to a server that asks nobody.
pub(super) fn anonymous() -> Arc<Principal> {
    Arc::new(Principal {
        tenant: None,
        subject: "anonymous".into(),
        roles: Vec::new(),
        scopes: vec![Scope::All],
        context: HeaderValue::from_static(r#"{"user":"anonymous","roles":[]}"#),
    })
}

fn context(user: &str, roles: &[Arc<str>]) -> Result<HeaderValue, TooLarge> {
    let mut json = Vec::with_capacity(128);
    Context { user, roles }
        .serialize(&mut Serializer::with_formatter(&mut json, Ascii))
        .map_err(|_| TooLarge)?;
    if json.len() > CONTEXT_BYTES {
        return Err(TooLarge);
    }
    HeaderValue::try_from(json).map_err(|_| TooLarge)
}

/// Writes JSON on one line, in the characters that a header field may have: others become escapes, which mean the same.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for char in fragment.chars() {
            if char.is_ascii() && !char.is_ascii_control() {
                writer.write_all(&[char as u8])?;
                continue;
            }
            for unit in char.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_is_json_in_ascii_on_one_line() {
        let roles: Vec<Arc<str>> = vec!["a\"b".into(), "line\nbreak".into(), "\u{7f}".into()];
        let value = context("Zoë 🦀", &roles).unwrap();
        assert!(value.to_str().is_ok(), "{value:?}");
        let read: serde_json::Value = serde_json::from_slice(value.as_bytes()).unwrap();
        let expected = serde_json::json!({
            "user": "Zoë 🦀", "roles": ["a\"b", "line\nbreak", "\u{7f}"]
        });
        assert_eq!(read, expected);
        assert!(
            value
                .as_bytes()
                .starts_with(br#"{"user":"Zo\u00eb \ud83e\udd80","#)
        );
    }

    #[test]
    fn a_context_is_bounded() {
        let role = |length: usize| vec![Arc::from("r".repeat(length))];
        assert!(context("u", &role(CONTEXT_BYTES - 26)).is_ok());
        assert_eq!(context("u", &role(CONTEXT_BYTES)), Err(TooLarge));
    }

    #[test]
    fn the_context_of_nobody_is_written_as_others_are() {
        assert_eq!(anonymous().context, context("anonymous", &[]).unwrap());
    }
}
