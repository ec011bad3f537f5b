//! Recordings of calls: what is in them, what must not be, and how many there are.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};
use wharf_core::{
    Candidate, Headers, ModelCalls, ModelLoad, Name, Payload, PluginHost, PluginOwner,
    RequestContext, Token,
};
use wharf_sandbox::Config;
use wharf_testkit::{FakeModelCalls, eventually};

use crate::secret::config;
use crate::site::{Site, body, floats, guest, request, request_with};
use crate::state::tell;

const RECORD: &str = "[record]\n";

/// The recordings of a plugin, the oldest first.
fn recordings(site: &Site, plugin: &str) -> Vec<PathBuf> {
    recordings_in(&site.folder.path().join("recordings").join(plugin))
}

fn recordings_in(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    };
    paths.sort();
    paths
}

/// Waits until so many calls have come to an outcome.
async fn wait_for(site: &Site, outcome: &str, count: u32) {
    eventually(&format!("{count} recordings {outcome}"), || {
        ended(site, outcome) >= f64::from(count)
    })
    .await;
}

fn ended(site: &Site, outcome: &str) -> f64 {
    site.metric("plugin_recording_total", &[("outcome", outcome)])
}

fn read(recording: &Path, file: &str) -> String {
    fs::read_to_string(recording.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn document(recording: &Path, file: &str) -> Value {
    serde_json::from_str(&read(recording, file)).unwrap()
}

/// Everything in the files of a folder, whatever their depth, as text.
fn all_of(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        text += &path.to_string_lossy();
        if path.is_dir() {
            text += &all_of(&path);
        } else {
            text += &String::from_utf8_lossy(&fs::read(&path).unwrap());
        }
    }
    text
}

#[tokio::test]
async fn a_trap_is_recorded_with_all_that_its_author_needs() {
    let site = Site::new();
    let hostile = site.load("hostile", &guest("hostile"), RECORD).unwrap();
    let request = request_with(&[("x-behaviour", "panic"), ("x-message", "out of luck")]);
    let request = Arc::new(RequestContext {
        tenant: Some("acme".into()),
        ..(*request).clone()
    });
    hostile
        .preprocess(&request, floats(&[f32::NAN, 0.5]))
        .await
        .unwrap_err();
    wait_for(&site, "written", 1).await;
    let kept = recordings(&site, "hostile");
    let [recording] = &kept[..] else {
        panic!("not one recording");
    };
    let name = recording.file_name().unwrap().to_string_lossy();
    assert!(name.ends_with("-request-1"), "{name}");

    let asked = document(recording, "request.json");
    assert_eq!(
        (
            &asked["stage"],
            &asked["id"],
            &asked["route"],
            &asked["tenant"]
        ),
        (
            &json!("preprocess"),
            &json!("request-1"),
            &json!("digits"),
            &json!("acme")
        )
    );
    assert_eq!(asked["headers"]["x-message"], "out of luck");
    let left = asked["timeout_ms"].as_u64().unwrap();
    assert!((50_000..=60_000).contains(&left), "{left}");
    let input = document(recording, "input.json");
    assert_eq!(input["inputs"][0]["shape"], json!([2]));
    let elements = fs::read(recording.join("input-0.bin")).unwrap();
    // To the bit, also where a number is none.
    assert_eq!(
        elements,
        [f32::NAN.to_le_bytes(), 0.5_f32.to_le_bytes()].concat()
    );

    let recorded = document(recording, "recording.json");
    assert_eq!(recorded["outcome"], "fault");
    assert_eq!(recorded["digest"], hostile.info().digest.to_string());
    assert_eq!(recorded["fault"]["during"], "preprocess");
    let outcome = document(recording, "outcome.json");
    assert_eq!(outcome["error"]["kind"], "plugin-fault");
    let backtrace = read(recording, "backtrace.txt");
    assert!(
        backtrace.contains("wasm backtrace") && backtrace.contains("hostile"),
        "{backtrace}"
    );
    let seen = all_of(recording);
    assert!(seen.contains("hostile: out of luck"), "{seen}");
}

#[tokio::test]
async fn what_ends_well_or_was_refused_is_not_recorded_for_faults_alone() {
    let site = Site::new();
    let settings = "record = true\n[limits]\nmemory_mb = 32\n";
    let hostile = site.load("hostile", &guest("hostile"), settings).unwrap();
    for (behaviour, error) in [
        ("pass", ""),
        ("fail", "invalid-input"),
        ("fail", "failed"),
        ("hog", ""),
    ] {
        let request = request_with(&[("x-behaviour", behaviour), ("x-error", error)]);
        let _ = hostile.preprocess(&request, body("x")).await;
    }
    wait_for(&site, "written", 2).await;
    let kept = recordings(&site, "hostile");
    let outcomes: Vec<_> = kept
        .iter()
        .map(|recording| document(recording, "recording.json")["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["refused", "fault"]);
    let fault = &document(&kept[1], "recording.json")["fault"];
    assert_eq!(
        (&fault["setting"], &fault["value"]),
        (&json!("limits.memory_mb"), &json!(32))
    );
    // A client that leaves, or that leaves no time, says nothing of the plugin.
    let spin = request_with(&[("x-behaviour", "spin")]);
    let mut running = hostile.preprocess(&spin, body("x"));
    assert!(futures_util::poll!(&mut running).is_pending());
    drop(running);
    assert_eq!(recordings(&site, "hostile").len(), 2);
}

#[tokio::test]
async fn without_a_table_nothing_is_written() {
    let site = Site::new();
    let hostile = site.load("hostile", &guest("hostile"), "").unwrap();
    let request = request_with(&[("x-behaviour", "trap")]);
    hostile.preprocess(&request, body("x")).await.unwrap_err();
    assert!(!site.folder.path().join("recordings").exists());
    assert!(
        !site
            .metrics()
            .contains(&"plugin_recording_total".to_owned())
    );
}

#[tokio::test]
async fn a_sample_of_all_calls_has_what_came_out() {
    let site = Site::new();
    let settings = "[record]\non = 'all'\nevery = 3\n";
    let hostile = site.load("hostile", &guest("hostile"), settings).unwrap();
    for call in 0..7 {
        hostile
            .postprocess(&request(), floats(&[call as f32]))
            .await
            .unwrap();
    }
    wait_for(&site, "written", 3).await;
    let kept = recordings(&site, "hostile");
    let firsts: Vec<_> = kept
        .iter()
        .map(|recording| fs::read(recording.join("output-0.bin")).unwrap())
        .collect();
    assert_eq!(
        firsts,
        [0.0_f32, 3.0, 6.0].map(|value| value.to_le_bytes().to_vec())
    );
    assert_eq!(
        document(&kept[0], "outcome.json")["outputs"][0]["datatype"],
        "FP32"
    );
}

#[tokio::test]
async fn routers_and_filters_are_recorded_with_what_they_saw() {
    let site = Site::new();
    let hostile = site.load("hostile", &guest("hostile"), RECORD).unwrap();
    let candidates = [Candidate {
        model: "digits".parse().unwrap(),
        version: 2,
        labels: Arc::new(["stable".to_owned()]),
        load: ModelLoad::default(),
    }];
    let trap = request_with(&[("x-behaviour", "trap")]);
    hostile.route(&trap, &candidates).await.unwrap_err();
    let token = |text: &str| Token {
        id: 7,
        text: text.to_owned(),
        logprob: None,
    };
    let mut filter = hostile.filter_tokens(&request()).await.unwrap();
    filter.push(vec![token("one"), token("two")]).await.unwrap();
    filter.push(vec![token("trap")]).await.unwrap_err();
    drop(filter);
    // A text that ends well leaves nothing.
    let mut filter = hostile.filter_tokens(&request()).await.unwrap();
    filter.push(vec![token("one")]).await.unwrap();
    filter.finish().await.unwrap();
    wait_for(&site, "written", 2).await;
    let kept = recordings(&site, "hostile");
    let route = document(&kept[0], "request.json");
    assert_eq!(route["stage"], "router");
    assert_eq!(route["candidates"][0]["labels"], json!(["stable"]));
    let text = document(&kept[1], "request.json");
    assert_eq!(text["stage"], "token-filter");
    let tokens: Vec<usize> = text["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| call.as_array().unwrap().len())
        .collect();
    assert_eq!(tokens, [2, 1]);
    assert_eq!(kept.len(), 2);
}

#[tokio::test]
async fn a_body_in_chunks_is_recorded_as_a_case_has_it() {
    let site = Site::new();
    let settings = "[record]\non = 'all'\n";
    let hostile = site.load("hostile", &guest("hostile"), settings).unwrap();
    let no_text = Bytes::from_static(&[0xff, 0x00]);
    let mut filter = hostile
        .filter_chunks(&request(), "text/plain")
        .await
        .unwrap();
    filter.push("one".into()).await.unwrap();
    filter.push(no_text.clone()).await.unwrap();
    filter.push("hold".into()).await.unwrap();
    filter.finish().await.unwrap();
    let mut filter = hostile
        .filter_chunks(&request(), "text/plain")
        .await
        .unwrap();
    filter.push(no_text).await.unwrap();
    filter.push("trap".into()).await.unwrap_err();
    let mut filter = hostile
        .filter_chunks(&request(), "text/plain")
        .await
        .unwrap();
    filter.push("stop".into()).await.unwrap();
    wait_for(&site, "written", 3).await;
    let kept = recordings(&site, "hostile");
    let asked = document(&kept[0], "request.json");
    assert_eq!(
        (&asked["stage"], &asked["media_type"]),
        (&json!("chunk-filter"), &json!("text/plain"))
    );
    assert_eq!(
        asked["chunks"],
        json!(["one", { "base64": "/wA=" }, "hold"])
    );
    assert_eq!(
        document(&kept[0], "outcome.json"),
        json!({
            "verdicts": [{ "emit": "one" }, { "emit": { "base64": "/wA=" } }, { "emit": "" }],
            "rest": "hold",
        })
    );
    assert_eq!(
        document(&kept[1], "request.json")["chunks"],
        json!([{ "base64": "/wA=" }, "trap"])
    );
    assert_eq!(
        document(&kept[1], "recording.json")["fault"]["during"],
        "chunk-filter"
    );
    assert_eq!(
        document(&kept[2], "outcome.json"),
        json!({ "verdicts": [{ "stop": { "chunk": "", "reason": "it says stop" } }] })
    );
}

#[tokio::test]
async fn recordings_of_a_bundle_lie_in_the_site_and_not_in_its_release() {
    let site = Site::new();
    let models: Arc<dyn ModelCalls> = FakeModelCalls::new(&[]);
    let mut release = site
        .sandbox
        .read(&site.put("hostile", &guest("hostile"), RECORD))
        .unwrap();
    release.site = site.folder.path().join("bundles/flowers/3");
    release.owner = Some(PluginOwner {
        bundle: "flowers".parse::<Name>().unwrap(),
        models: Arc::downgrade(&models),
    });
    let hostile = site.sandbox.load(&release).unwrap();
    let trap = request_with(&[("x-behaviour", "trap")]);
    hostile.preprocess(&trap, body("x")).await.unwrap_err();
    wait_for(&site, "written", 1).await;
    assert_eq!(recordings(&site, "bundles/flowers/hostile").len(), 1);
    assert!(!release.site.exists());
}

#[tokio::test]
async fn what_models_answered_is_part_of_it_and_what_is_not_is_said() {
    let site = Site::new();
    let models: Arc<dyn ModelCalls> = FakeModelCalls::new(&[("same", "")]);
    site.sandbox.connect(Arc::downgrade(&models));
    let settings = "[grants.model]\ntargets = ['*']\n[limits]\ncall_ms = 1000\n[record]\n";
    let ensemble = site.load("ensemble", &guest("ensemble"), settings).unwrap();
    let spin = request_with(&[("x-targets", "same@stable,missing"), ("x-then", "spin")]);
    ensemble
        .postprocess(&spin, floats(&[1.0, 2.0]))
        .await
        .unwrap_err();
    wait_for(&site, "written", 1).await;
    let recording = &recordings(&site, "ensemble")[0];
    let answers = document(recording, "models.json");
    assert_eq!(
        (&answers[0]["target"], &answers[0]["version"]),
        (&json!("same"), &json!("stable"))
    );
    assert_eq!(answers[0]["outputs"][0]["file"], "model-0-0.bin");
    assert_eq!(answers[1]["error"]["kind"], "not-found");

    let settings = "[grants]\nstate = true\nsecret = { names = ['key'] }\n[record]\non = 'all'\n";
    let site = Site::with(config("key"));
    fs::write(site.folder.path().join("key"), "correct-horse").unwrap();
    let remember = site.load("remember", &guest("remember"), settings).unwrap();
    tell(&remember, &request(), "get it").await.unwrap();
    wait_for(&site, "written", 1).await;
    let recorded = document(&recordings(&site, "remember")[0], "recording.json");
    assert_eq!(recorded["not_recorded"], json!({ "state": 1 }));
}

#[tokio::test]
async fn the_answer_that_breaks_a_limit_is_part_of_it() {
    const BYTES: u64 = 33 << 20;
    let site = Site::new();
    let large = format!("body {BYTES}");
    let models: Arc<dyn ModelCalls> = FakeModelCalls::new(&[("large", &large)]);
    site.sandbox.connect(Arc::downgrade(&models));
    let settings = "[grants.model]\ntargets = ['*']\n[limits]\nmemory_mb = 32\n[record]\n";
    let ensemble = site.load("ensemble", &guest("ensemble"), settings).unwrap();
    let asking = request_with(&[("x-targets", "large")]);
    ensemble
        .preprocess(&asking, floats(&[1.0]))
        .await
        .unwrap_err();
    wait_for(&site, "written", 1).await;
    let recording = &recordings(&site, "ensemble")[0];
    let recorded = document(recording, "recording.json");
    assert_eq!(recorded["fault"]["setting"], "limits.memory_mb");
    let answers = document(recording, "models.json");
    assert_eq!(answers[0]["body"]["file"], "model-0.bin");
    let kept = fs::metadata(recording.join("model-0.bin")).unwrap();
    assert_eq!(kept.len(), BYTES);
}

#[tokio::test]
async fn a_call_whose_target_or_version_is_a_secret_is_not_told() {
    const SECRET: &str = "correct-horse-battery-staple";
    let site = Site::with(config("key"));
    fs::write(site.folder.path().join("key"), SECRET).unwrap();
    let models: Arc<dyn ModelCalls> = FakeModelCalls::new(&[("same", "")]);
    site.sandbox.connect(Arc::downgrade(&models));
    let settings = "[grants]\nmodel = { targets = ['*'] }\nsecret = { names = ['key'] }\n[record]\non = 'all'\n";
    let ensemble = site.load("ensemble", &guest("ensemble"), settings).unwrap();
    for (targets, count) in [(SECRET, 1), (&format!("same@{SECRET}"), 2)] {
        let asking = request_with(&[("x-targets", targets)]);
        let _ = ensemble.preprocess(&asking, floats(&[1.0])).await;
        wait_for(&site, "secret", count).await;
    }
    assert_eq!(recordings(&site, "ensemble").len(), 0);
}

#[tokio::test]
async fn credentials_and_secrets_are_in_no_file() {
    const SECRET: &str = "correct-horse-battery-staple";
    const CREDENTIALS: [&str; 6] = [
        "authorization",
        "cookie",
        "proxy-authorization",
        "x-api-key",
        "x-auth-token",
        "x-session",
    ];
    let site = Site::with(config("key"));
    fs::write(site.folder.path().join("key"), SECRET).unwrap();
    let settings = "[grants]\nstate = true\nsecret = { names = ['key'] }\n[record]\non = 'all'\n";
    let remember = site.load("remember", &guest("remember"), settings).unwrap();
    let mut headers = HeaderMap::new();
    for name in CREDENTIALS {
        headers.insert(name, "hunter2hunter2".parse().unwrap());
    }
    headers.insert("x-echo", SECRET.parse().unwrap());
    headers.append("x-plain", "first".parse().unwrap());
    headers.append("x-plain", "second".parse().unwrap());
    let asking = Arc::new(RequestContext {
        headers: Headers::new(headers),
        ..(*request()).clone()
    });
    // In a trap, in log lines, in a refusal; and in what goes in and out, which cannot be told without it.
    for (command, outcome) in [
        ("panic key", "written"),
        ("say key", "written"),
        ("refuse key", "written"),
        ("secret key", "secret"),
        (&format!("set it {SECRET}"), "secret"),
    ] {
        let before = ended(&site, outcome);
        let _ = tell(&remember, &asking, command).await;
        wait_for(&site, outcome, before as u32 + 1).await;
    }
    let kept = recordings(&site, "remember");
    assert_eq!(kept.len(), 3);
    let text = all_of(&site.folder.path().join("recordings"));
    assert!(
        !text.contains(SECRET) && !text.contains("hunter2"),
        "{text}"
    );
    assert!(
        read(&kept[0], "backtrace.txt").contains("[secret]")
            || all_of(&kept[0]).contains("[secret]")
    );
    assert!(read(&kept[1], "log.json").contains("[secret]"));
    assert!(read(&kept[2], "outcome.json").contains("[secret]"));
    let asked = document(&kept[0], "request.json");
    assert_eq!(asked["headers"], json!({ "x-plain": ["first", "second"] }));
    let mut left_out = document(&kept[0], "recording.json")["headers_left_out"].clone();
    left_out
        .as_array_mut()
        .unwrap()
        .sort_by_key(Value::to_string);
    assert_eq!(left_out, json!(["x-auth-token", "x-echo", "x-session"]));
}

#[tokio::test]
async fn a_thousand_faults_leave_as_many_recordings_as_are_kept() {
    let site = Site::new();
    let settings = "[record]\nkeep = 5\nmax_kb = 64\n[limits]\nfault_lines_per_second = 1\n";
    let hostile = site.load("hostile", &guest("hostile"), settings).unwrap();
    let trap = request_with(&[("x-behaviour", "trap")]);
    for _ in 0..1000 {
        hostile.preprocess(&trap, body("x")).await.unwrap_err();
        let there = recordings(&site, "hostile")
            .iter()
            .filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'))
            .count();
        assert!(there <= 5, "{there} recordings");
    }
    let all = ["written", "full"];
    eventually("every call to be accounted for", || {
        all.iter().map(|outcome| ended(&site, outcome)).sum::<f64>() == 1000.0
    })
    .await;
    assert_eq!(recordings(&site, "hostile").len(), 5);
    assert_eq!(hostile.health().faults, 1000);
    // One that is larger than all together may be is not kept, and drives out none.
    let large = Payload::Body(wharf_core::Body {
        media_type: "text/plain".into(),
        data: vec![b'x'; 65 << 10].into(),
    });
    hostile.preprocess(&trap, large).await.unwrap_err();
    assert_eq!(ended(&site, "large"), 1.0);
    assert_eq!(recordings(&site, "hostile").len(), 5);
}

#[tokio::test]
async fn an_id_that_is_a_path_leads_nowhere() {
    let site = Site::new();
    let hostile = site.load("hostile", &guest("hostile"), RECORD).unwrap();
    let trap = request_with(&[("x-behaviour", "trap")]);
    let trap = Arc::new(RequestContext {
        id: "../../../plugins/hostile".into(),
        ..(*trap).clone()
    });
    hostile.preprocess(&trap, body("x")).await.unwrap_err();
    wait_for(&site, "written", 1).await;
    let name = recordings(&site, "hostile")[0].clone();
    assert!(name.to_string_lossy().contains("-sha256_"), "{name:?}");
    assert_eq!(
        document(&name, "request.json")["id"],
        "../../../plugins/hostile"
    );
}

#[tokio::test]
async fn a_folder_of_the_operators_holds_them_and_one_that_is_served_does_not() {
    let elsewhere = tempfile::TempDir::new().unwrap();
    let site = Site::with(Config {
        recordings_folder: Some(elsewhere.path().join("kept")),
        ..Config::default()
    });
    let hostile = site.load("hostile", &guest("hostile"), RECORD).unwrap();
    let trap = request_with(&[("x-behaviour", "trap")]);
    hostile.preprocess(&trap, body("x")).await.unwrap_err();
    wait_for(&site, "written", 1).await;
    assert_eq!(
        recordings_in(&elsewhere.path().join("kept/hostile")).len(),
        1
    );
    assert!(recordings(&site, "hostile").is_empty());

    // What cannot be written is counted, and the request does not learn of it.
    fs::remove_dir_all(elsewhere.path().join("kept")).unwrap();
    fs::write(elsewhere.path().join("kept"), "a file").unwrap();
    hostile.preprocess(&trap, body("x")).await.unwrap_err();
    wait_for(&site, "failed", 1).await;
}

#[tokio::test]
async fn what_waits_is_written_before_the_sandbox_is_gone() {
    let mut site = Site::new();
    let hostile = site.load("hostile", &guest("hostile"), RECORD).unwrap();
    let trap = request_with(&[("x-behaviour", "trap")]);
    for _ in 0..10 {
        hostile.preprocess(&trap, body("x")).await.unwrap_err();
    }
    site.sandbox = wharf_sandbox::Sandbox::new(
        Config {
            cache_folder: Some(site.folder.path().join("cache")),
            max_instances: 10,
            ..Config::default()
        },
        &opentelemetry::global::meter("test"),
    )
    .unwrap();
    assert_eq!(recordings(&site, "hostile").len(), 10);
    // The plugin outlives it, and is recorded no more.
    hostile.preprocess(&trap, body("x")).await.unwrap_err();
    assert_eq!(ended(&site, "full"), 1.0);
}
