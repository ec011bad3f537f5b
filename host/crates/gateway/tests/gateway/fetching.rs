//! Key sets at addresses: when they are fetched, and what becomes of tokens meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use serde_json::json;
use wharf_core::ErrorKind;
use wharf_testkit::eventually;

use crate::support::{
    Answer, KeyServer, Place, Signer, acceptor_and_authority, claims, claims_with, ec, ed, issuer,
    key_set, untouched,
};

/// The shortest pauses that there may be.
const QUICK: &str = "min_refetch_s = 1\nrefresh_s = 1\nmax_stale_s = 86400";

fn place(server: &KeyServer, settings: &str) -> Place {
    let jwks = format!("jwks = '{}'\n{settings}", server.url());
    Place::new(&issuer(&jwks), &[])
}

/// A token that no other test makes the like of.
fn token(signer: &Signer, at: usize) -> String {
    signer.sign(&claims_with("jti", json!(at)))
}

/// A token of a key that nobody has.
fn made_up(signer: &Signer, at: usize) -> String {
    let mut header = signer.header();
    header["kid"] = json!(format!("made-up-{at}"));
    signer.sign_as(&header, &claims())
}

/// A token that names no key.
fn nameless(signer: &Signer, at: usize) -> String {
    let mut header = signer.header();
    header.as_object_mut().unwrap().remove("kid");
    signer.sign_as(&header, &claims_with("jti", json!(at)))
}

/// How a key is published, and a token made of it.
type Case = (fn(&Signer) -> Answer, fn(&Signer, usize) -> String);

fn named_set(signer: &Signer) -> Answer {
    Answer::Set(key_set(&[signer]).to_string(), Vec::new())
}

/// The set of a key that has no name.
fn nameless_set(signer: &Signer) -> Answer {
    let mut set = key_set(&[signer]);
    set["keys"][0].as_object_mut().unwrap().remove("kid");
    Answer::Set(set.to_string(), Vec::new())
}

