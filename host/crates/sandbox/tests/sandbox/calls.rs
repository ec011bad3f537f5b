//! Calls that end well, calls that the guest refuses, and calls that it does not survive.

use std::time::{Duration, Instant};

use wharf_core::{ErrorKind, Isolation, Payload, Stage};

use crate::site::{Site, body, floats, guest, request, request_within, text};
use crate::wat;

#[tokio::test]
async fn a_payload_passes_through_both_ways() {
    let site = Site::new();
    let echo = site.load("echo", &guest("echo"), "").unwrap();
    assert_eq!(echo.info().stages, [Stage::Preprocess, Stage::Postprocess]);
    assert_eq!(echo.info().contract, "1.0.0");
    assert_eq!(echo.info().isolation, Isolation::Request);
    let answer = echo.preprocess(&request(), body("hello")).await.unwrap();
    assert_eq!(text(&answer), "hello");
    let input = floats(&[1.0, 2.0]);
    let Payload::Tensors(tensors) = echo.postprocess(&request(), input.clone()).await.unwrap() else {
        panic!("tensors come back as tensors");
    };
    let Payload::Tensors(given) = input else { unreachable!() };
    // The very buffer: a handle went in and out, no data.
    assert_eq!(tensors[0].data().as_ptr(), given[0].data().as_ptr());
    assert_eq!(site.metric("plugin_call_total", &[("plugin", "echo"), ("outcome", "ok")]), 2.0);
    assert_eq!(site.metric("plugin_instances_in_use", &[]), 0.0);
}

#[tokio::test]
async fn a_tensor_is_read_and_made_for_every_isolation() {
    let site = Site::new();
    for isolation in ["request", "tenant", "shared"] {
        let settings = format!("isolation = {isolation:?}\n[settings]\nfactor = 3.0");
        let scale = site.load("scale", &guest("scale"), &settings).unwrap();
        for _ in 0..20 {
            let answer = scale.preprocess(&request(), floats(&[1.0, -2.5])).await.unwrap();
            let Payload::Tensors(tensors) = answer else { panic!("no tensors") };
            assert_eq!(tensors[0].as_slice::<f32>().unwrap(), [3.0, -7.5]);
            assert_eq!(tensors[0].name(), "x");
        }
    }
}

#[tokio::test]
async fn an_endless_loop_ends_at_its_limit() {
    let site = Site::new();
    let spin = site
        .load("spin", &wat::preprocess(wat::SPIN), "[limits]\ncall_ms = 50")
        .unwrap();
    let began = Instant::now();
    let error = spin.preprocess(&request(), body("x")).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(error.kind(), ErrorKind::PluginFault);
    assert_eq!(spin.health().consecutive_faults, 1);
    let error = spin
        .preprocess(&request_within(Duration::from_millis(10)), body("x"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert_eq!(spin.health().faults, 1, "a short deadline is no fault of the plugin");
}
