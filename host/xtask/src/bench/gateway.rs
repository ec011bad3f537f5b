//! What the gateway adds to a request: inside the process, over HTTP with quotas in memory, and with quotas in Redis. And that two
//! processes together give no more than a quota.

mod redis;

use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::Ground;
use super::inference::{TINY_BODY, TINY_PATH};
use super::load::{self, Load};
use super::models::BenchModel;
use super::process::Wharf;
use super::report::{Report, Target};
use super::site::ModelSite;
use redis::Redis;

/// What knowing the client and counting its request may add to the median.
const MAY_ADD: Duration = Duration::from_micros(15);

/// Nobody comes to its end.
const LARGE: &str = "requests_per_s = 1e6\nburst = 1000000000\n";

/// Nothing of it comes back meanwhile.
const HUNDRED: &str = "requests_per_s = 0.0001\nburst = 100\n";

/// Requests at one time, of which a hundred are admitted.
const AT_ONCE: usize = 1000;

pub(super) fn run(ground: &Ground<'_>, report: &mut Report) -> Result<()> {
    for line in ground.binaries.gateway_calls()?.lines() {
        report.add_measured(line)?;
    }
    let issuer = Issuer::new(ground)?;
    let redis = Redis::start()?;
    added(ground, report, &issuer, &redis)?;
    together(ground, report, &issuer, &redis)
}

/// Whoever signs the token of the load.
struct Issuer {
    folder: TempDir,
    token: String,
}

impl Issuer {
    fn new(ground: &Ground<'_>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let token = ground
            .binaries
            .gateway_token(&Self::key_in(folder.path()))?;
        Ok(Self { folder, token })
    }

    fn key_in(folder: &Path) -> PathBuf {
        folder.join("id.pem")
    }

    /// The settings of a server that knows the issuer, whose tenants are on a plan.
    fn settings(&self, plan: &str, store: &str) -> Result<String> {
        let key = Self::key_in(self.folder.path());
        let key = key.to_str().context("a folder without UTF-8")?;
        Ok(format!(
            "[gateway]\nauth = \"required\"\n\
             [[gateway.issuers]]\nissuer = \"https://id.example\"\naudience = \"wharf\"\npem = \"{key}\"\n\
             [gateway.plans.bench]\n{plan}[gateway.quota]\ndefault_plan = \"bench\"\n{store}"
        ))
    }
}

/// A server of the 4-float model. Its site lives as long as it.
struct Served {
    wharf: Wharf,
    _site: ModelSite,
}

impl Served {
    fn start(ground: &Ground<'_>, settings: &str) -> Result<Self> {
        let site = ModelSite::configured(settings)?.with(BenchModel::Tiny, "", ground.paths)?;
        Ok(Self {
            wharf: Wharf::start(&ground.binaries, site.path())?,
            _site: site,
        })
    }

    fn url(&self) -> String {
        self.wharf.url(TINY_PATH)
    }
}

/// One client that waits for each answer, with a gateway and without.
fn added(ground: &Ground<'_>, report: &mut Report, issuer: &Issuer, redis: &Redis) -> Result<()> {
    let open = Served::start(ground, "")?;
    let memory = Served::start(ground, &issuer.settings(LARGE, "")?)?;
    let shared = Served::start(ground, &issuer.settings(LARGE, &redis.store())?)?;
    let alone = Load {
        connections: 1,
        ..ground.load()
    };
    let bearing = |served: &Served| alone.post_bearing(&served.url(), TINY_BODY, &issuer.token);
    let mut times = [const { Vec::new() }; 3];
    let mut pings = Vec::new();
    for _ in 0..ground.rounds {
        times[0].push(alone.post(&open.url(), TINY_BODY)?);
        times[1].push(bearing(&memory)?);
        times[2].push(bearing(&shared)?);
        pings.push(redis.round_trip()?.as_secs_f64());
    }
    let (admitted, before) = (shared.wharf.metric(ADMISSIONS)?, redis.work()?);
    times[2].push(bearing(&shared)?);
    let (admitted, after) = (shared.wharf.metric(ADMISSIONS)? - admitted, redis.work()?);
    let failed = load::failed(times.iter().flatten());
    ensure!(failed == 0, "{failed} requests failed under load");

    let [open, memory, shared] = [&times[0], &times[1], &times[2]].map(|it| load::median_p50(it));
    let ping = load::median(pings.into_iter());
    report.time("gateway: p50 at 1 connection, without", open);
    report.time("gateway: with a token and a quota in memory", memory);
    report.time_within(
        "gateway: what they add",
        memory.saturating_sub(open),
        MAY_ADD,
    );
    report.time("gateway: with the quota in Redis", shared);
    report.seconds("gateway: a PING of Redis and back", ping);
    // The time is how often threads wake; how many round trips there are is what Redis says it did.
    report.ratio_alone(
        "gateway: what Redis adds / a PING",
        shared.saturating_sub(memory).as_secs_f64() / ping,
    );
    report.ratio(
        "gateway: scripts that Redis runs for a request",
        (after.scripts - before.scripts) / admitted,
        Target::AtMost(1.0),
    );
    // A few more: this program asks for the figures, and the server sees now and then whether Redis is there.
    report.ratio(
        "gateway: times that Redis reads from a connection for a request",
        (after.reads - before.reads) / admitted,
        Target::AtMost(1.01),
    );
    Ok(())
}

/// Requests that were counted.
const ADMISSIONS: &str = "quota_admission_total{";

/// A thousand requests at one time to two processes that share a quota of a hundred.
fn together(
    ground: &Ground<'_>,
    report: &mut Report,
    issuer: &Issuer,
    redis: &Redis,
) -> Result<()> {
    // Requests that wait for the processor wait for Redis as well.
    let store = redis.store() + "timeout_ms = 10000\nprefix = \"together\"\n";
    let settings = issuer.settings(HUNDRED, &store)?;
    let served = [
        Served::start(ground, &settings)?,
        Served::start(ground, &settings)?,
    ];
    let ready = Barrier::new(AT_ONCE);
    let statuses: Result<Vec<u16>> = thread::scope(|scope| {
        let asking: Vec<_> = (0..AT_ONCE)
            .map(|index| {
                let (wharf, ready) = (&served[index % served.len()].wharf, &ready);
                scope.spawn(move || {
                    ready.wait();
                    wharf.status_bearing(TINY_PATH, TINY_BODY, &issuer.token)
                })
            })
            .collect();
        let ended = asking.into_iter().map(|asking| asking.join());
        ended
            .map(|status| status.ok().context("a thread panicked")?)
            .collect()
    });
    let statuses = statuses?;
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count() as u64;
    report.count(
        "gateway: admitted of 1,000 at one time by two processes with a quota of 100",
        count(200),
        Target::Exactly(100.0),
    );
    report.count(
        "gateway: neither admitted nor refused of these",
        AT_ONCE as u64 - count(200) - count(429),
        Target::AtMost(0.0),
    );
    Ok(())
}
