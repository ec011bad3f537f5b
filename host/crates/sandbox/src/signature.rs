//! Signatures of plugins: Ed25519 over the whole component, by a key that the operator trusts.
//!
//! A signature speaks for the component, not for its name or its settings: those are the operator's own.

use std::fmt;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde::Deserialize;
use wharf_core::{LoadError, PluginFile};

use crate::Config;
use crate::loader::read_file;

/// What stands before the 32 bytes of an Ed25519 key in its DER form (`SubjectPublicKeyInfo` of RFC 8410).
const KEY_HEADER: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// A public key whose signatures are trusted: the line that `openssl pkey -pubout` prints between its markers.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TrustedKey(VerifyingKey);

impl TryFrom<String> for TrustedKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let key = STANDARD
            .decode(text.trim())
            .ok()
            .and_then(|der| <[u8; 32]>::try_from(der.strip_prefix(&KEY_HEADER)?).ok())
            .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
            // Of a weak key everybody can make signatures.
            .filter(|key| !key.is_weak());
        key.map(Self).ok_or_else(|| {
            format!(
                "{text:?} is no Ed25519 public key: give the line that `openssl pkey -in key.pem -pubout` prints between its markers"
            )
        })
    }
}

impl fmt::Debug for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let der = [&KEY_HEADER[..], self.0.as_bytes()].concat();
        write!(f, "TrustedKey({})", STANDARD.encode(der))
    }
}

/// Checks the signature of a component that was read, `plugins/NAME.wasm.sig`: where there is one and keys are trusted, and in any
/// case where signatures are required.
///
/// # Errors
/// Where it is missing, or no trusted key made it for this content.
pub(crate) fn verify(
    config: &Config,
    plugin: &PluginFile,
    component: &[u8],
) -> Result<(), LoadError> {
    if config.trusted_keys.is_empty() && !config.require_signatures {
        return Ok(());
    }
    let file = format!("plugins/{}.wasm.sig", plugin.name);
    let refused = |message: &str| LoadError::new(&file, message);
    let how = format!(
        "sign it with `openssl pkeyutl -sign -rawin -inkey key.pem -in {0}.wasm -out {0}.wasm.sig`",
        plugin.name
    );
    let bytes = match read_file(&plugin.site.join(&file), Signature::BYTE_SIZE as u64) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if !config.require_signatures {
                return Ok(());
            }
            return Err(refused(&format!(
                "the component has no signature, and plugins.require_signatures asks for one: {how}"
            )));
        }
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Vec::new(),
        Err(error) => {
            let message = format!("the signature cannot be read: {error}");
            return Err(refused(&message).with_source(error));
        }
    };
    match is_trusted(&config.trusted_keys, &bytes, component) {
        Some(true) => Ok(()),
        Some(false) => Err(refused(&format!(
            "no key of plugins.trusted_keys made this signature for this component: {how}, or add the key"
        ))),
        None => Err(refused(&format!(
            "a signature has 64 bytes, and this is none: {how}"
        ))),
    }
}

/// Whether one of the keys made the signature for the component. None where the bytes are no signature.
pub(crate) fn is_trusted(keys: &[TrustedKey], signature: &[u8], component: &[u8]) -> Option<bool> {
    let signature = Signature::from_slice(signature).ok()?;
    let trusted = |key: &TrustedKey| key.0.verify_strict(component, &signature).is_ok();
    Some(keys.iter().any(trusted))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by OpenSSL 3.0 with the commands that the errors give.
    const KEY: &str = "MCowBQYDK2VwAyEAaehGWA2XJNi2kntdOCrLh/FmV8GMuGPt9eF17tJOpos=";
    const SIGNED: &[u8] = b"a component\n";
    const SIGNATURE: &str =
        "9yW1CrYzWPrj1OQuv0QRGy7VUdaOdVRT2ILNtFF5w20p0WA0XVhojYQwWX5gfVL98lgscJdz1U/cjJpQ5D/iAA==";

    fn key(text: &str) -> Result<TrustedKey, String> {
        TrustedKey::try_from(text.to_owned())
    }

    #[test]
    fn what_openssl_makes_is_understood() {
        let key = key(KEY).unwrap();
        let signature = STANDARD.decode(SIGNATURE).unwrap();
        let signature = Signature::from_slice(&signature).unwrap();
        assert!(key.0.verify_strict(SIGNED, &signature).is_ok());
        assert!(key.0.verify_strict(b"another", &signature).is_err());
        assert_eq!(format!("{key:?}"), format!("TrustedKey({KEY})"));
    }

    #[test]
    fn what_is_no_key_is_refused_in_words() {
        let other_kind = STANDARD.encode([1; 44]);
        // The neutral element of the curve: everything is signed by it.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let weak = STANDARD.encode([&KEY_HEADER[..], &neutral].concat());
        for text in ["", "no base64", &KEY[..40], &other_kind, &weak] {
            let message = key(text).unwrap_err();
            assert!(message.contains("openssl pkey"), "{message}");
        }
    }
}
