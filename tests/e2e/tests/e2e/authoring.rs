//! `wharf plugin`: what authors do with the real binary, from an empty folder to a plugin that serves.

use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use wharf_e2e::{Load, Site, Wharf, execute, guest, guest_build, program, repository, wait_for};

use crate::{is_shifted_by, one_to_four};

/// A folder that an author works in.
struct Desk(TempDir);

impl Desk {
    fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    /// Makes a plugin in Rust here. All tests build in one folder, where what is built has its name alone: a name is one test's.
    fn plugin(&self, name: &str, stage: &str) -> Result<PathBuf> {
        self.plugin_in("rust", name, stage)
    }

    fn plugin_in(&self, language: &str, name: &str, stage: &str) -> Result<PathBuf> {
        let made = self.wharf(&["new", name, "--lang", language, "--stage", stage])?;
        ensure!(made.status.success(), "{made:?}");
        Ok(self.0.path().join(name))
    }

    fn wharf(&self, arguments: &[&str]) -> Result<Output> {
        wharf(self.0.path(), arguments)
    }
}

/// Runs `wharf plugin` in a folder.
fn wharf(folder: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = program()?;
    command
        .arg("plugin")
        .args(arguments)
        .current_dir(folder)
        .env("WHARF_SDK", repository("plugin-sdk"))
        .env("CARGO_TARGET_DIR", guest_build()?);
    let output = command.output()?;
    eprintln!("wharf plugin {arguments:?}: {}", output.status);
    eprintln!("{}", String::from_utf8_lossy(&output.stdout));
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}

/// Runs `wharf plugin` with `--json`, and reads what it writes.
fn document(folder: &Path, arguments: &[&str]) -> Result<Value> {
    let output = wharf(folder, &[arguments, &["--json"]].concat())?;
    ensure!(output.status.success(), "{output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// The files of the guest `hostile`, with cases that make it misbehave.
fn hostile(cases: &[(&str, &str, &str)]) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("hostile.wasm"), guest("hostile")?)?;
    for (name, behaviour, expected) in cases {
        let case = folder.path().join("cases").join(name);
        let request = json!({"stage": "preprocess", "headers": {"x-behaviour": behaviour}, "media_type": "text/plain"});
        write(&case.join("request.json"), &request.to_string())?;
        write(&case.join("input.bin"), "words")?;
        if !expected.is_empty() {
            write(&case.join("expected.json"), expected)?;
        }
    }
    Ok(folder)
}

