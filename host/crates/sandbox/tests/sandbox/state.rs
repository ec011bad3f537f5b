//! The ability `state`, through a guest that keeps values.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_core::{ErrorKind, Plugin, RequestContext};

use crate::site::{Site, body, guest, request, request_of, text};

/// What the guest answers to a command.
pub(crate) async fn tell(
    plugin: &Arc<dyn Plugin>,
    request: &Arc<RequestContext>,
    command: &str,
) -> wharf_core::Result<String> {
    let answer = plugin.preprocess(request, body(command)).await?;
    Ok(text(&answer))
}

fn remember(site: &Site, grant: &str) -> Arc<dyn Plugin> {
    let settings = format!("[grants]\nsecret = {{ names = ['key'] }}\n[grants.state]\n{grant}");
    site.load("remember", &guest("remember"), &settings)
        .unwrap()
}

/// The guest imports secrets as well, so it is granted one.
fn site() -> Site {
    let site = Site::with(crate::secret::config("key"));
    std::fs::write(site.folder.path().join("key"), "unused secret").unwrap();
    site
}

#[test]
fn without_its_grant_it_is_not_loaded() {
    let site = site();
    let settings = "[grants]\nsecret = { names = ['key'] }";
    let error = site.load("remember", &guest("remember"), settings).err();
    let message = error.unwrap().message;
    assert!(
        message.contains("wharf:plugin/state@1.1.0, which needs the grant \"state\""),
        "{message}"
    );
    let error = site.load(
        "remember",
        &guest("remember"),
        "[grants.state]\nentries = 0",
    );
    let error = error.err().unwrap();
    assert_eq!(error.key.as_deref(), Some("grants.state.entries"));
}

