//! What an operator puts into a site: components, settings and signatures.

use std::path::PathBuf;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use wharf_core::{Name, PluginFile, PluginHost};

use super::SANDBOX;
use crate::abilities::codec;
use crate::limits::Limits;
use crate::manifest::Manifest;
use crate::signature::{TrustedKey, is_trusted};

/// A key, what was signed with it, and the signature.
const KEY: &str = "MCowBQYDK2VwAyEAaehGWA2XJNi2kntdOCrLh/FmV8GMuGPt9eF17tJOpos=";
const SIGNED: &[u8] = b"a component\n";
const SIGNATURE: &str =
    "9yW1CrYzWPrj1OQuv0QRGy7VUdaOdVRT2ILNtFF5w20p0WA0XVhojYQwWX5gfVL98lgscJdz1U/cjJpQ5D/iAA==";

/// The name of the plugin that is loaded.
static NAME: LazyLock<Name> = LazyLock::new(|| Name::new("fuzzed").expect("it is a name"));

/// Reads bytes as the text of `plugins/NAME.toml`. What is taken is within its bounds.
///
/// # Panics
/// Where it is not.
pub fn plugin_settings(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(manifest) = Manifest::parse(&NAME, &text, &Limits::default()) else {
        return;
    };
    assert_eq!(manifest.limits.check(), Ok(()));
    let settings: serde_json::Value =
        serde_json::from_str(&manifest.settings).expect("the settings are JSON");
    assert!(settings.is_object(), "the settings are an object");
    // The authorities of `http` may be anywhere on the machine.
    let of_codec = manifest.grants.codec.iter();
    for file in of_codec.flat_map(codec::Grant::files) {
        assert!(
            !file.starts_with('/') && !file.split('/').any(|part| part == ".."),
            "{file:?} leads out of the site"
        );
    }
}

/// Reads bytes as a trusted key, a signature and a component. The first two bytes are the lengths of the former; a length of 255
/// stands for the key, or the signature, that goes with the component `a component`.
///
/// # Panics
/// Where a signature is taken that the known key did not make.
pub fn plugin_signature(bytes: &[u8]) {
    let Some((&[key, signature], rest)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let (key, rest) = part(key, rest, || KEY.as_bytes().to_vec());
    let known = || STANDARD.decode(SIGNATURE).expect("it is base64");
    let (signature, component) = part(signature, rest, known);
    let Ok(key) = TrustedKey::try_from(String::from_utf8_lossy(&key).into_owned()) else {
        return;
    };
    if is_trusted(&[key], &signature, component) == Some(true) {
        assert_eq!(component, SIGNED, "a signature for something else is taken");
        assert_eq!(signature, known(), "another signature is taken");
    }
}

fn part(length: u8, rest: &[u8], known: impl FnOnce() -> Vec<u8>) -> (Vec<u8>, &[u8]) {
    if length == u8::MAX {
        return (known(), rest);
    }
    let (taken, rest) = rest.split_at(usize::from(length).min(rest.len()));
    (taken.to_vec(), rest)
}

/// Loads bytes as a component without settings: read, compiled, compared, and run where it gets so far.
///
/// # Panics
/// Where loading does.
pub fn plugin_component(bytes: &[u8]) {
    let file = PluginFile {
        site: PathBuf::new(),
        name: NAME.clone(),
    };
    let release = SANDBOX.release(&file, Bytes::copy_from_slice(bytes), "".into());
    let release = release.expect("there are no settings to refuse");
    if let Err(error) = SANDBOX.load(&release) {
        // The sandbox makes a refusal of a panic, so that the host lives on.
        assert!(!error.message.contains("panicked"), "{error}");
    }
}
