//! Models that are wrong, cut short or hostile.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_core::Cancel;

use crate::support::onnx::{self, FLOAT, Message, external, graph, model, node, value};
use crate::support::{Site, floats, infer};

/// A tensor of two floats that lie at `location`.
fn elsewhere(location: &str) -> Message {
    external(
        "w",
        &[2],
        &[("location", location), ("offset", "0"), ("length", "8")],
    )
}

fn io() -> ([Message; 1], [Message; 1]) {
    ([value("x", FLOAT, &[2])], [value("y", FLOAT, &[2])])
}

fn with_initializer(tensor: Message) -> Vec<u8> {
    let (inputs, outputs) = io();
    model(&graph(
        &[node("Add", &["x", "w"], &["y"], &[])],
        &inputs,
        &outputs,
        &[tensor],
    ))
    .into_bytes()
}

/// The places where a model may have a tensor, and each with that tensor in it.
fn places(tensor: &Message) -> Vec<(&'static str, Vec<u8>)> {
    let (inputs, outputs) = io();
    let add = node("Add", &["x", "w"], &["y"], &[]);
    let constant = |attribute: Message| node("Constant", &[], &["w"], &[attribute]);
    let attribute = |name: &str, field: u32, content: &Message, kind: u64| {
        Message::new()
            .bytes(1, name)
            .message(field, content)
            .varint(20, kind)
    };
    let sparse = Message::new()
        .message(1, tensor)
        .message(2, &onnx::tensor("i", onnx::INT64, &[2], &[0; 16]))
        .varint(3, 2);
    let of = |nodes: &[Message]| model(&graph(nodes, &inputs, &outputs, &[]));

    let branch = graph(
        &[node("Add", &["x", "w"], &["z"], &[])],
        &[],
        &[value("z", FLOAT, &[2])],
        std::slice::from_ref(tensor),
    );
    let deep = graph(
        &[
            constant(attribute("value", 5, tensor, 4)),
            node("Add", &["x", "w"], &["z"], &[]),
        ],
        &[],
        &[value("z", FLOAT, &[2])],
        &[],
    );
    let yes = onnx::tensor("yes", onnx::BOOL, &[], &[1]);
    let branching = |branch: &Message| {
        let attributes = [
            attribute("then_branch", 6, branch, 5),
            attribute("else_branch", 6, branch, 5),
        ];
        model(&graph(
            &[node("If", &["yes"], &["y"], &attributes)],
            &inputs,
            &outputs,
            std::slice::from_ref(&yes),
        ))
        .into_bytes()
    };
    let function = Message::new()
        .bytes(1, "f")
        .bytes(4, "x")
        .bytes(5, "y")
        .message(7, &constant(attribute("value", 5, tensor, 4)))
        .message(7, &add)
        .message(9, &Message::new().bytes(1, "").varint(2, 17))
        .bytes(10, "own");
    let calling = node("f", &["x"], &["y"], &[]).bytes(7, "own");
    let training = Message::new().message(1, &graph(&[], &[], &[], std::slice::from_ref(tensor)));
    vec![
        (
            "an attribute",
            of(&[constant(attribute("value", 5, tensor, 4)), add.clone()]).into_bytes(),
        ),
        (
            "a list of tensors",
            of(&[constant(attribute("value", 10, tensor, 9)), add.clone()]).into_bytes(),
        ),
        (
            "a sparse attribute",
            of(&[
                constant(attribute("sparse_value", 22, &sparse, 11)),
                add.clone(),
            ])
            .into_bytes(),
        ),
        ("a sparse initializer", {
            let graph =
                graph(std::slice::from_ref(&add), &inputs, &outputs, &[]).message(15, &sparse);
            model(&graph).into_bytes()
        }),
        ("a subgraph", branching(&branch)),
        ("an attribute in a subgraph", branching(&deep)),
        (
            "a function",
            of(&[calling])
                .message(25, &function)
                .message(8, &Message::new().bytes(1, "own").varint(2, 1))
                .into_bytes(),
        ),
        (
            "training information",
            of(&[node("Identity", &["x"], &["y"], &[])])
                .message(20, &training)
                .into_bytes(),
        ),
    ]
}

