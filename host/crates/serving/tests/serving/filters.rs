//! The token filters of a text, with a generator that takes its time.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use wharf_core::{ErrorKind, Token, Verdict};
use wharf_serving::FilterChain;
use wharf_testkit::{FakeFilter, FakeGenerator, FakePlugin, request, token};

fn chain(filters: &[&str]) -> FilterChain {
    FilterChain::new(filters.iter().map(|lines| FakeFilter::of(lines)).collect())
}

fn texts(tokens: Vec<Token>) -> Vec<String> {
    tokens.into_iter().map(|token| token.text).collect()
}

/// The texts that come through, with the reason where the text was stopped.
async fn filtered(filters: &[&str], generator: FakeGenerator) -> (Vec<String>, Option<String>) {
    let mut given = Vec::new();
    let mut verdicts = pin!(chain(filters).filter(generator.tokens()));
    while let Some(verdict) = verdicts.next().await {
        match verdict.unwrap() {
            Verdict::Emit(tokens) => given.extend(texts(tokens)),
            Verdict::Stop { tokens, reason } => {
                given.extend(texts(tokens));
                assert!(verdicts.next().await.is_none(), "a stop is the last");
                return (given, Some(reason));
            }
        }
    }
    (given, None)
}

#[tokio::test]
async fn each_filter_sees_what_the_one_before_gave() {
    let words = || FakeGenerator::new(["a", "b", "c", "d"]);
    for (filters, expected) in [
        (&[][..], &["a", "b", "c", "d"][..]),
        (&["upper"], &["A", "B", "C", "D"]),
        (&["hold 2", "upper", "hold 3"], &["A", "B", "C", "D"]),
    ] {
        let (given, reason) = filtered(filters, words()).await;
        assert_eq!(
            (given, reason),
            (expected.iter().map(|t| (*t).to_owned()).collect(), None)
        );
        let slow = words().every(Duration::from_millis(1));
        assert_eq!(filtered(filters, slow).await.0, expected);
    }
    let (given, reason) = filtered(&["upper", "stop-at C"], words()).await;
    assert_eq!(given, ["A", "B"]);
    assert_eq!(reason.as_deref(), Some("it came to C"));
}

#[tokio::test]
async fn a_stop_ends_the_filters_behind_it_and_one_of_theirs_counts_before_it() {
    let words = || FakeGenerator::new(["a", "b", "c", "d"]);
    // What the filters behind hold comes out with the stop.
    let (given, reason) = filtered(&["stop-at d", "hold 5", "upper", "hold 1"], words()).await;
    assert_eq!(given, ["A", "B", "C"]);
    assert_eq!(reason.as_deref(), Some("it came to d"));
    // The second filter sees `b` only when the first one stops: its stop is the earlier one in the text.
    let (given, reason) = filtered(&["hold 9\nstop-at d", "stop-at b"], words()).await;
    assert_eq!(given, ["a"]);
    assert_eq!(reason.as_deref(), Some("it came to b"));
    // The same at the end of the text.
    let (given, reason) = filtered(&["hold 9", "stop-at c", "hold 1"], words()).await;
    assert_eq!(given, ["a", "b"]);
    assert_eq!(reason.as_deref(), Some("it came to c"));
}

#[tokio::test]
async fn tokens_go_through_as_they_come_and_a_text_can_be_left() {
    let pace = Duration::from_millis(20);
    let generator = FakeGenerator::new(["a", "b", "c"]).every(pace);
    let began = Instant::now();
    let mut verdicts = Box::pin(chain(&["upper"]).filter(generator.tokens()));
    assert!(
        verdicts.next().now_or_never().is_none(),
        "nothing is there yet"
    );
    let first = verdicts.next().await.unwrap().unwrap();
    assert_eq!(
        first,
        Verdict::Emit(vec![Token {
            text: "A".to_owned(),
            ..token("a")
        }])
    );
    assert!(began.elapsed() >= pace);
    drop(verdicts);
}

#[tokio::test]
async fn a_failure_comes_after_what_was_generated_and_is_the_last() {
    let generator = FakeGenerator::new(["a", "b"]).failing();
    let verdicts: Vec<_> = chain(&["upper"]).filter(generator.tokens()).collect().await;
    let [Ok(Verdict::Emit(given)), Err(error)] = &verdicts[..] else {
        panic!("{verdicts:?}");
    };
    assert_eq!(texts(given.clone()), ["A", "B"]);
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn the_filters_of_plugins_make_a_chain() {
    use wharf_core::Plugin;
    let request = request("chat");
    let mut filters = Vec::new();
    for lines in ["upper", "stop-at B"] {
        let plugin = FakePlugin::new("filter", &format!("stages token-filter\n{lines}"));
        filters.push(plugin.filter(&request).await.unwrap());
    }
    let mut chain = FilterChain::new(filters);
    let verdict = chain.push(vec![token("a"), token("b")]).await.unwrap();
    let Verdict::Stop { tokens, .. } = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(texts(tokens), ["A"]);
    let broken = FakePlugin::new("filter", "stages token-filter\ntrap");
    let error = broken.filter(&request).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::PluginFault);
}
