//! The compile cache: it saves time, and trusts nothing that the host did not write.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use wharf_sandbox::Config;

use crate::site::{Site, body, guest, request};

fn site(cache: &Path) -> Site {
    Site::with(Config {
        cache_folder: Some(cache.to_owned()),
        ..Config::default()
    })
}

fn artifacts(cache: &Path) -> Vec<PathBuf> {
    fs::read_dir(cache)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "aot"))
        .collect()
}

fn compiled(site: &Site, answer: &str) -> f64 {
    site.metric("plugin_compile_total", &[("cache", answer)])
}

#[tokio::test]
async fn a_second_start_compiles_nothing() {
    let cache = TempDir::new().unwrap();
    let cache = cache.path().join("aot");
    let first = site(&cache);
    first.load("echo", &guest("echo"), "").unwrap();
    assert_eq!(
        (compiled(&first, "miss"), compiled(&first, "hit")),
        (1.0, 0.0)
    );
    let second = site(&cache);
    let echo = second.load("echo", &guest("echo"), "").unwrap();
    assert_eq!(
        (compiled(&second, "miss"), compiled(&second, "hit")),
        (0.0, 1.0)
    );
    echo.preprocess(&request(), body("x")).await.unwrap();

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&cache), 0o700);
    assert_eq!(mode(&cache.join("key")), 0o600);
    assert_eq!(mode(&artifacts(&cache)[0]), 0o600);
}

#[tokio::test]
async fn a_tampered_file_is_refused_and_compiled_afresh() {
    let cache = TempDir::new().unwrap();
    let cache = cache.path().join("aot");
    site(&cache).load("echo", &guest("echo"), "").unwrap();
    let [artifact] = &artifacts(&cache)[..] else {
        panic!("one artifact")
    };
    let whole = fs::read(artifact).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for tampered in [&flipped[..], &whole[..whole.len() - 1], &whole[..10], b""] {
        fs::write(artifact, tampered).unwrap();
        let site = site(&cache);
        let echo = site.load("echo", &guest("echo"), "").unwrap();
        assert_eq!(compiled(&site, "refused"), 1.0);
        echo.preprocess(&request(), body("x")).await.unwrap();
        assert_eq!(
            fs::read(artifact).unwrap().len(),
            whole.len(),
            "written afresh"
        );
    }
}

#[test]
fn another_components_file_is_refused() {
    let cache = TempDir::new().unwrap();
    let cache = cache.path().join("aot");
    site(&cache).load("echo", &guest("echo"), "").unwrap();
    let [echo] = &artifacts(&cache)[..] else {
        panic!("one artifact")
    };
    site(&cache).load("scale", &guest("scale"), "").unwrap();
    let scale = artifacts(&cache)
        .into_iter()
        .find(|path| path != echo)
        .unwrap();
    fs::copy(echo, scale).unwrap();
    let site = site(&cache);
    site.load("scale", &guest("scale"), "").unwrap();
    assert_eq!(compiled(&site, "refused"), 1.0);
}

#[test]
fn a_folder_that_others_can_write_to_is_refused() {
    let cache = TempDir::new().unwrap();
    fs::set_permissions(cache.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let config = Config {
        cache_folder: Some(cache.path().to_owned()),
        ..Config::default()
    };
    let meter = opentelemetry::global::meter("test");
    let error = wharf_sandbox::Sandbox::new(config, &meter)
        .map(|_| ())
        .unwrap_err();
    assert!(
        error.to_string().contains("plugins.cache_folder"),
        "{error}"
    );
}

#[test]
fn the_oldest_files_give_way() {
    let cache = TempDir::new().unwrap();
    let cache = cache.path().join("aot");
    let site = Site::with(Config {
        cache_folder: Some(cache.clone()),
        cache_files: 1,
        ..Config::default()
    });
    for name in ["echo", "scale"] {
        site.load(name, &guest(name), "").unwrap();
    }
    assert_eq!(artifacts(&cache).len(), 1);
}
