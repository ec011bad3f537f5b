//! Ten times the load that the server sustains: what it accepts keeps its latency, and the rest is refused at once.

use std::time::Duration;

use anyhow::Result;

use super::Ground;
use super::generator::Generator;
use super::inference::seconds;
use super::load;
use super::models::BenchModel;
use super::process::Wharf;
use super::report::{Report, Target};
use super::site::ModelSite;

/// The connections that saturate the server, each with one request in flight.
const SUSTAINED: &str = "32";

/// As many requests wait as the server sustains in flight, so that no accepted one waits longer than they do.
const SETTINGS: &str = "[batching]\nqueue_capacity = 32\n";

/// How much more than the sustainable load is sent.
const TIMES: f64 = 10.0;

/// The load after which the server must have recovered, as a part of the sustainable one.
const AFTER: f64 = 0.5;

pub(super) fn run(ground: &Ground<'_>, report: &mut Report) -> Result<()> {
    let site = ModelSite::new()?.with(BenchModel::Dense, SETTINGS, ground.paths)?;
    let wharf = Wharf::start(&ground.binaries, site.path())?;
    let generator = Generator::new(&ground.binaries, &wharf.url(""), "dense");
    let duration = seconds(ground.load().duration);
    let mut figures = Figures::default();
    for _ in 0..ground.rounds {
        let sustained = generator
            .run(&[
                "--connections",
                SUSTAINED,
                "--duration",
                &duration,
                "--warmup",
                "1s",
            ])?
            .all_succeeded()?;
        let open = |times: f64| format!("{:.1}", sustained.throughput * times);
        let (rate, after) = (open(TIMES), open(AFTER));
        let overloaded =
            generator.run(&["--rate", &rate, "--duration", &duration, "--warmup", "1s"])?;
        let recovered = generator.run(&["--rate", &after, "--duration", "1s", "--warmup", "0"])?;

        figures.rates.push(sustained.throughput);
        figures.sustained.push(sustained.p99()?.as_secs_f64());
        figures.accepted.push(overloaded.p99()?.as_secs_f64());
        let refused = overloaded.refused_p99().map(|time| time.as_secs_f64());
        figures.refused.extend(refused);
        figures
            .shares
            .push(overloaded.throughput / sustained.throughput);
        figures.failed += overloaded.failed + overloaded.unsent;
        figures.late += recovered.requests - recovered.succeeded;
        figures.recovered.push(recovered.p99()?.as_secs_f64());
    }
    figures.report(report);
    Ok(())
}

#[derive(Default)]
struct Figures {
    rates: Vec<f64>,
    sustained: Vec<f64>,
    accepted: Vec<f64>,
    refused: Vec<f64>,
    shares: Vec<f64>,
    recovered: Vec<f64>,
    /// Under overload, neither answered nor refused.
    failed: u64,
    /// Not answered in the second after the overload.
    late: u64,
}

impl Figures {
    fn report(self, report: &mut Report) {
        let [rate, sustained, accepted, refused, share, recovered] = [
            self.rates,
            self.sustained,
            self.accepted,
            self.refused,
            self.shares,
            self.recovered,
        ]
        .map(|figures| load::median(figures.into_iter()));
        report.rate("overload: sustainable", rate);
        report.seconds("overload: p99 at the sustainable rate", sustained);
        report.seconds("overload: p99 of the accepted, at ten times that", accepted);
        report.ratio(
            "overload: p99 of the accepted / sustainable",
            accepted / sustained,
            Target::AtMost(2.0),
        );
        report.ratio(
            "overload: p99 of the refused / sustainable",
            refused / sustained,
            Target::AtMost(1.0),
        );
        report.seconds("overload: p99 of the refused", refused);
        report.ratio_alone("overload: accepted / sustainable rate", share);
        report.count(
            "overload: neither answered nor refused",
            self.failed,
            Target::AtMost(0.0),
        );
        report.count(
            "overload: refused in the second after it, at half the sustainable rate",
            self.late,
            Target::AtMost(0.0),
        );
        report.time_within(
            "overload: p99 in the second after it",
            Duration::try_from_secs_f64(recovered).unwrap_or(Duration::MAX),
            Duration::from_secs(1),
        );
    }
}
