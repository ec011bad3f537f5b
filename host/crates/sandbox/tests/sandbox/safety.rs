//! What hostile guests and clients must come to, beyond the limits: nothing left for the next, nothing that was not
//! granted, and a log that stays readable.

use std::sync::Arc;

use wharf_core::{ErrorKind, RequestContext};

use crate::site::{Log, Site, body, guest, request, request_of, request_with, text};
use crate::wat;

/// Traps where a trace of an earlier request is anywhere in its memory, its globals or its tables; leaves one everywhere.
/// The pattern is part of the code alone, so only a request can have put it there.
const CANARY: &str = r#"
    (global $left (mut i64) (i64.const 0))
    (table $table 64 128 funcref)
    (elem declare func $leaver)
    (func $leaver)
    (func (export "process") (param i32 i32 i32 i32) (result i32)
        (local $at i32) (local $end i32)
        (call $drop-request (local.get 0))
        (if (i64.ne (global.get $left) (i64.const 0)) (then unreachable))
        (if (i32.ne (table.size $table) (i32.const 64)) (then unreachable))
        (if (i32.eqz (ref.is_null (table.get $table (i32.const 7)))) (then unreachable))
        (if (i32.ne (memory.size) (i32.const 2)) (then unreachable))
        ;; What grows must come clean as well.
        (drop (memory.grow (i32.const 30)))
        (local.set $end (i32.mul (memory.size) (i32.const 65536)))
        (loop $scan
            (if (i64.eq (i64.load (local.get $at)) (i64.const 0x5ec2e7c0ffee1234)) (then unreachable))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br_if $scan (i32.lt_u (local.get $at) (local.get $end))))
        (local.set $at (i32.const 65536))
        (loop $leave
            (i64.store (local.get $at) (i64.const 0x5ec2e7c0ffee1234))
            (local.set $at (i32.add (local.get $at) (i32.const 1024)))
            (br_if $leave (i32.lt_u (local.get $at) (local.get $end))))
        (global.set $left (i64.const 1))
        (table.set $table (i32.const 7) (ref.func $leaver))
        (drop (table.grow $table (ref.func $leaver) (i32.const 16)))
        (i32.store8 (i32.const 0) (i32.const 0))
        (i32.store8 (i32.const 4) (local.get 1))
        (i32.store (i32.const 8) (local.get 2))
        (i32.store (i32.const 12) (local.get 3))
        (i32.const 0))
"#;

#[tokio::test]
async fn no_instance_has_a_trace_of_another_wherever_it_lies() {
    let site = Site::new();
    let canary = site.load("canary", &wat::preprocess(CANARY), "").unwrap();
    // More than there are slots in the pool, so that every slot is used again.
    for round in 0..400 {
        let answer = canary.preprocess(&request(), body("x")).await;
        answer.unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    // Each tenant's instance gives way to the next one's, and its slot goes on.
    let settings = "isolation = 'tenant'\n[limits]\ntenants = 1";
    let canary = site
        .load("tenants", &wat::preprocess(CANARY), settings)
        .unwrap();
    for round in 0..400 {
        let request = request_of(&round.to_string());
        let answer = canary.preprocess(&request, body("x")).await;
        answer.unwrap_or_else(|error| panic!("tenant {round}: {error}"));
    }
    // The same tenant does meet its own trace: so the guest looks in the right place.
    let again = canary.preprocess(&request_of("399"), body("x")).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::PluginFault);
    // And its instance, which trapped, is gone.
    let after = canary.preprocess(&request_of("399"), body("x")).await;
    assert_eq!(text(&after.unwrap()), "x");
}

#[tokio::test]
async fn a_trapped_or_left_instance_leaves_its_secret_to_nobody() {
    let site = Site::new();
    let settings = "isolation = 'shared'\n[limits]\ncall_ms = 60000";
    let hostile = site.load("hostile", &guest("hostile"), settings).unwrap();
    let leak = request_with(&[("x-behaviour", "leak-secret"), ("x-secret", "canary")]);
    for ended_by in ["trap", "spin"] {
        let seen = hostile.preprocess(&leak, body("x")).await.unwrap();
        assert_eq!(text(&seen), "", "{ended_by}");
        let end = request_with(&[("x-behaviour", ended_by)]);
        let mut call = hostile.preprocess(&end, body("x"));
        match ended_by {
            "trap" => drop(call.await.unwrap_err()),
            _ => assert!(futures_util::poll!(&mut call).is_pending()),
        }
    }
    let seen = hostile.preprocess(&leak, body("x")).await.unwrap();
    assert_eq!(text(&seen), "");
    let seen = hostile.preprocess(&leak, body("x")).await.unwrap();
    assert_eq!(text(&seen), "canary", "the guest would see it");
}

#[tokio::test]
async fn faults_that_clients_provoke_do_not_fill_the_log() {
    let site = Site::new();
    let settings = "[limits]\nfault_lines_per_second = 3\nlog_lines_per_second = 100000";
    let hostile = site.load("hostile", &guest("hostile"), settings).unwrap();
    let log = Log::default();
    let kept = log.keep();
    let long = "x".repeat(4000);
    let panics = request_with(&[("x-behaviour", "panic"), ("x-message", &long)]);
    for _ in 0..1000 {
        hostile.preprocess(&panics, body("x")).await.unwrap_err();
    }
    drop(kept);
    let logged = log.text().matches("plugin trapped").count();
    assert!((1..100).contains(&logged), "{logged} faults were logged");
    let dropped = site.metric("plugin_log_line_dropped_total", &[("plugin", "hostile")]);
    assert_eq!(dropped + logged as f64, 1000.0);
    assert_eq!(hostile.health().faults, 1000, "they count all the same");
}

#[tokio::test]
async fn what_is_not_granted_is_denied_by_its_name() {
    let site = Site::new();
    for ability in ["state", "model", "codec", "http", "secret"] {
        let import = format!("(component (import \"wharf:plugin/{ability}@1.1.0\" (instance)))");
        let component = ::wat::parse_str(import).unwrap();
        let error = site.load("curious", &component, "").err().unwrap();
        let named = format!("needs the grant {ability:?}");
        assert!(error.message.contains(&named), "{}", error.message);
    }
}

#[tokio::test]
async fn ten_thousand_calls_of_many_tenants_leave_nothing() {
    let site = Site::new();
    let settings = "isolation = 'tenant'\n[limits]\ntenants = 8\ninstances = 16";
    let hostile = site.load("hostile", &guest("hostile"), settings).unwrap();
    let spin = request_with(&[("x-behaviour", "spin")]);
    for round in 0..10_000 {
        let request = Arc::new(RequestContext {
            tenant: Some(format!("tenant-{}", round % 100).into()),
            ..(*spin).clone()
        });
        let mut call = hostile.preprocess(&request, body("x"));
        if round % 100 == 0 {
            assert!(futures_util::poll!(&mut call).is_pending());
        }
        drop(call);
    }
    assert_eq!(site.metric("plugin_instances_in_use", &[]), 0.0);
    assert_eq!(hostile.health().faults, 0);
    hostile
        .preprocess(&request_of("a"), body("x"))
        .await
        .unwrap();
}
