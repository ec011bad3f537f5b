//! Who sees what an earlier request left, and what a request that leaves leaves behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_core::{Plugin, RequestContext};

use crate::site::{Site, body, guest, request, request_of, request_with, text};

/// Leaves a secret, and gives the one that was there.
async fn leak(plugin: &dyn Plugin, tenant: Option<&str>, secret: &str) -> String {
    let base = request_with(&[("x-behaviour", "leak-secret"), ("x-secret", secret)]);
    let request = Arc::new(RequestContext {
        tenant: tenant.map(Into::into),
        ..(*base).clone()
    });
    text(&plugin.preprocess(&request, body("x")).await.unwrap())
}

#[tokio::test]
async fn no_request_sees_anothers_secret() {
    let site = Site::new();
    let hostile = site.load("hostile", &guest("hostile"), "").unwrap();
    // More than stand ready, so that instances made ahead of time and afterwards are among them.
    for round in 0..200 {
        assert_eq!(leak(&*hostile, None, "secret").await, "", "round {round}");
    }
}

#[tokio::test]
async fn a_tenant_sees_only_its_own() {
    let site = Site::new();
    let hostile = site
        .load("hostile", &guest("hostile"), "isolation = 'tenant'")
        .unwrap();
    assert_eq!(leak(&*hostile, Some("a"), "of a").await, "");
    assert_eq!(leak(&*hostile, Some("b"), "of b").await, "");
    assert_eq!(leak(&*hostile, None, "of nobody").await, "");
    assert_eq!(leak(&*hostile, Some("a"), "x").await, "of a");
    assert_eq!(leak(&*hostile, Some("b"), "x").await, "of b");
    // Requests without a tenant have nothing in common.
    assert_eq!(leak(&*hostile, None, "x").await, "");
}

#[tokio::test]
async fn the_tenant_longest_idle_gives_way() {
    let site = Site::new();
    let hostile = site
        .load(
            "hostile",
            &guest("hostile"),
            "isolation = 'tenant'\n[limits]\ntenants = 2",
        )
        .unwrap();
    for tenant in ["a", "b", "a", "c"] {
        leak(&*hostile, Some(tenant), tenant).await;
    }
    assert_eq!(leak(&*hostile, Some("a"), "x").await, "a");
    assert_eq!(
        leak(&*hostile, Some("b"), "x").await,
        "",
        "b was given up for c"
    );
    assert_eq!(
        site.metric("plugin_instances_ready", &[("plugin", "hostile")]),
        2.0
    );
}

#[tokio::test]
async fn a_shared_instance_serves_everybody_until_it_traps() {
    let site = Site::new();
    let hostile = site
        .load("hostile", &guest("hostile"), "isolation = 'shared'")
        .unwrap();
    assert_eq!(leak(&*hostile, Some("a"), "1").await, "");
    assert_eq!(leak(&*hostile, Some("b"), "2").await, "1");
    let trap = request_with(&[("x-behaviour", "trap")]);
    hostile.preprocess(&trap, body("x")).await.unwrap_err();
    assert_eq!(
        leak(&*hostile, None, "3").await,
        "",
        "the trapped instance is gone"
    );
    hostile
        .preprocess(&request_of("a"), body("x"))
        .await
        .unwrap();
}

#[tokio::test]
async fn ten_thousand_calls_that_are_left_leave_nothing() {
    let site = Site::new();
    for isolation in ["request", "shared"] {
        let settings = format!("isolation = {isolation:?}\n[limits]\ncall_ms = 60000");
        let hostile = site.load("hostile", &guest("hostile"), &settings).unwrap();
        let spin = request_with(&[("x-behaviour", "spin")]);
        // A call that spins takes a tick or two until it yields; most are left before they begin.
        for round in 0..5_000 {
            let mut call = hostile.preprocess(&spin, body("x"));
            if round % 50 == 0 {
                assert!(futures_util::poll!(&mut call).is_pending());
            }
            drop(call);
        }
        assert_eq!(site.metric("plugin_instances_in_use", &[]), 0.0);
        hostile.preprocess(&request(), body("x")).await.unwrap();
        assert_eq!(hostile.health().faults, 0);
    }
}

#[tokio::test]
async fn a_looping_guest_does_not_delay_its_neighbour() {
    let site = Site::new();
    let spin = site
        .load(
            "spin",
            &crate::wat::preprocess(crate::wat::SPIN),
            "[limits]\ncall_ms = 1000",
        )
        .unwrap();
    let echo = site
        .load("echo", &guest("echo"), "isolation = 'shared'")
        .unwrap();
    let looping = tokio::spawn({
        let spin = Arc::clone(&spin);
        async move { spin.preprocess(&request(), body("x")).await.is_err() }
    });
    // One thread runs both: every call of the neighbour has to wait for the loop to yield.
    let mut slowest = Duration::ZERO;
    let mut calls = 0;
    while !looping.is_finished() {
        let began = Instant::now();
        echo.preprocess(&request(), body("x")).await.unwrap();
        tokio::task::yield_now().await;
        slowest = slowest.max(began.elapsed());
        calls += 1;
    }
    assert!(looping.await.unwrap());
    // It yields some hundred times a second where the machine is free. One that did not yield would leave one call.
    assert!(calls >= 4, "{calls} calls beside the loop");
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
}