/// The stages that there are templates of.
const STAGES: [&str; 5] = [
    "preprocess",
    "postprocess",
    "router",
    "token-filter",
    "chunk-filter",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_plugin_is_built_tested_measured_and_served() -> Result<()> {
    let desk = Desk::new()?;
    let folder = desk.plugin("shout", "preprocess")?;

    let built = document(&folder, &["build"])?;
    assert_eq!(built["stages"], json!(["preprocess"]));
    assert_eq!(built["changed"], true);
    let again = document(&folder, &["build"])?;
    assert_eq!(
        (&again["changed"], &again["sha256"]),
        (&json!(false), &built["sha256"])
    );

    let inspected = document(&folder, &["inspect"])?;
    assert_eq!(inspected["sha256"], built["sha256"]);
    assert_eq!(inspected["isolation"], "request");
    assert_eq!(inspected["limits"]["call_ms"], 1000);

    let tested = document(&folder, &["test"])?;
    assert_eq!(
        (&tested["passed"], &tested["failed"]),
        (&json!(1), &json!(0))
    );

    let measured = document(&folder, &["bench", "--time-ms", "20", "--size", "4k"])?;
    let rows = measured["rows"].as_array().context("rows")?;
    assert_eq!(rows.len(), 2, "{measured}");
    assert_eq!(rows[1]["bytes"], 4096);
    for row in rows {
        for figure in ["kept_us", "isolated_us"] {
            assert!(row[figure].as_f64().is_some_and(|time| time > 0.0), "{row}");
        }
    }

    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    for file in ["shout.wasm", "shout.toml"] {
        site.write(
            &format!("plugins/{file}"),
            std::fs::read(folder.join(file))?,
        )?;
    }
    site.write(
        "routes/route.toml",
        "model = \"adder\"\ninput = \"tensors\"\npre = [\"shout\"]\n",
    )?;
    let wharf = Wharf::serve(&site).await?;
    let answer = wharf.client().send(&one_to_four("route")).await?.ok()?;
    // The template halves, and the model adds 1.
    assert_eq!(crate::output(&answer), [1.5, 2.0, 2.5, 3.0]);
    Ok(())
}

/// Makes a plugin from the template of a stage, builds it, and runs the case that it begins with. Gives its folder.
fn from_template(desk: &Desk, language: &str, stage: &str) -> Result<PathBuf> {
    let folder = desk.plugin_in(language, &format!("{language}-{stage}"), stage)?;
    let built = document(&folder, &["build"])?;
    assert_eq!(built["stages"], json!([stage]), "{language}");
    let tested = document(&folder, &["test"])?;
    assert_eq!(
        (&tested["passed"], &tested["failed"]),
        (&json!(1), &json!(0)),
        "{tested}"
    );
    Ok(folder)
}

#[tokio::test]
async fn the_templates_of_all_stages_pass_their_own_tests() -> Result<()> {
    let desk = Desk::new()?;
    for stage in STAGES {
        let folder = from_template(&desk, "rust", stage)?;
        let mut unit_tests = std::process::Command::new("cargo");
        unit_tests
            .args(["test", "--quiet"])
            .current_dir(&folder)
            .env("CARGO_TARGET_DIR", guest_build()?);
        execute(&format!("the unit tests of {stage}"), unit_tests).await?;
    }
    Ok(())
}

fn pass_their_own_tests(language: &str, stages: &[&str]) -> Result<()> {
    let desk = Desk::new()?;
    for stage in stages {
        from_template(&desk, language, stage)?;
    }
    Ok(())
}

// The interpreter is compiled anew for each plugin, which takes half a minute: between them, each stage.
#[test]
fn the_templates_in_python_pass_their_own_tests() -> Result<()> {
    pass_their_own_tests("python", &["preprocess", "token-filter"])
}

#[test]
fn the_templates_in_javascript_pass_their_own_tests() -> Result<()> {
    pass_their_own_tests("javascript", &["postprocess", "router", "chunk-filter"])
}

#[test]
fn the_templates_in_c_pass_their_own_tests() -> Result<()> {
    pass_their_own_tests("c", &STAGES)
}

#[test]
fn a_toolchain_that_is_missing_is_said_with_its_command() -> Result<()> {
    let desk = Desk::new()?;
    let nothing = desk.0.path().join("no-programs");
    std::fs::create_dir(&nothing)?;
    for (language, advice) in [
        ("python", "pip install componentize-py"),
        ("javascript", "npm install"),
        ("c", "apt-get install"),
    ] {
        let folder = desk.plugin_in(language, &format!("in-{language}"), "router")?;
        let mut command = program()?;
        for variable in [
            "WHARF_PLUGIN_PYTHON",
            "WHARF_PLUGIN_NODE_MODULES",
            "WASI_SDK_PATH",
        ] {
            command.env_remove(variable);
        }
        let output = command
            .args(["plugin", "build"])
            .current_dir(&folder)
            .env("PATH", &nothing)
            .output()?;
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr)?;
        assert!(text.contains(advice), "{text}");
    }
    Ok(())
}

#[test]
fn a_case_that_fails_says_where_and_can_be_updated() -> Result<()> {
    let desk = Desk::new()?;
    let folder = desk.plugin("halves", "preprocess")?;
    document(&folder, &["build"])?;
    let expected = folder.join("cases/example/expected.json");
    let right = std::fs::read_to_string(&expected)?;
    write(&expected, &right.replace("1.5", "7.0"))?;

    let failed = wharf(&folder, &["test"])?;
    assert_eq!(failed.status.code(), Some(1));
    let text = String::from_utf8(failed.stdout)?;
    assert!(
        text.contains("outputs[0].data[2]: expected 7, got 1.5"),
        "{text}"
    );
    assert!(text.contains("0 passed, 1 failed"), "{text}");

    assert_eq!(
        wharf(&folder, &["test", "--update"])?.status.code(),
        Some(0)
    );
    assert_eq!(wharf(&folder, &["test"])?.status.code(), Some(0));
    Ok(())
}

