//! Token filters: what goes in, what comes out, and what a text leaves behind however it ends.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use wharf_core::{ErrorKind, Filter, Plugin, RequestContext, Result, Token, Verdict};

use crate::site::{Log, Site, guest, request, request_within};
use crate::wat;

type TokenFilter = Box<dyn Filter<Vec<Token>>>;

const HOSTILE: [(&str, &str); 1] = [("plugin", "hostile")];

fn tokens<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Vec<Token> {
    let texts = texts.into_iter().enumerate();
    texts
        .map(|(id, text)| Token {
            id: id as u32,
            text: text.as_ref().to_owned(),
            logprob: Some(-0.25),
        })
        .collect()
}

fn texts(tokens: &[Token]) -> Vec<&str> {
    tokens.iter().map(|token| &*token.text).collect()
}

fn joined(tokens: &[Token]) -> String {
    texts(tokens).concat()
}

async fn open(plugin: &dyn Plugin) -> TokenFilter {
    plugin.filter_tokens(&request()).await.unwrap()
}

/// Pushes one token, and gives the texts that come out.
async fn push(filter: &mut TokenFilter, text: &str) -> Result<String> {
    match filter.push(tokens([text])).await? {
        Verdict::Emit(tokens) => Ok(joined(&tokens)),
        Verdict::Stop { last, reason } => Ok(format!("{} | {reason}", joined(&last))),
    }
}

/// Pushes all, and gives the whole text with the reason where it was stopped.
async fn whole(plugin: &dyn Plugin, pushes: Vec<Vec<Token>>) -> (String, Option<String>) {
    let mut filter = open(plugin).await;
    let mut text = String::new();
    for push in pushes {
        match filter.push(push).await.unwrap() {
            Verdict::Emit(tokens) => text += &joined(&tokens),
            Verdict::Stop { last, reason } => return (text + &joined(&last), Some(reason)),
        }
    }
    (text + &joined(&filter.finish().await.unwrap()), None)
}

#[tokio::test]
async fn a_word_that_spans_tokens_is_replaced_for_every_isolation() {
    let site = Site::new();
    for isolation in ["request", "tenant", "shared"] {
        let settings = format!("isolation = {isolation:?}");
        let censor = site.load("censor", &guest("censor"), &settings).unwrap();
        // Twice, so that instances that are kept serve a second text.
        for _ in 0..2 {
            let mut filter = open(&*censor).await;
            assert_eq!(push(&mut filter, "no se").await.unwrap(), "no ");
            assert_eq!(push(&mut filter, "cre").await.unwrap(), "");
            assert_eq!(push(&mut filter, "ts, se").await.unwrap(), "***s, ");
            let last = filter.finish().await.unwrap();
            assert_eq!(texts(&last), ["se"]);
            assert_eq!((last[0].id, last[0].logprob), (0, Some(-0.25)));
        }
        let mut filter = open(&*censor).await;
        let stopped = push(&mut filter, "go on ST").await.unwrap();
        assert_eq!(stopped, "go on ");
        let stopped = push(&mut filter, "OP and more").await.unwrap();
        assert_eq!(stopped, " | the text came to its stop word");
        let error = push(&mut filter, "more").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(site.metric("plugin_instances_in_use", &[]), 0.0);
    }
    let calls = [("stage", "token-filter"), ("outcome", "ok")];
    assert_eq!(site.metric("plugin_call_total", &calls), 3.0 * 13.0);
}

#[test]
fn how_a_text_is_cut_changes_nothing() {
    let site = Site::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let settings =
        "isolation = 'shared'\n[settings]\nwords = ['secret', 'sect', 'ret', 'öl']\nstop = 'STOP'";
    let censor = site.load("censor", &guest("censor"), settings).unwrap();
    let pieces = prop::sample::select(vec![
        "secret", "sec", "sect", "ret", "s", "ö", "öl", "l", "ST", "STO", "STOP", " ", "T", "P",
    ]);
    let text = prop::collection::vec(pieces, 0..12);
    let cuts = prop::collection::vec((1..4_usize, any::<bool>()), 64);
    let mut runner = proptest::test_runner::TestRunner::default();
    let held = runner.run(&(text, cuts), |(pieces, cuts)| {
        let text = pieces.concat();
        let expected = runtime.block_on(whole(&*censor, vec![tokens([&text])]));
        let given = runtime.block_on(whole(&*censor, cut(&text, &cuts)));
        prop_assert_eq!(given, expected);
        Ok(())
    });
    held.unwrap();
    assert_eq!(site.metric("plugin_instances_in_use", &[]), 0.0);
}

