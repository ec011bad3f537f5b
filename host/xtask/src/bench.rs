//! `cargo xtask bench`: measures what the project promises, each beside its yardstick in the same run.
//!
//! Machines differ and are noisy, so what counts is ratios: each figure is the median of several rounds that take turns
//! with the yardstick. The load comes from the same machine: from `wrk` for plain JSON, where it costs least, and from
//! `wharf bench` for the rest.

mod arrival;
mod gateway;
mod inference;
mod lifecycle;
mod neighbours;
mod overload;
mod peers;

mod generator;
mod load;
mod models;
mod process;
mod report;
mod site;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::paths::Paths;
use crate::setup;
use crate::workspace::execute;
use load::{Load, Sample};
use process::{Bare, Binaries, Profile, Wharf};
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
    /// Loads and unloads in the section `loads`.
    #[arg(long, default_value_t = 1000)]
    loads: u32,
    /// Only the sections whose name contains this: calls, languages, gateway, http, reload, arrival, start, oip-rest, oip-grpc, cnn, batching, overload, neighbours,
    /// loads, peers. Peers are measured only when they are named here: they are installed first.
    #[arg(long)]
    only: Option<String>,
    /// How the programs are built.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
}

/// What a section stands on.
struct Ground<'a> {
    paths: &'a Paths,
    binaries: Binaries,
    rounds: usize,
    seconds: u64,
    loads: u32,
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
        let ground = Ground {
            paths,
            binaries: Binaries::build(paths, self.profile)?,
            rounds: self.rounds,
            seconds: self.seconds,
            loads: self.loads,
        };
        let mut report = Report::default();
        for (name, section) in SECTIONS {
            if self.wants(name) {
                eprintln!("bench: {name}");
                section(&ground, &mut report).with_context(|| format!("the section {name}"))?;
            }
        }
        report.print();
        Ok(())
    }

    fn wants(&self, section: &str) -> bool {
        match &self.only {
            Some(only) => section.contains(only.as_str()),
            None => section != PEERS,
        }
    }
}

impl Ground<'_> {
    fn load(&self) -> Load {
        Load {
            connections: CONNECTIONS,
            duration: Duration::from_secs(self.seconds),
        }
    }
}

type Section = fn(&Ground<'_>, &mut Report) -> Result<()>;

/// The section that is left out unless it is asked for.
const PEERS: &str = "peers";

const SECTIONS: [(&str, Section); 15] = [
    ("calls", calls),
    ("languages", languages),
    ("gateway", gateway::run),
    ("http", http),
    ("reload", reload_under_load),
    ("arrival", arrival::run),
    ("start", start),
    ("oip-rest", inference::rest),
    ("oip-grpc", inference::grpc),
    ("cnn", inference::cnn),
    ("batching", inference::batching),
    ("overload", overload::run),
    ("neighbours", neighbours::run),
    ("loads", lifecycle::run),
    (PEERS, peers::run),
];

/// Calls into a plugin, measured inside one process through the ports.
fn calls(ground: &Ground<'_>, report: &mut Report) -> Result<()> {
    for line in ground.binaries.sandbox_calls(ground.paths)?.lines() {
        report.add_measured(line)?;
    }
    Ok(())
}

/// The same by the language that a plugin is written in, with its size and what a load of it takes.
fn languages(ground: &Ground<'_>, report: &mut Report) -> Result<()> {
    setup::languages(ground.paths)?;
    for line in ground.binaries.language_calls(ground.paths)?.lines() {
        report.add_measured(line)?;
    }
    Ok(())
}

/// A 4-float model over HTTP, beside a bare hyper server that answers the same bytes.
fn http(ground: &Ground<'_>, report: &mut Report) -> Result<()> {
    let site = BenchSite::build(ground.paths)?;
    let wharf = Wharf::start(&ground.binaries, site.path())?;
    let answer = wharf.infer("plain")?;
    let bare = Bare::start(&ground.binaries.example("bare_hyper"), &[&answer])?;

    let mut rates = Rates::default();
    for _ in 0..ground.rounds {
        rates
            .bare
            .push(ground.load().run(&bare.url("/v1/infer/plain"))?);
        rates
            .plain
            .push(ground.load().run(&wharf.url("/v1/infer/plain"))?);
        rates
            .kept
            .push(ground.load().run(&wharf.url("/v1/infer/kept"))?);
        rates
            .isolated
            .push(ground.load().run(&wharf.url("/v1/infer/isolated"))?);
    }
    let failed = load::failed(rates.all());
    ensure!(failed == 0, "{failed} requests failed under load");
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
fn reload_under_load(ground: &Ground<'_>, report: &mut Report) -> Result<()> {
    let site = BenchSite::build(ground.paths)?;
    let wharf = Wharf::start(&ground.binaries, site.path())?;
    let (mut steady, mut reloading) = (Vec::new(), Vec::new());
    let before = wharf.generation()?;
    for _ in 0..ground.rounds {
        steady.push(ground.load().run(&wharf.url("/v1/infer/kept"))?);
        let churn = site.churn(Duration::from_millis(500));
        reloading.push(ground.load().run(&wharf.url("/v1/infer/kept"))?);
        churn.stop()?;
    }
    let reloads = wharf.generation()? - before;
    let failed = load::failed(&reloading);
    report.count(
        "reloads under load",
        reloads,
        Target::AtLeast(ground.rounds as f64 * ground.seconds as f64),
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
fn start(ground: &Ground<'_>, report: &mut Report) -> Result<()> {
    let site = ground.paths.quickstart();
    // A server that is ended at once leaves drafts behind, and nothing in the cache; `check` compiles to the end.
    let mut check = Command::new(ground.binaries.wharf());
    execute(check.arg("check").arg("--site").arg(&site))?;
    let mut times = Vec::new();
    let mut resident = 0;
    for _ in 0..ground.rounds {
        let wharf = Wharf::start(&ground.binaries, &site)?;
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
