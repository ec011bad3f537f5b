//! What a guest may not take: the client learns nothing of it, the log names the limit.

use wharf_core::{ErrorKind, Plugin};
use wharf_sandbox::Config;

use crate::site::{Log, Site, body, guest, request, request_with};
use crate::tiers::{gone_over, not_gone_over};
use crate::wat;

const SAFE: &str =
    "a plugin of this route failed; the server's log has the details under the request id";

const LIMITS: &str =
    "[limits]\nmemory_mb = 32\ncall_ms = 2000\nhandles = 1000\nhost_call_mb = 16\noutput_mb = 4";

/// What the guest `hostile` does, how much of it, and the limit that it breaks.
const EXCESSES: [(&str, &str, &str); 7] = [
    ("hog", "0", "limits.memory_mb = 32"),
    ("hold-tensors", "1000", "limits.memory_mb = 32"),
    ("handles", "100000", "limits.handles = 1000"),
    ("many-tensors", "100000", "limits.handles = 1000"),
    ("huge-list", "1000000", "limits.host_call_mb = 16"),
    ("big-output", "8388608", "limits.output_mb = 4"),
    ("spin", "0", "limits.call_ms = 2000"),
];

/// Sees that a behaviour of `hostile` is a fault of which the log has this text and the client nothing, and that the next request is
/// served as if nothing had been.
async fn expect_fault(hostile: &dyn Plugin, behaviour: &str, count: &str, logged: &[&str]) {
    let log = Log::default();
    let kept = log.keep();
    let asked = request_with(&[
        ("x-behaviour", behaviour),
        ("x-count", count),
        ("x-message", "a dire message"),
    ]);
    let error = hostile.preprocess(&asked, body("x")).await.unwrap_err();
    drop(kept);
    assert_eq!(error.kind(), ErrorKind::PluginFault, "{behaviour}");
    assert_eq!(error.message(), SAFE, "{behaviour}");
    let text = log.text();
    for logged in [logged, &["request-1", "hostile"]].concat() {
        assert!(text.contains(logged), "{behaviour}: {text}");
    }
    hostile.preprocess(&request(), body("x")).await.unwrap();
}

#[tokio::test]
async fn every_excess_is_a_fault_that_names_its_limit() {
    let site = Site::new();
    let hostile = site.load("hostile", &guest("hostile"), LIMITS).unwrap();
    for (behaviour, count, named) in EXCESSES {
        expect_fault(&*hostile, behaviour, count, &[named]).await;
    }
    assert_eq!(hostile.health().faults, 7);
    assert_eq!(hostile.health().consecutive_faults, 0);
    assert_eq!(
        site.metric("plugin_trap_total", &[("plugin", "hostile")]),
        7.0
    );
    assert_eq!(site.metric("plugin_instances_in_use", &[]), 0.0);
}

#[tokio::test]
async fn handles_of_wasi_have_a_limit_of_their_own() {
    let subscribing = |count: u32| {
        let start = format!(
            "(func $begin (local $left i32)
                (local.set $left (i32.const {count}))
                (loop $again
                    (drop (call $subscribe (i64.const 1)))
                    (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                    (br_if $again (local.get $left))))"
        );
        let process = wat::ECHO.replacen(
            "(call $drop-request",
            "(call $begin) (call $drop-request",
            1,
        );
        wat::with_pollables(&format!("{start} {process}"))
    };
    let site = Site::new();
    let limits = "[limits]\nhandles = 20";
    // A pollable is two of them, since what it waits for is one; the body that the guest holds meanwhile is none.
    let within = site.load("within", &subscribing(10), limits).unwrap();
    within.preprocess(&request(), body("x")).await.unwrap();
    let beyond = site.load("beyond", &subscribing(11), limits).unwrap();
    let log = Log::default();
    let kept = log.keep();
    let error = beyond.preprocess(&request(), body("x")).await.unwrap_err();
    drop(kept);
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::PluginFault, SAFE)
    );
    assert!(log.text().contains("limits.handles = 20"), "{}", log.text());
}

/// What the guest `hostile` does, and what the log has of it before a backtrace.
const TRAPS: [(&str, &str); 3] = [
    ("trap", "unreachable"),
    ("panic", "a dire message"),
    ("recurse", "wasm trap"),
];

