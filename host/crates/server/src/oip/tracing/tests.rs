use super::*;

fn change(name: &str, values: &[&str]) -> TraceChange {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    (name.to_owned(), Some(values))
}

fn traced(tracing: &Tracing, model: Option<&str>, requests: usize) -> usize {
    (0..requests).filter(|_| tracing.sample(model)).count()
}

#[test]
fn without_an_exporter_nothing_is_traced() {
    let tracing = Tracing::new(false);
    assert_eq!(traced(&tracing, None, 10), 0);
    let error = apply(&tracing, None, &[change("trace_level", &["TIMESTAMPS"])]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unprocessable);
    assert!(
        error.message().contains("telemetry.otlp_endpoint"),
        "{error}"
    );
    apply(&tracing, None, &[change("trace_level", &["OFF"])]).unwrap();
}

#[test]
fn one_of_so_many_is_traced_and_no_more_than_the_count() {
    let tracing = Tracing::new(true);
    assert_eq!(traced(&tracing, None, 10), 10);
    apply(&tracing, None, &[change("trace_rate", &["5"])]).unwrap();
    assert_eq!(traced(&tracing, None, 100), 20);
    apply(&tracing, None, &[change("trace_count", &["3"])]).unwrap();
    assert_eq!(traced(&tracing, None, 100), 3);
    apply(&tracing, None, &[("trace_count".to_owned(), None)]).unwrap();
    assert_eq!(traced(&tracing, None, 100), 20);
}

#[test]
fn a_model_has_its_own_settings_until_they_are_cleared() {
    let tracing = Tracing::new(true);
    apply(&tracing, None, &[change("trace_level", &["OFF"])]).unwrap();
    let own = [
        change("trace_level", &["TIMESTAMPS"]),
        change("trace_rate", &["2"]),
    ];
    assert!(!tracing.depends_on_model());
    apply(&tracing, Some("a"), &own).unwrap();
    assert!(tracing.depends_on_model());
    assert_eq!(traced(&tracing, Some("a"), 10), 5);
    assert_eq!(traced(&tracing, Some("b"), 10), 0);
    assert_eq!(traced(&tracing, None, 10), 0);
    // What the model does not say follows the settings for all.
    apply(&tracing, None, &[change("trace_count", &["1"])]).unwrap();
    assert_eq!(traced(&tracing, Some("a"), 10), 1);
    let cleared = [
        ("trace_level".to_owned(), None),
        ("trace_rate".to_owned(), None),
    ];
    apply(&tracing, Some("a"), &cleared).unwrap();
    assert_eq!(traced(&tracing, Some("a"), 10), 0);
    assert!(!tracing.any.load(Ordering::Relaxed));
    assert!(!tracing.depends_on_model());
}

#[test]
fn what_cannot_be_is_refused_and_nothing_changes() {
    let tracing = Tracing::new(true);
    for wrong in [
        change("trace_level", &["TENSORS"]),
        change("trace_level", &["timestamps"]),
        change("trace_rate", &["0"]),
        change("trace_rate", &["-1"]),
        change("trace_rate", &["99999999999999999999"]),
        change("trace_rate", &["1", "2"]),
        change("trace_rate", &[]),
        change("trace_count", &["-2"]),
        change("trace_count", &["many"]),
        change("trace_mode", &["triton"]),
        change("trace_file", &["/tmp/trace"]),
        change("log_frequency", &["10"]),
        change("made_up", &["1"]),
    ] {
        let changes = [change("trace_level", &["OFF"]), wrong.clone()];
        let error = apply(&tracing, None, &changes).unwrap_err();
        assert_eq!(error.field(), Some(&*wrong.0));
        assert_eq!(traced(&tracing, None, 1), 1, "{}", wrong.0);
    }
    let read_back: Vec<TraceChange> = listed(tracing.settings(None))
        .into_iter()
        .map(|(name, values)| (name.to_owned(), Some(values)))
        .collect();
    apply(&tracing, None, &read_back).unwrap();
    assert_eq!(traced(&tracing, None, 4), 4);
}
