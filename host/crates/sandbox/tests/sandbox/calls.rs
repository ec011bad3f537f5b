//! Calls that end well, calls that the guest refuses, and calls that it does not survive.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_core::{Candidate, ErrorKind, Isolation, ModelLoad, Payload, Stage, Tensor};

use crate::site::{Site, body, floats, guest, request, request_with, request_within, text};
use crate::wat;

#[tokio::test]
async fn a_payload_passes_through_both_ways() {
    let site = Site::new();
    let echo = site.load("echo", &guest("echo"), "").unwrap();
    assert_eq!(echo.info().stages, [Stage::Preprocess, Stage::Postprocess]);
    assert_eq!(echo.info().contract, "1.1.0");
    assert_eq!(echo.info().isolation, Isolation::Request);
    let answer = echo.preprocess(&request(), body("hello")).await.unwrap();
    assert_eq!(text(&answer), "hello");
    let input = floats(&[1.0, 2.0]);
    let Payload::Tensors(tensors) = echo.postprocess(&request(), input.clone()).await.unwrap()
    else {
        panic!("tensors come back as tensors");
    };
    let Payload::Tensors(given) = input else {
        unreachable!()
    };
    // The very buffer: a handle went in and out, no data.
    assert_eq!(tensors[0].data().as_ptr(), given[0].data().as_ptr());
    assert_eq!(
        site.metric(
            "plugin_call_total",
            &[("plugin", "echo"), ("outcome", "ok")]
        ),
        2.0
    );
    assert_eq!(site.metric("plugin_instances_in_use", &[]), 0.0);
}

/// What is rare in a call lies in boxes of its own: all the rest is moved for every call.
#[tokio::test]
async fn a_call_carries_little_along() {
    let site = Site::new();
    let echo = site.load("echo", &guest("echo"), "").unwrap();
    let request = request();
    let call = echo.preprocess(&request, body("x"));
    let bytes = size_of_val(&*call);
    assert!(bytes <= 1536, "{bytes} bytes");
    assert_eq!(text(&call.await.unwrap()), "x");
}

#[tokio::test]
async fn a_tensor_is_read_and_made_for_every_isolation() {
    let site = Site::new();
    for isolation in ["request", "tenant", "shared"] {
        let settings = format!("isolation = {isolation:?}\n[settings]\nfactor = 3.0");
        let scale = site.load("scale", &guest("scale"), &settings).unwrap();
        for _ in 0..20 {
            let answer = scale
                .preprocess(&request(), floats(&[1.0, -2.5]))
                .await
                .unwrap();
            let Payload::Tensors(tensors) = answer else {
                panic!("no tensors")
            };
            assert_eq!(tensors[0].as_slice::<f32>().unwrap(), [3.0, -7.5]);
            assert_eq!(tensors[0].name(), "x");
        }
    }
}

#[tokio::test]
async fn an_endless_loop_ends_at_its_limit() {
    let site = Site::new();
    let spin = site
        .load(
            "spin",
            &wat::preprocess(wat::SPIN),
            "[limits]\ncall_ms = 50",
        )
        .unwrap();
    let began = Instant::now();
    let error = spin.preprocess(&request(), body("x")).await.unwrap_err();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(error.kind(), ErrorKind::PluginFault);
    assert!(!error.is_said_by_guest());
    assert_eq!(spin.health().consecutive_faults, 1);
    let error = spin
        .preprocess(&request_within(Duration::from_millis(10)), body("x"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert_eq!(
        spin.health().faults,
        1,
        "a short deadline is no fault of the plugin"
    );
}

#[tokio::test]
async fn a_guests_own_error_keeps_its_kind_and_text() {
    let site = Site::new();
    let hostile = site
        .load("hostile", &guest("hostile"), "isolation = 'shared'")
        .unwrap();
    for (case, kind) in [
        ("invalid-input", ErrorKind::InvalidArgument),
        ("not-found", ErrorKind::NotFound),
        ("unavailable", ErrorKind::Unavailable),
        ("denied", ErrorKind::PermissionDenied),
        ("failed", ErrorKind::PluginFault),
    ] {
        let request = request_with(&[("x-behaviour", "fail"), ("x-error", case)]);
        let error = hostile.preprocess(&request, body("x")).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.is_said_by_guest());
        assert_eq!(
            error.message(),
            format!("hostile: {}", case.replace('-', " "))
        );
        assert_eq!(error.field().is_some(), case == "invalid-input");
    }
    assert_eq!(
        hostile.health().faults,
        0,
        "an error of its own is no fault"
    );
    assert_eq!(
        site.metric("plugin_call_total", &[("outcome", "refused")]),
        5.0
    );
}

#[tokio::test]
async fn a_router_sees_the_candidates_and_cannot_choose_another() {
    let site = Site::new();
    let candidates: Vec<Candidate> = [9, 2]
        .into_iter()
        .map(|queue_depth| Candidate {
            model: "digits".parse().unwrap(),
            version: 1,
            labels: Arc::from(["stable".to_owned()]),
            load: ModelLoad {
                queue_depth,
                ..ModelLoad::default()
            },
        })
        .collect();
    let contract = site.load("contract", &guest("contract"), "").unwrap();
    assert_eq!(contract.info().stages.len(), 5);
    assert_eq!(contract.route(&request(), &candidates).await.unwrap(), 1);
    let calls = site.metric("plugin_contract_calls_total", &[("plugin", "contract")]);
    assert_eq!(calls, 1.0, "{:?}", site.metrics());

    let hostile = site.load("hostile", &guest("hostile"), "").unwrap();
    let request = request_with(&[("x-pick", "7")]);
    let error = hostile.route(&request, &candidates).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginFault);
    assert_eq!(hostile.health().faults, 1);
}

#[tokio::test]
async fn every_kind_of_tensor_comes_back_as_it_went() {
    let site = Site::new();
    let contract = site.load("contract", &guest("contract"), "").unwrap();
    let tensors = vec![
        Tensor::from_vec("f", [2, 2], vec![1.0_f32, -1.0, 0.5, 2.0]).unwrap(),
        Tensor::from_vec("d", [1], vec![1.0_f64]).unwrap(),
        Tensor::from_vec("i", [3], vec![1_i64, -2, 3]).unwrap(),
        Tensor::from_vec("h", [2], vec![7_u16, 8]).unwrap(),
        Tensor::from_vec("s", [0_u64; 0], vec![7_i32]).unwrap(),
        Tensor::from_elements("b", [2], &["", "text"]).unwrap(),
    ];
    let given = contract
        .preprocess(&request(), Payload::Tensors(tensors.clone()))
        .await
        .unwrap();
    let Payload::Tensors(given) = given else {
        panic!("no tensors")
    };
    assert_eq!(given.len(), tensors.len());
    for (given, sent) in given.iter().zip(&tensors) {
        assert_eq!(
            (given.name(), given.datatype()),
            (sent.name(), sent.datatype())
        );
        assert_eq!((given.shape(), given.data()), (sent.shape(), sent.data()));
    }
    assert_eq!(
        text(&contract.preprocess(&request(), body("abc")).await.unwrap()),
        "abc"
    );
}

#[tokio::test]
async fn a_stage_that_is_missing_is_the_servers_fault() {
    let site = Site::new();
    let echo = site.load("echo", &guest("echo"), "").unwrap();
    let error = echo.route(&request(), &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}