#[tokio::test]
async fn a_traps_text_reaches_the_log_alone() {
    let site = Site::new();
    let hostile = site.load("hostile", &guest("hostile"), "").unwrap();
    for (behaviour, logged) in TRAPS {
        expect_fault(&*hostile, behaviour, "0", &[logged, "wasm backtrace"]).await;
    }
}

#[tokio::test]
async fn a_draft_is_held_to_all_that_optimised_code_is() {
    let traps = TRAPS.map(|(behaviour, logged)| (behaviour, "0", vec![logged, "wasm backtrace"]));
    let excesses = EXCESSES.map(|(behaviour, count, named)| (behaviour, count, vec![named]));
    for (behaviour, count, logged) in excesses.into_iter().chain(traps) {
        let site = Site::in_tiers(Config::default());
        let hostile = site.load("hostile", &guest("hostile"), LIMITS).unwrap();
        not_gone_over(&site);
        expect_fault(&*hostile, behaviour, count, &logged).await;
        gone_over(&site, 1.0).await;
    }
}

#[tokio::test]
async fn log_lines_are_bounded_in_rate_and_length() {
    let site = Site::new();
    let hostile = site
        .load(
            "hostile",
            &guest("hostile"),
            "[limits]\nlog_lines_per_second = 5",
        )
        .unwrap();
    let log = Log::default();
    let kept = log.keep();
    for (behaviour, count) in [("long-line", "1000000"), ("chatty", "1000")] {
        let request = request_with(&[("x-behaviour", behaviour), ("x-count", count)]);
        hostile.preprocess(&request, body("x")).await.unwrap();
    }
    drop(kept);
    assert!(log.text().len() < 64 * 1024, "{} bytes", log.text().len());
    assert!(log.text().matches("a line of many").count() < 20);
    assert!(site.metric("plugin_log_line_dropped_total", &[("plugin", "hostile")]) > 900.0);
}

#[tokio::test]
async fn metrics_that_are_not_declared_are_dropped() {
    let site = Site::new();
    let hostile = site.load("hostile", &guest("hostile"), "").unwrap();
    let request = request_with(&[("x-behaviour", "undeclared"), ("x-count", "3")]);
    hostile.preprocess(&request, body("x")).await.unwrap();
    assert_eq!(site.metric("plugin_hostile_undeclared_total", &[]), 0.0);
    assert_eq!(
        site.metric(
            "plugin_metric_value_dropped_total",
            &[("plugin", "hostile")]
        ),
        3.0
    );
}

#[tokio::test]
async fn more_calls_than_instances_are_refused_at_once() {
    let site = Site::new();
    let hostile = site
        .load("hostile", &guest("hostile"), "[limits]\ninstances = 2")
        .unwrap();
    let spin = request_with(&[("x-behaviour", "spin")]);
    let (mut first, mut second) = (
        hostile.preprocess(&spin, body("x")),
        hostile.preprocess(&spin, body("x")),
    );
    // Each yields at a tick of the epoch, and so leaves the call unfinished.
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    assert_eq!(site.metric("plugin_instances_in_use", &[]), 2.0);
    let error = hostile.preprocess(&request(), body("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    drop((first, second));
    assert_eq!(site.metric("plugin_instances_in_use", &[]), 0.0);
    hostile.preprocess(&request(), body("x")).await.unwrap();
    assert_eq!(
        site.metric("plugin_call_total", &[("outcome", "cancelled")]),
        2.0
    );
    assert_eq!(hostile.health().faults, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_cancelled_calls_leave_nothing() {
    let site = Site::new();
    let hostile = site.load("hostile", &guest("hostile"), "").unwrap();
    let spin = request_with(&[("x-behaviour", "spin")]);
    for call in 0..10_000 {
        let mut running = hostile.preprocess(&spin, body("x"));
        // Given up before it begins, or in the middle of the guest's loop: it yields at a tick of the epoch.
        if call % 2 == 0 {
            assert!(futures_util::poll!(&mut running).is_pending(), "{call}");
        }
        drop(running);
    }
    assert_eq!(site.metric("plugin_instances_in_use", &[]), 0.0);
    assert_eq!(
        site.metric("plugin_call_total", &[("outcome", "cancelled")]),
        5_000.0
    );
    assert_eq!(hostile.health().faults, 0);
    hostile.preprocess(&request(), body("x")).await.unwrap();
}
