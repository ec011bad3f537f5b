//! Other servers on the same model and the same requests. They come from PyPI and npm into the target folder; one that
//! cannot be had here is reported as not measured, which is no pass.

mod install;
mod servers;

use anyhow::{Result, ensure};

use super::Ground;
use super::inference::{TINY_BODY, TINY_PATH};
use super::load::{self, Load};
use super::models::BenchModel;
use super::process::Wharf;
use super::report::{Report, Target};
use super::site::ModelSite;
use servers::{PEERS, Peer};

/// How many times the fastest peer of a user's own making is surpassed.
const OWN_MAKING: f64 = 3.0;

pub(super) fn run(ground: &Ground<'_>, report: &mut Report) -> Result<()> {
    let site = ModelSite::new()?.with(BenchModel::Tiny, "", ground.paths)?;
    let wharf = Wharf::start(&ground.binaries, site.path())?;
    let mut fastest: Option<(&Peer, f64, f64)> = None;
    let mut missing = Vec::new();
    for peer in &PEERS {
        let what = format!("REST, 4 floats / {}", peer.name);
        match measure(ground, peer, &wharf) {
            Ok((ours, theirs)) => {
                report.rate(peer.name, theirs);
                report.ratio(&what, ours / theirs, Target::AtLeast(peer.times));
                if peer.own_making && fastest.is_none_or(|(_, _, rate)| theirs > rate) {
                    fastest = Some((peer, ours, theirs));
                }
            }
            Err(error) => {
                let target = Target::AtLeast(peer.times);
                report.not_measured(&what, target, &format!("{error:#}"));
                if peer.own_making {
                    missing.push(peer.name);
                }
            }
        }
    }
    let target = Target::AtLeast(OWN_MAKING);
    match fastest {
        Some((peer, ours, theirs)) if missing.is_empty() => {
            let what = format!(
                "REST, 4 floats / the fastest in Python or Node, {}",
                peer.name
            );
            report.ratio(&what, ours / theirs, target);
        }
        _ => report.not_measured(
            "REST, 4 floats / the fastest in Python or Node",
            target,
            &format!(
                "{} may be faster than what was measured",
                missing.join(" and ")
            ),
        ),
    }
    Ok(())
}

/// The rates of this server and of a peer, in turns.
fn measure(ground: &Ground<'_>, peer: &Peer, wharf: &Wharf) -> Result<(f64, f64)> {
    let model = BenchModel::Tiny.file(ground.paths)?;
    let running = peer.start(ground.paths, &model)?;
    let load: Load = ground.load();
    // What a peer compiles or caches at its first requests is not held against it.
    load.post(&running.url(TINY_PATH), TINY_BODY)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ground.rounds {
        theirs.push(load.post(&running.url(TINY_PATH), TINY_BODY)?);
        ours.push(load.post(&wharf.url(TINY_PATH), TINY_BODY)?);
    }
    let failed: u64 = ours.iter().chain(&theirs).map(|sample| sample.failed).sum();
    ensure!(failed == 0, "{failed} requests failed under load");
    Ok((load::median_rate(&ours), load::median_rate(&theirs)))
}
