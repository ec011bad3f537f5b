//! The ability `secret`, through a guest that reads secrets and tells everybody.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_core::{ErrorKind, LoadError, Plugin};
use wharf_sandbox::{Config, SecretSource};

use crate::site::{Log, Site, guest, request};
use crate::state::tell;

const SECRET: &str = "correct-horse-battery-staple";

/// A configuration with secrets in the files of their names.
pub(crate) fn config(names: &str) -> Config {
    let secret = |name: &str| {
        let source = SecretSource {
            file: Some(name.into()),
            ..SecretSource::default()
        };
        (name.to_owned(), source)
    };
    Config {
        secrets: names
            .split_whitespace()
            .map(secret)
            .collect::<BTreeMap<_, _>>(),
        ..Config::default()
    }
}

fn site() -> Site {
    let site = Site::with(config("key other"));
    fs::write(site.folder.path().join("key"), format!("{SECRET}\n")).unwrap();
    fs::write(site.folder.path().join("other"), "not granted").unwrap();
    site
}

fn load(site: &Site, rest: &str) -> Result<Arc<dyn Plugin>, LoadError> {
    let settings = format!("[grants]\nstate = true\nsecret = {{ names = ['key'] }}\n{rest}");
    site.load("remember", &guest("remember"), &settings)
}

#[tokio::test]
async fn only_what_the_grant_names_is_read() {
    let site = site();
    let plugin = load(&site, "").unwrap();
    assert_eq!(
        tell(&plugin, &request(), "secret key").await.unwrap(),
        SECRET
    );
    for name in ["other", "nothing", "../key", "KEY"] {
        let error = tell(&plugin, &request(), &format!("secret {name}"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.message().contains(name), "{error}");
    }
}

#[test]
fn what_is_missing_is_a_load_error_that_names_it() {
    let site = site();
    let refusal = |settings: &str| {
        let loaded = site.load("remember", &guest("remember"), settings);
        loaded.err().unwrap()
    };
    let error = refusal("[grants]\nstate = true");
    assert!(
        error
            .message
            .contains("wharf:plugin/secret@1.1.0, which needs the grant \"secret\""),
        "{error}"
    );
    for (grant, key, message) in [
        (
            "secret = true",
            "grants.secret.names",
            "must name the secrets",
        ),
        (
            "secret = { names = ['no'] }",
            "grants.secret.names",
            "there is no secret \"no\": set [plugins.secrets.no] in wharf.toml",
        ),
        (
            "secret = { name = ['key'] }",
            "grants.secret",
            "unknown field `name`",
        ),
    ] {
        let error = refusal(&format!("[grants]\nstate = true\n{grant}"));
        assert_eq!(error.file, "plugins/remember.toml");
        assert_eq!(error.key.as_deref(), Some(key));
        assert!(error.message.contains(message), "{error}");
    }
    fs::remove_file(site.folder.path().join("key")).unwrap();
    let error = load(&site, "").err().unwrap();
    assert_eq!(error.key.as_deref(), Some("grants.secret.names"));
    assert!(
        error
            .message
            .contains("plugins.secrets.key.file of wharf.toml names a file that cannot be read"),
        "{error}"
    );
}

#[tokio::test]
async fn nothing_that_is_written_about_the_plugin_has_the_secret() {
    let site = site();
    let log = Log::default();
    let kept = log.keep();
    let plugin = load(&site, "").unwrap();
    tell(&plugin, &request(), "say key").await.unwrap();
    let error = tell(&plugin, &request(), "refuse key").await.unwrap_err();
    assert_eq!(error.message(), "[secret] is not accepted");
    let error = tell(&plugin, &request(), "panic key").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginFault);
    assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
    let error = load(&site, "[settings]\ncomplain_of = 'key'")
        .err()
        .unwrap();
    assert_eq!(error.message, "the secret [secret] is too easy");
    assert_eq!(error.key.as_deref(), Some("settings.complain_of"));
    drop(kept);

    let text = log.text();
    assert!(text.contains("the secret is [secret]"), "{text}");
    assert!(text.contains("secret=\"[secret]\""), "{text}");
    assert!(text.contains("no way on with [secret]"), "{text}");
    assert!(text.contains("plugin trapped"), "{text}");
    assert!(!text.contains(SECRET), "{text}");
    assert!(!text.contains("horse"), "{text}");
}

#[tokio::test]
async fn a_rotated_file_reaches_a_plugin_that_runs() {
    let site = site();
    let settings = "isolation = 'shared'\n[grants]\nstate = true\nsecret = { names = ['key'] }";
    let plugin = site.load("remember", &guest("remember"), settings).unwrap();
    assert_eq!(
        tell(&plugin, &request(), "secret key").await.unwrap(),
        SECRET
    );
    // As programs that rotate do it: the new file takes the place of the old one.
    let folder = site.folder.path();
    fs::write(folder.join("coming"), "the-next-secret\n").unwrap();
    fs::rename(folder.join("coming"), folder.join("key")).unwrap();
    let limit = Instant::now() + Duration::from_secs(30);
    while tell(&plugin, &request(), "secret key").await.unwrap() != "the-next-secret" {
        assert!(Instant::now() < limit, "the old value is still given");
        tokio::task::yield_now().await;
    }
    let error = tell(&plugin, &request(), "refuse key").await.unwrap_err();
    assert_eq!(error.message(), "[secret] is not accepted");
}
