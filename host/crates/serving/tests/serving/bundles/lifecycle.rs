//! Releases that come and go, and a server that starts anew.

use super::*;

/// Ends a server, and starts another one on its site.
async fn restarted(harness: Harness) -> Harness {
    harness.serving.shutdown().await;
    Harness::start(harness.site, by_order()).await
}

#[tokio::test]
async fn a_restart_serves_what_was_promoted() {
    let harness = Harness::start(shop(QUICK), by_order()).await;
    release(&harness.site, 2, "");
    harness.serving.reload().await;
    harness.send_until((2, ReleaseState::InForce)).await;
    release(&harness.site, 3, "trap");
    harness.serving.reload().await;
    harness.send_until((3, ReleaseState::RolledBack)).await;
    let harness = restarted(harness).await;
    assert_eq!(harness.ask("sum", "1").await, "3");
    // What was rolled back is not tried again, and what came in the meantime is tried, not served.
    assert_eq!(harness.releases()[2], (3, ReleaseState::RolledBack));
    release(&harness.site, 4, "");
    let harness = restarted(harness).await;
    assert_eq!(harness.releases()[1], (2, ReleaseState::InForce));
    assert_eq!(harness.releases()[3], (4, ReleaseState::OnTrial));
    // It does not load any more: what was in force before it, and not what was never tried.
    harness
        .site
        .put("bundles/shop/2/plugins/numbers.wasm", "broken\nend\n");
    let harness = restarted(harness).await;
    assert_eq!(harness.releases()[0], (1, ReleaseState::InForce));
    assert_eq!(harness.ask("sum", "1").await, "2");
}

#[tokio::test]
async fn the_record_says_what_became_of_releases() {
    let harness = Harness::start(shop(QUICK), by_order()).await;
    let record = || std::fs::read_to_string(harness.site.path().join("bundles/shop/state.toml"));
    assert!(record().unwrap().contains("promoted = 1"));
    release(&harness.site, 2, "trap");
    harness.serving.reload().await;
    harness.send_until((2, ReleaseState::RolledBack)).await;
    eventually("the record", || record().unwrap().contains("release = 2")).await;
    assert!(record().unwrap().contains("requests failed"));
    // Somebody else's file: nothing of it is believed, and it is said.
    harness
        .site
        .put("bundles/shop/state.toml", "promoted = 'x'");
    let harness = restarted(harness).await;
    assert_eq!(harness.errors(), ["bundles/shop/state.toml"]);
    assert_eq!(harness.releases()[1], (2, ReleaseState::InForce));
}

#[tokio::test]
async fn a_site_that_cannot_be_written_serves_all_the_same() {
    let site = shop(QUICK);
    // Nothing can be put in the place of a folder with something in it.
    site.put("bundles/shop/state.toml/x", "");
    let harness = Harness::start(site, by_order()).await;
    assert_eq!(harness.ask("sum", "1").await, "2");
    release(&harness.site, 2, "");
    harness.serving.reload().await;
    harness.send_until((2, ReleaseState::InForce)).await;
    assert_eq!(harness.ask("sum", "1").await, "3");
}

#[tokio::test]
async fn a_bundle_that_is_removed_drains() {
    let site = shop(QUICK);
    release(&site, 1, "gate slow");
    let harness = Harness::start(site, by_order()).await;
    let gate = harness.plugins.gates.get("slow");
    let snapshot = harness.serving.snapshot();
    let running = tokio::spawn(async move {
        let route = snapshot.route("sum").unwrap();
        route.run(&request("sum"), body("1")).await
    });
    gate.arrived(1).await;
    harness.site.remove("bundles/shop");
    harness.serving.reload().await;
    assert!(harness.serving.snapshot().route("sum").is_none());
    assert!(harness.serving.bundles().is_empty());
    assert_eq!(harness.engine.live(), 1);
    let draining = harness.serving.status().draining;
    assert!(
        draining
            .iter()
            .any(|drain| drain.subject == "shop/1: adder/1"),
        "{draining:?}"
    );
    gate.open();
    assert_eq!(text(&running.await.unwrap().unwrap().payload), "2");
    harness.drained().await;
    assert_eq!((harness.engine.live(), harness.plugins.live()), (0, 0));
    assert_eq!(harness.happened(EventKind::Removed, "bundles/shop/1"), 1);
}

#[tokio::test]
async fn a_newer_release_takes_the_place_of_the_one_on_trial() {
    let harness = Harness::start(shop(QUICK), by_order()).await;
    for number in [2, 3] {
        release(&harness.site, number, "");
        harness.serving.reload().await;
        assert_eq!(
            harness.releases().last(),
            Some(&(number, ReleaseState::OnTrial))
        );
    }
    assert_eq!(harness.releases()[1], (2, ReleaseState::Idle));
    // Its folder goes, and so does the trial; the one before it is tried again.
    harness.site.remove("bundles/shop/3");
    harness.serving.reload().await;
    assert_eq!(
        harness.releases(),
        [(1, ReleaseState::InForce), (2, ReleaseState::OnTrial)]
    );
    harness.drained().await;
    assert_eq!(harness.engine.live(), 2);
}

#[tokio::test]
async fn new_content_of_the_release_in_force_is_tried_like_a_new_one() {
    let harness = Harness::start(shop(QUICK), by_order()).await;
    release(&harness.site, 1, "trap");
    harness.serving.reload().await;
    assert_eq!(
        harness.releases(),
        [(1, ReleaseState::InForce), (1, ReleaseState::OnTrial)]
    );
    for _ in 0..100 {
        let _ = harness.drawn("sum", "1").await;
    }
    eventually("the roll-back", || {
        harness.happened(EventKind::RolledBack, "bundles/shop/1") == 1
    })
    .await;
    assert_eq!(harness.ask("sum", "1").await, "2");
    release(&harness.site, 1, "scale 1");
    harness.serving.reload().await;
    for _ in 0..100 {
        harness.drawn("sum", "1").await.unwrap();
    }
    eventually("the promotion", || {
        harness.happened(EventKind::Promoted, "bundles/shop/1") == 1
    })
    .await;
}

#[tokio::test]
async fn what_is_in_force_goes_when_its_folder_goes_and_another_serves() {
    let harness = Harness::start(shop(QUICK), by_order()).await;
    release(&harness.site, 2, "broken");
    harness.site.remove("bundles/shop/1");
    harness.serving.reload().await;
    assert_eq!(harness.ask("sum", "1").await, "2");
    release(&harness.site, 2, "");
    harness.serving.reload().await;
    assert_eq!(harness.ask("sum", "1").await, "3");
    assert_eq!(harness.releases(), [(2, ReleaseState::InForce)]);
}

#[tokio::test]
async fn settings_that_are_wrong_leave_those_before_in_force() {
    let harness = Harness::start(shop("share_percent = 5"), by_order()).await;
    assert_eq!(
        harness.errors(),
        ["bundles/shop/bundle.toml [share_percent]"]
    );
    assert_eq!(harness.ask("sum", "1").await, "2");
    // Nothing is tried by settings that nobody knows.
    release(&harness.site, 2, "");
    harness.serving.reload().await;
    for _ in 0..100 {
        assert_eq!(harness.drawn("sum", "1").await.unwrap().release, Some(1));
    }
    harness.site.put("bundles/shop/bundle.toml", QUICK);
    harness.serving.reload().await;
    assert!(harness.errors().is_empty());
    assert_eq!(harness.send_until((2, ReleaseState::InForce)).await, 0);
}
