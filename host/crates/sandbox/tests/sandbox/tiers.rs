//! Plugins that serve from a draft, and go over to optimised code while they do.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_core::{ErrorKind, Payload, Plugin, RequestContext, Token, Verdict};
use wharf_sandbox::Config;

use crate::site::{Log, Site, body, guest, request, request_with, text};
use crate::wat;

fn drafts(site: &Site, outcome: &str) -> f64 {
    site.metric("plugin_draft_total", &[("outcome", outcome)])
}

/// Sees that no draft was replaced yet. That there was one at all is seen when it is.
pub(crate) fn not_gone_over(site: &Site) {
    assert_eq!(site.metric("plugin_draft_total", &[]), 0.0);
}

/// Waits until the drafts of so many plugins are replaced.
pub(crate) async fn gone_over(site: &Site, plugins: f64) {
    let replaced = |site: &Site| drafts(site, "replaced") >= plugins;
    site.until("the drafts are replaced", replaced).await;
    assert_eq!((drafts(site, "kept"), drafts(site, "left")), (0.0, 0.0));
}

/// Calls again and again until the one draft of the site is replaced. Gives how many calls that were.
async fn call_until_replaced(site: &Site, mut call: impl AsyncFnMut()) -> u64 {
    let latest = Instant::now() + Duration::from_secs(300);
    let mut calls = 0;
    while drafts(site, "replaced") < 1.0 {
        assert!(
            Instant::now() < latest,
            "after {calls} calls the draft still serves"
        );
        call().await;
        calls += 1;
        // What optimises gives way to all others: calls without a pause would leave it nothing of a machine that is busy anyway.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    calls
}

/// Loads a plugin of the guest `hostile`, which serves from a draft then.
fn draft_of_hostile(site: &Site, isolation: &str) -> Arc<dyn Plugin> {
    let settings = format!("isolation = {isolation:?}");
    let plugin = site.load("hostile", &guest("hostile"), &settings).unwrap();
    assert_eq!(
        site.metric("plugin_compile_total", &[("cache", "miss")]),
        1.0
    );
    plugin
}

/// Leaves a secret, and gives the one that was there.
async fn leak(plugin: &dyn Plugin, tenant: Option<&str>, secret: &str) -> String {
    let base = request_with(&[("x-behaviour", "leak-secret"), ("x-secret", secret)]);
    let request = Arc::new(RequestContext {
        tenant: tenant.map(Into::into),
        ..(*base).clone()
    });
    text(&plugin.preprocess(&request, body("x")).await.unwrap())
}

fn files(folder: &Path, extension: &str) -> usize {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .count()
}

#[tokio::test]
async fn a_new_plugin_serves_from_a_draft_and_goes_over_without_a_failed_call() {
    let cache = tempfile::TempDir::new().unwrap();
    let config = || Config {
        cache_folder: Some(cache.path().join("aot")),
        ..Config::default()
    };
    let site = Site::in_tiers(config());
    let bulky = site.load("bulky", &guest("bulky"), "").unwrap();
    let (digest, before) = (bulky.info().digest, words(&*bulky).await);
    assert_eq!(before, [3.0]);
    let calls = call_until_replaced(&site, async || assert_eq!(words(&*bulky).await, before)).await;
    assert!(calls > 0, "no call was made while the draft served");
    // More than stood ready when it went over.
    for _ in 0..20 {
        assert_eq!(words(&*bulky).await, before);
    }
    assert_eq!(bulky.info().digest, digest);
    assert_eq!(bulky.health().faults, 0);

    // The cache has the optimised code, which the next host serves from at once.
    assert_eq!(files(&cache.path().join("aot"), "aot"), 1);
    let next = Site::in_tiers(config());
    let bulky = next.load("bulky", &guest("bulky"), "").unwrap();
    assert_eq!(
        next.metric("plugin_compile_total", &[("cache", "hit")]),
        1.0
    );
    assert_eq!(words(&*bulky).await, before);
}

/// The words that `bulky` counts in a text of three.
async fn words(plugin: &dyn Plugin) -> Vec<f32> {
    let payload = plugin.preprocess(&request(), body("one two three")).await;
    let Payload::Tensors(tensors) = payload.unwrap() else {
        panic!("it gives a tensor")
    };
    tensors[0].as_slice::<f32>().unwrap().to_vec()
}

#[tokio::test]
async fn instances_made_ahead_of_time_are_replaced_and_share_nothing() {
    let site = Site::in_tiers(Config::default());
    let hostile = draft_of_hostile(&site, "request");
    call_until_replaced(&site, async || {
        assert_eq!(leak(&*hostile, None, "secret").await, "");
    })
    .await;
    for _ in 0..20 {
        assert_eq!(leak(&*hostile, None, "secret").await, "");
    }
    site.until("every instance that stands ready is counted", |site| {
        let ready = site.metric("plugin_instances_ready", &[("plugin", "hostile")]);
        (1.0..=32.0).contains(&ready)
    })
    .await;
    drop(hostile);
    assert_eq!(site.metric("plugin_instances_ready", &[]), 0.0);
}

#[tokio::test]
async fn kept_instances_are_replaced_for_each_tenant() {
    kept_instances_are_replaced("tenant", &["a", "b"]).await;
}

#[tokio::test]
async fn a_kept_instance_of_everybody_is_replaced() {
    kept_instances_are_replaced("shared", &["a"]).await;
}

async fn kept_instances_are_replaced(isolation: &str, tenants: &[&str]) {
    let site = Site::in_tiers(Config::default());
    let hostile = draft_of_hostile(&site, isolation);
    for tenant in tenants {
        assert_eq!(leak(&*hostile, Some(tenant), tenant).await, "");
        assert_eq!(leak(&*hostile, Some(tenant), tenant).await, *tenant);
    }
    assert_eq!(
        drafts(&site, "replaced"),
        0.0,
        "it went over before it was used"
    );
    gone_over(&site, 1.0).await;
    let ready = || site.metric("plugin_instances_ready", &[("plugin", "hostile")]);
    assert_eq!(ready(), tenants.len() as f64);
    for tenant in tenants.iter().rev() {
        assert_eq!(
            leak(&*hostile, Some(tenant), tenant).await,
            "",
            "a new instance"
        );
        assert_eq!(leak(&*hostile, Some(tenant), tenant).await, *tenant);
    }
    assert_eq!(ready(), tenants.len() as f64);
}

#[tokio::test]
async fn a_text_ends_on_the_code_that_it_began_with() {
    let site = Site::in_tiers(Config::default());
    let censor = site
        .load("censor", &guest("censor"), "isolation = 'shared'")
        .unwrap();
    let token = |text: &str| Token {
        id: 1,
        text: text.to_owned(),
        logprob: None,
    };
    let mut filter = censor.filter_tokens(&request()).await.unwrap();
    let held = filter.push(vec![token("no secr")]).await.unwrap();
    assert!(matches!(held, Verdict::Emit(_)));
    assert_eq!(
        drafts(&site, "replaced"),
        0.0,
        "it went over before it was used"
    );
    gone_over(&site, 1.0).await;
    let rest = filter.push(vec![token("ets at all")]).await.unwrap();
    let Verdict::Emit(rest) = rest else {
        panic!("the text goes on")
    };
    let rest: String = rest.into_iter().map(|token| token.text).collect();
    assert!(rest.starts_with("***s"), "{rest:?}");
    filter.finish().await.unwrap();
    // The draft's instance is not kept for the next text.
    assert_eq!(site.metric("plugin_instances_ready", &[]), 0.0);
    let filter = censor.filter_tokens(&request()).await.unwrap();
    filter.finish().await.unwrap();
    assert_eq!(site.metric("plugin_instances_ready", &[]), 1.0);
}

#[tokio::test]
async fn a_plugin_that_went_is_not_waited_for() {
    let site = Site::in_tiers(Config::default());
    drop(draft_of_hostile(&site, "request"));
    let left = |site: &Site| drafts(site, "left") >= 1.0;
    site.until("the draft is given up", left).await;
    assert_eq!(drafts(&site, "replaced"), 0.0);
}

#[tokio::test]
async fn a_host_that_ends_leaves_nothing_half_done() {
    let Site {
        sandbox, folder, ..
    } = {
        let site = Site::in_tiers(Config::default());
        let hostile = draft_of_hostile(&site, "request");
        hostile.preprocess(&request(), body("x")).await.unwrap();
        site
    };
    drop(sandbox);
    assert_eq!(files(&folder.path().join("cache"), "tmp"), 0);
}

#[tokio::test]
async fn more_drafts_than_may_wait_are_all_replaced() {
    let site = Site::in_tiers(Config::default());
    let plugins: Vec<_> = (0..20)
        .map(|number| {
            site.load(&format!("hostile-{number}"), &guest("hostile"), "")
                .unwrap()
        })
        .collect();
    let drafted = site.metric("plugin_compile_total", &[("cache", "miss")]);
    assert!(drafted > 0.0);
    gone_over(&site, drafted).await;
    for plugin in plugins {
        plugin.preprocess(&request(), body("x")).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_small_is_optimised_at_once() {
    let site = Site::in_tiers(Config::default());
    let echo = site.load("echo", &guest("echo"), "").unwrap();
    assert_eq!(files(&site.folder.path().join("cache"), "aot"), 1);
    echo.preprocess(&request(), body("x")).await.unwrap();
}

/// A function that takes a number, and code enough that a draft of it is worth making: it counts down to 0 by calls like this one.
fn counts_down(locals: &str, call: &str) -> String {
    let step = "(local.set $x (if (result i32) (i32.and (local.get $x) (i32.const 1))
        (then (i32.add (local.get $x) (i32.const 7)))
        (else (i32.mul (local.get $x) (i32.const 3)))))";
    format!(
        "(func $down (param $n i32) (result i32) (local $x i32) {locals}
            (if (i32.eqz (local.get $n)) (then (return (i32.const 0))))
            (local.set $x (local.get $n))
            {}
            {call})
        (func $begin (drop (call $down (i32.const 2000))))
        (start $begin)",
        step.repeat(4000)
    )
}

