//! Checks of what the types do not say: ranges, and names that must be there.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use redis::Client;
use url::Url;
use wharf_core::{LoadError, Name};

use super::{
    ModelLimitsConfig, PlanConfig, StoreConfig, StoreKind, TenantConfig, WhenDown, all_plans,
};

/// The slowest rate: one request in a day.
const SLOWEST: f64 = 1.0 / 86_400.0;
/// The fastest rate of requests. What is beyond is counted better by a plan without a rate.
const FASTEST: f64 = 1e6;
/// The most tokens in a minute: one a nanosecond, which is the unit of the algorithm.
const MOST_TOKENS: u64 = 60_000_000_000;
/// How long a burst may take to come back. Counts are kept as long as that.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// The tables of quotas.
#[derive(Clone, Copy)]
pub(crate) struct Tables<'a> {
    pub(crate) plans: &'a BTreeMap<String, PlanConfig>,
    pub(crate) tenants: &'a BTreeMap<String, TenantConfig>,
    pub(crate) quota: &'a StoreConfig,
}

/// Checks the tables of quotas, without opening anything.
///
/// # Errors
/// Names the first setting that is wrong.
pub(crate) fn check(tables: Tables<'_>) -> Result<(), LoadError> {
    let plans = all_plans(tables.plans);
    for (name, plan) in &plans {
        let at = Place::of("plans", name)?;
        check_plan(&at, plan)?;
    }
    let known = |at: &Place, key: &str, plan: &str| {
        if plans.contains_key(plan) {
            return Ok(());
        }
        let names: Vec<_> = plans.keys().map(String::as_str).collect();
        let names = names.join(", ");
        Err(at.wrong(
            key,
            format!("there is no plan {plan:?}: use {names}, or write [gateway.plans.{plan}]"),
        ))
    };
    for (name, tenant) in tables.tenants {
        let at = Place::of("tenants", name)?;
        if let Some(plan) = &tenant.plan {
            known(&at, "plan", plan)?;
        }
    }
    let at = Place("gateway.quota".to_owned());
    known(&at, "default_plan", &tables.quota.default_plan)?;
    check_store(&at, tables.quota)
}

fn check_plan(at: &Place, plan: &PlanConfig) -> Result<(), LoadError> {
    let whole = plan.whole();
    check_limits(at, &whole)?;
    for (model, limits) in &plan.models {
        let at = at.child("models", model)?;
        check_limits(&at, limits)?;
        if !has_limits(limits) {
            return Err(at.no_limit(limits));
        }
        check_reach(&at, limits, &whole)?;
    }
    if !has_limits(&whole) && plan.models.is_empty() {
        return Err(at.no_limit(&whole));
    }
    Ok(())
}

/// Tokens alone are no limit: no request uses any, and whoever wrote them believes that the tenants are held to them.
fn has_limits(limits: &ModelLimitsConfig) -> bool {
    limits.requests_per_s.is_some() || limits.max_concurrent.is_some()
}

fn check_limits(at: &Place, limits: &ModelLimitsConfig) -> Result<(), LoadError> {
    if let Some(rate) = limits.requests_per_s {
        // Also what is no number is in no range.
        if !(SLOWEST..=FASTEST).contains(&rate) {
            let message = format!("is {rate}: use 0.0000116 (one in a day) to 1000000");
            return Err(at.wrong("requests_per_s", message));
        }
        let burst = limits.burst.unwrap_or(1);
        at.more_than_zero("burst", Some(burst))?;
        if burst as f64 / rate > LONGEST.as_secs_f64() {
            let message = format!(
                "is {burst}: at {rate} requests/s that takes more than 30 days to come back"
            );
            return Err(at.wrong("burst", message));
        }
    } else if limits.burst.is_some() {
        return Err(at.wrong(
            "burst",
            "is the burst of no rate: give requests_per_s as well",
        ));
    }
    if let Some(tokens) = limits.tokens_per_min {
        at.more_than_zero("tokens_per_min", Some(tokens))?;
        if tokens > MOST_TOKENS {
            let message = format!("is {tokens}: use at most {MOST_TOKENS}");
            return Err(at.wrong("tokens_per_min", message));
        }
        let burst = limits.token_burst.unwrap_or(tokens);
        at.more_than_zero("token_burst", Some(burst))?;
        if burst as f64 * 60.0 / tokens as f64 > LONGEST.as_secs_f64() {
            let message = format!(
                "is {burst}: at {tokens} tokens/min that takes more than 30 days to come back"
            );
            return Err(at.wrong("token_burst", message));
        }
    } else if limits.token_burst.is_some() {
        return Err(at.wrong(
            "token_burst",
            "is the burst of no rate: give tokens_per_min as well",
        ));
    }
    at.more_than_zero("window_s", limits.window_s)?;
    at.more_than_zero("max_concurrent", limits.max_concurrent)
}