/// Cuts a text into tokens of so many characters, each in a push of its own or with the one before it.
fn cut(text: &str, cuts: &[(usize, bool)]) -> Vec<Vec<Token>> {
    let mut characters = text.chars().peekable();
    let mut pushes: Vec<Vec<Token>> = Vec::new();
    for (length, together) in cuts {
        if characters.peek().is_none() {
            break;
        }
        let token = tokens([characters.by_ref().take(*length).collect::<String>()]);
        match pushes.last_mut() {
            Some(push) if *together => push.extend(token),
            _ => pushes.push(token),
        }
    }
    let rest: String = characters.collect();
    if !rest.is_empty() {
        pushes.push(tokens([rest]));
    }
    pushes
}

#[tokio::test]
async fn texts_that_run_at_once_have_an_instance_each() {
    let site = Site::new();
    let settings = "isolation = 'shared'";
    let hostile = site.load("hostile", &guest("hostile"), settings).unwrap();
    let (mut first, mut second) = (open(&*hostile).await, open(&*hostile).await);
    assert_eq!(site.metric("plugin_instances_in_use", &HOSTILE), 2.0);
    assert_eq!(push(&mut first, "filters").await.unwrap(), "1");
    assert_eq!(push(&mut second, "filters").await.unwrap(), "1");
    // The one traps, and the other goes on.
    let error = push(&mut first, "trap").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginFault);
    let error = push(&mut first, "x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert_eq!(push(&mut second, "x").await.unwrap(), "x");
    assert_eq!(site.metric("plugin_instances_in_use", &HOSTILE), 1.0);
    assert_eq!(hostile.health().faults, 1);
    assert!(second.finish().await.unwrap().is_empty());
    // The instance that served a text serves the next, and the filter of that text is gone from it.
    assert_eq!(site.metric("plugin_instances_ready", &HOSTILE), 1.0);
    let mut third = open(&*hostile).await;
    assert_eq!(push(&mut third, "filters").await.unwrap(), "1");
    assert_eq!(site.metric("plugin_instances_ready", &HOSTILE), 0.0);
}

#[tokio::test]
async fn a_text_that_is_left_leaves_nothing() {
    let site = Site::new();
    for isolation in ["request", "tenant", "shared"] {
        let settings = format!("isolation = {isolation:?}\n[limits]\ncall_ms = 60000");
        let hostile = site.load("hostile", &guest("hostile"), &settings).unwrap();
        let of_tenant = Arc::new(RequestContext {
            tenant: Some("a".into()),
            ..(*request()).clone()
        });
        for round in 0..100 {
            let mut filter = hostile.filter_tokens(&of_tenant).await.unwrap();
            assert_eq!(push(&mut filter, "filters").await.unwrap(), "1");
            // Between two calls, or in the middle of one.
            if round % 10 == 0 {
                let mut running = filter.push(tokens(["spin"]));
                assert!(futures_util::poll!(&mut running).is_pending());
            }
        }
        assert_eq!(site.metric("plugin_instances_in_use", &HOSTILE), 0.0);
        assert_eq!(hostile.health().faults, 0);
        // What it refuses ends the text as well, but is its own decision.
        let mut filter = hostile.filter_tokens(&of_tenant).await.unwrap();
        let error = push(&mut filter, "refuse").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(site.metric("plugin_instances_in_use", &HOSTILE), 0.0);
        let mut filter = hostile.filter_tokens(&of_tenant).await.unwrap();
        assert_eq!(push(&mut filter, "filters").await.unwrap(), "1");
    }
}

#[tokio::test]
async fn a_text_has_its_plugin_to_the_end_although_that_is_given_up() {
    let site = Site::new();
    let settings = "isolation = 'shared'";
    let hostile = site.load("hostile", &guest("hostile"), settings).unwrap();
    let mut filter = open(&*hostile).await;
    assert_eq!(push(&mut filter, "hold").await.unwrap(), "");
    drop(hostile);
    assert_eq!(site.metric("plugin_instances_in_use", &HOSTILE), 1.0);
    // The next release of the plugin is counted beside it.
    let next = site.load("hostile", &guest("hostile"), settings).unwrap();
    let beside = open(&*next).await;
    assert_eq!(site.metric("plugin_instances_in_use", &HOSTILE), 2.0);
    drop((beside, next));
    assert_eq!(site.metric("plugin_instances_in_use", &HOSTILE), 1.0);
    assert_eq!(push(&mut filter, "x").await.unwrap(), "");
    assert_eq!(texts(&filter.finish().await.unwrap()), ["hold", "x"]);
    assert_eq!(site.metric("plugin_instances_in_use", &HOSTILE), 0.0);
    assert_eq!(site.metric("plugin_instances_ready", &HOSTILE), 0.0);
}