/// Shows all of them at once, and says how many were let in.
async fn show_all(place: &Arc<Place>, tokens: Vec<String>) -> usize {
    let shown: Vec<_> = tokens
        .into_iter()
        .map(|token| {
            let place = Arc::clone(place);
            tokio::spawn(async move { place.show(&token).await.is_ok() })
        })
        .collect();
    let mut let_in = 0;
    for shown in shown {
        let_in += usize::from(shown.await.unwrap());
    }
    let_in
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_before_the_first_fetch_wait_for_it_together() {
    let signer = ec("a");
    let server = KeyServer::start(&[&signer]).await;
    server.hold_after(0);
    let place = Arc::new(place(&server, ""));
    let tokens: Vec<_> = (0..100).map(|at| token(&signer, at)).collect();
    let waiting = tokio::spawn({
        let place = Arc::clone(&place);
        async move { show_all(&place, tokens).await }
    });
    eventually("the set is asked for", || server.asked() == 1).await;
    server.let_go(10);
    assert_eq!(waiting.await.unwrap(), 100);
    assert_eq!(server.asked(), 1);
    place.gateway.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_unknown_keys_costs_the_issuer_one_request() {
    let signer = ec("a");
    let server = KeyServer::start(&[&signer]).await;
    let place = Arc::new(place(&server, "min_refetch_s = 3600\nrefresh_s = 3600"));
    place.show(&token(&signer, 0)).await.unwrap();
    assert_eq!(server.asked(), 1);
    for round in 0..5 {
        let flood = (0..200).map(|at| made_up(&signer, round * 1000 + at));
        assert_eq!(show_all(&place, flood.collect()).await, 0);
    }
    // The first fetch was a moment ago, so there is no other one, and nobody is kept waiting for it.
    assert_eq!(server.asked(), 1);
    let refused = place.show_now(&made_up(&signer, 1)).expect("at once");
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    place.show(&token(&signer, 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_after_the_pause_waits_for_one_request() {
    let signer = ec("a");
    let server = KeyServer::start(&[&signer]).await;
    server.hold_after(1);
    let place = Arc::new(place(&server, "min_refetch_s = 1\nrefresh_s = 3600"));
    place.show(&token(&signer, 0)).await.unwrap();
    // Until an unknown key would be asked for.
    let pause_is_over = || place.show_now(&made_up(&signer, 0)).is_none();
    eventually("the pause is over", pause_is_over).await;
    let flood: Vec<_> = (0..300).map(|at| made_up(&signer, at)).collect();
    let flooding = tokio::spawn({
        let place = Arc::clone(&place);
        async move { show_all(&place, flood).await }
    });
    eventually("the set is asked for", || server.asked() == 2).await;
    // Who has a key that is known is not kept.
    place
        .show_now(&token(&signer, 1))
        .expect("at once")
        .unwrap();
    server.let_go(10);
    assert_eq!(flooding.await.unwrap(), 0);
    assert_eq!(server.asked(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_key_is_found_and_a_removed_one_ends_at_once() {
    let (old, new) = (ec("old"), ec("new"));
    let server = KeyServer::start(&[&old]).await;
    let place = place(&server, "min_refetch_s = 1\nrefresh_s = 3600");
    let of_old = token(&old, 0);
    place.show(&of_old).await.unwrap();
    place.show_now(&of_old).expect("it is known").unwrap();

    server.has(&[&old, &new]);
    eventually("a newer set may be asked for", || {
        place
            .show_now(&token(&new, 0))
            .is_none_or(|answer| answer.is_ok())
    })
    .await;
    place.show(&token(&new, 1)).await.unwrap();
    place.show(&of_old).await.unwrap();
    assert_eq!(server.asked(), 2);

    server.has(&[&new]);
    eventually("a newer set may be asked for", || {
        place.show_now(&made_up(&new, 0)).is_none()
    })
    .await;
    place.show(&made_up(&new, 1)).await.unwrap_err();
    assert_eq!(server.asked(), 3);
    // It was verified before, and by a key that is no more.
    let said = place.refusal(&of_old).await;
    assert!(
        said.contains("a key that its issuer does not have"),
        "{said}"
    );
    place.show(&token(&new, 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_is_found_also_where_no_name_tells_it() {
    let (old, new) = (ec("same"), ec("same"));
    let another_kind = ed("same");
    let cases: [Case; 2] = [(nameless_set, token), (named_set, nameless)];
    for (set, token) in cases {
        for new in [&new, &another_kind] {
            let server = KeyServer::start(&[]).await;
            server.answers(set(&old));
            let place = place(&server, "min_refetch_s = 1\nrefresh_s = 3600");
            place.show(&token(&old, 0)).await.unwrap();
            server.answers(set(new));
            let is_known = || {
                let shown = place.show_now(&token(new, 0));
                shown.is_none_or(|answer| answer.is_ok())
            };
            eventually("a newer set may be asked for", is_known).await;
            place.show(&token(new, 1)).await.unwrap();
            assert_eq!(server.asked(), 2);
            place.gateway.shutdown().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_signatures_that_fit_no_nameless_key_costs_the_issuer_one_request() {
    let (signer, stranger) = (ec("a"), ec("a"));
    let server = KeyServer::start(&[]).await;
    server.answers(nameless_set(&signer));
    let place = Arc::new(place(&server, "min_refetch_s = 3600\nrefresh_s = 3600"));
    place.show(&token(&signer, 0)).await.unwrap();
    let flood = (0..200).map(|at| token(&stranger, at)).collect();
    assert_eq!(show_all(&place, flood).await, 0);
    assert_eq!(server.asked(), 1);
    let refused = place.show_now(&token(&stranger, 0)).expect("at once");
    let said = refused.unwrap_err().message().to_owned();
    assert_eq!(said, "the token's signature does not fit: get a new token");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_without_keys_takes_none_away() {
    let signer = ec("a");
    let server = KeyServer::start(&[&signer]).await;
    let place = place(&server, QUICK);
    let known = token(&signer, 0);
    place.show(&known).await.unwrap();
    server.has(&[]);
    let asked = server.asked();
    eventually("it is told twice", || server.asked() >= asked + 3).await;
    place.show_now(&known).expect("it is known").unwrap();
    place.show(&token(&signer, 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_is_fetched_again_by_itself_and_known_by_its_tag() {
    let (one, two) = (ec("one"), ec("two"));
    let server = KeyServer::start(&[]).await;
    let publish = |signer: &Signer, tag: &str| {
        let fields = vec![
            ("etag", tag.to_owned()),
            ("cache-control", "max-age=1".to_owned()),
        ];
        server.answers(Answer::Set(key_set(&[signer]).to_string(), fields));
    };
    publish(&one, "\"1\"");
    let place = place(&server, "min_refetch_s = 1\nrefresh_s = 3600");
    let of_one = token(&one, 0);
    let first = place.show(&of_one).await.unwrap();
    eventually("it is as before", || server.unchanged() >= 2).await;
    // Tokens stay verified while the set stays the same.
    let again = place.show_now(&of_one).expect("it is known").unwrap();
    assert!(Arc::ptr_eq(&first, &again));

    publish(&two, "\"2\"");
    let is_gone = || place.show_now(&of_one).is_none_or(|answer| answer.is_err());
    eventually("the other set is in force", is_gone).await;
    place.show(&token(&two, 0)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_outlive_an_issuer_that_fails_but_not_for_ever() {
    let signer = ec("a");
    let server = KeyServer::start(&[&signer]).await;
    let lasting = place(&server, QUICK);
    let short = place(&server, "min_refetch_s = 1\nrefresh_s = 1\nmax_stale_s = 1");
    let known = token(&signer, 0);
    lasting.show(&known).await.unwrap();
    short.show(&known).await.unwrap();
    server.answers(Answer::Status(503));
    let asked = server.asked();
    eventually("both were told", || server.asked() >= asked + 4).await;
    lasting.show(&known).await.unwrap();
    lasting.show(&token(&signer, 1)).await.unwrap();
    // A token that was known is good no longer than the keys are.
    for token in [known, token(&signer, 2)] {
        let error = short.show(&token).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
    }
    // An unknown key may be a new one that cannot be fetched.
    let error = lasting.show(&made_up(&signer, 0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);

    server.has(&[&signer]);
    let is_back = || {
        short
            .show_now(&token(&signer, 3))
            .is_some_and(|answer| answer.is_ok())
    };
    eventually("the issuer is back", is_back).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_answers_nonsense_has_no_keys() {
    let signer = ec("a");
    let (elsewhere, touched) = untouched().await;
    let large = format!("{{\"keys\":[],\"more\":\"{}\"}}", "x".repeat(1 << 20));
    for answer in [
        Answer::RedirectTo(elsewhere),
        Answer::Status(404),
        Answer::Status(304),
        Answer::Set(large, Vec::new()),
        Answer::Set("<html>".to_owned(), Vec::new()),
        Answer::Set("{}".to_owned(), Vec::new()),
        Answer::Set("{\"keys\":[]}".to_owned(), Vec::new()),
    ] {
        let server = KeyServer::start(&[&signer]).await;
        server.answers(answer);
        let place = place(&server, QUICK);
        let error = place.show(&token(&signer, 0)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert_eq!(
            error.message(),
            "the keys of the token's issuer cannot be fetched now"
        );
        server.has(&[&signer]);
        let is_well = || {
            place
                .show_now(&token(&signer, 1))
                .is_some_and(|answer| answer.is_ok())
        };
        eventually("the issuer is well again", is_well).await;
        place.gateway.shutdown().await;
    }
    assert_eq!(touched.load(SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_says_nothing_holds_nobody_up_for_long() {
    let signer = ec("a");
    let server = KeyServer::start(&[&signer]).await;
    server.answers(Answer::Silence);
    let place = Arc::new(place(&server, ""));
    let began = Instant::now();
    let tokens = (0..50).map(|at| token(&signer, at)).collect();
    assert_eq!(show_all(&place, tokens).await, 0);
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(server.asked(), 1);
    let began = Instant::now();
    place.gateway.shutdown().await;
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_comes_by_tls_from_whom_an_authority_vouches_for() {
    let signer = ec("a");
    let (acceptor, authority) = acceptor_and_authority();
    let server = KeyServer::serve(&[&signer], Some(acceptor)).await;
    let jwks = format!("jwks = 'https://localhost:{}/keys'\n{QUICK}", server.port());
    let trusting = issuer(&format!("{jwks}\nca_file = 'ca.pem'"));
    let place = Place::new(&trusting, &[("ca.pem", &authority)]);
    place.show(&token(&signer, 0)).await.unwrap();

    let (_, stranger) = acceptor_and_authority();
    let place = Place::new(&trusting, &[("ca.pem", &stranger)]);
    let error = place.show(&token(&signer, 0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);

    let error = Place::open(&trusting, &[("ca.pem", "nothing")])
        .err()
        .unwrap();
    assert_eq!(error.key.as_deref(), Some("gateway.issuers[0].ca_file"));
}
