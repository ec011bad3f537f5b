//! Loads and unloads over the API, under a trickle of traffic: what they leave in memory, and what an unload gives back.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Ground;
use super::generator::{self, Generator};
use super::models::BenchModel;
use super::process::{Running, Wharf};
use super::report::{Report, Target};
use super::site::ModelSite;

/// Requests a second to a model that stays, while others come and go.
const TRICKLE: [&str; 6] = ["--rate", "50", "--warmup", "0", "--duration", "1h"];

/// A little of everything that the CNN needs memory for.
const CNN_LOAD: [&str; 8] = [
    "--data",
    "binary",
    "--connections",
    "4",
    "--duration",
    "1s",
    "--warmup",
    "0",
];

/// Loads and unloads before the start is measured: what the process keeps for itself is made by the first ones.
const WARM_UP: u32 = 20;

/// What all loads together may leave.
const MAY_STAY: u64 = 100_000_000;

pub(super) fn run(ground: &Ground<'_>, report: &mut Report) -> Result<()> {
    let site = ModelSite::new()?
        .with(BenchModel::Tiny, "", ground.paths)?
        .with_name("comes-and-goes", BenchModel::Mlp, "", ground.paths)?
        .with(BenchModel::Cnn, "", ground.paths)?;
    let wharf = Wharf::start(&ground.binaries, site.path())?;
    unload_of_the_cnn(ground, &wharf, report)?;

    let mut trickle = Generator::new(&ground.binaries, &wharf.url(""), "tiny").command(&TRICKLE);
    let trickle = Running::start(trickle.stdout(Stdio::piped()))?;
    cycle(&wharf, WARM_UP)?;
    let before = wharf.resident_bytes()?;
    cycle(&wharf, ground.loads)?;
    let after = wharf.resident_bytes()?;
    let outcome = generator::outcome(&trickle.interrupt()?)?;

    let what = format!(
        "resident after {} loads and unloads, more than before",
        ground.loads
    );
    report.bytes_within(&what, after.saturating_sub(before), MAY_STAY);
    report.count("requests meanwhile", outcome.requests, Target::AtLeast(1.0));
    report.count(
        "requests that failed meanwhile",
        outcome.requests - outcome.succeeded + outcome.unsent,
        Target::AtMost(0.0),
    );
    Ok(())
}

/// Unloads a model and loads it again, so many times.
fn cycle(wharf: &Wharf, times: u32) -> Result<()> {
    for number in 0..times {
        for change in ["unload", "load"] {
            wharf
                .post(
                    &format!("/v2/repository/models/comes-and-goes/{change}"),
                    "{}",
                )
                .with_context(|| format!("{change} number {number}"))?;
        }
    }
    Ok(())
}

/// The resident memory with the CNN in use, and after its unload. A first round makes what the process keeps for itself.
fn unload_of_the_cnn(ground: &Ground<'_>, wharf: &Wharf, report: &mut Report) -> Result<()> {
    let change = |what: &str| wharf.post(&format!("/v2/repository/models/cnn/{what}"), "{}");
    let generator = Generator::new(&ground.binaries, &wharf.url(""), "cnn");
    let round = || -> Result<(u64, u64)> {
        change("load")?;
        generator.run(&CNN_LOAD)?.all_succeeded()?;
        let with = wharf.resident_bytes()?;
        change("unload")?;
        Ok((with, at_rest(wharf)?))
    };
    let (_, without) = round()?;
    let (with, again) = round()?;
    report.bytes("resident without the CNN", without);
    report.bytes("resident with the CNN in use", with);
    report.bytes("resident after its unload", again);
    let (took, gave) = (with.saturating_sub(without), with.saturating_sub(again));
    report.ratio_alone(
        "of what the CNN took, an unload gives back",
        gave as f64 / took as f64,
    );
    Ok(())
}

/// The resident memory once it falls no more: an unload answers before the last request's memory is free.
fn at_rest(wharf: &Wharf) -> Result<u64> {
    let mut least = wharf.resident_bytes()?;
    let mut still = 0;
    while still < 5 {
        std::thread::park_timeout(Duration::from_millis(100));
        let now = wharf.resident_bytes()?;
        still = if now < least { 0 } else { still + 1 };
        least = least.min(now);
    }
    Ok(least)
}