#[test]
fn external_data_may_stand_in_initializers_of_the_main_graph_alone() {
    let site = Site::new();
    // Even a file that is there and in the right place.
    site.write("1/weights.bin", [0; 8]);
    for (place, bytes) in places(&elsewhere("weights.bin")) {
        let error = site.refusal(&bytes, "");
        assert!(error.message.contains("external data"), "{place}: {error}");
    }
    // The walk must not refuse the places themselves: with the data inside, ONNX Runtime decides.
    let inside = onnx::tensor_f32("w", &[2], &[1.0, 2.0]);
    for (place, bytes) in places(&inside) {
        site.write("1/model.onnx", bytes);
        if let Err(error) = site.load() {
            assert!(
                error.message.contains("ONNX Runtime refuses"),
                "{place}: {error}"
            );
        }
    }
}

#[test]
fn external_data_outside_the_folder_is_refused() {
    let site = Site::new();
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret.bin");
    fs::write(&secret, [0; 8]).unwrap();
    site.write("2/beside.bin", [0; 8]);
    fs::create_dir(site.model("1")).unwrap();
    fs::write(site.path("wharf.bin"), [0; 8]).unwrap();
    symlink(&secret, site.model("1/absolute-link.bin")).unwrap();
    symlink("../../../wharf.bin", site.model("1/relative-link.bin")).unwrap();
    symlink(outside.path(), site.model("1/folder-link")).unwrap();
    fs::hard_link(&secret, site.model("1/hard-link.bin")).unwrap();
    fs::create_dir(site.model("1/folder.bin")).unwrap();
    // ONNX Runtime resolves against the working directory, where a relative path must find nothing either.
    let in_working_directory = "Cargo.toml";
    fs::remove_dir_all(site.model("2")).unwrap();
    for location in [
        secret.to_str().unwrap(),
        "../../../wharf.bin",
        "../2/beside.bin",
        "./../2/beside.bin",
        "absolute-link.bin",
        "relative-link.bin",
        "folder-link/secret.bin",
        "hard-link.bin",
        "folder.bin",
        in_working_directory,
        "*/_ORT_MEM_ADDR_/*",
        "file:///etc/hostname",
        "..\\wharf.bin",
        "nul\0.bin",
        "/dev/zero",
        "",
        ".",
    ] {
        let error = site.refusal(&with_initializer(elsewhere(location)), "");
        assert_eq!(error.file, "models/m/1/model.onnx", "{location}: {error}");
        assert!(
            error.message.contains("external data"),
            "{location}: {error}"
        );
    }
}

