//! Plugins in Python, JavaScript and C: the examples give right answers, and those that misbehave stay in their bounds.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use wharf_e2e::{Request, Response, Site, Wharf, check, guest, program, repository, wait_for};

use crate::expect_recovered;

const LANGUAGES: [&str; 3] = ["python", "javascript", "c"];

/// The examples, as their folders and their names.
const EXAMPLES: [(&str, &str); 3] = [
    ("python", "text-features"),
    ("javascript", "label-json"),
    ("c", "normalise"),
];

/// A site with the examples, their settings as an author gets them, and the models of the tests.
fn examples() -> Result<Site> {
    let site = Site::empty()?;
    for (language, name) in EXAMPLES {
        site.plugin(name, name)?;
        let settings = repository(&format!("examples/plugins/{language}/{name}.toml"));
        site.write(&format!("plugins/{name}.toml"), std::fs::read(settings)?)?;
    }
    site.adder("adder", 1, 0.0)?;
    let iris = repository("examples/quickstart/models/iris/1/model.onnx");
    site.write("models/iris/1/model.onnx", std::fs::read(iris)?)?;
    // The adder's input is called x.
    site.write(
        "plugins/text-features.toml",
        "isolation = \"shared\"\n[settings]\nname = \"x\"\nmax_texts = 2\n",
    )?;
    for (route, text) in [
        ("features", "model = \"adder\"\npre = [\"text-features\"]\n"),
        ("labels", "model = \"iris\"\npost = [\"label-json\"]\n"),
        (
            "normalised",
            "model = \"adder\"\ninput = \"tensors\"\npre = [\"normalise\"]\n",
        ),
    ] {
        site.write(&format!("routes/{route}.toml"), text)?;
    }
    Ok(site)
}

/// A site with the misbehaving plugins, each behind a route of its name.
fn probes() -> Result<Site> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    for language in LANGUAGES {
        let name = format!("probe-{language}");
        site.plugin(&name, &name)?;
        site.write(
            &format!("plugins/{name}.toml"),
            "[limits]\ncall_ms = 500\nready_instances = 4\n",
        )?;
        site.write(
            &format!("routes/{name}.toml"),
            format!("model = \"adder\"\ninput = \"tensors\"\npre = [\"{name}\"]\n"),
        )?;
    }
    Ok(site)
}

/// Serves a site. The first compilation of an interpreter takes longer than a test waits; `check` does it without a limit, once, and the
/// host's cache keeps it.
async fn serve(site: &Site) -> Result<Wharf> {
    static COMPILED: OnceCell<()> = OnceCell::const_new();
    COMPILED
        .get_or_try_init(async || {
            tokio::task::spawn_blocking(|| {
                for site in [examples()?, probes()?] {
                    let output = check(&site)?;
                    ensure!(output.status.success(), "wharf check: {output:?}");
                }
                Ok(())
            })
            .await?
        })
        .await?;
    Wharf::serve(site).await
}

async fn send(wharf: &Wharf, route: &str, body: &Value) -> Result<Response> {
    let request = Request::json(format!("/v1/infer/{route}"), body);
    wharf.client().send(&request).await
}

