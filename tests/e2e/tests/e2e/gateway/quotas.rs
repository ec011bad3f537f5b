//! Quotas that several processes share.

use anyhow::{Context, Result, ensure};
use wharf_e2e::{Client, Request, Response, Site, Wharf, wait_for};
use wharf_testkit::RedisServer;

use super::signer::{key_set, signer};
use super::{KEY_SET, bearing, claims};

/// Ten times what the plan admits.
const REQUESTS: usize = 1_000;

/// Nothing of the burst comes back while a test runs.
fn gateway(redis: &RedisServer, when_down: &str) -> String {
    format!(
        r#"
[gateway]
auth = "required"
[[gateway.issuers]]
issuer = "https://id.example"
audience = "wharf"
jwks = "keys/id.json"
[gateway.plans.hundred]
requests_per_s = 0.0001
burst = 100
[gateway.quota]
default_plan = "hundred"
store = "redis"
redis_url = "{}"
timeout_ms = 10000
when_down = "{when_down}"
"#,
        redis.url()
    )
}

async fn serve(settings: &str) -> Result<(Site, Wharf)> {
    let site = Site::empty()?;
    site.write("wharf.toml", settings)?;
    site.write(KEY_SET, key_set(&[signer()?])?.to_string())?;
    site.adder("shift", 1, 2.0)?;
    let wharf = Wharf::serve(&site).await?;
    Ok((site, wharf))
}

fn asking_for(tenant: &str) -> Result<Request> {
    let token = signer()?.sign(&claims(tenant)?)?;
    Ok(bearing(crate::one_to_four("shift"), &token))
}

/// Sends all at once, each on a connection of its own, to one process and the other in turn.
async fn flood(request: &Request, wharves: [&Wharf; 2]) -> Result<Vec<Response>> {
    let sent: Vec<_> = (0..REQUESTS)
        .map(|index| {
            let (request, address) = (request.clone(), wharves[index % 2].listen());
            tokio::spawn(async move { Client::new(address).send(&request).await })
        })
        .collect();
    let mut answers = Vec::with_capacity(sent.len());
    for answer in sent {
        answers.push(answer.await??);
    }
    Ok(answers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_admit_together_exactly_what_a_plan_gives() -> Result<()> {
    let mut redis = RedisServer::start().await;
    let settings = gateway(&redis, "closed");
    let (_site, one) = serve(&settings).await?;
    let (_other_site, other) = serve(&settings).await?;
    let request = asking_for("acme")?;
    let answers = flood(&request, [&one, &other]).await?;
    let admitted = answers.iter().filter(|answer| answer.status == 200);
    ensure!(admitted.count() == 100);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        let problem = answer.problem(429)?;
        ensure!(
            problem["type"] == "urn:wharf:problem:quota-exceeded",
            "{problem}"
        );
        let field = |name: &str| -> Result<&str> {
            let field = answer.headers.get(name);
            Ok(field.with_context(|| format!("no {name}"))?.to_str()?)
        };
        // A request comes back in 10000 s.
        let retry: u64 = field("retry-after")?.parse()?;
        ensure!((9_000..=10_000).contains(&retry), "{retry}");
        let left = field("ratelimit")?;
        ensure!(left.starts_with("\"hundred\";r=0;t="), "{left}");
        let policy = field("ratelimit-policy")?;
        ensure!(policy.starts_with("\"hundred\";q="), "{policy}");
    }
    // Another tenant has a quota of its own.
    let mut client = other.client();
    let others = asking_for("globex")?;
    let answer = client.send(&others).await?;
    answer.accepted()?;
    ensure!(answer.headers.contains_key("ratelimit"));

    redis.kill();
    let answer = client.send(&others).await?;
    let problem = answer.problem(503)?;
    ensure!(
        problem["type"] == "urn:wharf:problem:unavailable",
        "{problem}"
    );
    ensure!(answer.headers.contains_key("retry-after"), "{answer:?}");
    redis.restart().await;
    wait_for("the quotas to be counted again", async || {
        let answer = client.send(&others).await.ok()?;
        answer.accepted().ok()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_a_process_gives_its_own_part() -> Result<()> {
    let mut redis = RedisServer::start().await;
    let settings = gateway(&redis, "local") + "processes = 10\n";
    let (_site, wharf) = serve(&settings).await?;
    let request = asking_for("acme")?;
    let mut client = wharf.client();
    client.send(&request).await?.accepted()?;
    redis.kill();
    let mut admitted = 0;
    for _ in 0..30 {
        let answer = client.send(&request).await?;
        match answer.status.as_u16() {
            200 => admitted += 1,
            _ => drop(answer.problem(429)?),
        }
    }
    // One tenth of the burst.
    ensure!(admitted == 10, "{admitted} were admitted");
    Ok(())
}