/// Loads it before a plugin that echoes, which then serves optimised. Gives how many compilations that took.
async fn compilations(counting: &str) -> f64 {
    let site = Site::in_tiers(Config::default());
    let component = wat::preprocess(&format!("{counting}{}", wat::ECHO));
    let plugin = site.load("counting", &component, "").unwrap();
    assert_eq!(files(&site.folder.path().join("cache"), "aot"), 1);
    let answer = plugin.preprocess(&request(), body("x")).await.unwrap();
    assert_eq!(text(&answer), "x");
    assert_eq!(drafts(&site, "replaced"), 0.0);
    site.metric("plugin_compile_total", &[("cache", "miss")])
}

/// A draft has room on the stack for each local, which optimised code has only for those that are used.
#[tokio::test]
async fn a_draft_that_fails_is_not_held_against_the_plugin() {
    let call = "(i32.xor (local.get $x) (call $down (i32.sub (local.get $n) (i32.const 1))))";
    let locals = format!("(local {})", "i64 ".repeat(400));
    assert_eq!(compilations(&counts_down(&locals, call)).await, 2.0);
}

#[tokio::test]
async fn what_no_draft_can_be_made_of_is_optimised_at_once() {
    let tail_call = "(return_call $down (i32.sub (local.get $n) (i32.const 1)))";
    assert_eq!(compilations(&counts_down("", tail_call)).await, 1.0);
}

