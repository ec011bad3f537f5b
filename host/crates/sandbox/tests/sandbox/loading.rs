//! What is refused when it is loaded, and what the operator reads.

use sha2::{Digest, Sha256};
use wharf_core::LoadError;
use wharf_sandbox::Config;

use crate::site::{Log, Site, body, guest, request};
use crate::wat;

#[track_caller]
fn refusal(site: &Site, component: &[u8], settings: &str) -> LoadError {
    match site.load("plugin", component, settings) {
        Ok(_) => panic!("the plugin was loaded"),
        Err(error) => error,
    }
}

#[test]
fn what_is_no_component_is_refused_in_words() {
    let site = Site::new();
    let echo = guest("echo");
    let module = ::wat::parse_str("(module (func (export \"process\")))").unwrap();
    let empty = ::wat::parse_str("(component)").unwrap();
    for (bytes, message) in [
        (&b""[..], "the file is empty; it may still be being copied"),
        (&echo[..echo.len() / 2], "it may still be being copied"),
        (&echo[..echo.len() - 1], "it may still be being copied"),
        (b"not wasm at all", "this is no whole WebAssembly component"),
        (&module, "this is a core module, not a component"),
        (
            &empty,
            "the component exports no stage of wharf:plugin: it must export at least one of preprocess, postprocess, router, token-filter",
        ),
    ] {
        let error = refusal(&site, bytes, "");
        assert_eq!(error.file, "plugins/plugin.wasm");
        assert!(error.message.contains(message), "{}", error.message);
    }
}

#[test]
fn another_world_or_version_is_named() {
    let site = Site::new();
    let import =
        |name: &str| ::wat::parse_str(format!("(component (import {name:?} (instance)))")).unwrap();
    let export = |name: &str| {
        ::wat::parse_str(format!(
            "(component (instance $empty) (export {name:?} (instance $empty)))"
        ))
        .unwrap()
    };
    for (component, message) in [
        (
            import("wharf:plugin/types@2.0.0"),
            "wharf:plugin/types@2.0.0 is of contract 2.0.0; this host has 1.1.0",
        ),
        (
            import("wharf:plugin/types@1.2.0"),
            "is of contract 1.2.0; this host has 1.1.0",
        ),
        (
            import("wharf:plugin/model@1.0.0"),
            "which needs the grant \"model\"",
        ),
        (
            import("wharf:plugin/toaster@1.0.0"),
            "which contract 1.1.0 does not have; it has types, log, metrics, settings",
        ),
        (
            import("wasi:http/outgoing-handler@0.2.3"),
            "which this host does not have: use the interface http of wharf:plugin",
        ),
        (
            import("acme:files/all@1.0.0"),
            "the component imports acme:files/all@1.0.0, which neither the contract nor WASI 0.2 has",
        ),
        (
            export("acme:thing/run@1.0.0"),
            "the component exports no stage of wharf:plugin",
        ),
        (
            export("wharf:plugin/preprocess@1.0.0"),
            "the export wharf:plugin/preprocess@1.0.0 lacks the function process; the contract says `process: func(request: borrow<request>, input: payload) -> result<payload, error>`",
        ),
        (
            export("wharf:plugin/sideprocess@1.0.0"),
            "which contract 1.1.0 does not have; it has preprocess",
        ),
    ] {
        let error = refusal(&site, &component, "");
        assert!(error.message.contains(message), "{}", error.message);
    }
}

