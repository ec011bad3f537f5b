use wharf_testkit::{Reference, known_keys};

use super::*;

const REFERENCE: &str = include_str!("../../../../reference/model.toml");

#[test]
fn every_key_is_optional_and_read() {
    assert_eq!(
        Settings::parse("model.toml", "").unwrap(),
        Settings::default()
    );
    let settings = Settings::parse(
        "model.toml",
        "[versions]\npolicy = \"listed\"\nlist = [1, 3]\n[instances]\ncount = 2\ndevice = \"cuda:1\"\n\
         [batching]\nmax_rows = 32\ndelay_ms = 2\n[warmup]\nshapes.X = [1, 3]\n[memory]\narena = false\n",
    )
    .unwrap();
    assert_eq!(settings.instances.device, Some(Device::Cuda(1)));
    assert_eq!(settings.batching.max_rows.map(NonZeroU32::get), Some(32));
    assert_eq!(settings.warmup.shapes["X"], [1, 3]);
}

#[test]
fn the_files_that_the_settings_name_are_known() {
    let settings = Settings::parse(
        "model.toml",
        "[outputs.a]\nclasses = \"labels.txt\"\n[outputs.b]\nclasses = \"labels.txt\"\n[[warmup.samples]]\n\
         inputs.x = { data = \"one.bin\" }\ninputs.y = { data = \"random\" }\ninputs.z = {}\n",
    )
    .unwrap();
    assert_eq!(
        settings.files().into_iter().collect::<Vec<_>>(),
        ["labels.txt", "one.bin"]
    );
}

#[test]
fn errors_name_the_key() {
    for (text, key, says) in [
        (
            "[batching]\nmax_row = 1",
            "batching.max_row",
            "unknown field `max_row`",
        ),
        ("[batching]\nmax_rows = 0", "batching.max_rows", "nonzero"),
        (
            "[instances]\ndevice = \"gpu\"",
            "instances.device",
            "use \"cpu\"",
        ),
        (
            "[instances]\ndevice = \"cuda:x\"",
            "instances.device",
            "use \"cpu\"",
        ),
        (
            "[versions]\npolicy = \"newest\"",
            "versions.policy",
            "unknown variant",
        ),
        (
            "[versions]\npolicy = \"listed\"",
            "versions.list",
            "needs the versions",
        ),
        ("[versions]\nlist = [1]", "versions.list", "only policy"),
        ("[batching]\ndelay_ms = 1", "batching.delay_ms", "max_rows"),
        (
            "[batching]\ndelay_ms = 0.1",
            "batching.delay_ms",
            "max_rows",
        ),
        ("turbo = true", "turbo", "unknown field"),
        ("[versions]\nlabels.1 = 2", "versions.labels.1", "no number"),
        (
            "[versions]\nlabels.\"a/b\" = 2",
            "versions.labels.\"a/b\"",
            "letters",
        ),
        (
            "[instances]\ndevice = \"cpu\"\ndevices = [\"cpu\"]",
            "instances.devices",
            "remove one",
        ),
        (
            "[instances]\ndevices = []",
            "instances.devices",
            "at least one",
        ),
        (
            "[instances]\ndevices = [\"cuda:1\", \"cuda:1\"]",
            "instances.devices",
            "once",
        ),
        (
            "[outputs.y]\nclass = \"a\"",
            "outputs.y.class",
            "unknown field",
        ),
        (
            "[[warmup.samples]]\ncount = 0\ninputs = {}",
            "warmup.samples[0].count",
            "nonzero",
        ),
        (
            "[[warmup.samples]]\ninputs = {}\n[[warmup.samples]]\ncount = 1001\ninputs = {}",
            "warmup.samples[1].count",
            "at most 1000",
        ),
        (
            &"[[warmup.samples]]\ninputs = {}\n".repeat(65),
            "warmup.samples",
            "at most 64",
        ),
        (
            "[warmup]\ntimeout_ms = 0",
            "warmup.timeout_ms",
            "1 to 600000",
        ),
        (
            "[warmup]\ntimeout_ms = 600001",
            "warmup.timeout_ms",
            "1 to 600000",
        ),
        (
            "[[warmup.samples]]\ninputs.x = { shape = [-1] }",
            "warmup.samples[0].inputs.x.shape[0]",
            "invalid value",
        ),
        (
            "[memory]\ngpu_limit_mb = 0",
            "memory.gpu_limit_mb",
            "nonzero",
        ),
    ] {
        let error = Settings::parse("models/m/model.toml", text).unwrap_err();
        assert_eq!(error.key.as_deref(), Some(key), "{text}: {error}");
        assert!(error.message.contains(says), "{text}: {error}");
    }
    let error = Settings::parse("models/m/model.toml", "a = = 1").unwrap_err();
    assert!(error.message.contains("not valid TOML"), "{error}");
}

