//! `cargo xtask bench`: measures what the project promises, each beside its yardstick in the same run.
//!
//! Machines differ and are noisy, so what counts is ratios: each figure is the median of several rounds that take turns
//! with the yardstick. The load generator is `wrk`, on the same machine; its connections are a closed loop.

mod load;
mod process;
mod report;
mod site;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::paths::Paths;
use load::{Load, Sample};
use process::{BareHyper, Wharf};
use report::{Report, Target};
use site::BenchSite;

/// What `cargo xtask bench` takes.
#[derive(clap::Args)]
pub(crate) struct Bench {
    /// Rounds of each measurement; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of load in each round.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Only the sections whose name contains this: calls, http, reload, start.
    #[arg(long)]
    only: Option<String>,
}

/// The connections that the load keeps busy.
const CONNECTIONS: u32 = 32;

impl Bench {
    /// Builds with optimisation, measures, and prints a table.
    pub(crate) fn run(&self, paths: &Paths) -> Result<()> {
        ensure!(
            self.rounds > 0 && self.seconds > 0,
            "--rounds and --seconds are at least 1"
        );
        load::require_wrk()?;
        process::build(paths)?;
        let mut report = Report::default();
        let sections: [(&str, Section); 4] = [
            ("calls", calls),
            ("http", http),
            ("reload", reload_under_load),
            ("start", start),
        ];
        for (name, section) in sections {
            if self.only.as_deref().is_none_or(|only| name.contains(only)) {
                eprintln!("bench: {name}");
                section(self, paths, &mut report).with_context(|| format!("the section {name}"))?;
            }
        }
        report.print();
        Ok(())
    }

    fn load(&self) -> Load {
        Load {
            connections: CONNECTIONS,
            duration: Duration::from_secs(self.seconds),
        }
    }
}

type Section = fn(&Bench, &Paths, &mut Report) -> Result<()>;

/// Calls into a plugin, measured inside one process through the ports.
fn calls(_: &Bench, paths: &Paths, report: &mut Report) -> Result<()> {
    for line in process::sandbox_calls(paths)?.lines() {
        report.add_measured(line)?;
    }
    Ok(())
}

/// A 4-float model over HTTP, beside a bare hyper server that answers the same bytes.
fn http(bench: &Bench, paths: &Paths, report: &mut Report) -> Result<()> {
    let site = BenchSite::build(paths)?;
    let wharf = Wharf::start(paths, site.path())?;
    let answer = wharf.infer("plain")?;
    let bare = BareHyper::start(paths, &answer)?;

    let mut rates = Rates::default();
    for _ in 0..bench.rounds {
        rates
            .bare
            .push(bench.load().run(&bare.url("/v1/infer/plain"))?);
        rates
            .plain
            .push(bench.load().run(&wharf.url("/v1/infer/plain"))?);
        rates
            .kept
            .push(bench.load().run(&wharf.url("/v1/infer/kept"))?);
        rates
            .isolated
            .push(bench.load().run(&wharf.url("/v1/infer/isolated"))?);
    }
    for sample in rates.all() {
        ensure!(
            sample.failed == 0,
            "{} requests failed under load",
            sample.failed
        );
    }
    let [bare, plain, kept, isolated] = [&rates.bare, &rates.plain, &rates.kept, &rates.isolated]
        .map(|samples| load::median_rate(samples));
    report.rate("bare hyper", bare);
    report.rate("4 floats, JSON", plain);
    report.ratio(
        "4 floats, JSON / bare hyper",
        plain / bare,
        Target::AtLeast(0.60),
    );
    report.rate("with two plugins, kept", kept);
    report.ratio(
        "two plugins kept / none",
        kept / plain,
        Target::AtLeast(0.85),
    );
    report.rate("with two plugins, isolated by request", isolated);
    report.ratio(
        "two plugins isolated / none",
        isolated / plain,
        Target::AtLeast(0.50),
    );
    Ok(())
}

#[derive(Default)]
struct Rates {
    bare: Vec<Sample>,
    plain: Vec<Sample>,
    kept: Vec<Sample>,
    isolated: Vec<Sample>,
}

impl Rates {
    fn all(&self) -> impl Iterator<Item = &Sample> {
        [&self.bare, &self.plain, &self.kept, &self.isolated]
            .into_iter()
            .flatten()
    }
}

/// The same load while a plugin and a model are replaced twice a second.
fn reload_under_load(bench: &Bench, paths: &Paths, report: &mut Report) -> Result<()> {
    let site = BenchSite::build(paths)?;
    let wharf = Wharf::start(paths, site.path())?;
    let (mut steady, mut reloading) = (Vec::new(), Vec::new());
    let before = wharf.generation()?;
    for _ in 0..bench.rounds {
        steady.push(bench.load().run(&wharf.url("/v1/infer/kept"))?);
        let churn = site.churn(Duration::from_millis(500));
        reloading.push(bench.load().run(&wharf.url("/v1/infer/kept"))?);
        churn.stop()?;
    }
    let reloads = wharf.generation()? - before;
    let failed: u64 = reloading.iter().map(|sample| sample.failed).sum();
    report.count(
        "reloads under load",
        reloads,
        Target::AtLeast(bench.rounds as f64 * bench.seconds as f64),
    );
    report.count(
        "requests that failed meanwhile",
        failed,
        Target::AtMost(0.0),
    );
    let [steady, reloading] = [&steady, &reloading].map(|samples| load::median_p99(samples));
    report.time("p99, steady", steady);
    report.time("p99, reloading", reloading);
    report.ratio(
        "p99 reloading / steady",
        reloading.as_secs_f64() / steady.as_secs_f64(),
        Target::AtMost(1.5),
    );
    Ok(())
}

/// Time from the start of the process to the first `ready`, with a warm cache, and memory at rest.
fn start(bench: &Bench, paths: &Paths, report: &mut Report) -> Result<()> {
    let site: &Path = &paths.quickstart();
    drop(Wharf::start(paths, site)?);
    let mut times = Vec::new();
    let mut resident = 0;
    for _ in 0..bench.rounds {
        let wharf = Wharf::start(paths, site)?;
        times.push(wharf.time_to_ready());
        resident = wharf.resident_bytes()?.max(resident);
    }
    times.sort();
    report.time_within(
        "start to ready, quickstart",
        times[times.len() / 2],
        Duration::from_millis(300),
    );
    report.bytes_within("resident when idle, quickstart", resident, 80 << 20);
    Ok(())
}
