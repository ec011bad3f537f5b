//! Chunk filters: what goes in, what comes out, and what a body leaves behind however it ends. What the two kinds of filters have in
//! common is tried with tokens.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use wharf_core::{ErrorKind, Filter, Plugin, Result, Verdict};

use crate::filter::refused_with_both;
use crate::site::{Log, Site, guest, request, request_with, request_within};

const HOSTILE: [(&str, &str); 1] = [("plugin", "hostile")];

type ChunkFilter = Box<dyn Filter<Bytes>>;

async fn open(plugin: &dyn Plugin) -> ChunkFilter {
    plugin
        .filter_chunks(&request(), "text/plain")
        .await
        .unwrap()
}

/// Pushes one chunk, and gives what comes out, with the reason where the body is stopped.
async fn push(filter: &mut ChunkFilter, chunk: &str) -> Result<String> {
    let verdict = filter
        .push(Bytes::copy_from_slice(chunk.as_bytes()))
        .await?;
    let given = String::from_utf8(verdict.given().to_vec()).unwrap();
    Ok(match verdict {
        Verdict::Emit(_) => given,
        Verdict::Stop { reason, .. } => format!("{given} | {reason}"),
    })
}

#[tokio::test]
async fn chunks_are_passed_on_changed_held_and_stopped_for_every_isolation() {
    let site = Site::new();
    for isolation in ["request", "tenant", "shared"] {
        let settings = format!("isolation = {isolation:?}");
        let hostile = site.load("hostile", &guest("hostile"), &settings).unwrap();
        // Twice, so that instances that are kept serve a second body.
        for _ in 0..2 {
            let mut filter = open(&*hostile).await;
            assert_eq!(push(&mut filter, "as it is").await.unwrap(), "as it is");
            assert_eq!(push(&mut filter, "filters").await.unwrap(), "1");
            assert_eq!(
                push(&mut filter, "").await.unwrap(),
                "",
                "the guest is not asked"
            );
            assert_eq!(push(&mut filter, "hold").await.unwrap(), "");
            assert_eq!(push(&mut filter, "x").await.unwrap(), "");
            assert_eq!(filter.finish().await.unwrap(), "holdx");
            let mut filter = open(&*hostile).await;
            push(&mut filter, "hold").await.unwrap();
            let stopped = push(&mut filter, "stop").await.unwrap();
            assert_eq!(stopped, "hold | it says stop");
            let error = push(&mut filter, "more").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal);
        }
        assert_eq!(site.metric("plugin_instances_in_use", &[]), 0.0);
    }
    let calls = [("stage", "chunk-filter"), ("outcome", "ok")];
    assert_eq!(site.metric("plugin_call_total", &calls), 6.0 * 9.0);
}

#[tokio::test]
async fn bytes_that_are_no_text_go_through_as_they_are() {
    let site = Site::new();
    let hostile = site.load("hostile", &guest("hostile"), "").unwrap();
    let mut filter = open(&*hostile).await;
    let all: Bytes = (0..=255).cycle().take(100_000).collect();
    let verdict = filter.push(all.clone()).await.unwrap();
    assert_eq!(verdict, Verdict::Emit(all));
}

#[tokio::test]
async fn a_trap_ends_one_body_and_no_other() {
    let site = Site::new();
    let settings = "isolation = 'shared'";
    let hostile = site.load("hostile", &guest("hostile"), settings).unwrap();
    let (mut first, mut second) = (open(&*hostile).await, open(&*hostile).await);
    assert_eq!(push(&mut first, "filters").await.unwrap(), "1");
    let error = push(&mut first, "trap").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginFault);
    assert_eq!(push(&mut second, "x").await.unwrap(), "x");
    assert_eq!(site.metric("plugin_instances_in_use", &HOSTILE), 1.0);
    assert_eq!(hostile.health().faults, 1);
    second.finish().await.unwrap();
    // A text and a body are told apart, and each has an instance to itself.
    let mut text = hostile.filter_tokens(&request()).await.unwrap();
    let mut body = open(&*hostile).await;
    assert_eq!(push(&mut body, "filters").await.unwrap(), "1");
    let token = wharf_testkit::token("filters");
    let Verdict::Emit(tokens) = text.push(vec![token]).await.unwrap() else {
        panic!("it goes on");
    };
    assert_eq!(tokens[0].text, "1");
}

