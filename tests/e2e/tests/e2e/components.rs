//! Components that must not be loaded, and those that must.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use wharf_e2e::{Load, Site, Wharf, guest};

use crate::admin::{error_of, event_of};
use crate::{expect_recovered, is_shifted_by, one_to_four};

/// A site with the route `route`: the plugin `echo` before the model `adder`, `y = x + 1`.
fn site() -> Result<Site> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    site.plugin("echo", "echo")?;
    site.write(
        "routes/route.toml",
        "model = \"adder\"\ninput = \"tensors\"\npre = [\"echo\"]\n",
    )?;
    Ok(site)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_cannot_be_served_leaves_the_old_one_serving() -> Result<()> {
    let site = site()?;
    let mut wharf = Wharf::serve(&site).await?;
    let load = Load::start(wharf.listen(), 2, &one_to_four("route"));
    load.wait_for_answer(is_shifted_by(1.0)).await?;

    let whole = guest("echo")?;
    let unsupported = replaced(&whole, b"@1.1.0", b"@9.0.0");
    let broken: [(&str, &[u8]); 7] = [
        ("an empty file", b""),
        ("garbage", b"not a component"),
        ("half a component", &whole[..whole.len() / 2]),
        ("all but the last byte", &whole[..whole.len() - 1]),
        ("a core module", b"\0asm\x01\0\0\0"),
        ("a component without stages", b"\0asm\x0d\0\x01\0"),
        ("another version of the contract", &unsupported),
    ];
    for (what, component) in broken {
        site.write_in_place("plugins/echo.wasm", component)?;
        let reload = wharf.reload().await?;
        error_of(&reload, "plugins/echo").with_context(|| format!("{what} was not refused"))?;
        event_of(&wharf.snapshot().await?, "plugins/echo")?;
        load.wait_for_answer(is_shifted_by(1.0)).await?;
    }

    site.write_in_place("plugins/echo.wasm", &whole)?;
    site.write(
        "plugins/echo.toml",
        format!("sha256 = \"{}\"\n", "0".repeat(64)),
    )?;
    let reload = wharf.reload().await?;
    let error = error_of(&reload, "plugins/echo.toml")?;
    ensure!(error["key"] == "sha256", "{error}");
    site.remove("plugins/echo.toml")?;
    wharf.reload().await?;
    ensure!(
        error_of(&wharf.snapshot().await?, "plugins/echo").is_err(),
        "the error stays when it is mended"
    );

    load.stop().await?.without_failure()?;
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_granted_is_denied_by_the_name_of_its_grant() -> Result<()> {
    let site = site()?;
    let mut wharf = Wharf::serve(&site).await?;
    let load = Load::start(wharf.listen(), 2, &one_to_four("route"));
    load.wait_for_answer(is_shifted_by(1.0)).await?;

    let whole = guest("echo")?;
    let types = b"wharf:plugin/types@1.1.0";
    for (import, denial) in [
        (
            &b"wharf:plugin/model@1.1.0"[..],
            "needs the grant \"model\"",
        ),
        (b"wharf:plugin/codec@1.1.0", "needs the grant \"codec\""),
        (b"wharf:plugin/state@1.1.0", "needs the grant \"state\""),
        (
            b"wasi:http/outgoing@0.2.3",
            "use the interface http of wharf:plugin",
        ),
    ] {
        ensure!(
            import.len() == types.len(),
            "only equal lengths are replaced"
        );
        site.write("plugins/echo.wasm", replaced(&whole, types, import))?;
        let reload = wharf.reload().await?;
        for found in [
            error_of(&reload, "plugins/echo")?,
            event_of(&wharf.snapshot().await?, "plugins/echo")?,
        ] {
            ensure!(
                found["message"]
                    .as_str()
                    .is_some_and(|message| message.contains(denial)),
                "{found} does not say: {denial}"
            );
        }
        load.wait_for_answer(is_shifted_by(1.0)).await?;
    }
    load.stop().await?.without_failure()?;
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_over_the_size_cap_is_refused() -> Result<()> {
    let site = site()?;
    site.write("wharf.toml", "[plugins]\ncomponent_mb = 1\n")?;
    let mut wharf = Wharf::serve(&site).await?;
    site.write(
        "plugins/huge.wasm",
        with_custom_section(&guest("echo")?, 2 << 20),
    )?;
    let reload = wharf.reload().await?;
    let error = error_of(&reload, "plugins/huge")?;
    ensure!(
        error["message"]
            .as_str()
            .is_some_and(|message| message.contains("component_mb")),
        "{error}"
    );
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compiled_code_is_taken_from_the_hosts_own_cache_only() -> Result<()> {
    let cache = Site::empty()?;
    let with_cache = |site: &Site| {
        site.write(
            "wharf.toml",
            format!(
                "[plugins]\ncache_folder = \"{}\"\ncompile_in_tiers = false\n",
                cache.path().display()
            ),
        )
    };
    let site = site()?;
    with_cache(&site)?;
    Wharf::serve(&site).await?.stop().await?;
    let artifacts = files(cache.path())?;
    ensure!(!artifacts.is_empty(), "nothing was cached");

    // Tampered with: every artifact has other bytes than the host wrote.
    let artifact = fs::read(&artifacts[0])?;
    for path in &artifacts {
        let mut bytes = fs::read(path)?;
        let middle = bytes.len() / 2;
        bytes[middle..].iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(path, bytes)?;
    }
    let mut wharf = Wharf::serve(&site).await?;
    crate::expect_shifted_by(&mut wharf.client(), "route", 1.0).await?;
    let metrics = wharf.metrics().await?;
    ensure!(
        metrics.sum("plugin_compile_total", &["cache=\"refused\""]) >= 1.0,
        "the metric does not count it"
    );

    // Compiled code in the plugins folder is no component, whoever made it.
    site.write("plugins/compiled.wasm", artifact)?;
    let reload = wharf.reload().await?;
    error_of(&reload, "plugins/compiled")?;
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_of_the_first_release_serves() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests/abi");
    let components: Vec<_> = files(&folder)?
        .into_iter()
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "wasm")
        })
        .collect();
    ensure!(
        !components.is_empty(),
        "no component of the first release is committed"
    );
    let site = site()?;
    for component in components {
        site.write("plugins/echo.wasm", fs::read(&component)?)?;
        let mut wharf = Wharf::serve(&site).await?;
        wharf
            .client()
            .send(&one_to_four("route"))
            .await?
            .ok()
            .with_context(|| format!("{}", component.display()))?;
        expect_recovered(&mut wharf, "adder").await?;
    }
    Ok(())
}

/// The bytes with every occurrence replaced by others of the same length.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for start in 0..bytes.len().saturating_sub(from.len()) {
        if bytes[start..].starts_with(from) {
            bytes[start..start + to.len()].copy_from_slice(to);
        }
    }
    bytes
}

/// The component with a custom section of that many bytes at its end, which changes nothing but its size.
fn with_custom_section(component: &[u8], size: usize) -> Vec<u8> {
    let mut section = vec![1, b'x'];
    section.resize(size, 0);
    let mut bytes = component.to_vec();
    bytes.push(0);
    let mut length = section.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(section);
    bytes
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
