//! Bundles: releases that are tried, promoted and rolled back as one.

mod lifecycle;
mod orders;

use wharf_core::{Error, Payload};
use wharf_serving::{EventKind, Outcome, ReleaseState};
use wharf_testkit::{Site, body, eventually, request, text, values};

use crate::harness::{Harness, by_order, check, inspect, name, places, watching};

/// Settings under which a trial is over after a few requests.
const QUICK: &str = "share_percent = [50]\nstep_s = 0\nmin_requests = 20\nmax_latency_ratio = 0";

/// Puts a release of the bundle `shop` there: its route `sum` adds the number of the release, by a model and a plugin of its own.
fn release(site: &Site, number: u64, plugin: &str) {
    let folder = format!("bundles/shop/{number}");
    site.put(
        &format!("{folder}/models/adder/1/model.onnx"),
        &format!("add {number}\nend\n"),
    );
    site.put(
        &format!("{folder}/plugins/numbers.wasm"),
        &format!("{plugin}\nend\n"),
    );
    site.put(
        &format!("{folder}/routes/sum.toml"),
        "model = 'adder'\npre = ['numbers']\npost = ['numbers']",
    );
}

fn shop(policy: &str) -> Site {
    let site = Site::new();
    release(&site, 1, "");
    site.put("bundles/shop/bundle.toml", policy);
    site
}

impl Harness {
    /// Sends a number through a route, to the release that the lot names.
    async fn drawn(&self, route: &str, input: &str) -> Result<Outcome, Error> {
        self.drawn_as(route, input, None).await
    }

    async fn drawn_as(
        &self,
        route: &str,
        input: &str,
        user: Option<&str>,
    ) -> Result<Outcome, Error> {
        let snapshot = self.serving.snapshot();
        let field = |field: &str| user.filter(|_| field == "x-user");
        let route = snapshot
            .route_for(route, field)
            .expect("the route is in force");
        route
            .run(&request(route.name().as_str()), body(input))
            .await
    }

    /// Sends a number to a release by its number.
    async fn named(&self, route: &str, release: &str, input: &str) -> Result<String, Error> {
        let snapshot = self.serving.snapshot();
        let route = snapshot
            .endpoint(route, Some(release))
            .expect("the release is loaded");
        let outcome = route
            .run(&request(route.name().as_str()), body(input))
            .await?;
        Ok(text(&outcome.payload))
    }

    /// The releases of the bundle `shop`, each with what it does.
    fn releases(&self) -> Vec<(u64, ReleaseState)> {
        let bundles = self.serving.bundles();
        let shop = bundles.iter().find(|bundle| bundle.name.as_str() == "shop");
        let releases = shop.iter().flat_map(|shop| &shop.releases);
        releases
            .map(|release| (release.release, release.state))
            .collect()
    }

    /// Waits until a release has this state, without a request more.
    async fn comes_to(&self, wanted: (u64, ReleaseState)) {
        eventually(&format!("{wanted:?}"), || self.releases().contains(&wanted)).await;
    }

    /// Sends requests until a release has this state. Gives how many of them failed.
    async fn send_until(&self, wanted: (u64, ReleaseState)) -> usize {
        let mut failed = 0;
        for _ in 0..100_000 {
            if self.releases().contains(&wanted) {
                return failed;
            }
            failed += usize::from(self.drawn("sum", "1").await.is_err());
            tokio::task::yield_now().await;
        }
        panic!("{wanted:?} never came: {:?}", self.serving.bundles());
    }
}

