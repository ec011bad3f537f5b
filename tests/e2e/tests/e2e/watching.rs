//! The ways in which files change on disk.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wharf_e2e::{LONG_PATIENCE, Load, Site, Wharf, guest, wait_for, wait_within};

use crate::{is_shifted_by, one_to_four};

/// A site with the models `first` (`y = x + 1`) and `second` (`y = x + 2`).
fn site() -> Result<Site> {
    let site = Site::empty()?;
    site.adder("first", 1, 1.0)?;
    site.adder("second", 1, 2.0)?;
    Ok(site)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configmap_swap_is_noticed() -> Result<()> {
    let site = site()?;
    // As the kubelet does it: `..data` is a link to the folder in force, and each file a link through it.
    site.write("routes/..2026_1/route.toml", "model = \"first\"\n")?;
    site.write("routes/..2026_2/route.toml", "model = \"second\"\n")?;
    let routes = site.path().join("routes");
    symlink("..2026_1", routes.join("..data"))?;
    symlink("..data/route.toml", routes.join("route.toml"))?;

    let wharf = Wharf::serve(&site).await?;
    let load = Load::start(wharf.listen(), 2, &one_to_four("route"));
    load.wait_for_answer(is_shifted_by(1.0)).await?;
    symlink("..2026_2", routes.join("..data_tmp"))?;
    std::fs::rename(routes.join("..data_tmp"), routes.join("..data"))?;
    load.wait_for_answer(is_shifted_by(2.0)).await?;
    load.stop().await?.without_failure()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn editor_backups_and_unchanged_content_are_no_reload() -> Result<()> {
    let site = site()?;
    site.write("routes/route.toml", "model = \"first\"\n")?;
    let wharf = Wharf::serve(&site).await?;
    let generation = generation(&wharf).await?;

    for backup in [
        "route.toml~",
        ".route.toml.swp",
        "#route.toml#",
        "4913",
        ".#route.toml",
    ] {
        site.write_in_place(&format!("routes/{backup}"), "not = [toml")?;
    }
    site.write("routes/route.toml", "model = \"first\"\n")?;
    site.adder("first", 1, 1.0)?;
    wharf.reload().await?;
    assert_eq!(self::generation(&wharf).await?, generation);

    // The newest whole content serves, however many changes there were.
    for model in ["second", "first", "second"] {
        site.write_in_place("routes/route.toml", format!("model = \"{model}\"\n"))?;
    }
    wharf.reload().await?;
    crate::expect_shifted_by(&mut wharf.client(), "route", 2.0).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_grows_slowly_is_served_when_it_is_whole() -> Result<()> {
    let site = site()?;
    site.write("routes/route.toml", "model = \"first\"\n")?;
    let wharf = Wharf::serve(&site).await?;
    let load = Load::start(wharf.listen(), 2, &one_to_four("route"));
    load.wait_for_answer(is_shifted_by(1.0)).await?;
    let whole = "model = \"second\"\n";
    for end in 0..=whole.len() {
        site.write_in_place("routes/route.toml", &whole[..end])?;
        wharf.reload().await?;
    }
    load.wait_for_answer(is_shifted_by(2.0)).await?;
    load.stop().await?.without_failure()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_ran_over_is_followed_by_a_look() -> Result<()> {
    let site = site()?;
    site.write("routes/route.toml", "model = \"first\"\n")?;
    // Nothing but the overflow itself can tell of the change: there is no look from time to time.
    site.write("wharf.toml", "[serving]\nrescan_ms = 3600000\n")?;
    let wharf = Wharf::serve(&site).await?;
    let load = Load::start(wharf.listen(), 2, &one_to_four("route"));
    load.wait_for_answer(is_shifted_by(1.0)).await?;
    load.stop().await?.without_failure()?;

    wharf.pause().await?;
    let most: usize = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")?
        .trim()
        .parse()?;
    // Reading is no change, but it is reported. Equal reports in a row count as one: so two files in turn.
    let files = ["routes/route.toml", "wharf.toml"].map(|file| site.path().join(file));
    for _ in 0..=most {
        for file in &files {
            std::fs::File::open(file)?;
        }
    }
    site.write("routes/route.toml", "model = \"second\"\n")?;
    wharf.resume()?;

    let load = Load::start(wharf.listen(), 2, &one_to_four("route"));
    load.wait_for_answer(is_shifted_by(2.0)).await?;
    load.stop().await?.without_failure()
}

async fn generation(wharf: &Wharf) -> Result<u64> {
    wharf.snapshot().await?["generation"]
        .as_u64()
        .context("no generation")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_is_dropped_in_serves_within_a_second() -> Result<()> {
    const KNOWN: [&str; 3] = ["known", "again", "once-more"];

    let site = site()?;
    // A folder that is new is watched from the next look on.
    site.plugin("echo", "echo")?;
    // Whole files wait for no quiet: by the set one alone this would take a minute. The cache of this machine may know the plugin.
    let cache = tempfile::tempdir()?;
    let folder = cache.path().join("aot");
    let settings =
        format!("[serving]\ndebounce_ms = 60000\n[plugins]\ncache_folder = {folder:?}\n");
    site.write("wharf.toml", settings)?;
    for name in ["new"].iter().chain(&KNOWN) {
        let text = format!("model = \"first\"\ninput = \"tensors\"\npre = [\"{name}\"]\n");
        site.write(&format!("routes/{name}.toml"), text)?;
    }
    let wharf = Wharf::serve(&site).await?;
    let arrival = async |name: &str| -> Result<Duration> {
        let mut client = wharf.client();
        client.send(&one_to_four(name)).await?.problem(503)?;
        let dropped = Instant::now();
        site.write_in_place(&format!("plugins/{name}.wasm"), guest("bulky")?)?;
        wait_for("the dropped plugin", async || {
            let answer = client.send(&one_to_four(name)).await.ok()?.ok().ok()?;
            is_shifted_by(1.0)(&answer.to_string()).then_some(())
        })
        .await?;
        Ok(dropped.elapsed())
    };
    arrival("new").await?;
    // It is compiled by threads that give way to all others.
    let replaced = async || -> Option<()> {
        let metrics = wharf.metrics().await.ok()?;
        (metrics.sum("plugin_draft_total", &["outcome=\"replaced\""]) >= 1.0).then_some(())
    };
    wait_within(
        LONG_PATIENCE,
        "optimised code in the place of the draft",
        replaced,
    )
    .await?;
    // Compiling was for the first: the same component comes from the cache. The fastest of a few says how long that takes:
    // whatever else a machine does only makes one longer.
    let mut fastest = Duration::MAX;
    for name in KNOWN {
        fastest = fastest.min(arrival(name).await?);
    }
    ensure!(fastest < Duration::from_secs(1), "it took {fastest:?}");
    Ok(())
}
