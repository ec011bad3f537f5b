//! Reloads, loads and unloads without end give their memory back.

use anyhow::{Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use wharf_e2e::{Site, Wharf, onnx};

use crate::expect_shifted_by;
use crate::management::{load, unload};

/// The memory that may stay after the reloads.
const ALLOWANCE: u64 = 100 << 20;
/// The floats that each version of the model carries: 2 MiB of weights.
const BALLAST: usize = 1 << 19;
/// Reloads before the first measure: caches and arenas are filled then.
const WARM_UP: u32 = 50;

/// What is done again and again.
#[derive(Clone, Copy)]
enum Work {
    /// The model and the plugin's settings change in the site.
    Reload,
    /// A client unloads the model and loads it again.
    LoadAgain,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_reloads_give_their_memory_back() -> Result<()> {
    expect_memory_back(Work::Reload).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_loads_and_unloads_give_their_memory_back() -> Result<()> {
    expect_memory_back(Work::LoadAgain).await
}

/// Shows that the tests above would find a leak: here each generation is held by a request whose body never ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generations_that_are_held_are_noticed() -> Result<()> {
    expect_leak_noticed(Work::Reload).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unloaded_models_that_are_held_are_noticed() -> Result<()> {
    expect_leak_noticed(Work::LoadAgain).await
}

async fn expect_memory_back(work: Work) -> Result<()> {
    let site = site()?;
    let wharf = Wharf::serve(&site).await?;
    work.rounds(&site, &wharf, 0..WARM_UP).await?;
    let growth = growth(&wharf, work.rounds(&site, &wharf, WARM_UP..1000)).await?;
    eprintln!("{} MiB stayed", growth >> 20);
    ensure!(growth < ALLOWANCE, "{} MiB stayed", growth >> 20);
    Ok(())
}

async fn expect_leak_noticed(work: Work) -> Result<()> {
    let site = site()?;
    // An unload waits no longer than the second of these for who holds the model.
    site.write(
        "wharf.toml",
        "[server]\nbody_timeout_ms = 600000\n[serving]\ndrain_timeout_ms = 1\n",
    )?;
    let wharf = Wharf::serve(&site).await?;
    work.rounds(&site, &wharf, 0..WARM_UP).await?;
    let mut holders = Vec::new();
    let leaking = async {
        for round in WARM_UP..WARM_UP + 100 {
            work.rounds(&site, &wharf, round..round + 1).await?;
            holders.push(hold(&wharf).await?);
        }
        anyhow::Ok(())
    };
    let growth = growth(&wharf, leaking).await?;
    ensure!(
        growth > ALLOWANCE,
        "only {} MiB stayed: the measure finds no leak",
        growth >> 20
    );

    drop(holders);
    wharf
        .wait_for_metrics("the generations to be dropped", |metrics| {
            metrics.sum("serving_live_generations", &["kind=\"model\""]) <= 2.0
        })
        .await
}

fn site() -> Result<Site> {
    let site = Site::empty()?;
    site.plugin("scale", "scale")?;
    site.write(
        "routes/route.toml",
        "model = \"heavy\"\ninput = \"tensors\"\npre = [\"scale\"]\n",
    )?;
    change(&site, 0)?;
    Ok(site)
}

/// Replaces the model and the plugin's settings: `y = x + round`.
fn change(site: &Site, round: u32) -> Result<()> {
    site.write(
        "models/heavy/1/model.onnx",
        onnx::heavy_adder(round as f32, BALLAST),
    )?;
    // Each round has settings of its own, though all of them scale by 1.
    site.write(
        "plugins/scale.toml",
        format!("# {round}\n[settings]\nfactor = 1.0\n"),
    )
}

impl Work {
    async fn rounds(self, site: &Site, wharf: &Wharf, rounds: std::ops::Range<u32>) -> Result<()> {
        let mut client = wharf.client();
        for round in rounds {
            let amount = match self {
                Self::Reload => {
                    change(site, round)?;
                    wharf.reload().await?;
                    f64::from(round)
                }
                Self::LoadAgain => {
                    unload(&mut client, "heavy").await?.accepted()?;
                    load(&mut client, "heavy").await?.accepted()?;
                    0.0
                }
            };
            expect_shifted_by(&mut client, "route", amount).await?;
        }
        Ok(())
    }
}

/// The memory by which the server grows during some work.
async fn growth(wharf: &Wharf, work: impl Future<Output = Result<()>>) -> Result<u64> {
    let before = wharf.resident_bytes()?;
    work.await?;
    Ok(wharf.resident_bytes()?.saturating_sub(before))
}

/// Begins a request and never ends it.
async fn hold(wharf: &Wharf) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(wharf.listen()).await?;
    let head = "POST /v1/infer/route HTTP/1.1\r\nhost: wharf\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
    stream.write_all(head.as_bytes()).await?;
    Ok(stream)
}