#[tokio::test]
async fn the_first_release_serves_at_once_and_its_parts_are_its_own() {
    let harness = Harness::start(shop(""), by_order()).await;
    assert!(harness.errors().is_empty());
    assert_eq!(harness.ask("sum", "1").await, "2");
    let snapshot = harness.serving.snapshot();
    assert!(snapshot.route("adder").is_none());
    assert_eq!(snapshot.models().count() + snapshot.plugins().count(), 0);
    let route = snapshot.route("sum").unwrap();
    assert_eq!(route.release().unwrap().release, 1);
    assert_eq!(route.versions(), [1]);
    assert_eq!(harness.happened(EventKind::Loaded, "bundles/shop/1"), 1);
    let index = harness.serving.index();
    assert_eq!((index[0].name.as_str(), index[0].version), ("sum", Some(1)));
    assert_eq!(
        harness.metric("serving_live_generations", &[("kind", "model")]),
        Some(1.0)
    );
    // Nothing changed, and nothing is loaded again.
    let loads = harness.engine.loads();
    assert!(!harness.serving.reload().await.changed);
    assert_eq!(harness.engine.loads(), loads);
}

#[tokio::test]
async fn a_release_that_does_well_is_promoted_without_a_failed_request() {
    let harness = Harness::start(shop(QUICK), by_order()).await;
    release(&harness.site, 2, "");
    let report = harness.serving.reload().await;
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    assert_eq!(
        harness.releases(),
        [(1, ReleaseState::InForce), (2, ReleaseState::OnTrial)]
    );
    let versions = harness
        .serving
        .snapshot()
        .route("sum")
        .map(|route| route.versions());
    assert_eq!(versions.unwrap(), [1, 2]);
    assert_eq!(
        harness.metric("bundle_share_ratio", &[("release", "2")]),
        Some(0.5)
    );
    // Both answer, and an answer says which. One may be drawn many times in a row.
    let mut seen = [false; 2];
    for _ in 0..200 {
        if seen == [true; 2] {
            break;
        }
        let outcome = harness.drawn("sum", "1").await.unwrap();
        let release = outcome.release.unwrap();
        assert_eq!(text(&outcome.payload), (1 + release).to_string());
        seen[release as usize - 1] = true;
    }
    assert_eq!(seen, [true; 2]);
    assert_eq!(harness.send_until((2, ReleaseState::InForce)).await, 0);
    assert_eq!(harness.ask("sum", "1").await, "3");
    assert_eq!(harness.happened(EventKind::Tried, "bundles/shop/2"), 1);
    assert_eq!(harness.happened(EventKind::Promoted, "bundles/shop/2"), 1);
    let promoted = [("bundle", "shop"), ("verdict", "promoted")];
    assert_eq!(harness.metric("bundle_verdict_total", &promoted), Some(1.0));
    harness.drained().await;
    assert_eq!((harness.engine.live(), harness.plugins.live()), (1, 1));
    assert_eq!(harness.engine.dropped_by(), ["wharf-reaper"]);
}

#[tokio::test]
async fn a_release_whose_plugin_traps_is_rolled_back_as_one() {
    let harness = Harness::start(shop(QUICK), by_order()).await;
    release(&harness.site, 2, "trap");
    harness.serving.reload().await;
    // 14 faults of the new one and none of the other are what chance cannot explain, and of a hundred draws it has as many.
    for _ in 0..100 {
        let _ = harness.drawn("sum", "1").await;
    }
    harness.comes_to((2, ReleaseState::RolledBack)).await;
    assert_eq!(harness.ask("sum", "1").await, "2");
    assert_eq!(harness.errors(), ["bundles/shop/2"]);
    assert_eq!(harness.happened(EventKind::RolledBack, "bundles/shop/2"), 1);
    assert!(
        harness
            .metric("bundle_verdict_total", &[("verdict", "rolled-back")])
            .is_some()
    );
    harness.drained().await;
    assert_eq!((harness.engine.live(), harness.plugins.live()), (1, 1));
    // It stays out until its content is another.
    harness.serving.reload().await;
    assert_eq!(harness.releases()[1].1, ReleaseState::RolledBack);
    release(&harness.site, 2, "scale 1");
    harness.serving.reload().await;
    assert!(harness.errors().is_empty());
    assert_eq!(harness.send_until((2, ReleaseState::InForce)).await, 0);
}

