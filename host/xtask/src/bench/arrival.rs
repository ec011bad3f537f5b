//! From a file that is dropped into a site to the first request that it answers.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Ground;
use super::process::Wharf;
use super::report::Report;
use super::site::BenchSite;

/// How long a component of 1 MB may take where it is new.
const COLD: Duration = Duration::from_millis(250);

/// And where the cache has its machine code.
const CACHED: Duration = Duration::from_millis(20);

/// Longer than any arrival.
const PATIENCE: Duration = Duration::from_secs(30);

/// Seldom enough to leave the cores to what is measured.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Drops a component that was never seen, and then the same under another name.
pub(super) fn run(ground: &Ground<'_>, report: &mut Report) -> Result<()> {
    let rounds = u8::try_from(ground.rounds).context("so many rounds take hours")?;
    let names: Vec<[String; 2]> = (0..rounds)
        .map(|round| [format!("new-{round}"), format!("known-{round}")])
        .collect();
    let site = BenchSite::build(ground.paths)?.with_routes_to_come(names.as_flattened())?;
    let wharf = Wharf::start(&ground.binaries, site.path())?;
    let file = ground.paths.guests().join("bulky.wasm");
    let component = fs::read(&file).with_context(|| format!("{} is missing", file.display()))?;
    report.bytes("size of the component that arrives", component.len() as u64);
    let (mut cold, mut cached) = (Vec::new(), Vec::new());
    for (round, [new, known]) in (0..rounds).zip(&names) {
        let component = marked(&component, round);
        cold.push(arrival(&site, &wharf, new, &component)?);
        // The cache has it once the plugin has gone over from its draft, and the machine is quiet then.
        gone_over(&wharf, new)?;
        cached.push(arrival(&site, &wharf, known, &component)?);
    }
    for (what, mut times, limit) in [
        ("file drop to first answer, new", cold, COLD),
        (
            "file drop to first answer, machine code in the cache",
            cached,
            CACHED,
        ),
    ] {
        times.sort();
        report.time_within(what, times[times.len() / 2], limit);
    }
    Ok(())
}

/// The time from the drop to the first answer of the route of the plugin's name.
fn arrival(site: &BenchSite, wharf: &Wharf, name: &str, component: &[u8]) -> Result<Duration> {
    ensure!(
        wharf.infer(name).is_err(),
        "{name} answers without its plugin"
    );
    let dropped = Instant::now();
    site.drop_plugin(name, component)?;
    while wharf.infer(name).is_err() {
        ensure!(
            dropped.elapsed() < PATIENCE,
            "{name} is not served after {PATIENCE:?}"
        );
        std::thread::park_timeout(LOOK_EVERY);
    }
    Ok(dropped.elapsed())
}

/// Waits until a plugin does not serve from its draft any more.
fn gone_over(wharf: &Wharf, name: &str) -> Result<()> {
    let replaced = format!("plugin_draft_total{{outcome=\"replaced\",plugin=\"{name}\"");
    let began = Instant::now();
    while wharf.metric(&replaced)? < 1.0 {
        ensure!(
            began.elapsed() < PATIENCE,
            "the draft of {name} is not replaced after {PATIENCE:?}"
        );
        std::thread::park_timeout(LOOK_EVERY);
    }
    Ok(())
}

/// The component with a section of its own behind it, which says nothing: no cache knows it.
fn marked(component: &[u8], round: u8) -> Vec<u8> {
    const CUSTOM: u8 = 0;
    let stamp = u64::from(std::process::id()).to_le_bytes();
    let name = b"bench";
    let length = 1 + name.len() + 1 + stamp.len();
    let head = [CUSTOM, length as u8, name.len() as u8];
    [component, &head, name, &[round], &stamp].concat()
}
