use std::fs;
use std::process::Command;

use tempfile::TempDir;
use wharf_testkit::{Reference, known_keys};

use super::*;

fn file(path: &str) -> SecretSource {
    SecretSource {
        file: Some(path.into()),
        ..SecretSource::default()
    }
}

fn variable(name: &str) -> SecretSource {
    SecretSource {
        env: Some(name.to_owned()),
        ..SecretSource::default()
    }
}

/// A site with one secret, `key`.
fn site(source: SecretSource) -> (TempDir, Secrets) {
    let config = Config {
        secrets: BTreeMap::from([("key".to_owned(), source)]),
        ..Config::default()
    };
    (TempDir::new().unwrap(), Secrets::new(&config))
}

fn grant(names: &[&str]) -> Grant {
    Grant {
        names: names.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_newline_at_the_end_is_none_of_the_secret() {
    let (site, secrets) = site(file("keys/key"));
    fs::create_dir(site.path().join("keys")).unwrap();
    let path = site.path().join("keys/key");
    for (content, expected) in [
        ("s3cret", "s3cret"),
        ("s3cret\n", "s3cret"),
        ("s3cret\r\n", "s3cret"),
        ("two\nlines\n\n", "two\nlines\n"),
        (" s3cret ", " s3cret "),
    ] {
        fs::write(&path, content).unwrap();
        let secret = secrets.open(grant(&["key"]), site.path()).unwrap();
        assert_eq!(secret.read("key").as_deref(), Some(expected));
        assert_eq!(secret.read("other"), None);
    }
    let largest = "x".repeat(64 * 1024);
    fs::write(&path, format!("{largest}\r\n")).unwrap();
    let secret = secrets.open(grant(&["key"]), site.path()).unwrap();
    assert_eq!(secret.read("key").as_deref(), Some(&largest[..]));
}

#[test]
fn a_secret_that_is_missing_is_named_with_its_setting() {
    let content =
        |bytes: &'static [u8]| move |site: &Path| fs::write(site.join("key"), bytes).unwrap();
    type Prepare = Box<dyn Fn(&Path)>;
    let cases: [(SecretSource, Prepare, &str); 9] = [
        (
            variable("WHARF_TEST_NO_SUCH_VARIABLE"),
            Box::new(|_| {}),
            "plugins.secrets.key.env of wharf.toml names the variable WHARF_TEST_NO_SUCH_VARIABLE, which is not set",
        ),
        (
            file("key"),
            Box::new(|_| {}),
            "plugins.secrets.key.file of wharf.toml names a file that cannot be read",
        ),
        (
            file("key"),
            Box::new(content(b"\n")),
            "names an empty value",
        ),
        (
            file("key"),
            Box::new(content(b"\xff\xfe")),
            "names a file that is not UTF-8",
        ),
        (
            file("key"),
            Box::new(|site| fs::write(site.join("key"), vec![b'x'; 64 * 1024 + 1]).unwrap()),
            "names a value of more than 65536 bytes",
        ),
        (
            file("key"),
            Box::new(|site| fs::write(site.join("key"), vec![b'x'; 1 << 20]).unwrap()),
            "names a value of more than 65536 bytes",
        ),
        (
            file("key"),
            Box::new(|site| fs::create_dir(site.join("key")).unwrap()),
            "names a file that cannot be read: this is no regular file",
        ),
        (
            file("key"),
            Box::new(|site| {
                let made = Command::new("mkfifo").arg(site.join("key")).status();
                assert!(made.unwrap().success());
            }),
            "names a file that cannot be read: this is no regular file",
        ),
        (
            file("models/key"),
            Box::new(|site| {
                fs::create_dir(site.join("models")).unwrap();
                fs::write(site.join("models/key"), "s3cret").unwrap();
            }),
            "move it out of models, plugins, routes",
        ),
    ];
    for (source, prepare, expected) in cases {
        let (site, secrets) = site(source);
        prepare(site.path());
        let Err((key, message)) = secrets.open(grant(&["key"]), site.path()) else {
            panic!("it was opened: {expected}");
        };
        assert_eq!(key, "names");
        assert!(
            message.starts_with("the secret \"key\" is missing: "),
            "{message}"
        );
        assert!(message.contains(expected), "{message}");
        let path = site.path().to_string_lossy().into_owned();
        assert!(!message.contains(&path), "{message}");
    }
    let (site, secrets) = site(variable("HOME"));
    let Err((_, message)) = secrets.open(grant(&["other"]), site.path()) else {
        panic!("there is no such secret");
    };
    assert!(
        message.contains("set [plugins.secrets.other] in wharf.toml"),
        "{message}"
    );
    let secret = secrets.open(grant(&["key"]), site.path()).unwrap();
    assert_eq!(secret.read("key"), std::env::var("HOME").ok());
}

#[test]
fn a_rotated_file_gives_its_new_value_and_the_old_one_stays_hidden() {
    let (site, secrets) = site(file("key"));
    let path = site.path().join("key");
    fs::write(&path, "the first value\n").unwrap();
    let secret = secrets.open(grant(&["key"]), site.path()).unwrap();
    fs::write(&path, "the second value\n").unwrap();
    secrets.refresh();
    assert_eq!(secret.read("key").as_deref(), Some("the second value"));
    let shown = secret.hide("the first value, the second value", 1000);
    assert_eq!(shown, "[secret], [secret]");

    // What is no good does not take the place of what is.
    for bad in ["", "\n"] {
        fs::write(&path, bad).unwrap();
        secrets.refresh();
        assert_eq!(secret.read("key").as_deref(), Some("the second value"));
    }
    fs::remove_file(&path).unwrap();
    secrets.refresh();
    assert_eq!(secret.read("key").as_deref(), Some("the second value"));
    fs::write(&path, "the third value").unwrap();
    secrets.refresh();
    assert_eq!(secret.read("key").as_deref(), Some("the third value"));
    assert_eq!(secret.values()[0].before.len(), 2);

    drop(secret);
    secrets.refresh();
    assert!(secrets.open.lock().is_empty(), "nobody has it open");
}

#[test]
fn nothing_shows_a_secret_by_accident() {
    let (site, secrets) = site(file("key"));
    fs::write(site.path().join("key"), "hunter22").unwrap();
    let secret = secrets.open(grant(&["key"]), site.path()).unwrap();
    let values = secret.values();
    let shown = format!("{:?}", values[0].now);
    assert!(!shown.contains("hunter22"), "{shown}");
    assert_eq!(secret.hide_in_rest("unter22 and hunter22"), " and [secret]");
}

#[test]
fn a_source_is_one_of_both() {
    for wrong in ["", "env = 'A'\nfile = 'b'", "env = ''", "file = ''"] {
        let source: SecretSource = toml::from_str(wrong).unwrap();
        assert!(source.check().is_err(), "{wrong}");
    }
    for right in ["env = 'A'", "file = 'b'"] {
        let source: SecretSource = toml::from_str(right).unwrap();
        assert_eq!(source.check(), Ok(()));
    }
    let config = Config {
        secrets: BTreeMap::from([("a/b".to_owned(), variable("A"))]),
        ..Config::default()
    };
    assert!(
        config
            .check()
            .unwrap_err()
            .to_string()
            .contains("plugins.secrets.a/b: ")
    );
}

#[test]
fn the_references_have_every_key() {
    let wharf = Reference::new(include_str!("../../../../../reference/wharf.toml"));
    let error = toml::from_str::<SecretSource>("no-such-key = 1").unwrap_err();
    for key in known_keys(error.message()) {
        assert!(
            wharf.has("plugins.secrets.billing", key),
            "{key} is missing"
        );
    }
    let plugin = Reference::new(include_str!("../../../../../reference/plugin.toml"));
    assert!(plugin.has("grants.secret", "names"));
    assert_eq!(grant(&[]).check().unwrap_err().0, "names");
}