#[tokio::test]
async fn a_release_that_refuses_everything_is_rolled_back() {
    let harness = Harness::start(shop(QUICK), by_order()).await;
    release(&harness.site, 2, "refuse invalid-argument");
    harness.serving.reload().await;
    harness.send_until((2, ReleaseState::RolledBack)).await;
    assert_eq!(harness.ask("sum", "1").await, "2");
}

#[tokio::test]
async fn a_site_of_bundles_alone_is_not_ready_while_none_serves() {
    let site = shop(QUICK);
    release(&site, 1, "broken");
    let harness = Harness::start(site, by_order()).await;
    assert!(!harness.serving.ready());
    release(&harness.site, 1, "");
    harness.serving.reload().await;
    assert!(harness.serving.ready());
}

#[tokio::test]
async fn what_both_releases_fail_at_decides_nothing() {
    let site = shop(QUICK);
    release(&site, 1, "trap-on 13");
    let harness = Harness::start(site, by_order()).await;
    release(&harness.site, 2, "trap-on 13\nscale 1");
    harness.serving.reload().await;
    for _ in 0..400 {
        assert!(harness.drawn("sum", "13").await.is_err());
    }
    assert_ne!(harness.releases()[1].1, ReleaseState::RolledBack);
    // Nor does what a client sends to one of them by its number.
    harness.send_until((2, ReleaseState::InForce)).await;
    release(&harness.site, 3, "trap");
    harness.serving.reload().await;
    for _ in 0..100 {
        assert!(harness.named("sum", "3", "1").await.is_err());
    }
    assert_eq!(harness.releases()[2].1, ReleaseState::OnTrial);
}

#[tokio::test]
async fn a_broken_part_refuses_the_whole_release() {
    let harness = Harness::start(shop(QUICK), by_order()).await;
    for (file, content, place) in [
        (
            "plugins/numbers.wasm",
            "broken\nend\n",
            "bundles/shop/2/plugins/numbers.wasm",
        ),
        (
            "plugins/numbers.toml",
            "broken",
            "bundles/shop/2/plugins/numbers.toml [broken]",
        ),
        (
            "models/adder/1/model.onnx",
            "add 2",
            "bundles/shop/2/models/adder/1/model.onnx",
        ),
        (
            "models/adder/1/model.onnx",
            "panic\nend\n",
            "bundles/shop/2",
        ),
        (
            "routes/sum.toml",
            "model = 'x'",
            "bundles/shop/2/routes/sum.toml [model]",
        ),
        (
            "routes/sum.toml",
            "model =",
            "bundles/shop/2/routes/sum.toml",
        ),
        (
            "routes/more.toml",
            "model = 'adder'\npre = ['x']",
            "bundles/shop/2/routes/more.toml [pre[0]]",
        ),
    ] {
        release(&harness.site, 2, "");
        harness.site.put(&format!("bundles/shop/2/{file}"), content);
        harness.serving.reload().await;
        assert_eq!(harness.errors(), [place], "{file}: {content}");
        assert_eq!(harness.ask("sum", "1").await, "2");
        assert_eq!(harness.releases()[0], (1, ReleaseState::InForce));
        harness.site.remove("bundles/shop/2");
    }
    release(&harness.site, 2, "");
    harness.site.remove("bundles/shop/2/routes/sum.toml");
    harness.serving.reload().await;
    assert_eq!(harness.errors(), ["bundles/shop/2/routes"]);
    release(&harness.site, 2, "");
    harness.serving.reload().await;
    assert!(harness.errors().is_empty());
    assert_eq!(harness.releases()[1].1, ReleaseState::OnTrial);
    // Where only the first look failed, nothing of it was kept.
    harness.site.remove("bundles/shop/2");
    harness.serving.reload().await;
    harness.drained().await;
    assert_eq!((harness.engine.live(), harness.plugins.live()), (1, 1));
}