/// Addresses and indices that no code may reach, by each kind of instruction that takes one.
#[tokio::test]
async fn a_draft_reaches_nothing_beyond_its_memory_and_tables() {
    let padding = counts_down("", "(local.get $x)");
    for beyond in [
        "(drop (i32.load8_u (i32.const 131072)))",
        "(drop (i32.load (i32.const 131069)))",
        "(drop (i64.load (i32.const -8)))",
        "(drop (i64.load offset=4294967295 (i32.const -1)))",
        "(drop (v128.load (i32.const 131057)))",
        "(i32.store8 (i32.const -1) (i32.const 1))",
        "(i64.store offset=131065 (i32.const 0) (i64.const 1))",
        "(f64.store (i32.const -4) (f64.const 1))",
        "(memory.fill (i32.const 131066) (i32.const 1) (i32.const 8))",
        "(memory.copy (i32.const 0) (i32.const 131066) (i32.const 8))",
        "(memory.copy (i32.const 131066) (i32.const 0) (i32.const 8))",
        "(memory.init $bytes (i32.const 0) (i32.const 1) (i32.const 2))",
        "(call_indirect (type $none) (i32.const 4))",
        "(call_indirect (type $none) (i32.const -1))",
        "(table.set (i32.const 4) (ref.null func))",
    ] {
        let process = format!(
            "(type $none (func))
            (table 4 4 funcref)
            (data $bytes \"xy\")
            {padding}
            (func (export \"process\") (param i32 i32 i32 i32) (result i32)
                (call $drop-request (local.get 0))
                {beyond}
                (i32.const 0))"
        );
        let site = Site::in_tiers(Config::default());
        let plugin = site.load("beyond", &wat::preprocess(&process), "").unwrap();
        not_gone_over(&site);
        let log = Log::default();
        let kept = log.keep();
        let error = plugin.preprocess(&request(), body("x")).await.unwrap_err();
        drop(kept);
        assert_eq!(error.kind(), ErrorKind::PluginFault, "{beyond}");
        let text = log.text();
        assert!(
            text.contains("out of bounds") || text.contains("undefined element"),
            "{beyond}: {text}"
        );
        gone_over(&site, 1.0).await;
    }
}