#[tokio::test]
async fn values_outlive_instances_and_reloads() {
    let site = site();
    let first = remember(&site, "");
    let request = request();
    let version: u64 = tell(&first, &request, "set k one")
        .await
        .unwrap()
        .parse()
        .unwrap();
    assert!(version > 0);
    assert_eq!(
        tell(&first, &request, "get k").await.unwrap(),
        format!("{version} one")
    );
    // Another release, with other bounds, while the one before is there and after it went.
    let second = remember(&site, "entries = 2");
    assert_eq!(
        tell(&second, &request, "append k +two").await.unwrap(),
        "one+two"
    );
    drop(first);
    assert_eq!(tell(&second, &request, "keys 9").await.unwrap(), "k");
    let swap = format!("swap k {version} three");
    let differs = tell(&second, &request, &swap).await.unwrap();
    assert!(
        differs.starts_with("differs ") && differs.ends_with(" one+two"),
        "{differs}"
    );
    assert!(
        tell(&second, &request, "swap n 0 new")
            .await
            .unwrap()
            .starts_with("done ")
    );
    assert_eq!(tell(&second, &request, "delete k").await.unwrap(), "true");
    assert_eq!(tell(&second, &request, "delete k").await.unwrap(), "false");
    assert_eq!(tell(&second, &request, "get k").await.unwrap(), "none");
    drop(second);
    let third = remember(&site, "");
    assert_eq!(tell(&third, &request, "keys 9").await.unwrap(), "n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_that_add_at_once_lose_nothing() {
    let site = site();
    let plugin = remember(&site, "");
    let adding: Vec<_> = (0..8)
        .map(|_| {
            let plugin = Arc::clone(&plugin);
            tokio::spawn(async move {
                for _ in 0..25 {
                    tell(&plugin, &request(), "add sum 2").await.unwrap();
                    tell(&plugin, &request(), "append log x").await.unwrap();
                }
            })
        })
        .collect();
    for thread in adding {
        thread.await.unwrap();
    }
    assert_eq!(tell(&plugin, &request(), "add sum 0").await.unwrap(), "400");
    let log = tell(&plugin, &request(), "append log !").await.unwrap();
    assert_eq!(log, format!("{}!", "x".repeat(200)));
}

#[tokio::test]
async fn a_tenant_sees_only_its_own_values() {
    let site = site();
    let plugin = remember(&site, "");
    let tenants = [request_of("a"), request_of("b"), request()];
    for (number, request) in tenants.iter().enumerate() {
        tell(&plugin, request, &format!("set k value-{number}"))
            .await
            .unwrap();
    }
    for (number, request) in tenants.iter().enumerate() {
        let value = tell(&plugin, request, "get k").await.unwrap();
        assert!(value.ends_with(&format!("value-{number}")), "{value}");
        assert_eq!(tell(&plugin, request, "keys 9").await.unwrap(), "k");
    }
    tell(&plugin, &tenants[0], "delete k").await.unwrap();
    assert_ne!(tell(&plugin, &tenants[1], "get k").await.unwrap(), "none");

    let shared = remember(&site, "scope = 'plugin'");
    tell(&shared, &tenants[0], "set k shared").await.unwrap();
    assert!(
        tell(&shared, &tenants[1], "get k")
            .await
            .unwrap()
            .ends_with("shared")
    );
}

#[tokio::test]
async fn what_finds_no_room_is_unavailable() {
    let site = site();
    let plugin = remember(&site, "entries = 2\nkb = 1\nkey_bytes = 8\ntenants = 1");
    let of_a = request_of("a");
    for command in ["set k1 x", "set k2 x"] {
        tell(&plugin, &of_a, command).await.unwrap();
    }
    for (request, command, expected) in [
        (&of_a, "set k3 x", "its grant allows 2"),
        (&of_a, "add k3 1", "its grant allows 2"),
        (&of_a, "fill k1 1024", "its grant allows 1 KiB"),
        (&of_a, "fill k1 10000000", "its grant allows 1 KiB"),
        (&request_of("b"), "set k1 x", "no room for one more tenant"),
    ] {
        let error = tell(&plugin, request, command).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{command}: {error}");
        assert!(error.message().contains(expected), "{command}: {error}");
    }
    for command in ["long 9", "add k1 1"] {
        let error = tell(&plugin, &of_a, command).await.unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::InvalidArgument,
            "{command}: {error}"
        );
    }
    // What is there was left alone, and room that is made is used.
    assert_eq!(tell(&plugin, &of_a, "keys 9").await.unwrap(), "k1,k2");
    tell(&plugin, &of_a, "delete k2").await.unwrap();
    tell(&plugin, &of_a, "fill k3 1000").await.unwrap();
    let metric = |name, labels: &[(&str, &str)]| site.metric(name, labels);
    let of = |reason| [("plugin", "remember"), ("reason", reason)];
    assert_eq!(metric("plugin_state_refused_total", &of("entries")), 2.0);
    assert_eq!(metric("plugin_state_refused_total", &of("bytes")), 2.0);
    assert_eq!(metric("plugin_state_refused_total", &of("tenants")), 1.0);
    assert_eq!(
        metric("plugin_state_entries", &[("plugin", "remember")]),
        2.0
    );
    assert_eq!(
        metric("plugin_state_bytes", &[("plugin", "remember")]),
        1005.0
    );
}

#[tokio::test]
async fn a_value_ends_and_is_dropped_although_nobody_asks() {
    let site = site();
    let plugin = remember(&site, "");
    let request = request();
    tell(&plugin, &request, "set short x 20").await.unwrap();
    tell(&plugin, &request, "set long x 3600000").await.unwrap();
    assert_eq!(
        tell(&plugin, &request, "add n 1 3600000").await.unwrap(),
        "1"
    );
    assert_eq!(tell(&plugin, &request, "add n 1").await.unwrap(), "2");
    let limit = Instant::now() + Duration::from_secs(30);
    // Without a call of the plugin: it is the host that looks after it.
    while site.metric("plugin_state_entries", &[]) > 2.0 {
        assert!(Instant::now() < limit, "it is still there");
        tokio::task::yield_now().await;
    }
    assert_eq!(tell(&plugin, &request, "keys 9").await.unwrap(), "long,n");
}
