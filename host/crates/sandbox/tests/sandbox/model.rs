//! Calls of models by guests. The guest `ensemble` asks what its header fields say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_core::{ErrorKind, ModelCalls, Payload, Plugin, PluginHost, RequestContext};
use wharf_testkit::{FakeModelCalls, eventually};

use crate::site::{Site, floats, guest, request_with, request_within, text};

/// A site with the guest `ensemble`, and the targets that it may call.
struct Asking {
    site: Site,
    models: Arc<FakeModelCalls>,
    ensemble: Arc<dyn Plugin>,
}

impl Asking {
    fn new(targets: &[(&str, &str)], settings: &str) -> Self {
        let site = Site::new();
        let models = FakeModelCalls::new(targets);
        connect(&site, &models);
        let settings = if settings.contains("[grants.model]") {
            settings.to_owned()
        } else {
            format!("[grants.model]\ntargets = ['*']\n{settings}")
        };
        let ensemble = site.load("ensemble", &guest("ensemble"), &settings);
        Self {
            ensemble: ensemble.unwrap(),
            site,
            models,
        }
    }

    /// Asks, and gives the line about each answer.
    async fn report(&self, fields: &[(&'static str, &str)]) -> Vec<String> {
        let (request, input) = (request_with(fields), floats(&[1.0, 2.0]));
        let report = self.ensemble.postprocess(&request, input).await;
        let report = text(&report.unwrap());
        report.lines().map(str::to_owned).collect()
    }

    /// Asks in the background.
    fn ask(&self, request: &Arc<RequestContext>) -> Call {
        let (ensemble, request) = (Arc::clone(&self.ensemble), Arc::clone(request));
        tokio::spawn(async move { ensemble.preprocess(&request, floats(&[1.0, 2.0])).await })
    }

    fn expect_idle(&self) {
        assert_eq!(self.models.running(), 0);
        assert_eq!(self.site.metric("plugin_instances_in_use", &[]), 0.0);
    }
}

type Call = tokio::task::JoinHandle<wharf_core::Result<Payload>>;

fn connect(site: &Site, models: &Arc<FakeModelCalls>) {
    let models: Arc<dyn ModelCalls> = Arc::clone(models) as _;
    site.sandbox.connect(Arc::downgrade(&models));
}

fn first(payload: &Payload) -> &wharf_core::Tensor {
    match payload {
        Payload::Tensors(tensors) => &tensors[0],
        Payload::Body(_) => panic!("no tensors"),
    }
}

#[tokio::test]
async fn tensors_go_to_the_target_and_back_without_a_copy() {
    let asking = Asking::new(&[("same", "")], "");
    let request = request_with(&[("x-targets", "same@stable")]);
    let input = floats(&[1.5; 1000]);
    let output = asking.ensemble.preprocess(&request, input.clone());
    let output = output.await.unwrap();
    assert_eq!(
        first(&output).data().as_ptr(),
        first(&input).data().as_ptr()
    );
    assert_eq!(first(&output).shape(), first(&input).shape());
    let made = asking.models.made();
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].version.as_deref(), Some("stable"));
    assert_eq!(
        first(&made[0].input).data().as_ptr(),
        first(&input).data().as_ptr()
    );
    assert!(
        Arc::ptr_eq(&made[0].request, &request),
        "the request itself is carried along"
    );
}

#[tokio::test]
async fn many_are_asked_at_once_and_answer_in_their_order() {
    let targets = [("ten", "gate open\nadd 10"), ("one", "gate open\nadd 1")];
    let asking = Asking::new(
        &targets,
        "[grants.model]\ntargets = ['one', 'ten']\ncalls = 8",
    );
    let gate = asking.models.gates.get("open");
    let fields = [("x-targets", "ten,one"), ("x-times", "16")];
    let (report, ()) = futures_util::join!(asking.report(&fields), async {
        gate.arrived(8).await;
        assert_eq!(asking.models.running(), 8);
        gate.open();
    });
    assert_eq!(report.len(), 32);
    for pair in report.chunks(2) {
        assert_eq!(pair, ["ok [11.0, 12.0]", "ok [2.0, 3.0]"]);
    }
    assert_eq!((asking.models.most(), asking.models.made().len()), (8, 32));
    // One after the other gives the same.
    let fields = [("x-targets", "ten,one"), ("x-way", "one")];
    assert_eq!(asking.report(&fields).await, report[..2]);
    asking.expect_idle();
}

