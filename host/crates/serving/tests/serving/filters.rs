//! The filters of texts and bodies, with a generator that takes its time.

use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use wharf_core::{ErrorKind, Plugin, Token, Verdict};
use wharf_serving::FilterChain;
use wharf_testkit::{FakeFilter, FakeGenerator, FakePiece, FakePlugin, request, token};

/// The filters of a text of tokens, or of a body of bytes.
fn chain<T: FakePiece>(filters: &[&str]) -> FilterChain<T::Portion> {
    let filters = filters.iter().map(|lines| FakeFilter::<T>::of(lines));
    FilterChain::new(filters.collect())
}

fn texts(tokens: Vec<Token>) -> Vec<String> {
    tokens.into_iter().map(|token| token.text).collect()
}

/// The texts that come through, with the reason where the text was stopped.
async fn filtered(filters: &[&str], generator: FakeGenerator) -> (Vec<String>, Option<String>) {
    let mut given = Vec::new();
    let mut verdicts = pin!(chain::<Token>(filters).filter(generator.tokens()));
    while let Some(verdict) = verdicts.next().await {
        match verdict.unwrap() {
            Verdict::Emit(tokens) => given.extend(texts(tokens)),
            Verdict::Stop { last, reason } => {
                given.extend(texts(last));
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
    let mut verdicts = Box::pin(chain::<Token>(&["upper"]).filter(generator.tokens()));
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
    let verdicts = chain::<Token>(&["upper"]).filter(generator.tokens());
    let verdicts: Vec<_> = verdicts.collect().await;
    let [Ok(Verdict::Emit(given)), Err(error)] = &verdicts[..] else {
        panic!("{verdicts:?}");
    };
    assert_eq!(texts(given.clone()), ["A", "B"]);
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn the_filters_of_plugins_make_a_chain() {
    let request = request("chat");
    let mut filters = Vec::new();
    for lines in ["upper", "stop-at B"] {
        let plugin = FakePlugin::new("filter", &format!("stages token-filter\n{lines}"));
        filters.push(plugin.filter_tokens(&request).await.unwrap());
    }
    let mut chain = FilterChain::new(filters);
    let verdict = chain.push(vec![token("a"), token("b")]).await.unwrap();
    let Verdict::Stop { last, .. } = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(texts(last), ["A"]);
    let broken = FakePlugin::new("filter", "stages token-filter\ntrap");
    let error = broken.filter_tokens(&request).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::PluginFault);
}

/// A body that comes in these chunks.
fn body(chunks: &[&'static str]) -> FakeGenerator<Bytes> {
    FakeGenerator::of(chunks.iter().map(|chunk| Bytes::from(*chunk)))
}

/// The bytes that come through, and the reason where the body was stopped.
async fn filtered_body(filters: &[&str], body: FakeGenerator<Bytes>) -> (String, Option<String>) {
    let mut given = String::new();
    let mut verdicts = pin!(chain::<u8>(filters).filter(body.pieces()));
    while let Some(verdict) = verdicts.next().await {
        let verdict = verdict.unwrap();
        given += std::str::from_utf8(verdict.given()).unwrap();
        if let Verdict::Stop { reason, .. } = verdict {
            assert!(verdicts.next().await.is_none(), "a stop is the last");
            return (given, Some(reason));
        }
    }
    (given, None)
}

#[tokio::test]
async fn a_body_goes_through_its_filters_as_a_text_does() {
    let pace = Duration::from_millis(1);
    for (filters, expected, stopped) in [
        (&[][..], "data: a\n\ndata: b\n\n", None),
        (&["upper", "hold 7"], "DATA: A\n\nDATA: B\n\n", None),
        (
            &["upper", "stop-at B"],
            "DATA: A\n\nDATA: ",
            Some("it came to B"),
        ),
        (
            &["hold 99\nstop-at b", "stop-at :"],
            "data",
            Some("it came to :"),
        ),
    ] {
        let chunks = ["data: a\n", "\ndata", ": b\n\n"];
        for body in [body(&chunks), body(&chunks).every(pace)] {
            let (given, reason) = filtered_body(filters, body).await;
            assert_eq!(
                (&*given, reason.as_deref()),
                (expected, stopped),
                "{filters:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_body_is_given_as_it_comes_and_can_be_left() {
    let pace = Duration::from_millis(20);
    let mut verdicts =
        Box::pin(chain::<u8>(&["upper"]).filter(body(&["a", "b"]).every(pace).pieces()));
    assert!(
        verdicts.next().now_or_never().is_none(),
        "nothing is there yet"
    );
    let first = verdicts.next().await.unwrap().unwrap();
    assert_eq!(first, Verdict::Emit(Bytes::from("A")));
    drop(verdicts);
    let failing = chain::<u8>(&["hold 9"]).filter(body(&["a"]).failing().pieces());
    let verdicts: Vec<_> = failing.collect().await;
    assert_eq!(verdicts[0].as_ref().unwrap().given().len(), 0);
    assert_eq!(
        verdicts[1].as_ref().unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert_eq!(verdicts.len(), 2);
}
