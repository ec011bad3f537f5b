//! What a request shows to prove who sends it.

use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::api_keys::PREFIX;
use super::refusal::Refusal;

/// The fields by their names, for refusals.
pub(super) const AUTHORIZATION_NAME: &str = "authorization";
const API_KEY_NAME: &str = "x-api-key";
const API_KEY: HeaderName = HeaderName::from_static(API_KEY_NAME);

/// A token or a key, as it was sent. Not looked at any further.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Credential<'a> {
    /// A token: `Authorization: Bearer TOKEN`.
    Token(&'a str),
    /// A key, and the field that it is in: `X-API-Key`, or `Authorization: Bearer wharf_...`. No JWT begins like one.
    Key(&'a str, &'static str),
}

impl<'a> Credential<'a> {
    /// Finds the one that a request has.
    ///
    /// # Errors
    /// Where there is none, or more than one: two parties on the way could each believe another one.
    pub(super) fn find(fields: &'a HeaderMap) -> Result<Self, Refusal> {
        let authorization = single(fields, &AUTHORIZATION, AUTHORIZATION_NAME)?;
        let key = single(fields, &API_KEY, API_KEY_NAME)?;
        match (authorization, key) {
            (Some(_), Some(_)) => Err(Refusal::Both),
            (Some(value), None) => bearer(value),
            (None, Some(value)) => match value.to_str().map(str::trim) {
                Ok("") => Err(Refusal::Missing),
                Ok(key) => Ok(Self::Key(key, API_KEY_NAME)),
                Err(_) => Err(Refusal::UnknownApiKey(API_KEY_NAME)),
            },
            (None, None) => Err(Refusal::Missing),
        }
    }
}

/// The value of a field that may be there once.
pub(super) fn single<'a>(
    fields: &'a HeaderMap,
    name: &HeaderName,
    text: &'static str,
) -> Result<Option<&'a HeaderValue>, Refusal> {
    let mut values = fields.get_all(name).iter();
    let first = values.next();
    match values.next() {
        Some(_) => Err(Refusal::Repeated(text)),
        None => Ok(first),
    }
}

fn bearer(value: &HeaderValue) -> Result<Credential<'_>, Refusal> {
    let text = value.to_str().map_err(|_| Refusal::Scheme)?.trim();
    if text.is_empty() {
        return Err(Refusal::Missing);
    }
    let (scheme, credential) = text.split_once(' ').ok_or(Refusal::Scheme)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::Scheme);
    }
    let credential = credential.trim_start();
    Ok(if credential.starts_with(PREFIX) {
        Credential::Key(credential, AUTHORIZATION_NAME)
    } else {
        Credential::Token(credential)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in pairs {
            fields.append(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        fields
    }

    #[test]
    fn the_prefix_tells_a_key_from_a_token() {
        for (pairs, key) in [
            ([("authorization", "Bearer a.b.c")], false),
            ([("authorization", "bearer  a.b.c")], false),
            ([("authorization", "BEARER wharf_x")], true),
            ([("x-api-key", "wharf_x")], true),
            ([("x-api-key", " anything ")], true),
        ] {
            let fields = fields(&pairs);
            let found = Credential::find(&fields).ok();
            assert_eq!(matches!(found, Some(Credential::Key(..))), key, "{pairs:?}");
            assert!(found.is_some(), "{pairs:?}");
        }
    }

    #[test]
    fn what_is_missing_or_ambiguous_is_refused() {
        let cases: [(&[(&str, &str)], Refusal); 9] = [
            (&[], Refusal::Missing),
            (&[("authorization", "")], Refusal::Missing),
            (&[("x-api-key", "")], Refusal::Missing),
            (&[("authorization", "Bearer")], Refusal::Scheme),
            (&[("authorization", "Basic dTpw")], Refusal::Scheme),
            (&[("authorization", "Bearer \u{e9}")], Refusal::Scheme),
            (
                &[("authorization", "Bearer a"), ("authorization", "Bearer a")],
                Refusal::Repeated("authorization"),
            ),
            (
                &[("x-api-key", "a"), ("x-api-key", "b")],
                Refusal::Repeated("x-api-key"),
            ),
            (
                &[("x-api-key", "a"), ("authorization", "Bearer a.b.c")],
                Refusal::Both,
            ),
        ];
        for (pairs, refusal) in cases {
            let fields = fields(pairs);
            assert_eq!(Credential::find(&fields).err(), Some(refusal), "{pairs:?}");
        }
    }
}