#[tokio::test]
async fn a_target_that_is_not_granted_is_denied_by_name() {
    let settings = "[grants.model]\ntargets = ['mine']";
    let asking = Asking::new(&[("mine", ""), ("other", "")], settings);
    let report = asking.report(&[("x-targets", "other,mine")]).await;
    assert!(
        report[0].starts_with("denied the grant model does not name other"),
        "{report:?}"
    );
    assert_eq!(report[1], "ok [1.0, 2.0]");
    let request = request_with(&[("x-targets", "other")]);
    let error = asking.ask(&request).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(asking.models.made().len(), 1);
}

#[tokio::test]
async fn errors_of_the_target_keep_their_kind() {
    for kind in ErrorKind::ALL {
        let asking = Asking::new(&[("no", &format!("refuse {}", kind.name()))], "");
        let case = match kind {
            ErrorKind::InvalidArgument | ErrorKind::Unprocessable | ErrorKind::TooLarge => {
                "invalid-input"
            }
            ErrorKind::NotFound => "not-found",
            ErrorKind::Unavailable | ErrorKind::QuotaExceeded | ErrorKind::Deadline => {
                "unavailable"
            }
            ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => "denied",
            _ => "failed",
        };
        let report = asking.report(&[("x-targets", "no")]).await;
        assert_eq!(report, [format!("{case} refused by script")], "{kind:?}");
    }
}

#[tokio::test]
async fn the_time_of_a_call_is_not_the_guests_own() {
    let limit = Duration::from_millis(1000);
    let asking = Asking::new(&[("slow", "gate slow")], "[limits]\ncall_ms = 1000");
    let gate = asking.models.gates.get("slow");
    let began = Instant::now();
    let call = asking.ask(&request_with(&[("x-targets", "slow")]));
    gate.arrived(1).await;
    eventually("the limit to be over", || began.elapsed() > limit * 4).await;
    gate.open();
    call.await.unwrap().unwrap();
    // What the guest does afterwards is its own again.
    let request = request_with(&[("x-targets", "slow"), ("x-then", "spin")]);
    let error = asking.ask(&request).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginFault);
    assert_eq!(asking.ensemble.health().faults, 1);
    asking.expect_idle();
}

#[tokio::test]
async fn a_deadline_that_a_call_outlasts_is_no_fault_of_the_plugin() {
    let asking = Asking::new(&[("slow", "gate slow")], "[settings]\ntargets = ['slow']");
    let error = asking.ask(&request_within(Duration::from_millis(250)));
    let error = error.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert_eq!(asking.ensemble.health().faults, 0);
    asking.expect_idle();
}

#[tokio::test]
async fn a_request_that_leaves_cancels_its_calls() {
    let asking = Asking::new(&[("slow", "gate slow")], "");
    let fields = [("x-targets", "slow"), ("x-times", "16")];
    let call = asking.ask(&request_with(&fields));
    asking.models.gates.get("slow").arrived(16).await;
    assert_eq!(asking.models.running(), 16);
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    asking.expect_idle();
    assert_eq!(asking.ensemble.health().faults, 0);
}