#[test]
fn settings_that_the_plugin_refuses_exit_with_78() -> Result<()> {
    let desk = Desk::new()?;
    let folder = desk.plugin("strict", "preprocess")?;
    document(&folder, &["build"])?;
    write(&folder.join("strict.toml"), "[settings]\nfaktor = 1.0\n")?;
    let refused = wharf(&folder, &["test"])?;
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    let text = String::from_utf8(refused.stderr)?;
    assert!(text.contains("settings.faktor"), "{text}");

    write(&folder.join("strict.toml"), "isolation = \"none\"\n")?;
    assert_eq!(wharf(&folder, &["inspect"])?.status.code(), Some(78));
    let built = wharf(&folder, &["build"])?;
    assert_eq!(built.status.code(), Some(78));
    let text = String::from_utf8(built.stderr)?;
    assert!(
        text.contains("strict.wasm was built") && text.contains("isolation"),
        "{text}"
    );
    Ok(())
}

#[test]
fn a_component_that_is_older_than_its_source_is_tested_with_a_warning() -> Result<()> {
    let desk = Desk::new()?;
    let folder = desk.plugin("older", "preprocess")?;
    document(&folder, &["build"])?;
    let warned = || -> Result<bool> {
        let tested = wharf(&folder, &["test"])?;
        assert_eq!(tested.status.code(), Some(0), "{tested:?}");
        Ok(String::from_utf8(tested.stderr)?.contains("lib.rs is newer than the component"))
    };
    assert!(!warned()?);
    let source = folder.join("src/lib.rs");
    let text = std::fs::read_to_string(&source)?;
    write(&source, &format!("{text}// Another line.\n"))?;
    assert!(warned()?);
    let tested = wharf(&folder, &["test", "--build"])?;
    assert_eq!(tested.status.code(), Some(0), "{tested:?}");
    assert!(!warned()?, "it is built, if to the same bytes");
    Ok(())
}

#[test]
fn source_that_does_not_compile_fails_and_keeps_the_component() -> Result<()> {
    let desk = Desk::new()?;
    let folder = desk.plugin("broken", "router")?;
    write(&folder.join("broken.wasm"), "the one before")?;
    write(
        &folder.join("src/lib.rs"),
        "fn broken() -> u32 { \"text\" }",
    )?;
    let failed = wharf(&folder, &["build"])?;
    assert_eq!(failed.status.code(), Some(1));
    let text = String::from_utf8(failed.stderr)?;
    assert!(text.contains("mismatched types"), "{text}");
    assert_eq!(
        std::fs::read_to_string(folder.join("broken.wasm"))?,
        "the one before"
    );
    Ok(())
}

#[test]
fn cases_run_under_the_limits_of_production() -> Result<()> {
    let fault = r#"{"error": {"kind": "plugin-fault"}}"#;
    let folder = hostile(&[("loop", "spin", fault), ("memory", "hog", fault)])?;
    write(
        &folder.path().join("hostile.toml"),
        "[limits]\ncall_ms = 100\nmemory_mb = 16\n",
    )?;
    let tested = document(folder.path(), &["test", "hostile.wasm"])?;
    assert_eq!(tested["passed"], 2);
    for (case, limit) in [(0, "call_ms"), (1, "memory_mb")] {
        let log = tested["cases"][case]["log"].to_string();
        assert!(log.contains(limit), "{log}");
    }
    Ok(())
}