#[test]
fn the_examples_pass_their_cases() -> Result<()> {
    for (language, name) in EXAMPLES {
        let source = repository("examples/plugins").join(language);
        let folder = tempfile::tempdir()?;
        let component = format!("{name}.wasm");
        std::fs::write(folder.path().join(&component), guest(name)?)?;
        for beside in [format!("{name}.toml"), "cases".to_owned()] {
            std::os::unix::fs::symlink(source.join(&beside), folder.path().join(beside))?;
        }
        let mut test = program()?;
        test.args(["plugin", "test", &component, "--json"])
            .current_dir(folder.path());
        let output = test.output()?;
        ensure!(output.status.success(), "{name}: {output:?}");
        let tested: Value = serde_json::from_slice(&output.stdout)?;
        let passed = tested["passed"].as_u64().context("passed")?;
        let cases = std::fs::read_dir(source.join("cases"))?.count();
        assert_eq!(passed as usize, cases, "{name}: {tested}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_makes_tensors_of_documents() -> Result<()> {
    let wharf = serve(&examples()?).await?;
    let answer = send(&wharf, "features", &json!({"text": "Buy NOW!!!"}))
        .await?
        .ok()?;
    assert_eq!(crate::output(&answer), features([10.0, 2.0, 0.4, 0.3]));
    let answer = send(&wharf, "features", &json!({"texts": ["", "See you"]}))
        .await?
        .ok()?;
    let expected = [features([0.0; 4]), features([7.0, 2.0, 1.0 / 7.0, 0.0])].concat();
    assert_eq!(crate::output(&answer), expected);

    for (body, field) in [
        (json!({"text": 3}), Some("text")),
        (json!({"texts": []}), Some("texts")),
        (json!({"texts": ["a", "b", "c"]}), Some("texts")),
        (json!({"word": "a"}), Some("text")),
        (json!("text"), Some("text")),
    ] {
        let problem = send(&wharf, "features", &body).await?.problem(400)?;
        assert_eq!(problem["field"].as_str(), field, "{body}: {problem}");
    }
    let deep = Request::post(
        "/v1/infer/features",
        "application/json",
        "[".repeat(100_000),
    );
    wharf.client().send(&deep).await?.problem(400)?;
    Ok(())
}

/// What JSON keeps of floats: the shortest digits that give the same FP32.
fn features(values: [f64; 4]) -> Vec<f64> {
    let shortest = |value: &f64| (*value as f32).to_string().parse();
    values
        .iter()
        .filter_map(|value| shortest(value).ok())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn javascript_makes_labels_of_scores() -> Result<()> {
    let site = examples()?;
    let wharf = serve(&site).await?;
    let answer = send(&wharf, "labels", &json!({"input": [5.1, 3.5, 1.4, 0.2]}))
        .await?
        .ok()?;
    assert_eq!(answer["label"], "setosa", "{answer}");
    assert!(answer["score"].as_f64() > Some(0.9), "{answer}");
    assert_eq!(
        answer["scores"].as_object().map(|scores| scores.len()),
        Some(3)
    );
    let two = json!({"input": [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]});
    let answer = send(&wharf, "labels", &two).await?.ok()?;
    assert_eq!(answer["results"][1]["label"], "virginica", "{answer}");

    // An error of a stage is told; here the operator's labels do not fit the model.
    site.write(
        "plugins/label-json.toml",
        "[settings]\nlabels = [\"only one\"]\n",
    )?;
    wharf.reload().await?;
    let problem = send(&wharf, "labels", &two).await?.problem(502)?;
    ensure!(
        problem["detail"]
            .as_str()
            .is_some_and(|text| text.contains("1 labels")),
        "{problem}"
    );
    // A wrong setting is refused by its name, and what was there goes on.
    site.write("plugins/label-json.toml", "[settings]\nlabel = \"a\"\n")?;
    let output = check(&site)?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(
        text.contains("label-json.toml") && text.contains("there is no such setting"),
        "{text}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c_normalises_rows() -> Result<()> {
    let wharf = serve(&examples()?).await?;
    let answer = send(
        &wharf,
        "normalised",
        &json!({"input": [[1.0, 1.0, 3.0, 3.0], [7.0, 7.0, 7.0, 7.0]]}),
    )
    .await?
    .ok()?;
    assert_eq!(
        crate::output(&answer),
        [-1.0, -1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    );
    // The squares of these are finite in double precision: they are no error.
    let large = json!({"input": [[1e38, 3e38, -3e38, 1.0]]});
    send(&wharf, "normalised", &large).await?.ok()?;
    // JSON has no such numbers; the binary form of the protocol has.
    let problem = wharf
        .client()
        .send(&binary([1.0, f32::NAN, 2.0, 3.0]))
        .await?
        .problem(400)?;
    assert_eq!(problem["field"], "inputs.x", "{problem}");
    ensure!(problem["detail"] == "send finite numbers", "{problem}");
    Ok(())
}

/// A request of the Open Inference Protocol with its tensor behind the JSON.
fn binary(values: [f32; 4]) -> Request {
    let head = json!({"inputs": [{
        "name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 16},
    }]})
    .to_string();
    let length = head.len().to_string();
    let mut body = head.into_bytes();
    body.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    Request::post(
        "/v2/models/normalised/infer",
        "application/octet-stream",
        body,
    )
    .header("inference-header-content-length", length)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_in_any_language_is_for_the_operator_alone() -> Result<()> {
    let mut wharf = serve(&probes()?).await?;
    for language in LANGUAGES {
        let name = format!("probe-{language}");
        let secret = format!("the inner secret of {language}");
        let request = behaving(&name, "raise").header("x-secret", &secret);
        let problem = wharf
            .client()
            .send(&request)
            .await?
            .problem(502)
            .context(language)?;
        ensure!(!problem.to_string().contains("secret"), "{problem}");
        ensure!(
            problem["type"]
                .as_str()
                .is_some_and(|kind| kind.ends_with("plugin-fault")),
            "{problem}"
        );
        for text in [secret.as_str(), "about to fail"] {
            wharf.wait_for_log(text).await.context(language)?;
        }
        crate::expect_shifted_by(&mut wharf.client(), &name, 1.0).await?;
    }
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_in_any_language_ends_at_its_limit() -> Result<()> {
    let mut wharf = serve(&probes()?).await?;
    for language in LANGUAGES {
        let name = format!("probe-{language}");
        wharf
            .client()
            .send(&behaving(&name, "spin"))
            .await?
            .problem(502)
            .context(language)?;
        crate::expect_shifted_by(&mut wharf.client(), &name, 1.0).await?;
    }
    wharf.wait_for_log("limits.call_ms").await?;
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleep_ends_at_the_limit_of_the_call() -> Result<()> {
    let mut wharf = serve(&probes()?).await?;
    wharf
        .client()
        .send(&behaving("probe-python", "sleep"))
        .await?
        .problem(502)?;
    wharf.wait_for_log("limits.call_ms").await?;
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_no_network_and_no_environment_is_there_for_a_plugin() -> Result<()> {
    let site = probes()?;
    serve(&site).await?.stop().await?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?.to_string();
    let mut wharf = Wharf::serve_with(&site, |command| {
        command.env("OF_THE_HOST", "the host's own");
    })
    .await?;
    let request = behaving("probe-python", "reach").header("x-address", address);
    let problem = wharf.client().send(&request).await?.problem(400)?;
    let report = problem["detail"].as_str().context("no report")?;
    for what in [
        "folder", "file", "write", "connect", "listen", "datagram", "lookup",
    ] {
        ensure!(
            report.contains(&format!("{what}: refused")),
            "{what}: {report}"
        );
    }
    ensure!(
        report.contains("environment: ") && !report.contains("OF_THE_HOST"),
        "{report}"
    );
    ensure!(listener.accept().is_err(), "somebody connected");
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_language_keeps_what_a_request_left_unless_instances_are_shared() -> Result<()> {
    let site = probes()?;
    let mut wharf = serve(&site).await?;
    let address = wharf.listen();
    let seen = async |name: &str, secret: &str| -> Result<String> {
        let request = behaving(name, "keep").header("x-secret", secret);
        let problem = wharf_e2e::Client::new(address)
            .send(&request)
            .await?
            .problem(400)?;
        Ok(problem["field"].as_str().context("no field")?.to_owned())
    };
    for language in LANGUAGES {
        let name = format!("probe-{language}");
        for request in 0..20 {
            assert_eq!(
                seen(&name, &format!("secret {request}")).await?,
                "nothing",
                "{language}"
            );
        }
        // Where the operator shares instances, the plugin does see it: so the check above looks in the right place.
        site.write(&format!("plugins/{name}.toml"), "isolation = \"shared\"\n")?;
    }
    wharf.reload().await?;
    for language in LANGUAGES {
        let name = format!("probe-{language}");
        wait_for("the secret in the shared instance", async || {
            seen(&name, "shared")
                .await
                .is_ok_and(|field| field == "shared")
                .then_some(())
        })
        .await
        .context(language)?;
    }
    expect_recovered(&mut wharf, "adder").await
}

fn behaving(route: &str, behaviour: &str) -> Request {
    crate::one_to_four(route).header("x-behaviour", behaviour)
}