#[tokio::test]
async fn a_call_that_is_left_behind_takes_the_handles_along_and_is_not_waited_for() {
    let settings = "[grants.model]\ntargets = ['slow', 'full', 'gone']";
    let targets = [("slow", "gate never"), ("full", "full"), ("other", "")];
    let asking = Asking::new(&targets, settings);
    let fields = [("x-targets", "slow@next"), ("x-way", "mirror")];
    let (request, input) = (request_with(&fields), floats(&[1.5; 1000]));
    let output = asking.ensemble.preprocess(&request, input.clone());
    let output = output.await.unwrap();
    let mirrored = asking.models.mirrored();
    assert_eq!(mirrored.len(), 1);
    assert_eq!(mirrored[0].target, "slow");
    assert_eq!(mirrored[0].version.as_deref(), Some("next"));
    assert!(Arc::ptr_eq(&mirrored[0].request, &request));
    for payload in [&output, &mirrored[0].input] {
        assert_eq!(
            first(payload).data().as_ptr(),
            first(&input).data().as_ptr()
        );
    }
    // A refusal says why the call is not made; without the grant it does not get as far as the host.
    let fields = [("x-targets", "slow,full,gone,other"), ("x-way", "mirror")];
    let report = asking.report(&fields).await;
    assert_eq!(report[0], "ok [1.0, 2.0]");
    assert_eq!(report[1], "unavailable full by script");
    assert_eq!(report[2], "not-found no such target by script");
    assert!(
        report[3].starts_with("denied the grant model"),
        "{report:?}"
    );
    assert_eq!(asking.models.mirrored().len(), 2);
    assert_eq!(asking.models.made().len(), 0);
    asking.expect_idle();
}

#[tokio::test]
async fn there_are_no_calls_outside_of_a_stage_call() {
    let site = Site::new();
    let models = FakeModelCalls::new(&[("one", "")]);
    connect(&site, &models);
    for ask in ["init", "self-test"] {
        let settings = format!(
            "[grants.model]\ntargets = ['one']\n[settings]\ntargets = ['one']\nask = '{ask}'"
        );
        let refused = site.load("ensemble", &guest("ensemble"), &settings);
        let error = refused.err().unwrap();
        assert!(
            error
                .message
                .contains("there is none outside of a stage call"),
            "{ask}: {error}"
        );
    }
    assert_eq!(models.made().len(), 0);
}

#[tokio::test]
async fn a_host_that_serves_nothing_is_unavailable() {
    let asking = Asking::new(&[("one", "")], "");
    let Asking {
        site,
        models,
        ensemble,
    } = asking;
    drop(models);
    let request = request_with(&[("x-targets", "one")]);
    let report = ensemble
        .postprocess(&request, floats(&[1.0]))
        .await
        .unwrap();
    assert_eq!(text(&report), "unavailable this host serves no models");
    assert_eq!(site.metric("plugin_instances_in_use", &[]), 0.0);
}

#[tokio::test]
async fn what_calls_give_counts_against_the_guests_memory() {
    let megabytes = (4 << 20).to_string();
    let asking = Asking::new(
        &[("large", &format!("body {megabytes}"))],
        "[limits]\nmemory_mb = 64",
    );
    let ask =
        |times: &str| asking.ask(&request_with(&[("x-targets", "large"), ("x-times", times)]));
    ask("1").await.unwrap().unwrap();
    let error = ask("100").await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginFault);
    // It ended when there was too much, and not after all of it was there.
    let made = asking.models.made().len();
    assert!(made < 50, "{made} calls were made");
    asking.expect_idle();
}

#[tokio::test]
async fn more_calls_than_handles_are_refused_before_they_are_made() {
    let asking = Asking::new(&[("none", "refuse not-found")], "[limits]\nhandles = 64");
    let ask = |times: &str| {
        let request = request_with(&[("x-targets", "none"), ("x-times", times)]);
        let empty = Payload::Tensors(Vec::new());
        let ensemble = Arc::clone(&asking.ensemble);
        async move { ensemble.postprocess(&request, empty).await }
    };
    assert_eq!(text(&ask("64").await.unwrap()).lines().count(), 64);
    let error = ask("65").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginFault);
    assert_eq!(asking.models.made().len(), 64);
}

#[test]
fn a_plugin_that_calls_models_needs_the_grant_and_its_targets() {
    let site = Site::new();
    for (settings, key, message) in [
        ("", None, "the grant \"model\""),
        (
            "grants.model = true",
            Some("grants.model.targets"),
            "name the routes and models",
        ),
        (
            "[grants.model]\ntargets = ['a']\ncall = 3",
            Some("grants.model"),
            "unknown field `call`, expected `targets` or `calls`",
        ),
    ] {
        let refused = site.load("ensemble", &guest("ensemble"), settings);
        let error = refused.err().unwrap();
        assert_eq!(error.key.as_deref(), key, "{error}");
        assert!(error.message.contains(message), "{error}");
    }
}