#[tokio::test]
async fn a_name_is_one_routes_and_both_places_are_said() {
    let site = shop(QUICK);
    site.model("m", 1, "add 100");
    site.route("plus", "model = 'm'");
    site.put("bundles/zoo/1/models/m/1/model.onnx", "add 5\nend\n");
    site.put("bundles/zoo/1/routes/sum.toml", "model = 'm'");
    let harness = Harness::start(site, by_order()).await;
    let message = |harness: &Harness| harness.serving.status().errors[0].message.clone();
    assert_eq!(harness.errors(), ["bundles/zoo/1/routes/sum.toml"]);
    assert!(
        message(&harness).contains("bundles/shop/1/routes/sum.toml"),
        "{}",
        message(&harness)
    );
    assert_eq!(harness.ask("sum", "1").await, "2");
    harness.site.remove("bundles/zoo");
    // A release that wants a name of the site.
    release(&harness.site, 2, "");
    harness
        .site
        .put("bundles/shop/2/routes/plus.toml", "model = 'adder'");
    harness.serving.reload().await;
    assert_eq!(harness.errors(), ["bundles/shop/2/routes/plus.toml"]);
    assert!(message(&harness).contains("routes/plus.toml has this name"));
    // The site wants a name of the release in force, which keeps it.
    harness.site.remove("bundles/shop/2");
    harness.site.route("sum", "model = 'm'");
    harness.serving.reload().await;
    assert_eq!(harness.errors(), ["routes/sum.toml"]);
    assert!(message(&harness).contains("bundles/shop/1/routes/sum.toml"));
    assert_eq!(harness.ask("sum", "1").await, "2");
    harness.site.remove("routes/sum.toml");
    harness.serving.reload().await;
    assert!(harness.errors().is_empty());
}

#[tokio::test]
async fn plugins_call_what_their_own_release_has() {
    let site = shop(QUICK);
    site.model("adder", 1, "add 1000");
    release(&site, 1, "call adder");
    site.put(
        "bundles/shop/1/routes/far.toml",
        "model = 'adder'\npre = ['outside']\npost = ['numbers']",
    );
    site.put("bundles/shop/1/plugins/outside.wasm", "call site\nend\n");
    site.route("site", "model = 'adder'");
    let harness = Harness::start(site, by_order()).await;
    assert!(
        harness.errors().is_empty(),
        "{:?}",
        harness.serving.status().errors
    );
    // 1, and twice the release's own model: not the model of that name that the site has.
    assert_eq!(harness.ask("sum", "1").await, "3");
    // What the release does not have is public, or is not there.
    assert_eq!(harness.ask("far", "1").await, "1002");
    // A call within the release is part of a request, and none of its own.
    assert_eq!(
        harness.metric("bundle_request_total", &[("release", "1")]),
        Some(2.0)
    );
}

#[tokio::test]
async fn a_release_may_look_different() {
    let policy = "share_percent = [50]\nstep_s = 86400";
    let harness = Harness::start(shop(policy), by_order()).await;
    // The new one takes tensors, and has one more route.
    release(&harness.site, 2, "");
    harness
        .site
        .put("bundles/shop/2/routes/sum.toml", "model = 'adder'");
    harness.site.put(
        "bundles/shop/2/routes/more.toml",
        "model = 'adder'\npre = ['numbers']\npost = ['numbers']",
    );
    harness.serving.reload().await;
    let snapshot = harness.serving.snapshot();
    for _ in 0..30 {
        let route = snapshot.route_for("sum", |_| None).unwrap();
        let request = request("sum");
        let answer = match route.input() {
            wharf_serving::RouteInput::Body => {
                text(&route.run(&request, body("1")).await.unwrap().payload)
            }
            wharf_serving::RouteInput::Tensors(_) => {
                let input = Payload::Tensors(vec![wharf_testkit::tensor("input", &[1.0])]);
                values(&route.run(&request, input).await.unwrap().payload)[0].to_string()
            }
        };
        assert!(["2", "3"].contains(&answer.as_str()));
    }
    // What only the new one has is found by its number until it is promoted.
    assert!(
        harness
            .serving
            .snapshot()
            .route_for("more", |_| None)
            .is_none()
    );
    assert_eq!(harness.named("more", "2", "1").await.unwrap(), "3");
}