#[tokio::test]
async fn every_call_and_the_whole_body_have_limits() {
    let site = Site::new();
    let settings = "[limits]\ncall_ms = 2000\nheld_kb = 64\noutput_mb = 4\nmemory_mb = 64";
    let hostile = site.load("hostile", &guest("hostile"), settings).unwrap();
    let long = "x".repeat(2048);
    for (pushed, times, named) in [
        ("spin", 1, "limits.call_ms = 2000"),
        ("hog", 1, "limits.memory_mb = 64"),
        (&long, 32, "limits.held_kb = 64"),
        ("flood", 5, "limits.output_mb = 4"),
    ] {
        let log = Log::default();
        let kept = log.keep();
        let mut filter = open(&*hostile).await;
        if named.contains("held") {
            push(&mut filter, "hold").await.unwrap();
        }
        let mut failed = None;
        for at in 0..times {
            failed = push(&mut filter, pushed).await.err();
            assert_eq!(failed.is_some(), at == times - 1, "{named}: call {at}");
        }
        drop(kept);
        assert_eq!(failed.unwrap().kind(), ErrorKind::PluginFault, "{named}");
        assert!(log.text().contains(named), "{named}: {}", log.text());
    }
    assert_eq!(site.metric("plugin_instances_in_use", &HOSTILE), 0.0);
    // Giving anything makes room for more: a long body passes. A chunk may be larger than what may be held.
    let mut filter = open(&*hostile).await;
    for _ in 0..20 {
        let chunk = "y".repeat(100_000);
        assert_eq!(push(&mut filter, &chunk).await.unwrap(), chunk);
    }
}

#[tokio::test]
async fn a_body_ends_at_the_requests_deadline_and_where_it_is_left() {
    let site = Site::new();
    let settings = "[limits]\ncall_ms = 60000";
    let hostile = site.load("hostile", &guest("hostile"), settings).unwrap();
    let request = request_within(Duration::from_millis(200));
    let mut filter = hostile.filter_chunks(&request, "a/b").await.unwrap();
    let error = push(&mut filter, "spin").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    for _ in 0..20 {
        let mut filter = open(&*hostile).await;
        let mut running = filter.push(Bytes::from("spin"));
        assert!(futures_util::poll!(&mut running).is_pending());
    }
    assert_eq!(site.metric("plugin_instances_in_use", &HOSTILE), 0.0);
}

#[tokio::test]
async fn a_filter_that_cannot_be_opened_leaves_nothing() {
    let site = Site::new();
    let hostile = site.load("hostile", &guest("hostile"), "").unwrap();
    for (behaviour, media_type, kind) in [
        ("fail", "text/plain", ErrorKind::InvalidArgument),
        ("trap", "text/plain", ErrorKind::PluginFault),
        ("pass", "text/refused", ErrorKind::InvalidArgument),
    ] {
        let request = request_with(&[("x-behaviour-open", behaviour)]);
        let opened = hostile.filter_chunks(&request, media_type).await;
        assert_eq!(opened.err().unwrap().kind(), kind);
        assert_eq!(site.metric("plugin_instances_in_use", &HOSTILE), 0.0);
    }
    let censor = site.load("censor", &guest("censor"), "").unwrap();
    let opened = censor.filter_chunks(&request(), "text/plain").await;
    assert_eq!(opened.err().unwrap().kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn redact_sees_through_the_chunks_of_a_generated_body() {
    let site = Site::new();
    let redact = site.load("redact", &guest("redact"), "").unwrap();
    let text = "data: grüße jane.doe@example.com\n\ndata: +49 171 2345678 ✓\n\n";
    for size in [1, 3, 7, 1000] {
        let chunks = text.as_bytes().chunks(size).map(Bytes::copy_from_slice);
        let generator = wharf_testkit::FakeGenerator::of(chunks).every(Duration::from_micros(100));
        let mut filter = redact
            .filter_chunks(&request(), "text/event-stream")
            .await
            .unwrap();
        let mut given = Vec::new();
        let mut chunks = Box::pin(generator.pieces());
        while let Some(chunk) = chunks.next().await {
            given.extend_from_slice(filter.push(chunk.unwrap()).await.unwrap().given());
        }
        given.extend(filter.finish().await.unwrap());
        let given = String::from_utf8(given).unwrap();
        assert_eq!(
            given, "data: grüße [email]\n\ndata: [phone] ✓\n\n",
            "{size}"
        );
    }
    // Many bodies at once, each with what is its own.
    let bodies = stream::iter(0..50).map(|number| {
        let redact = &redact;
        async move {
            let mut filter = open(&**redact).await;
            let own = format!("{number} is a@b{number}.io ");
            assert_eq!(
                push(&mut filter, &own).await.unwrap(),
                format!("{number} is ")
            );
            assert_eq!(filter.finish().await.unwrap(), "[email] ");
        }
    });
    bodies.buffer_unordered(10).collect::<Vec<()>>().await;
    assert_eq!(site.metric("plugin_instances_in_use", &[]), 0.0);
}

#[test]
fn a_filter_of_other_types_is_refused_with_both() {
    refused_with_both(
        ("chunk-filter", "1.1.0"),
        "chunk",
        [
            "open: func(request: borrow<request>, media-type: string) -> result<filter, error>",
            "push: func(chunk: list<u8>) -> result<verdict, error>",
            "finish: func() -> result<list<u8>, error>",
        ],
    );
}
