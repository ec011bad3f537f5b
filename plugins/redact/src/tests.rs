use std::time::Instant;

use wharf_plugin_sdk::{ChunkFilter, Filter, Request, Token, TokenFilter, Verdict, testing};

use crate::Redact;

fn open(settings: &str) -> <Redact as TokenFilter>::Filter {
    let plugin: Redact = testing::plugin(settings).unwrap();
    plugin.open(&Request::new("chat")).unwrap()
}

fn token(id: u32, text: &str) -> Token {
    Token {
        id,
        text: text.to_owned(),
        logprob: Some(-0.5),
    }
}

fn push(filter: &mut impl Filter, tokens: Vec<Token>) -> Vec<Token> {
    match filter.push(tokens).unwrap() {
        Verdict::Emit(tokens) => tokens,
        Verdict::Stop { reason, .. } => panic!("{reason}"),
    }
}

/// The text that a client sees, of tokens of so many bytes or a little more.
fn redact(settings: &str, text: &str, size: usize) -> String {
    let mut filter = open(settings);
    let mut given = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut size = size.min(rest.len());
        while !rest.is_char_boundary(size) {
            size += 1;
        }
        let (first, after) = rest.split_at(size);
        given.extend(
            push(&mut filter, vec![token(7, first)])
                .into_iter()
                .map(|token| token.text),
        );
        rest = after;
    }
    given.extend(filter.finish().unwrap().into_iter().map(|token| token.text));
    given
}

/// The body that a client sees, of chunks of so many bytes: characters are cut where that falls.
fn redact_body(settings: &str, body: &[u8], media_type: &str, size: usize) -> Vec<u8> {
    let plugin: Redact = testing::plugin(settings).unwrap();
    let mut filter = plugin.open_body(&Request::new("chat"), media_type).unwrap();
    let mut given = Vec::new();
    for chunk in body.chunks(size) {
        match filter.push(chunk.to_vec()).unwrap() {
            Verdict::Emit(chunk) => given.extend(chunk),
            Verdict::Stop { reason, .. } => panic!("{reason}"),
        }
    }
    given.extend(filter.finish().unwrap());
    given
}

/// However the text is cut into tokens, or the body into chunks.
fn check(settings: &str, text: &str, wanted: &str) {
    for size in [1, 2, 3, 5, 8, 1000] {
        let body = redact_body(settings, text.as_bytes(), "text/plain", size);
        assert_eq!(
            String::from_utf8(body).unwrap(),
            wanted,
            "chunks of {size} bytes"
        );
        assert_eq!(
            redact(settings, text, size),
            wanted,
            "tokens of {size} bytes"
        );
    }
}

#[test]
fn known_kinds_are_replaced_wherever_tokens_begin() {
    for (text, wanted) in [
        (
            "Write to jane.doe+x@mail.example.co.uk.",
            "Write to [email].",
        ),
        ("<a@b.io>, c_d@e-f.org", "<[email]>, [email]"),
        ("Ring +49 (0)171 234 56-78 now", "Ring [phone] now"),
        ("or 0049 171 2345678!", "or [phone]!"),
        ("or (555) 123-4567, 555.123.4567", "or [phone], [phone]"),
        ("pay 4111 1111 1111 1111 today", "pay [card] today"),
        (
            "pay 5500-0000-0000-0004, 378282246310005",
            "pay [card], [card]",
        ),
        ("x4111111111111111x", "x[card]x"),
        ("12 4111 1111 1111 1111", "12 [card]"),
        ("Grüße an müller@beispiel.de ✓", "Grüße an mü[email] ✓"),
    ] {
        check("{}", text, wanted);
    }
}

#[test]
fn what_only_looks_like_it_stays() {
    for text in [
        "a @ b.com, a@b, @name, x@y.",
        "1234 5678 9012 3456 has no check digit",
        "411111111111111122222 is too long",
        "on 2024-01-15 at 10.30.00, version 1.2.3, +12 points",
        "1 + 1 = 2, 100.000.000",
        "",
    ] {
        check("{}", text, text);
    }
}