#[tokio::test]
async fn a_user_stays_with_a_release_by_a_header_field() {
    let harness = Harness::start(shop(QUICK), by_order()).await;
    let policy = "sticky_header = 'x-user'\nshare_percent = [50]\nstep_s = 86400";
    harness.site.put("bundles/shop/bundle.toml", policy);
    release(&harness.site, 2, "");
    harness.serving.reload().await;
    let mut of_new = 0;
    for user in 0..50 {
        let user = user.to_string();
        let mut releases = Vec::new();
        for _ in 0..5 {
            let outcome = harness.drawn_as("sum", "1", Some(&user)).await.unwrap();
            releases.push(outcome.release);
        }
        assert!(releases.iter().all(|release| *release == releases[0]));
        of_new += usize::from(releases[0] == Some(2));
    }
    assert!((5..45).contains(&of_new), "{of_new}");
}

#[tokio::test]
async fn a_release_is_noticed_and_tried_once_it_is_whole() {
    let harness = Harness::start(shop(QUICK), watching()).await;
    // What a copy program does: the route comes before what it names.
    let folder = "bundles/shop/2";
    harness.site.write(
        &format!("{folder}/routes/sum.toml"),
        "model = 'adder'\npre = ['numbers']",
    );
    eventually("the refusal", || !harness.errors().is_empty()).await;
    assert_eq!(harness.ask("sum", "1").await, "2");
    release(&harness.site, 2, "");
    harness.comes_to((2, ReleaseState::OnTrial)).await;
    assert_eq!(harness.named("sum", "2", "1").await.unwrap(), "3");
    eventually("no error", || harness.errors().is_empty()).await;
}

#[test]
fn check_loads_every_release() {
    let site = shop("mode = 'never'");
    release(&site, 2, "broken");
    release(&site, 3, "");
    site.put("bundles/shop/3/routes/sum.toml", "model = 'nothing'");
    site.put("bundles/zoo/1/models/m/1/model.onnx", "add 5\nend\n");
    site.put("bundles/zoo/1/routes/sum.toml", "model = 'm'");
    site.put("bundles/zoo/old/x", "");
    assert_eq!(
        places(&check(&site)),
        [
            "bundles/shop/2/plugins/numbers.wasm []",
            "bundles/shop/3/routes/sum.toml [model]",
            "bundles/shop/bundle.toml [mode]",
            "bundles/zoo/1/routes/sum.toml []",
            "bundles/zoo/old []",
        ]
    );
    let site = shop("");
    assert!(check(&site).is_empty());
    assert_eq!(name("shop").as_str(), "shop");
}

#[tokio::test]
async fn what_would_be_in_force_of_a_bundle_is_seen_without_serving_it() {
    let site = shop(QUICK);
    site.model("plain", 1, "");
    let (snapshot, problems) = inspect(&site);
    assert_eq!(places(&problems), Vec::<String>::new());
    let routes: Vec<_> = snapshot
        .routes()
        .map(|route| {
            let release = route.release().map(|release| release.release);
            (route.name().to_string(), release)
        })
        .collect();
    assert_eq!(
        routes,
        [("plain".to_owned(), None), ("sum".to_owned(), Some(1))]
    );
    // A release that cannot be loaded gives way to the one before, and is told.
    release(&site, 2, "broken");
    let (snapshot, problems) = inspect(&site);
    assert_eq!(
        places(&problems),
        ["bundles/shop/2/plugins/numbers.wasm []"]
    );
    let route = snapshot.route("sum").unwrap();
    assert_eq!(route.release().unwrap().release, 1);
    assert!(!site.path().join("bundles/shop/state.toml").exists());
}
