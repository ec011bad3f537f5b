//! What becomes of a request whose plugin fails, and of the plugin.

use wharf_core::ErrorKind;
use wharf_serving::{Config, EventKind};
use wharf_testkit::{Site, body, eventually};

use crate::harness::{Harness, by_order, failing_site};

#[tokio::test]
async fn closed_fails_the_request() {
    let harness = Harness::start(failing_site("closed", "trap"), by_order()).await;
    let error = harness.run("sum", body("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginFault);
}

#[tokio::test]
async fn skip_passes_the_input_on() {
    let harness = Harness::start(failing_site("skip", "trap"), by_order()).await;
    assert_eq!(harness.ask("sum", "1").await, "2");
}

#[tokio::test]
async fn a_router_that_is_skipped_means_the_first_candidate() {
    let site = Site::new();
    site.model("a", 1, "add 1");
    site.model("b", 1, "add 2");
    site.plugin("choose", "stages router\ntrap");
    site.route(
        "either",
        "router = { plugin = 'choose', on_failure = 'skip' }\n\
         [[candidates]]\nmodel = 'a'\n[[candidates]]\nmodel = 'b'",
    );
    let harness = Harness::start(site, by_order()).await;
    assert_eq!(harness.number("either", 1.0).await, 2.0);
}

#[tokio::test]
async fn previous_asks_the_release_before() {
    let config = Config {
        rollback_after_faults: 0,
        ..by_order()
    };
    let harness = Harness::start(failing_site("previous", "scale 10"), config).await;
    assert_eq!(harness.ask("sum", "1").await, "11");
    harness.site.plugin("tens", "scale 20\ntrap");
    harness.serving.reload().await;
    assert_eq!(harness.ask("sum", "1").await, "11");
    let status = harness.serving.status();
    let tens = status.plugins.iter().find(|p| p.name.as_str() == "tens");
    assert_eq!(tens.unwrap().health.faults, 1);
}

#[tokio::test]
async fn previous_without_a_release_before_is_closed() {
    let harness = Harness::start(failing_site("previous", "trap"), by_order()).await;
    let error = harness.run("sum", body("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginFault);
}

#[tokio::test]
async fn what_a_guest_refuses_is_an_answer() {
    for kind in ["invalid-argument", "not-found", "permission-denied"] {
        let harness =
            Harness::start(failing_site("skip", &format!("refuse {kind}")), by_order()).await;
        let error = harness.run("sum", body("1")).await.unwrap_err();
        assert_eq!(error.kind().name(), kind);
    }
    // That it cannot work now is none.
    let harness = Harness::start(failing_site("skip", "refuse unavailable"), by_order()).await;
    assert_eq!(harness.ask("sum", "1").await, "2");
}

#[tokio::test]
async fn a_new_release_that_keeps_failing_is_rolled_back() {
    let config = Config {
        rollback_after_faults: 3,
        ..by_order()
    };
    let harness = Harness::start(failing_site("closed", "scale 10"), config).await;
    harness.site.plugin("tens", "trap");
    harness.serving.reload().await;
    for _ in 0..3 {
        harness.run("sum", body("1")).await.unwrap_err();
    }
    let file = "plugins/tens.wasm";
    eventually("it is rolled back", || {
        harness.happened(EventKind::RolledBack, file) == 1
    })
    .await;
    assert_eq!(harness.ask("sum", "1").await, "11");
    assert_eq!(harness.errors(), [file]);
    assert_eq!(
        harness.metric(
            "reload_total",
            &[("kind", "plugin"), ("outcome", "rolled-back")]
        ),
        Some(1.0)
    );

    // The same content stays out, by order as well.
    let loads = harness.plugins.loads();
    assert!(!harness.serving.reload().await.changed);
    assert_eq!(harness.plugins.loads(), loads);
    // Other content is another chance.
    harness.site.plugin("tens", "scale 30");
    harness.serving.reload().await;
    assert_eq!(harness.ask("sum", "1").await, "31");
    assert!(harness.errors().is_empty());
    harness.drained().await;
}

#[tokio::test]
async fn a_client_cannot_roll_a_good_release_back() {
    let config = Config {
        rollback_after_faults: 5,
        breaker_faults: 0,
        ..by_order()
    };
    // Both releases fail at a 7: it is the input.
    let harness = Harness::start(failing_site("closed", "scale 10\ntrap-on 7"), config).await;
    harness.site.plugin("tens", "scale 20\ntrap-on 7");
    harness.serving.reload().await;
    assert_eq!(harness.ask("sum", "1").await, "21");
    let file = "plugins/tens.wasm";
    for _ in 0..50 {
        harness.run("sum", body("7")).await.unwrap_err();
        tokio::task::yield_now().await;
    }
    // Five hostile requests more, each seen through.
    for _ in 0..5 {
        let asked = harness.plugins.calls();
        harness.run("sum", body("7")).await.unwrap_err();
        eventually("the release before was asked", || {
            harness.plugins.calls() >= asked + 3
        })
        .await;
    }
    assert_eq!(harness.happened(EventKind::RolledBack, file), 0);
    assert_eq!(harness.ask("sum", "1").await, "21");

    // Failures of the new release alone still count, beside as many of the client's.
    harness.site.plugin("tens", "scale 30\ntrap-on 3");
    harness.serving.reload().await;
    for _ in 0..5 {
        harness.run("sum", body("3")).await.unwrap_err();
    }
    eventually("it is rolled back", || {
        harness.happened(EventKind::RolledBack, file) == 1
    })
    .await;
    assert_eq!(harness.ask("sum", "3").await, "61");
}

#[tokio::test]
async fn calls_that_end_well_in_between_keep_a_release() {
    let config = Config {
        rollback_after_faults: 3,
        breaker_faults: 0,
        ..by_order()
    };
    let harness = Harness::start(failing_site("closed", "scale 10"), config).await;
    harness.site.plugin("tens", "scale 20\ntrap-on 7");
    harness.serving.reload().await;
    let file = "plugins/tens.wasm";
    for _ in 0..10 {
        for _ in 0..2 {
            let asked = harness.plugins.calls();
            harness.run("sum", body("7")).await.unwrap_err();
            eventually("the release before was asked", || {
                harness.plugins.calls() >= asked + 3
            })
            .await;
        }
        assert_eq!(harness.ask("sum", "1").await, "21");
    }
    assert_eq!(harness.happened(EventKind::RolledBack, file), 0);
}

#[tokio::test]
async fn a_first_release_and_a_recovering_one_are_not_rolled_back() {
    let config = Config {
        rollback_after_faults: 2,
        ..by_order()
    };
    let harness = Harness::start(failing_site("closed", "trap"), config).await;
    for _ in 0..5 {
        harness.run("sum", body("1")).await.unwrap_err();
    }
    harness.site.plugin("tens", "scale 10");
    harness.serving.reload().await;
    assert_eq!(harness.ask("sum", "1").await, "11");
    assert_eq!(
        harness.happened(EventKind::RolledBack, "plugins/tens.wasm"),
        0
    );
}

#[tokio::test]
async fn a_release_that_comes_back_is_judged_afresh() {
    let config = Config {
        rollback_after_faults: 3,
        ..by_order()
    };
    let harness = Harness::start(failing_site("closed", "trap"), config).await;
    let fails = || async { harness.run("sum", body("1")).await.unwrap_err() };
    for _ in 0..5 {
        fails().await;
    }
    harness.site.plugin("tens", "scale 10");
    harness.serving.reload().await;
    assert_eq!(harness.ask("sum", "1").await, "11");
    // The first release again, with five faults in a row behind it: the looks that the next faults cause change nothing.
    let file = "plugins/tens.wasm";
    harness.site.plugin("tens", "trap");
    harness.serving.reload().await;
    fails().await;
    fails().await;
    harness.serving.reload().await;
    assert_eq!(harness.happened(EventKind::RolledBack, file), 0);
    fails().await;
    eventually("it is rolled back", || {
        harness.happened(EventKind::RolledBack, file) == 1
    })
    .await;
    let errors = harness.serving.status().errors;
    assert!(errors[0].message.contains("failed 3 times"), "{errors:?}");
    assert_eq!(harness.ask("sum", "1").await, "11");
}

#[tokio::test]
async fn the_release_before_is_let_go_after_the_probation() {
    let config = Config {
        rollback_probation_ms: 0,
        ..by_order()
    };
    let harness = Harness::start(failing_site("closed", "scale 10"), config).await;
    harness.site.plugin("tens", "scale 20");
    harness.serving.reload().await;
    let (serving, plugins) = (&harness.serving, &harness.plugins);
    eventually("it is let go", || plugins.live() == 2).await;
    assert!(
        serving
            .status()
            .plugins
            .iter()
            .all(|p| p.previous.is_none())
    );
}
