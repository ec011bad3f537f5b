//! What operators say: by settings, and by order.

use wharf_core::ErrorKind;

use super::*;

#[tokio::test]
async fn a_pinned_release_serves_and_none_is_tried() {
    let site = shop("release = 2");
    release(&site, 2, "");
    release(&site, 3, "");
    let harness = Harness::start(site, by_order()).await;
    assert_eq!(
        harness.releases(),
        [
            (1, ReleaseState::Idle),
            (2, ReleaseState::InForce),
            (3, ReleaseState::Idle)
        ]
    );
    harness.site.put("bundles/shop/bundle.toml", "release = 1");
    harness.serving.reload().await;
    assert_eq!(harness.ask("sum", "1").await, "2");
    // One that is not there changes nothing, and is said.
    harness.site.put("bundles/shop/bundle.toml", "release = 7");
    harness.serving.reload().await;
    assert_eq!(harness.ask("sum", "1").await, "2");
    assert_eq!(harness.errors(), ["bundles/shop/bundle.toml [release]"]);
    let order = harness.serving.promote_bundle(&name("shop"), Some(3)).await;
    assert_eq!(order.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn an_operator_promotes_where_the_settings_say_so() {
    let policy = "mode = 'manual'\nshare_percent = [50]\nstep_s = 0\nmin_requests = 5\nmax_latency_ratio = 0";
    let harness = Harness::start(shop(policy), by_order()).await;
    release(&harness.site, 2, "");
    harness.serving.reload().await;
    for _ in 0..100 {
        harness.drawn("sum", "1").await.unwrap();
    }
    let reason = |harness: &Harness| harness.serving.bundles()[0].releases[1].reason.clone();
    assert!(
        reason(&harness).contains("an operator promotes it"),
        "{}",
        reason(&harness)
    );
    harness
        .serving
        .promote_bundle(&name("shop"), None)
        .await
        .unwrap();
    assert_eq!(harness.ask("sum", "1").await, "3");
    // What does badly is rolled back all the same.
    release(&harness.site, 3, "trap");
    harness.serving.reload().await;
    harness.send_until((3, ReleaseState::RolledBack)).await;
    // Without a share, a release is there for those who name it.
    harness.site.put(
        "bundles/shop/bundle.toml",
        "mode = 'manual'\nshare_percent = []",
    );
    release(&harness.site, 4, "");
    harness.serving.reload().await;
    for _ in 0..50 {
        assert_eq!(harness.drawn("sum", "1").await.unwrap().release, Some(2));
    }
    assert_eq!(harness.named("sum", "4", "1").await.unwrap(), "5");
}

#[tokio::test]
async fn a_release_is_promoted_and_rolled_back_by_order() {
    let harness = Harness::start(shop("step_s = 86400"), by_order()).await;
    let shop = name("shop");
    for number in [2, 3] {
        release(&harness.site, number, "");
    }
    harness.serving.reload().await;
    let unknown = harness.serving.promote_bundle(&name("zoo"), None).await;
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::NotFound);
    let unknown = harness.serving.promote_bundle(&shop, Some(9)).await;
    assert_eq!(unknown.unwrap_err().field(), Some("release"));
    harness.serving.roll_back_bundle(&shop).await.unwrap();
    assert_eq!(harness.releases()[2], (3, ReleaseState::RolledBack));
    harness.serving.reload().await;
    assert_eq!(harness.releases()[1], (2, ReleaseState::OnTrial));
    // One that was rolled back, by name.
    harness
        .serving
        .promote_bundle(&shop, Some(3))
        .await
        .unwrap();
    assert_eq!(harness.ask("sum", "1").await, "4");
    assert!(harness.errors().is_empty());
    // Without a trial: the one before, which then stays.
    harness.serving.roll_back_bundle(&shop).await.unwrap();
    assert_eq!(harness.ask("sum", "1").await, "3");
    harness.serving.reload().await;
    assert_eq!(
        harness.releases(),
        [
            (1, ReleaseState::Idle),
            (2, ReleaseState::InForce),
            (3, ReleaseState::RolledBack)
        ]
    );
    harness
        .serving
        .promote_bundle(&shop, Some(1))
        .await
        .unwrap();
    harness.serving.reload().await;
    assert_eq!(harness.ask("sum", "1").await, "2");
    assert_eq!(harness.releases()[1], (2, ReleaseState::RolledBack));
    let nothing = harness.serving.roll_back_bundle(&shop).await;
    assert_eq!(nothing.unwrap_err().kind(), ErrorKind::Conflict);
    // What cannot be loaded changes nothing.
    harness
        .site
        .put("bundles/shop/3/plugins/numbers.wasm", "broken\nend\n");
    let broken = harness
        .serving
        .promote_bundle(&shop, Some(3))
        .await
        .unwrap_err();
    assert_eq!(broken.kind(), ErrorKind::Unprocessable);
    assert!(
        broken
            .message()
            .contains("bundles/shop/3/plugins/numbers.wasm"),
        "{broken}"
    );
    assert_eq!(harness.ask("sum", "1").await, "2");
}

#[tokio::test]
async fn all_of_the_traffic_at_once_is_a_probation() {
    let policy = "share_percent = []\nstep_s = 0\nmin_requests = 50\nmax_latency_ratio = 0";
    let harness = Harness::start(shop(policy), by_order()).await;
    for _ in 0..100 {
        harness.drawn("sum", "1").await.unwrap();
    }
    release(&harness.site, 2, "trap");
    harness.serving.reload().await;
    for _ in 0..20 {
        assert!(harness.drawn("sum", "1").await.is_err());
    }
    harness.comes_to((2, ReleaseState::RolledBack)).await;
    release(&harness.site, 3, "");
    harness.serving.reload().await;
    assert_eq!(harness.drawn("sum", "1").await.unwrap().release, Some(3));
    assert_eq!(harness.send_until((3, ReleaseState::InForce)).await, 0);
}

#[tokio::test]
async fn a_roll_back_passes_over_what_was_rolled_back() {
    let harness = Harness::start(shop(QUICK), by_order()).await;
    let shop = name("shop");
    release(&harness.site, 2, "trap");
    harness.serving.reload().await;
    harness.send_until((2, ReleaseState::RolledBack)).await;
    release(&harness.site, 3, "");
    harness.serving.reload().await;
    harness.send_until((3, ReleaseState::InForce)).await;
    harness.serving.roll_back_bundle(&shop).await.unwrap();
    assert_eq!(harness.releases()[0], (1, ReleaseState::InForce));
    let nothing = harness.serving.roll_back_bundle(&shop).await;
    assert_eq!(nothing.unwrap_err().kind(), ErrorKind::Conflict);
}