#[test]
fn a_delay_may_have_decimals() {
    let read = |delay: &str| {
        let text = format!("[batching]\nmax_rows = 2\ndelay_ms = {delay}");
        Settings::parse("models/m/model.toml", &text)
    };
    for (delay, micros) in [
        ("0", 0),
        ("-0.0", 0),
        ("2", 2000),
        ("2.0", 2000),
        ("0.1", 100),
        ("0.001", 1),
        ("1.001", 1001),
        ("9999.999", 9_999_999),
        ("10000", 10_000_000),
        ("1e1", 10_000),
    ] {
        let queueing = read(delay).unwrap().queueing();
        assert_eq!(queueing.delay, Duration::from_micros(micros), "{delay}");
    }
    // As the translation of microseconds writes them.
    for micros in [1, 7, 99, 100, 333, 1009, 123_457, 4_999_999, 9_999_999] {
        let delay = format!("{}", micros as f64 / 1000.0);
        let queueing = read(&delay).unwrap().queueing();
        assert_eq!(queueing.delay, Duration::from_micros(micros), "{delay}");
    }
    for (delay, says) in [
        ("-1", "-1 is out of range; use milliseconds from 0 to 10000"),
        ("-0.1", "out of range"),
        ("nan", "out of range"),
        ("-nan", "out of range"),
        ("inf", "out of range"),
        ("-inf", "out of range"),
        ("10001", "out of range"),
        ("10000.001", "out of range"),
        ("9223372036854775807", "out of range"),
        ("1e300", "out of range"),
        ("0.0001", "at most three decimals"),
        ("1e-300", "at most three decimals"),
        ("0.0005", "at most three decimals"),
        ("\"1\"", "milliseconds from 0 to 10000, such as 2 or 0.1"),
        ("true", "milliseconds from 0 to 10000, such as 2 or 0.1"),
        ("[1]", "milliseconds from 0 to 10000, such as 2 or 0.1"),
    ] {
        let error = read(delay).unwrap_err();
        assert_eq!(error.key.as_deref(), Some("batching.delay_ms"), "{delay}");
        assert!(error.message.contains(says), "{delay}: {error}");
    }
}

#[test]
fn the_reference_is_read_and_gives_the_defaults() {
    let mut settings = Settings::parse("model.toml", REFERENCE).unwrap();
    // What depends on the machine or on another setting is no constant: the reference has an example.
    settings.versions.count = None;
    settings.instances.count = None;
    assert_eq!(settings.instances.device.take(), Some(Device::Cpu));
    settings.threads = Threads::default();
    let batching = &mut settings.batching;
    (batching.max_rows, batching.queue_capacity) = (None, None);
    assert_eq!(settings, Settings::default());
}

#[test]
fn the_reference_has_every_key() {
    let reference = Reference::new(REFERENCE);
    // Keys that exclude each other stand side by side: only the schema looks at them here.
    toml::from_str::<Settings>(reference.text()).unwrap();
    for table in [
        "",
        "versions",
        "instances",
        "threads",
        "batching",
        "cache",
        "sequences",
        "outputs.logits",
        "warmup",
        "memory",
        "registry",
    ] {
        let text = match table {
            "" => "no-such-key = 1".to_owned(),
            table => format!("[{table}]\nno-such-key = 1"),
        };
        assert_known(&reference, table, &text);
    }
    for (table, text) in [
        (
            "warmup.samples",
            "[[warmup.samples]]\ninputs = {}\nno-such-key = 1",
        ),
        (
            "warmup.samples.inputs.input",
            "[[warmup.samples]]\ninputs.input = { no-such-key = 1 }",
        ),
        (
            "sequences.states",
            "[sequences]\nstates = [{ no-such-key = 1 }]",
        ),
    ] {
        assert_known(&reference, table, text);
    }
}

/// Checks that the reference has the keys which the error about an unknown one names.
fn assert_known(reference: &Reference, table: &str, text: &str) {
    let error = Settings::parse("model.toml", text).unwrap_err();
    for key in known_keys(&error.message) {
        assert!(reference.has(table, key), "[{table}] {key} is missing");
    }
}

#[test]
fn what_people_say_of_a_model_is_checked() {
    let read = |text: &str| Settings::parse("models/m/model.toml", &format!("[registry]\n{text}"));
    let settings = read("modalities = ['text', 'image']\nlabels = { team = 'a' }\nhistory = [1]");
    let registry = settings.unwrap().registry.unwrap();
    assert_eq!(registry.modalities, ["text", "image"]);
    let long = format!("description = '{}'", "x".repeat(4097));
    for (text, key) in [
        ("modalities = ['smell']", "registry.modalities"),
        (&*long, "registry.description"),
        ("labels = { 'a b' = 'c' }", "registry.labels.\"a b\""),
        ("labels = { a = \"\\n\" }", "registry.labels.a"),
    ] {
        assert_eq!(read(text).unwrap_err().key.as_deref(), Some(key));
    }
}