#[test]
fn a_replay_shows_the_backtrace_of_a_fault() -> Result<()> {
    let folder = hostile(&[("fault", "panic", "")])?;
    let replayed = wharf(folder.path(), &["replay", "cases/fault", "hostile.wasm"])?;
    assert_eq!(replayed.status.code(), Some(1));
    let text = String::from_utf8(replayed.stdout)?;
    assert!(text.contains("plugin-fault"), "{text}");
    // The backtrace names the function of the guest.
    assert!(
        text.contains("wasm backtrace") && text.contains("hostile"),
        "{text}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_plugin_changes_in_the_running_site() -> Result<()> {
    let desk = Desk::new()?;
    let folder = desk.plugin("watched", "preprocess")?;
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    site.write(
        "routes/route.toml",
        "model = \"adder\"\ninput = \"tensors\"\npre = [\"watched\"]\n",
    )?;
    let mut watch = Child(
        program()?
            .args(["plugin", "watch", "--site"])
            .arg(site.path())
            .current_dir(&folder)
            .env("CARGO_TARGET_DIR", guest_build()?)
            .spawn()?,
    );
    let component = site.path().join("plugins/watched.wasm");
    wait_for("the first build", async || {
        component.is_file().then_some(())
    })
    .await?;
    let wharf = Wharf::serve(&site).await?;
    let load = Load::start(wharf.listen(), 2, &one_to_four("route"));
    load.wait_for_answer(|answer| answer.contains("1.5"))
        .await?;

    let source = folder.join("src/lib.rs");
    let text = std::fs::read_to_string(&source)?;
    write(
        &source,
        &text.replace("*value *= self.settings.factor;", "*value += 0.0;"),
    )?;
    load.wait_for_answer(is_shifted_by(1.0)).await?;
    load.stop().await?.without_failure()?;
    ensure!(watch.0.try_wait()?.is_none(), "the watch has ended");
    Ok(())
}

/// A process that ends with the test.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        // Nothing to do about a failure: it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn wrong_use_exits_with_2_and_nothing_is_overwritten() -> Result<()> {
    let desk = Desk::new()?;
    for wrong in [
        &["new", "Bad Name"][..],
        &["new", "shout", "--stage", "nothing"],
        &["new", "list", "--lang", "c"],
        &["bench", "--size", "big"],
        &["nothing"],
    ] {
        assert_eq!(desk.wharf(wrong)?.status.code(), Some(2), "{wrong:?}");
    }
    let folder = desk.plugin("shout", "router")?;
    write(&folder.join("src/lib.rs"), "mine")?;
    let again = desk.wharf(&["new", "shout"])?;
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(folder.join("src/lib.rs"))?, "mine");
    for command in ["build", "test", "inspect", "bench"] {
        let nowhere = desk.wharf(&[command])?;
        assert_eq!(nowhere.status.code(), Some(1), "{command}");
        let text = String::from_utf8(nowhere.stderr)?;
        assert!(text.contains("wharf plugin new"), "{text}");
    }
    Ok(())
}

#[test]
fn a_reader_that_has_gone_changes_nothing() -> Result<()> {
    let folder = hostile(&[("wrong", "echo", r#"{"chosen": 1}"#)])?;
    for (command, code) in [("inspect", 0), ("test", 1)] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let output = program()?
            .args(["plugin", command, "hostile.wasm"])
            .current_dir(folder.path())
            .stdout(writer)
            .output()?;
        let text = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(code), "{command}: {text}");
        assert!(!text.contains("panicked"), "{command}: {text}");
    }
    Ok(())
}

#[test]
fn a_case_that_is_not_there_is_named() -> Result<()> {
    let folder = hostile(&[("one", "echo", "{}")])?;
    for command in ["test", "bench"] {
        let unknown = wharf(
            folder.path(),
            &[command, "hostile.wasm", "--case", "one", "--case", "two"],
        )?;
        assert_eq!(unknown.status.code(), Some(2), "{command}");
        let text = String::from_utf8(unknown.stderr)?;
        assert!(text.contains("no case \"two\""), "{text}");
    }
    Ok(())
}

#[test]
fn shells_complete_the_commands() -> Result<()> {
    for shell in ["bash", "zsh", "fish"] {
        let output = program()?.args(["completions", shell]).output()?;
        assert_eq!(output.status.code(), Some(0));
        let script = String::from_utf8(output.stdout)?;
        for word in ["plugin", "inspect", "--update"] {
            let word = word.trim_start_matches("--");
            assert!(script.contains(word), "{shell} lacks {word}");
        }
    }
    Ok(())
}

#[test]
fn every_command_has_examples() -> Result<()> {
    for command in [
        "new", "build", "test", "bench", "inspect", "replay", "watch",
    ] {
        let output = program()?.args(["plugin", command, "--help"]).output()?;
        let text = String::from_utf8(output.stdout)?;
        let example = format!("\n  wharf plugin {command}");
        assert!(
            text.contains("Examples:") && text.contains(&example),
            "{text}"
        );
    }
    Ok(())
}
