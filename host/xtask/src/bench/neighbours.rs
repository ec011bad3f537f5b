//! A plugin that loops: what its neighbours feel of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Ground;
use super::generator::Generator;
use super::inference::seconds;
use super::load;
use super::process::Wharf;
use super::report::{Report, Target};
use super::site::BenchSite;

/// The requests a second to the neighbour: few, so that what they wait for is the loop and not each other.
const RATE: &str = "200";

/// How much slower the neighbour's slowest requests may be.
const AT_MOST: f64 = 1.5;

pub(super) fn run(ground: &Ground<'_>, report: &mut Report) -> Result<()> {
    let site = BenchSite::build(ground.paths)?.with_a_loop(ground.paths)?;
    let wharf = Wharf::start(&ground.binaries, site.path())?;
    let generator = Generator::new(&ground.binaries, &wharf.url(""), "kept");
    let duration = seconds(ground.load().duration);
    let p99 = || -> Result<Duration> {
        let flags = ["--rate", RATE, "--duration", &duration, "--warmup", "1s"];
        generator.run(&flags)?.all_succeeded()?.p99()
    };
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..ground.rounds {
        alone.push(p99()?.as_secs_f64());
        beside.push(beside_a_loop(&wharf, &p99)?.as_secs_f64());
    }
    let [alone, beside] = [alone, beside].map(|figures| load::median(figures.into_iter()));
    report.seconds("neighbour of a plugin that loops: p99 alone", alone);
    report.seconds("neighbour of a plugin that loops: p99 beside it", beside);
    report.ratio(
        "neighbour of a plugin that loops: p99 beside it / alone",
        beside / alone,
        Target::AtMost(AT_MOST),
    );
    Ok(())
}

/// Measures while a client asks for the loop again and again.
fn beside_a_loop(wharf: &Wharf, measure: &dyn Fn() -> Result<Duration>) -> Result<Duration> {
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let measured = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // Each ends with a fault, at the plugin's limit.
                let _fault = wharf.infer("looping");
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        let measured = measure();
        stop.store(true, Ordering::Relaxed);
        measured
    });
    let asked = asked.into_inner();
    ensure!(
        (1..1000).contains(&asked),
        "the loop was asked for {asked} times: it did not loop"
    );
    measured
}