#[test]
fn own_patterns_come_first_and_the_longest_match_counts() {
    let settings = r#"{
        "kinds": ["email"],
        "replacement": "<{name}>",
        "patterns": [
            {"name": "ticket", "pattern": "(?i)tkt-\\d{1,8}"},
            {"name": "key", "pattern": "sk-[[:alnum:]]{4,40}", "replacement": "***"},
            {"name": "staff", "pattern": "boss@[a-z]{1,20}\\.com"}
        ]
    }"#;
    check(
        settings,
        "See TKT-12345 or tkt-1.",
        "See <ticket> or <ticket>.",
    );
    check(
        settings,
        "key sk-abc1234XYZ, not sk-ab",
        "key ***, not sk-ab",
    );
    check(
        settings,
        "boss@wharf.com, boss@wharf.com.au",
        "<staff>, <email>",
    );
    check(settings, "+49 171 2345678", "+49 171 2345678");
}

#[test]
fn a_pattern_over_bytes_splits_no_character() {
    let settings = r#"{"kinds": [], "patterns": [{"name": "x", "pattern": "=.{1,3}"}]}"#;
    check(settings, "a =äö", "a [x]ö");
    let classes = r#"{"kinds": [], "patterns": [{"name": "x", "pattern": "(?u:[äö]{2,3})"}]}"#;
    check(classes, "ä äöä ü", "ä [x] ü");
}

#[test]
fn only_what_may_become_a_match_is_kept_back() {
    let mut filter = open("{}");
    let plain = vec![token(1, "Hello"), token(2, " there"), token(3, " you ")];
    assert_eq!(push(&mut filter, plain.clone()), plain);
    // A word may be the begin of an address; the space after it says that it is none.
    assert_eq!(push(&mut filter, vec![token(4, "jane")]), []);
    assert_eq!(
        push(&mut filter, vec![token(5, " or ")]),
        [token(4, "jane"), token(5, " or ")]
    );
    assert_eq!(
        push(&mut filter, vec![token(6, "! jane"), token(7, "@b")]),
        []
    );
    assert_eq!(
        push(&mut filter, vec![token(8, ".com and ")]),
        [Token {
            id: 0,
            text: "! [email] and ".to_owned(),
            logprob: None,
        }]
    );
    assert_eq!(push(&mut filter, vec![token(9, " on")]), []);
    assert_eq!(filter.finish().unwrap(), [token(9, " on")]);
}

