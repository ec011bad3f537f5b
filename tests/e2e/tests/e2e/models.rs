//! Models that are broken, hostile or taken away.

use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use wharf_e2e::onnx::{External, external_adder, heavy_adder, slow, unknown_operator};
use wharf_e2e::{Load, Request, Site, Wharf, guest};

use crate::admin::{error_of, event_of};
use crate::{expect_recovered, expect_shifted_by, is_shifted_by, one_to_four};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_could_leave_the_site_are_refused_before_any_path_is_made() -> Result<()> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    let mut wharf = Wharf::serve(&site).await?;
    let long = "x".repeat(256);
    for name in [
        "..",
        ".",
        "..%2f..%2fetc%2fpasswd",
        "a%2Fb",
        "a/b",
        "a%00b",
        "%2e%2e",
        ".hidden",
        "a%5cb",
        "",
        &long,
    ] {
        let request = Request::json(
            format!("/v1/infer/{name}"),
            &serde_json::json!({"input": [1, 2, 3, 4]}),
        );
        wharf
            .client()
            .send(&request)
            .await?
            .problem(400)
            .with_context(|| format!("the name {name:?}"))?;
    }
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn external_data_are_read_inside_the_site_only() -> Result<()> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    let outside = tempfile_with(&[7.0; 4])?;
    let secret = outside.path().join("secret.bin");
    let absolute = secret.to_str().context("an odd path")?;
    let way_out = format!("../../../../../../../../{absolute}");

    let mut wharf = Wharf::serve(&site).await?;
    let folder = site.path().join("models/leak/1");
    std::fs::create_dir_all(&folder)?;
    symlink(&secret, folder.join("link.bin"))?;
    symlink(outside.path(), folder.join("folder"))?;
    std::fs::hard_link(&secret, folder.join("hard.bin"))?;
    std::fs::write(folder.join("short.bin"), [0; 8])?;
    // Whoever opens this for reading waits for ever.
    ensure!(
        Command::new("mkfifo")
            .arg(folder.join("pipe.bin"))
            .status()?
            .success(),
        "mkfifo failed"
    );

    let whole = |location| External {
        location,
        offset: 0,
        length: 16,
    };
    let attacks = [
        whole(&way_out),
        whole(absolute),
        whole("link.bin"),
        whole("folder/secret.bin"),
        whole("hard.bin"),
        whole("pipe.bin"),
        whole("short.bin"),
        whole("missing.bin"),
        whole(""),
        External {
            location: "short.bin",
            offset: -1,
            length: 16,
        },
        External {
            location: "short.bin",
            offset: 1 << 50,
            length: 16,
        },
        External {
            location: "short.bin",
            offset: 0,
            length: 1 << 50,
        },
        External {
            location: "short.bin",
            offset: i64::MAX,
            length: i64::MAX,
        },
    ];
    for attack in &attacks {
        site.write("models/leak/1/model.onnx", external_adder(attack))?;
        let reload = wharf.reload().await?;
        error_of(&reload, "models/leak").with_context(|| format!("{attack:?} was not refused"))?;
        wharf
            .client()
            .send(&one_to_four("leak"))
            .await?
            .problem(503)?;
    }

    site.write("models/leak/1/weights.bin", floats(&[5.0; 4]))?;
    site.write(
        "models/leak/1/model.onnx",
        external_adder(&whole("weights.bin")),
    )?;
    wharf.reload().await?;
    expect_shifted_by(&mut wharf.client(), "leak", 5.0).await?;
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unloadable_version_leaves_the_old_one_serving() -> Result<()> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    let mut wharf = Wharf::serve(&site).await?;
    let load = Load::start(wharf.listen(), 2, &one_to_four("adder"));
    load.wait_for_answer(is_shifted_by(1.0)).await?;

    let whole = heavy_adder(2.0, 10_000);
    for broken in [
        &b""[..],
        b"garbage",
        &whole[..whole.len() / 2],
        &unknown_operator(),
    ] {
        site.write("models/adder/2/model.onnx", broken)?;
        let reload = wharf.reload().await?;
        error_of(&reload, "models/adder")?;
        event_of(&wharf.snapshot().await?, "models/adder")?;
        load.wait_for_answer(is_shifted_by(1.0)).await?;
    }
    site.write("models/adder/2/model.onnx", &whole)?;
    load.wait_for_answer(is_shifted_by(2.0)).await?;
    load.stop().await?.without_failure()?;
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_flight_outlive_their_model() -> Result<()> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    site.write("models/slow/1/model.onnx", slow(400))?;
    let mut wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    let request = tokio::spawn(async move { client.send(&one_to_four("slow")).await });
    wharf
        .wait_for_metrics("the request to be in flight", |metrics| {
            metrics.sum("serving_in_flight", &["endpoint=\"slow\""]) > 0.0
        })
        .await?;
    site.remove("models/slow")?;
    wharf.reload().await?;
    wharf
        .client()
        .send(&one_to_four("slow"))
        .await?
        .problem(404)?;
    request.await??.ok()?;
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_during_a_load_comes_back_with_the_whole_site() -> Result<()> {
    let site = Site::empty()?;
    let cache = Site::empty()?;
    site.write(
        "wharf.toml",
        format!("[plugins]\ncache_folder = \"{}\"\n", cache.path().display()),
    )?;
    site.adder("adder", 1, 1.0)?;
    site.plugin("pass", "hostile")?;
    site.write(
        "routes/route.toml",
        "model = \"adder\"\ninput = \"tensors\"\npre = [\"pass\"]\n",
    )?;
    // Both pass everything through.
    let components = ["echo", "hostile"].map(guest);
    let moments_ms = (0..12).map(|moment| moment * 40);
    for (version, (moment_ms, component)) in
        (2_u16..).zip(moments_ms.zip(components.iter().cycle()))
    {
        let wharf = Wharf::serve(&site).await?;
        let amount = f32::from(version);
        // A component that has to be compiled, and a model that takes a while.
        for artifact in std::fs::read_dir(cache.path())? {
            std::fs::remove_file(artifact?.path())?;
        }
        let component = component.as_ref().ok().context("the guests are built")?;
        site.write("plugins/pass.wasm", component)?;
        site.write(
            &format!("models/adder/{version}/model.onnx"),
            heavy_adder(amount, 500_000),
        )?;
        // No condition to wait for: the server is killed at this moment of the load, whatever it does then.
        tokio::time::sleep(Duration::from_millis(moment_ms)).await;
        wharf.kill().await?;

        // It is ready when all of the site is in force, and not before: the first answer is of the new model.
        let mut wharf = Wharf::serve(&site).await?;
        expect_shifted_by(&mut wharf.client(), "route", f64::from(amount)).await?;
        expect_recovered(&mut wharf, "adder").await?;
        site.remove(&format!("models/adder/{}", version - 1))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_while_files_are_copied_comes_back_with_what_is_whole() -> Result<()> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    let whole = heavy_adder(2.0, 100_000);
    for share in 0..4 {
        let wharf = Wharf::serve(&site).await?;
        let half = &whole[..whole.len() * share / 4];
        site.write_in_place("models/adder/2/model.onnx", half)?;
        wharf.kill().await?;

        let mut wharf = Wharf::serve(&site).await?;
        expect_shifted_by(&mut wharf.client(), "adder", 1.0).await?;
        error_of(&wharf.snapshot().await?, "models/adder/2")?;
        expect_recovered(&mut wharf, "adder").await?;
    }
    site.write_in_place("models/adder/2/model.onnx", &whole)?;
    let wharf = Wharf::serve(&site).await?;
    expect_shifted_by(&mut wharf.client(), "adder", 2.0).await
}

fn tempfile_with(values: &[f32]) -> Result<Site> {
    let folder = Site::empty()?;
    folder.write("secret.bin", floats(values))?;
    Ok(folder)
}

fn floats(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}
