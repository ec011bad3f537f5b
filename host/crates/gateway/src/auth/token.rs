//! A signed JWT, taken apart. Nothing of it is believed here: that comes with the signature.
//!
//! Of the header only `alg` and `kid` are read. `jku`, `jwk`, `x5u` and `x5c` would let a token bring its own key along, and are
//! not looked at.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::refusal::Refusal;

/// The longest token. It is well below what the header of a request has by default, so that this is what the client is told.
pub(super) const TOKEN_BYTES: usize = 8 << 10;
/// The longest key id.
pub(super) const KEY_ID_BYTES: usize = 256;

/// A token whose signature nobody has looked at.
pub(super) struct Token {
    /// How it says that it is signed.
    pub(super) alg: Alg,
    /// The name of the key, as it says. It is compared, and used for nothing else.
    pub(super) key_id: Option<String>,
    /// What is signed: the first two parts, as they came.
    pub(super) signed: Box<str>,
    pub(super) signature: Vec<u8>,
    pub(super) claims: Claims,
}

/// What the header says of the algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alg {
    /// `none`, in whatever spelling.
    None,
    /// One that nobody here knows.
    Unknown,
    Known(Algorithm),
}

/// The claims of a token.
pub(super) struct Claims(Value);

impl Token {
    /// Takes a text apart that is no longer than [`TOKEN_BYTES`].
    ///
    /// # Errors
    /// Where it is no JWT in its compact form, or needs something that is not understood.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Refusal::Shape)?;
        let (header, claims) = signed.split_once('.').ok_or(Refusal::Shape)?;
        if claims.contains('.') {
            return Err(Refusal::Shape);
        }
        let header = object(header)?;
        for extension in ["crit", "b64"] {
            if header.contains_key(extension) {
                return Err(Refusal::Extension(extension));
            }
        }
        let alg = match header.get("alg").and_then(Value::as_str) {
            Some(alg) if alg.eq_ignore_ascii_case("none") => Alg::None,
            Some(alg) => alg.parse().map_or(Alg::Unknown, Alg::Known),
            None => return Err(Refusal::Shape),
        };
        Ok(Self {
            alg,
            key_id: key_id(&header)?,
            signature: decoded(signature)?,
            claims: Claims(Value::Object(object(claims)?)),
            signed: signed.into(),
        })
    }
}

impl Claims {
    /// A claim by its name. A name that begins with `/` is a path into nested objects, as JSON Pointer (RFC 6901) has it:
    /// `/realm_access/roles`.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let claim = if name.starts_with('/') {
            self.0.pointer(name)
        } else {
            self.0.get(name)
        };
        claim.filter(|claim| !claim.is_null())
    }

    #[cfg(test)]
    pub(super) fn of(claims: Value) -> Self {
        Self(claims)
    }
}

fn key_id(header: &Map<String, Value>) -> Result<Option<String>, Refusal> {
    match header.get("kid") {
        None => Ok(None),
        Some(Value::String(id)) if id.len() <= KEY_ID_BYTES => Ok(Some(id.clone())),
        Some(_) => Err(Refusal::KeyId),
    }
}

fn object(part: &str) -> Result<Map<String, Value>, Refusal> {
    // Of a member that is there twice the last one counts: everything that reads it reads this one map.
    serde_json::from_slice(&decoded(part)?).map_err(|_| Refusal::Shape)
}

fn decoded(part: &str) -> Result<Vec<u8>, Refusal> {
    BASE64_URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Refusal::Shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(header: &str, rest: &str) -> Result<Token, Refusal> {
        let header = BASE64_URL_SAFE_NO_PAD.encode(header);
        Token::parse(&format!("{header}{rest}"))
    }

    /// The claims `{}` and a signature.
    const REST: &str = ".e30.AAAA";

    #[test]
    fn what_a_header_says_of_keys_is_not_looked_at() {
        let header = r#"{"alg":"RS256","kid":"k","jku":"https://evil.example","jwk":{"kty":"oct"},"x5u":1,"x5c":{}}"#;
        let token = parse(header, REST).ok().unwrap();
        assert_eq!(token.alg, Alg::Known(Algorithm::RS256));
        assert_eq!(token.key_id.as_deref(), Some("k"));
    }

    #[test]
    fn algorithms_are_read_by_their_names() {
        for (name, alg) in [
            ("none", Alg::None),
            ("NonE", Alg::None),
            ("HS256", Alg::Known(Algorithm::HS256)),
            ("rs256", Alg::Unknown),
            ("ES512", Alg::Unknown),
        ] {
            let token = parse(&format!(r#"{{"alg":"{name}"}}"#), REST).ok();
            assert_eq!(token.unwrap().alg, alg, "{name}");
        }
        // A token without a signature has an empty third part.
        assert!(parse(r#"{"alg":"none"}"#, ".e30.").is_ok());
    }

    #[test]
    fn what_is_no_jwt_is_refused() {
        let good = r#"{"alg":"RS256"}"#;
        for (header, rest) in [
            (good, ""),
            (good, ".e30"),
            (good, ".e30.AAAA.AAAA"),
            (good, ".e30.AAAA.AAAA.AAAA"),
            (good, ".e30.A"),
            (good, ".e30.AAA="),
            (good, ".AAAA.AAAA"),
            (good, ".W10.AAAA"),
            (good, "..AAAA"),
            ("[]", REST),
            ("{}", REST),
            (r#"{"alg":1}"#, REST),
            ("{", REST),
        ] {
            assert_eq!(
                parse(header, rest).err(),
                Some(Refusal::Shape),
                "{header}{rest}"
            );
        }
        assert_eq!(Token::parse("").err(), Some(Refusal::Shape));
        assert_eq!(Token::parse("..").err(), Some(Refusal::Shape));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (member, refusal) in [
            (r#""crit":["exp"]"#, Refusal::Extension("crit")),
            (r#""crit":[]"#, Refusal::Extension("crit")),
            (r#""b64":true"#, Refusal::Extension("b64")),
            (r#""kid":7"#, Refusal::KeyId),
        ] {
            let header = format!(r#"{{"alg":"RS256",{member}}}"#);
            assert_eq!(parse(&header, REST).err(), Some(refusal), "{member}");
        }
        let long = format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(257));
        assert_eq!(parse(&long, REST).err(), Some(Refusal::KeyId));
    }

    #[test]
    fn a_claim_may_lie_deeper() {
        let claims = Claims::of(serde_json::json!({
            "https://id.example/tenant": "acme", "realm": {"roles": ["a"]}, "nothing": null
        }));
        assert!(claims.get("https://id.example/tenant").is_some());
        assert!(claims.get("/realm/roles").is_some());
        assert!(claims.get("realm.roles").is_none());
        assert!(claims.get("nothing").is_none());
    }
}
