//! Signatures of plugins: what is loaded where they are required, and what is refused.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use wharf_core::{LoadError, PluginHost};
use wharf_sandbox::{Config, TrustedKey};

use crate::site::{Site, guest};

/// The public half of a key, as OpenSSL prints it.
fn public(key: &SigningKey) -> TrustedKey {
    let header = [
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
    ];
    let der = [&header[..], key.verifying_key().as_bytes()].concat();
    STANDARD.encode(der).try_into().unwrap()
}

fn keys() -> [SigningKey; 2] {
    [
        SigningKey::from_bytes(&[1; 32]),
        SigningKey::from_bytes(&[2; 32]),
    ]
}

fn site(require_signatures: bool) -> Site {
    let [ours, other] = keys();
    Site::with(Config {
        trusted_keys: vec![public(&other), public(&ours)],
        require_signatures,
        ..Config::default()
    })
}

/// Reads the plugin with these bytes beside it as its signature.
fn read(site: &Site, signature: Option<&[u8]>) -> Result<(), LoadError> {
    let file = site.put("echo", &guest("echo"), "");
    let path = site.folder.path().join("plugins/echo.wasm.sig");
    match signature {
        Some(bytes) => fs::write(path, bytes).unwrap(),
        None => drop(fs::remove_file(path)),
    }
    let release = site.sandbox.read(&file)?;
    site.sandbox.load(&release).map(drop)
}

#[test]
fn a_good_signature_is_let_in() {
    let [ours, other] = keys();
    for required in [true, false] {
        let site = site(required);
        for key in [&ours, &other] {
            let signature = key.sign(&guest("echo")).to_bytes();
            read(&site, Some(&signature)).unwrap();
        }
    }
}

#[test]
fn what_is_unsigned_or_wrongly_signed_is_refused() {
    let [ours, _] = keys();
    let good = ours.sign(&guest("echo")).to_bytes();
    let stranger = SigningKey::from_bytes(&[3; 32]).sign(&guest("echo"));
    let of_another = ours.sign(&guest("scale"));
    let mut flipped = good;
    flipped[7] ^= 1;
    let text = STANDARD.encode(good);
    let no_key = "no key of plugins.trusted_keys made this signature for this component";
    for (signature, message) in [
        (&stranger.to_bytes()[..], no_key),
        (&of_another.to_bytes(), no_key),
        (&flipped, no_key),
        (&good[..63], "a signature has 64 bytes"),
        (text.as_bytes(), "a signature has 64 bytes"),
        (b"", "a signature has 64 bytes"),
    ] {
        // One that is wrong is refused wherever it could be checked.
        for required in [true, false] {
            let error = read(&site(required), Some(signature)).unwrap_err();
            assert_eq!(error.file, "plugins/echo.wasm.sig");
            assert!(error.message.contains(message), "{error}");
        }
    }
    let error = read(&site(true), None).unwrap_err();
    assert_eq!(error.file, "plugins/echo.wasm.sig");
    assert!(
        error.message.contains("has no signature, and plugins.require_signatures asks for one: sign it with `openssl pkeyutl -sign"),
        "{error}"
    );
    read(&site(false), None).unwrap();
}

#[test]
fn a_component_that_changes_needs_a_signature_of_its_own() {
    let [ours, _] = keys();
    let site = site(true);
    let signature = ours.sign(&guest("echo")).to_bytes();
    read(&site, Some(&signature)).unwrap();
    let file = site.put("echo", &guest("scale"), "");
    let error = site.sandbox.read(&file).unwrap_err();
    assert_eq!(error.file, "plugins/echo.wasm.sig");
    let signature = ours.sign(&guest("scale")).to_bytes();
    fs::write(site.folder.path().join("plugins/echo.wasm.sig"), signature).unwrap();
    site.sandbox.read(&file).unwrap();
}

#[test]
fn without_keys_nothing_is_checked_and_nothing_can_be_required() {
    let site = Site::new();
    read(&site, Some(b"whatever")).unwrap();
    let config = Config {
        require_signatures: true,
        ..Config::default()
    };
    let error = config.check().unwrap_err().to_string();
    assert_eq!(
        error,
        "plugins.trusted_keys: must have a key, since require_signatures is set"
    );
}
