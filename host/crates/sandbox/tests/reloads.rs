//! A thousand reloads of a plugin leave no memory behind. Alone in its program, so that the memory is its own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use wharf_core::{
    Body, Digest, Headers, Payload, Plugin, PluginHost, PluginRelease, RequestContext,
};
use wharf_sandbox::{Config, Sandbox};
use wharf_testkit::resident_mb;

const ROUNDS: u32 = 1000;
const ALLOWED_MB: f64 = 100.0;

#[tokio::test]
async fn a_thousand_reloads_leave_no_memory_behind() {
    let cache = tempfile::TempDir::new().unwrap();
    let config = Config {
        cache_folder: Some(cache.path().join("aot")),
        max_instances: 100,
        ..Config::default()
    };
    let sandbox = Sandbox::new(config, &opentelemetry::global::meter("test")).unwrap();
    let component = echo();
    let mut serving = reload(&sandbox, &component, 0).await;
    for round in 1..100 {
        serving = reload(&sandbox, &component, round).await;
    }
    let before = resident_mb();
    for round in 100..ROUNDS {
        // The old one goes when the new one serves.
        serving = reload(&sandbox, &component, round).await;
    }
    let grown = resident_mb() - before;
    assert!(
        grown < ALLOWED_MB,
        "{grown:.0} MB more after {ROUNDS} reloads"
    );

    // The same measure finds a leak: plugins that nobody gives up.
    let leaked = vec![1_u8; 150 << 20];
    assert!(
        resident_mb() - before > ALLOWED_MB,
        "the measure does not see {} bytes",
        leaked.len()
    );
    drop(serving);
}

async fn reload(sandbox: &Sandbox, component: &Bytes, round: u32) -> Arc<dyn Plugin> {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&round.to_le_bytes());
    let plugin = sandbox
        .load(&PluginRelease {
            site: PathBuf::from("."),
            name: "echo".parse().unwrap(),
            digest: Digest::new(digest),
            component: component.clone(),
            content: Digest::new(Sha256::digest(component).into()),
            settings: "".into(),
            files: Arc::from([]),
            owner: None,
        })
        .unwrap();
    let request = Arc::new(RequestContext {
        id: "1".into(),
        route: "r".into(),
        tenant: None,
        headers: Headers::default(),
        deadline: Instant::now() + Duration::from_secs(60),
        timeout: Duration::from_secs(60),
        scheduling: wharf_core::Scheduling::default(),
        depth: 0,
    });
    let body = Payload::Body(Body {
        media_type: "text/plain".into(),
        data: Bytes::from_static(b"x"),
    });
    plugin.preprocess(&request, body).await.unwrap();
    plugin
}

fn echo() -> Bytes {
    let guests = std::env::var_os("WHARF_TEST_GUESTS").map_or_else(
        || {
            let program = std::env::current_exe().unwrap();
            let found = program
                .ancestors()
                .map(|folder| folder.join("guests"))
                .find(|guests| guests.is_dir());
            found.unwrap_or_else(|| PathBuf::from("target/guests"))
        },
        PathBuf::from,
    );
    let path = guests.join("echo.wasm");
    std::fs::read(&path)
        .unwrap_or_else(|error| {
            panic!(
                "{}: {error}; build the guests with `cargo xtask guests`",
                path.display()
            )
        })
        .into()
}