#[test]
fn a_function_of_another_type_is_refused_with_both_types() {
    let site = Site::new();
    let component = ::wat::parse_str(
        r#"(component
            (core module $m (func (export "process") (param i32) (result i32) (i32.const 0)))
            (core instance $m (instantiate $m))
            (func $process (param "input" u32) (result u32) (canon lift (core func $m "process")))
            (instance $stage (export "process" (func $process)))
            (export "wharf:plugin/preprocess@1.0.0" (instance $stage)))"#,
    )
    .unwrap();
    let error = refusal(&site, &component, "");
    assert!(
        error
            .message
            .contains("has another type than the contract: "),
        "{}",
        error.message
    );
    assert!(
        error.message.contains("input: payload"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn hand_written_components_fit_the_contract() {
    let site = Site::new();
    let plugin = site.load("echo", &wat::preprocess(wat::ECHO), "").unwrap();
    let answer = plugin
        .preprocess(&request(), body("by hand"))
        .await
        .unwrap();
    assert_eq!(crate::site::text(&answer), "by hand");
    let wasi = site.load("wasi", &wat::with_wasi(wat::ECHO), "").unwrap();
    wasi.preprocess(&request(), body("x")).await.unwrap();
}

#[test]
fn a_pin_must_be_met() {
    let site = Site::new();
    let echo = guest("echo");
    let digest: String = Sha256::digest(&echo)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert!(
        site.load("echo", &echo, &format!("sha256 = {digest:?}"))
            .is_ok()
    );
    let error = refusal(&site, &echo, &format!("sha256 = {:?}", "0".repeat(64)));
    assert!(error.message.contains(&digest), "{}", error.message);
    assert!(
        error.message.contains("change the pin"),
        "{}",
        error.message
    );
}

#[test]
fn a_plugin_that_refuses_its_settings_names_them() {
    let site = Site::new();
    let error = refusal(&site, &guest("scale"), "[settings]\nfactor = 'much'");
    assert_eq!(error.file, "plugins/plugin.toml");
    assert!(
        error.key.is_some_and(|key| key.starts_with("settings")),
        "{}",
        error.message
    );
    for (settings, message) in [
        ("init = 'trap'", "the plugin's init trapped"),
        ("init = 'fail'", "hostile: refuses"),
        ("self_test = 'trap'", "the plugin's self-test trapped"),
        ("self_test = 'fail'", "the plugin's self-test refused"),
        ("init = 'hog'", "limits.memory_mb = 256"),
    ] {
        let error = refusal(&site, &guest("hostile"), &format!("[settings]\n{settings}"));
        assert!(
            error.message.contains(message),
            "{settings}: {}",
            error.message
        );
    }
    let settings = "[settings]\ninit = 'spin'\n[limits]\ninit_ms = 50";
    let error = refusal(&site, &guest("hostile"), settings);
    assert!(
        error.message.contains("limits.init_ms = 50"),
        "{}",
        error.message
    );
}

#[test]
fn machine_code_in_the_plugins_folder_is_refused() {
    let site = Site::new();
    let engine = wasmtime::Engine::default();
    let artifact = engine.precompile_component(&guest("echo")).unwrap();
    let error = refusal(&site, &artifact, "");
    assert!(
        error.message.contains("machine code made ahead of time"),
        "{}",
        error.message
    );
}

#[test]
fn what_would_take_long_to_compile_is_refused_by_a_cap() {
    let functions = "(func (drop (i32.const 0)))".repeat(2000);
    let body = "(drop (i32.const 0))".repeat(10_000);
    let many = ::wat::parse_str(format!("(component (core module {functions}))")).unwrap();
    let large = ::wat::parse_str(format!("(component (core module (func {body})))")).unwrap();
    // None of its functions is large, and they are not many.
    let function = format!("(func {})", "(drop (i32.const 0))".repeat(5000));
    let long = format!("(component (core module {}))", function.repeat(100));
    let long = ::wat::parse_str(long).unwrap();
    let site = Site::with(Config {
        component_functions: 1000,
        function_kb: 16,
        component_code_mb: 1,
        component_mb: 2,
        ..Config::default()
    });
    for (component, cap) in [
        (&many[..], "plugins.component_functions = 1000"),
        (&large, "plugins.function_kb = 16 (KiB)"),
        (&long, "plugins.component_code_mb = 1 (MiB)"),
        (&vec![0; (2 << 20) + 1], "plugins.component_mb = 2 (MiB)"),
    ] {
        let error = refusal(&site, component, "");
        assert!(error.message.contains(cap), "{}", error.message);
    }
}

#[test]
fn settings_that_nothing_checks_are_said() {
    let site = Site::new();
    let logged = |component: &str, settings: &str| {
        let log = Log::default();
        let kept = log.keep();
        site.load("plugin", &guest(component), settings).unwrap();
        drop(kept);
        log.text().contains("exports no lifecycle")
    };
    assert!(logged("echo", "[settings]\nfactor = 1"));
    assert!(!logged("echo", ""));
    assert!(!logged("scale", "[settings]\nfactor = 1.0"));
}

#[test]
fn an_equal_content_has_an_equal_digest() {
    use wharf_core::PluginHost;
    let site = Site::new();
    let digest = |settings| {
        let file = site.put("echo", &guest("echo"), settings);
        site.sandbox.read(&file).unwrap().digest
    };
    let first = digest("");
    assert_eq!(digest(""), first);
    assert_ne!(digest("isolation = 'shared'"), first);
}