#[test]
fn a_named_pipe_does_not_hold_the_load() {
    let site = Site::new();
    fs::create_dir(site.model("1")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(site.model("1/pipe.bin"))
        .status()
        .unwrap();
    assert!(made.success());
    let error = site.refusal(&with_initializer(elsewhere("pipe.bin")), "");
    assert!(error.message.contains("no regular file"), "{error}");
}

#[test]
fn impossible_places_in_external_data_are_refused_before_they_are_read() {
    let site = Site::new();
    site.write("1/weights.bin", [0; 8]);
    let at =
        |shape: &[u64], entries: &[(&str, &str)]| with_initializer(external("w", shape, entries));
    let place = ("location", "weights.bin");
    for (says, bytes) in [
        (
            "offset is no number",
            at(&[2], &[place, ("offset", "-4096")]),
        ),
        ("offset is no number", at(&[2], &[place, ("offset", "1e3")])),
        ("length is no number", at(&[2], &[place, ("length", "-1")])),
        (
            "beyond any file",
            at(&[2], &[place, ("offset", "18446744073709551615")]),
        ),
        (
            "ends at byte 1125899906842632",
            at(&[2], &[place, ("offset", "1125899906842624")]),
        ),
        ("ends at byte 12", at(&[2], &[place, ("offset", "4")])),
        (
            "length is not what",
            at(&[2], &[place, ("length", "1125899906842624")]),
        ),
        ("ends at byte 1125899906842624", at(&[1 << 48], &[place])),
        ("shape overflows", at(&[1 << 60, 8], &[place])),
        ("negative or overflowing", at(&[u64::MAX], &[place])),
        ("negative or overflowing", at(&[1 << 40, 1 << 40], &[place])),
        (
            "two entries of \"location\"",
            at(&[2], &[place, ("location", "/etc/passwd")]),
        ),
        ("no location", at(&[2], &[("offset", "0")])),
    ] {
        let error = site.refusal(&bytes, "");
        assert!(error.message.contains(says), "{says}: {error}");
    }
}

#[test]
fn a_sparse_file_of_a_petabyte_is_refused() {
    let site = Site::new();
    site.write("1/weights.bin", "");
    let file = fs::File::options()
        .write(true)
        .open(site.model("1/weights.bin"))
        .unwrap();
    // Not every file system goes so far; a terabyte is beyond this machine as well.
    file.set_len(1 << 50)
        .or_else(|_| file.set_len(1 << 40))
        .unwrap();
    site.write("1/model.onnx", with_initializer(elsewhere("weights.bin")));
    let started = Instant::now();
    let error = site.load().err().unwrap();
    assert!(error.message.contains("MiB"), "{error}");
    assert!(started.elapsed().as_secs() < 10);
}

#[tokio::test]
async fn cut_short_or_garbled_models_are_refused() {
    let site = Site::new();
    let whole = onnx::add(1.0);
    for len in 0..whole.len() {
        let error = site.refusal(&whole[..len], "");
        assert_eq!(error.file, "models/m/1/model.onnx", "{len}");
    }
    // Every byte in turn: refused, or a model that still runs. No panic, no abort.
    for index in 0..whole.len() {
        let mut garbled = whole.clone();
        garbled[index] ^= 0xff;
        site.write("1/model.onnx", &garbled);
        if let Ok(model) = site.load() {
            let _any = infer(&model, vec![floats("x", &[1, 2], &[0.0; 2])]).await;
        }
    }
    let noise: Vec<u8> = (0..100_000_u32)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    site.refusal(&noise, "");
    site.refusal(b"version https://git-lfs.github.com/spec/v1\n", "");
    site.refusal(b"\x20\0\0\0ORTM\0\0\0\0\0\0\0\0", "");
}

#[test]
fn deep_nesting_is_refused() {
    let site = Site::new();
    let mut inner = graph(&[], &[], &[], &[]);
    for _ in 0..20_000 {
        let attribute = Message::new()
            .bytes(1, "g")
            .message(6, &inner)
            .varint(20, 5);
        inner = graph(&[node("If", &["x"], &["y"], &[attribute])], &[], &[], &[]);
        if inner.as_ref().len() > 1 << 20 {
            break;
        }
    }
    let error = site.refusal(&model(&inner).into_bytes(), "");
    assert!(error.message.contains("nests deeper"), "{error}");
}

#[test]
fn what_cannot_be_served_says_why() {
    let site = Site::new();
    let (inputs, outputs) = io();
    let of = |nodes: &[Message]| model(&graph(nodes, &inputs, &outputs, &[])).into_bytes();
    let error = site.refusal(&of(&[node("Frobnicate", &["x"], &["y"], &[])]), "");
    assert!(error.message.contains("Frobnicate"), "{error}");

    let error = site.refusal(&of(&[node("EPContext", &["x"], &["y"], &[])]), "");
    assert!(error.message.contains("EPContext"), "{error}");

    let sequence = Message::new().message(
        4,
        &Message::new().message(1, &Message::new().message(1, &Message::new().varint(1, 1))),
    );
    let sequence = Message::new().bytes(1, "s").message(2, &sequence);
    let bytes = model(&graph(
        &[node("SequenceConstruct", &["x"], &["s"], &[])],
        &inputs,
        &[sequence],
        &[],
    ))
    .into_bytes();
    let error = site.refusal(&bytes, "");
    assert!(error.message.contains("only tensors"), "{error}");

    // COMPLEX64.
    let error = site.refusal(&onnx::identity(14, &[2]), "");
    assert!(
        error.message.contains("not served") || error.message.contains("refuses"),
        "{error}"
    );

    let error = site.refusal(&onnx::identity(FLOAT, &[2]), "[batching]\nmax_rows = 8");
    assert_eq!(
        (error.file.as_str(), error.key.as_deref()),
        ("models/m/model.toml", Some("batching.max_rows"))
    );
}

#[test]
fn a_model_that_loops_in_its_warm_up_is_refused() {
    let site = Site::new();
    let settings = "[instances]\ncount = 1\n[warmup]\ntimeout_ms = 50";
    let error = site.refusal(&onnx::slow_rows(1_000_000_000_000), settings);
    assert_eq!(error.key.as_deref(), Some("warmup.timeout_ms"), "{error}");
}

#[test]
fn the_time_of_a_warm_up_is_that_of_all_its_runs() {
    let site = Site::new();
    // Each run takes a moment, and all of them take minutes.
    let settings = "[instances]\ncount = 1\n[warmup]\ntimeout_ms = 300\n[[warmup.samples]]\ncount = 1000\ninputs = {}\n"
        .to_owned()
        + &"[[warmup.samples]]\ncount = 1000\ninputs = {}\n".repeat(63);
    let error = site.refusal(&onnx::slow_rows(10_000), &settings);
    assert_eq!(error.key.as_deref(), Some("warmup.timeout_ms"), "{error}");
}

#[tokio::test]
async fn a_load_that_is_cancelled_ends_within_a_run() {
    let site = Arc::new(Site::new());
    site.write("1/model.onnx", onnx::slow_rows(1_000_000_000_000));
    site.write("model.toml", "[instances]\ncount = 1");
    let cancel = Cancel::default();
    let began = Instant::now();
    let loading = tokio::task::spawn_blocking({
        let (site, cancel) = (Arc::clone(&site), cancel.child());
        move || site.load_until(&cancel).err().unwrap()
    });
    // By then it runs, as a rule; before, it ends as well.
    tokio::time::sleep(Duration::from_millis(200)).await;
    cancel.cancel();
    let error = loading.await.unwrap();
    assert!(error.message.contains("cancelled"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(30));
    let error = site.load_until(&cancel).err().unwrap();
    assert!(error.message.contains("cancelled"), "{error}");
}

#[test]
fn a_version_that_fails_its_warm_up_is_refused() {
    let site = Site::new();
    // 1 free column does not fit 3 fixed ones.
    let bytes = model(&graph(
        &[node("MatMul", &["x", "w"], &["y"], &[])],
        &[value("x", FLOAT, &[-1, -1])],
        &[value("y", FLOAT, &[-1, 1])],
        &[onnx::tensor_f32("w", &[3, 1], &[1.0; 3])],
    ))
    .into_bytes();
    let error = site.refusal(&bytes, "");
    assert!(error.message.contains("warm-up"), "{error}");
    site.serve(&bytes, "[warmup]\nshapes.x = [2, 3]");
    site.serve(&bytes, "[warmup]\nenabled = false");
    let error = site.refusal(&bytes, "[warmup]\nshapes.x = [3]");
    assert_eq!(error.key.as_deref(), Some("warmup.shapes.x"));
    let error = site.refusal(&bytes, "[warmup]\nshapes.z = [3]");
    assert_eq!(error.key.as_deref(), Some("warmup.shapes.z"));
}

#[test]
fn the_library_keeps_no_database_about_its_use() {
    let site = Site::new();
    let _model = site.serve(&onnx::add(1.0), "");
    let open: Vec<_> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
        .collect();
    let telemetry = open
        .iter()
        .find(|file| file.to_string_lossy().contains("onnxruntime.db"));
    assert_eq!(telemetry, None);
}
