//! Who may ask the admin listener: whoever knows its token, where it has one.

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use wharf_core::{Error, ErrorKind, Result};

/// A shorter token is guessed sooner than it should be.
const MIN_BYTES: usize = 16;
const MAX_BYTES: usize = 4096;

/// A token as an operator writes it. Nothing shows it again.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl From<String> for Token {
    fn from(token: String) -> Self {
        Self(token)
    }
}

impl Token {
    /// Checks the token, and keeps of it what requests are compared with.
    ///
    /// # Errors
    /// What a token must be, in words that follow its key.
    pub(crate) fn ready(&self) -> Result<Operators, &'static str> {
        // Files end with a line.
        let token = self.0.trim_end_matches(['\r', '\n']);
        if !(MIN_BYTES..=MAX_BYTES).contains(&token.len())
            || !token.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(
                "is no token: write 16 to 4096 visible ASCII characters, such as `openssl rand -hex 32` makes",
            );
        }
        Ok(Operators {
            token: digest(token.as_bytes()),
            open: &[],
        })
    }
}

/// What proves who an operator is.
#[derive(Clone, Debug)]
pub(crate) struct Operators {
    token: [u8; 32],
    /// The templates of the paths that ask for no token.
    open: &'static [&'static str],
}

impl Operators {
    /// Lets everybody ask for these paths.
    pub(crate) fn leaving_open(self, templates: &'static [&'static str]) -> Self {
        Self {
            open: templates,
            ..self
        }
    }

    /// Refuses who does not know the token.
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub(crate) fn check(&self, template: &str, headers: &HeaderMap) -> Result<()> {
        if self.open.contains(&template) {
            return Ok(());
        }
        let refuse = |message: &'static str| {
            Err(Error::new(ErrorKind::Unauthenticated, message).with_field("authorization"))
        };
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else {
            return refuse(
                "this listener is for operators: send Authorization: Bearer TOKEN once, with the token that \
                 server.admin_token or server.admin_token_file sets",
            );
        };
        let bytes = field.as_bytes();
        let token = match bytes.split_at_checked(7) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token.trim_ascii(),
            _ => return refuse("the scheme is not Bearer; send Authorization: Bearer TOKEN"),
        };
        // Digests are of one length, and how far two of them agree says nothing of the token.
        match bool::from(digest(token).ct_eq(&self.token)) {
            true => Ok(()),
            false => refuse("the token is not the one of this server"),
        }
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    #[test]
    fn a_token_has_some_length_and_no_spaces() {
        for token in [
            "",
            "0123456789abcde",
            "0123456789 abcdef",
            "0123456789abcde\u{e9}",
        ] {
            assert!(Token(token.to_owned()).ready().is_err(), "{token}");
        }
        assert!(Token("x".repeat(MAX_BYTES + 1)).ready().is_err());
        assert!(Token(format!("{TOKEN}\r\n")).ready().is_ok());
        assert_eq!(format!("{:?}", Token(TOKEN.to_owned())), "Token(..)");
    }

    #[test]
    fn only_the_token_opens() {
        let operators = Token(TOKEN.to_owned()).ready().unwrap();
        let check = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            operators
                .check("/admin/reload", &headers)
                .map_err(|error| error.kind())
        };
        let right = format!("Bearer {TOKEN}");
        assert_eq!(check(&[&right]), Ok(()));
        assert_eq!(check(&[&right.replace("Bearer", "bearer")]), Ok(()));
        for values in [
            &[][..],
            &["Bearer"],
            &["Bearer "],
            &["Basic 0123456789abcdef"],
            &["Bearer 0123456789abcdeF"],
            &["Bearer 0123456789abcde"],
            &["Bearer 0123456789abcdef0"],
            &[&right, &right],
            &["\u{e9}\u{e9}\u{e9}\u{e9}"],
        ] {
            assert_eq!(check(values), Err(ErrorKind::Unauthenticated), "{values:?}");
        }
        let operators = operators.clone().leaving_open(&["/metrics"]);
        let nothing = HeaderMap::new();
        assert!(operators.check("/metrics", &nothing).is_ok());
        assert!(operators.check("/admin/reload", &nothing).is_err());
    }
}