#[test]
fn no_id_of_a_replaced_token_is_given() {
    let mut filter = open(r#"{"replacement_id": 99}"#);
    // An empty token is a part of a character that comes after it.
    let tokens = vec![
        token(1, "to "),
        token(2, ""),
        token(3, "a@"),
        token(4, "b.com "),
        token(5, "x "),
    ];
    let given = push(&mut filter, tokens);
    let ids: Vec<u32> = given.iter().map(|token| token.id).collect();
    assert_eq!(ids, [1, 99, 5], "{given:?}");
    assert_eq!(push(&mut filter, vec![token(6, "")]), []);
    assert_eq!(
        push(&mut filter, vec![token(7, "é ")]),
        [token(6, ""), token(7, "é ")]
    );
}

#[test]
fn matches_in_one_token_and_over_many_are_joined() {
    let mut filter = open("{}");
    let given = push(
        &mut filter,
        vec![token(1, "a@b.com c@d.com e@"), token(2, "f.com; ")],
    );
    let texts: Vec<&str> = given.iter().map(|token| token.text.as_str()).collect();
    assert_eq!(texts, ["[email] [email] [email]; "]);
}

#[test]
fn hostile_texts_cost_bounded_time_and_memory() {
    let settings = r#"{"patterns": [{"name": "x", "pattern": "(?:a{1,30}b?){1,30}c"}]}"#;
    for text in ["a", "1", "1 ", "a@", "a.", "+1", "ä", "a@b."] {
        let mut filter = open(settings);
        let begun = Instant::now();
        let mut given = 0;
        for _ in 0..2000 {
            given += push(&mut filter, vec![token(1, &text.repeat(4))]).len();
        }
        // What is kept back is at most the longest match.
        assert!(given >= 2000 - 1100, "{text}: {given}");
        let kept = filter.finish().unwrap().len();
        assert_eq!(given + kept, 2000, "{text}");
        assert!(
            begun.elapsed().as_secs() < 60,
            "{text}: {:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn matches_are_counted() {
    testing::take_values();
    redact("{}", "a@b.com c@d.com", 4);
    let sum: f64 = testing::take_values().iter().map(|(_, value)| value).sum();
    assert_eq!(sum, 2.0);
}

#[test]
fn a_wrong_setting_is_refused_by_its_name() {
    let pattern =
        |pattern: &str| format!(r#"{{"patterns": [{{"name": "x", "pattern": "{pattern}"}}]}}"#);
    for (settings, field) in [
        (r#"{"kinds": ["iban"]}"#.to_owned(), "kinds[0]"),
        (r#"{"kinds": ["email", "email"]}"#.to_owned(), "kinds[1]"),
        (r#"{"kinds": []}"#.to_owned(), "patterns"),
        (
            r#"{"patterns": [{"name": "x"}]}"#.to_owned(),
            "patterns[0].pattern",
        ),
        (
            r#"{"patterns": [{"name": "", "pattern": "a"}]}"#.to_owned(),
            "patterns[0].name",
        ),
        (pattern("a+"), "patterns[0].pattern"),
        (pattern("a{0,3}"), "patterns[0].pattern"),
        (pattern("(a{1,100}){1,100}"), "patterns[0].pattern"),
        (pattern("(a"), "patterns[0].pattern"),
        (pattern("(?=a)"), "patterns[0].pattern"),
        (pattern("(?:(?:(?u:[^a])|.b){1,200}c|d){1,1}"), ""),
        (
            format!(r#"{{"replacement": "{}"}}"#, "x".repeat(300)),
            "replacement",
        ),
        (r#"{"replacement_id": -1}"#.to_owned(), "replacement_id"),
        (r#"{"words": []}"#.to_owned(), "words"),
    ] {
        let plugin = testing::plugin::<Redact>(&settings);
        if field.is_empty() {
            assert!(plugin.is_ok(), "{settings}");
            continue;
        }
        assert_eq!(plugin.err().unwrap().field(), Some(field), "{settings}");
    }
}

#[test]
fn a_body_that_is_no_text_passes_as_it_is_and_one_that_is_none_is_searched_by_its_bytes() {
    let body = b"\xff\x00jane@example.com\xc3";
    for (media_type, found) in [
        ("text/event-stream; charset=utf-8", true),
        ("application/json", true),
        ("application/problem+JSON", true),
        ("image/png", false),
        ("application/octet-stream", false),
        ("", false),
    ] {
        for size in [1, 3, 100] {
            let given = redact_body("{}", body, media_type, size);
            let wanted: &[u8] = if found { b"\xff\x00[email]\xc3" } else { body };
            assert_eq!(given, wanted, "{media_type} {size}");
        }
    }
}

#[test]
fn no_match_begins_inside_of_a_character_that_is_cut() {
    // A byte that is anything: the second of `ü` comes with the next chunk.
    let settings = r#"{"kinds": [], "patterns": [{"name": "any", "pattern": "[\\x80-\\xbf]x"}]}"#;
    for size in [1, 2, 3, 100] {
        let given = redact_body(settings, "aüxb".as_bytes(), "text/plain", size);
        assert_eq!(given, "aüxb".as_bytes(), "{size}");
    }
}

#[test]
fn a_body_is_kept_back_no_longer_than_a_match_may_come_of_it() {
    let plugin: Redact = testing::plugin("{}").unwrap();
    let mut filter = plugin
        .open_body(&Request::new("chat"), "text/plain")
        .unwrap();
    for (chunk, given) in [
        ("Write to ", "Write to "),
        ("jane", ""),
        // The automaton sees the end of a match one byte late.
        ("@example.com ", ""),
        ("or ", "[email] or "),
    ] {
        let verdict = filter.push(chunk.into()).unwrap();
        assert_eq!(verdict, Verdict::Emit(given.into()), "{chunk}");
    }
}