#[tokio::test]
async fn every_call_and_the_whole_text_have_limits() {
    let site = Site::new();
    let settings =
        "[limits]\ncall_ms = 2000\nheld_tokens = 50\nheld_kb = 64\noutput_mb = 4\nmemory_mb = 64";
    let hostile = site.load("hostile", &guest("hostile"), settings).unwrap();
    let long = "x".repeat(2048);
    for (pushed, times, named) in [
        ("spin", 1, "limits.call_ms = 2000"),
        ("trap", 1, "wasm trap"),
        ("hog", 1, "limits.memory_mb = 64"),
        ("x", 51, "limits.held_tokens = 50"),
        (&long, 64, "limits.held_kb = 64"),
        ("flood", 4, "limits.output_mb = 4"),
    ] {
        let log = Log::default();
        let kept = log.keep();
        let mut filter = open(&*hostile).await;
        if named.contains("held") {
            push(&mut filter, "hold").await.unwrap();
        }
        let mut failed = None;
        for _ in 0..times {
            failed = push(&mut filter, pushed).await.err();
            if failed.is_some() {
                break;
            }
        }
        drop(kept);
        let error = failed.unwrap_or_else(|| panic!("{named}: nothing failed"));
        assert_eq!(error.kind(), ErrorKind::PluginFault, "{named}");
        assert!(log.text().contains(named), "{named}: {}", log.text());
    }
    assert_eq!(site.metric("plugin_instances_in_use", &HOSTILE), 0.0);
    // Giving anything makes room for more: a long text passes.
    let mut filter = open(&*hostile).await;
    for _ in 0..200 {
        push(&mut filter, "y").await.unwrap();
    }
}

#[tokio::test]
async fn a_text_ends_at_the_requests_deadline() {
    let site = Site::new();
    let settings = "[limits]\ncall_ms = 60000";
    let hostile = site.load("hostile", &guest("hostile"), settings).unwrap();
    let request = request_within(Duration::from_millis(200));
    let mut filter = hostile.filter_tokens(&request).await.unwrap();
    push(&mut filter, "x").await.unwrap();
    let error = push(&mut filter, "spin").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    let error = hostile.filter_tokens(&request).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert_eq!(site.metric("plugin_instances_in_use", &HOSTILE), 0.0);
}

#[tokio::test]
async fn texts_count_among_the_instances() {
    let site = Site::new();
    let settings = "[limits]\ninstances = 2";
    let hostile = site.load("hostile", &guest("hostile"), settings).unwrap();
    let (first, second) = (open(&*hostile).await, open(&*hostile).await);
    let error = hostile.filter_tokens(&request()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    drop(first);
    open(&*hostile).await.finish().await.unwrap();
    second.finish().await.unwrap();
}

#[tokio::test]
async fn a_filter_that_cannot_be_opened_leaves_nothing() {
    let site = Site::new();
    let hostile = site.load("hostile", &guest("hostile"), "").unwrap();
    for (behaviour, kind) in [
        ("fail", ErrorKind::InvalidArgument),
        ("trap", ErrorKind::PluginFault),
    ] {
        let request = crate::site::request_with(&[("x-behaviour-open", behaviour)]);
        let error = hostile.filter_tokens(&request).await.err().unwrap();
        assert_eq!(error.kind(), kind);
        assert_eq!(site.metric("plugin_instances_in_use", &HOSTILE), 0.0);
    }
    let echo = site.load("echo", &guest("echo"), "").unwrap();
    let error = echo.filter_tokens(&request()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

/// Loads a filter of this kind, whose functions have the contract's names and other types, and checks that the error names each with
/// the type that it should have.
pub(crate) fn refused_with_both(
    (stage, version): (&str, &str),
    portion: &str,
    signatures: [&str; 3],
) {
    let site = Site::new();
    let component = wat::filter_of_other_types(&format!("{stage}@{version}"), portion);
    let error = site.load("plugin", &component, "").err().unwrap();
    let functions = ["open", "[method]filter.push", "[method]filter.finish"];
    for (function, signature) in functions.into_iter().zip(signatures) {
        let named = format!(
            "the export {function} of wharf:plugin/{stage} has another type than the contract"
        );
        assert!(error.message.contains(&named), "{}", error.message);
        assert!(error.message.contains(signature), "{}", error.message);
    }
}

#[test]
fn a_filter_of_other_types_is_refused_with_both() {
    refused_with_both(
        ("token-filter", "1.0.0"),
        "tokens",
        [
            "open: func(request: borrow<request>) -> result<filter, error>",
            "push: func(tokens: list<token>) -> result<verdict, error>",
            "finish: func() -> result<list<token>, error>",
        ],
    );
}