/// Both limits count a request, the model's and the whole plan's: one of the model that is larger is never reached, and whoever wrote
/// it believes otherwise.
fn check_reach(
    at: &Place,
    model: &ModelLimitsConfig,
    whole: &ModelLimitsConfig,
) -> Result<(), LoadError> {
    fn reach<T: PartialOrd + Display>(
        at: &Place,
        key: &str,
        limits: (Option<T>, Option<T>),
    ) -> Result<(), LoadError> {
        match limits {
            (Some(model), Some(whole)) if model > whole => {
                let message = format!(
                    "is {model}: the whole plan has {whole}, and counts these requests as well. Give the plan more, or the model less"
                );
                Err(at.wrong(key, message))
            }
            _ => Ok(()),
        }
    }
    reach(
        at,
        "requests_per_s",
        (model.requests_per_s, whole.requests_per_s),
    )?;
    reach(
        at,
        "max_concurrent",
        (model.max_concurrent, whole.max_concurrent),
    )?;
    reach(
        at,
        "tokens_per_min",
        (model.tokens_per_min, whole.tokens_per_min),
    )
}

fn check_store(at: &Place, quota: &StoreConfig) -> Result<(), LoadError> {
    at.more_than_zero("processes", quota.processes)?;
    at.more_than_zero("max_tenants", Some(quota.max_tenants))?;
    for (key, value, most) in [
        ("timeout_ms", quota.timeout_ms, 10_000),
        ("lease_s", quota.lease_s, 3600),
    ] {
        if !(1..=most).contains(&value) {
            return Err(at.wrong(key, format!("is {value}: use 1 to {most}")));
        }
    }
    if Name::new(&quota.prefix).is_err() {
        let message = "is no name: use letters, digits, '-', '_' and '.'";
        return Err(at.wrong("prefix", message));
    }
    if quota.store == StoreKind::Redis || quota.redis_url.is_some() {
        address(quota)?;
    }
    let gives_parts = quota.store == StoreKind::Redis && quota.when_down == WhenDown::Local;
    if gives_parts && quota.processes.is_none() {
        let message = "is missing: with when_down = \"local\" each process gives one part of every quota while Redis does not answer. \
            Say how many share the quotas";
        return Err(at.wrong("processes", message));
    }
    Ok(())
}

/// Where Redis is.
pub(crate) struct Address {
    /// Of a connection without TLS.
    pub(crate) client: Client,
    pub(crate) is_secure: bool,
}

/// Reads the address of Redis. The messages name nothing of it: it may have a password in it.
///
/// # Errors
/// Where the address is missing, or is none.
pub(crate) fn address(quota: &StoreConfig) -> Result<Address, LoadError> {
    let wrong = |message: &str| wrong("redis_url", message);
    let Some(url) = &quota.redis_url else {
        return Err(wrong(
            "is missing: the store \"redis\" needs it. It may come from the environment as WHARF_GATEWAY__QUOTA__REDIS_URL",
        ));
    };
    let no_url = || {
        wrong("is no URL: use redis://HOST:PORT, rediss://HOST:PORT for TLS, or redis+unix:///PATH")
    };
    let mut url = Url::parse(url.reveal()).map_err(|_| no_url())?;
    let is_secure = match url.scheme() {
        "redis" | "redis+unix" => false,
        "rediss" => {
            // The library knows this scheme only where it has a TLS of its own.
            url.set_scheme("redis").map_err(|()| no_url())?;
            true
        }
        _ => {
            return Err(wrong(
                "has another scheme: use redis://, rediss:// or redis+unix://",
            ));
        }
    };
    // The error of the library is not passed on, so that it cannot say anything either.
    let client = Client::open(url).map_err(|_| {
        wrong("is no address of Redis: use redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]")
    })?;
    Ok(Address { client, is_secure })
}

/// A setting of where is counted that is wrong.
pub(crate) fn wrong(key: &str, message: impl Into<String>) -> LoadError {
    Place("gateway.quota".to_owned()).wrong(key, message)
}

/// A table of the file, by its dotted name.
struct Place(String);

impl Place {
    fn of(table: &str, name: &str) -> Result<Self, LoadError> {
        Self("gateway".to_owned()).child(table, name)
    }

    fn child(&self, table: &str, name: &str) -> Result<Self, LoadError> {
        let child = Self(format!("{}.{table}.{}", self.0, LoadError::key_part(name)));
        match Name::new(name) {
            Ok(_) => Ok(child),
            Err(error) => Err(LoadError::new(FILE, error.to_string()).with_key(child.0)),
        }
    }

    fn wrong(&self, key: &str, message: impl Into<String>) -> LoadError {
        LoadError::new(FILE, message).with_key(format!("{}.{key}", self.0))
    }

    fn no_limit(&self, limits: &ModelLimitsConfig) -> LoadError {
        let message = match limits.tokens_per_min {
            Some(_) => {
                "limits tokens alone, which only generation uses, and this version does not generate: give requests_per_s or \
                 max_concurrent as well"
            }
            None => "has no limit: give requests_per_s or max_concurrent",
        };
        LoadError::new(FILE, message).with_key(self.0.clone())
    }

    fn more_than_zero(
        &self,
        key: &str,
        value: Option<impl PartialEq + Default>,
    ) -> Result<(), LoadError> {
        if value.is_some_and(|value| value == Default::default()) {
            return Err(self.wrong(key, "is 0: use 1 or more"));
        }
        Ok(())
    }
}

/// The file that has the settings.
const FILE: &str = "wharf.toml";
