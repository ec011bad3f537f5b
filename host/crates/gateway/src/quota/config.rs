//! The settings of quotas, as an operator writes them.

pub(crate) mod check;
mod secret;

use std::collections::BTreeMap;

use serde::Deserialize;

pub(crate) use check::{address, wrong};
pub use secret::Secret;

/// How much each tenant of a plan may use: the table `[gateway.plans.NAME]`. At least one limit of requests is there; what is not said is not
/// limited. Of the plans that are there anyway, `free` and `enterprise`, it says what is other.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlanConfig {
    /// The requests that a tenant may send in a second, over time. A fraction is fine: 0.5 is one in two seconds.
    pub requests_per_s: Option<f64>,
    /// The requests that it may send at once. By default those of a second, and at least one.
    pub burst: Option<u64>,
    /// The window that clients read of in `RateLimit-Policy`. It changes nothing in what they may do. By default 60 s.
    pub window_s: Option<u32>,
    /// The requests that may be worked on at one time.
    pub max_concurrent: Option<u32>,
    /// The tokens that a tenant may use in a minute, over time. Only generation uses tokens: they are no limit by themselves.
    pub tokens_per_min: Option<u64>,
    /// The tokens that it may use at once. By default those of a minute.
    pub token_burst: Option<u64>,
    /// Limits for requests that name this route or model, beside those of the whole plan: both must have room.
    pub models: BTreeMap<String, ModelLimitsConfig>,
}

/// How much each tenant of a plan may use of one model or route: the table `[gateway.plans.NAME.models.MODEL]`. The keys are those of
/// the plan.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelLimitsConfig {
    /// As of the plan.
    pub requests_per_s: Option<f64>,
    /// As of the plan.
    pub burst: Option<u64>,
    /// As of the plan, and by default the plan's.
    pub window_s: Option<u32>,
    /// As of the plan.
    pub max_concurrent: Option<u32>,
    /// As of the plan.
    pub tokens_per_min: Option<u64>,
    /// As of the plan.
    pub token_burst: Option<u64>,
}

/// A tenant: the table `[gateway.tenants.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantConfig {
    /// The plan that it is on; by default `gateway.quota.default_plan`.
    pub plan: Option<String>,
}

/// Where quotas are counted: the table `[gateway.quota]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// The plan of tenants that `[gateway.tenants]` does not name.
    pub default_plan: String,
    /// Where it is counted.
    pub store: StoreKind,
    /// Where Redis is, with its password where it has one.
    pub redis_url: Option<Secret>,
    /// Authorities in PEM that are trusted beside the machine's where Redis is reached by TLS: a file of the site.
    pub ca_file: Option<String>,
    /// What the keys in Redis begin with. Processes that share quotas have the same.
    pub prefix: String,
    /// The longest that a request waits for Redis.
    pub timeout_ms: u32,
    /// What becomes of requests while Redis does not answer.
    pub when_down: WhenDown,
    /// The processes that share the quotas. It is there where `when_down` is `local`.
    pub processes: Option<u32>,
    /// How long a place of `max_concurrent` stays taken when a process ends without giving it back.
    pub lease_s: u32,
    /// The tenants whose counts are kept in memory. Those that have all of their quota again need none.
    pub max_tenants: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            default_plan: "free".to_owned(),
            store: StoreKind::default(),
            redis_url: None,
            ca_file: None,
            prefix: "wharf".to_owned(),
            timeout_ms: 250,
            when_down: WhenDown::default(),
            processes: None,
            lease_s: 30,
            max_tenants: 100_000,
        }
    }
}

/// Where quotas are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// In this process: each process gives every tenant the whole quota.
    #[default]
    Memory,
    /// In Redis: all processes together give every tenant its quota once.
    Redis,
}

/// What becomes of requests while Redis does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenDown {
    /// Tenants with a quota are refused with `Unavailable`.
    #[default]
    Closed,
    /// This process gives its part of every quota: one of `processes`.
    Local,
}

impl PlanConfig {
    /// The plans that are there without being written.
    pub(crate) fn built_in() -> BTreeMap<String, Self> {
        let plan = |requests_per_s: f64, burst: u64| Self {
            requests_per_s: Some(requests_per_s),
            burst: Some(burst),
            ..Self::default()
        };
        BTreeMap::from([
            ("free".to_owned(), plan(5.0, 10)),
            ("enterprise".to_owned(), plan(200.0, 300)),
        ])
    }

    /// The limits of the plan as a whole.
    pub(crate) fn whole(&self) -> ModelLimitsConfig {
        ModelLimitsConfig {
            requests_per_s: self.requests_per_s,
            burst: self.burst,
            window_s: self.window_s,
            max_concurrent: self.max_concurrent,
            tokens_per_min: self.tokens_per_min,
            token_burst: self.token_burst,
        }
    }

    /// This plan, with what another one says in place of its own.
    fn overlaid(&self, by: &Self) -> Self {
        // A rate that is given without a burst brings that of its own.
        let burst = match (by.burst, by.requests_per_s) {
            (None, None) => self.burst,
            (burst, _) => burst,
        };
        Self {
            requests_per_s: by.requests_per_s.or(self.requests_per_s),
            burst,
            window_s: by.window_s.or(self.window_s),
            max_concurrent: by.max_concurrent.or(self.max_concurrent),
            tokens_per_min: by.tokens_per_min.or(self.tokens_per_min),
            token_burst: by.token_burst.or(self.token_burst),
            models: by.models.clone(),
        }
    }
}

/// Every plan: those that are there anyway, changed and joined by those that are written.
pub(crate) fn all_plans(written: &BTreeMap<String, PlanConfig>) -> BTreeMap<String, PlanConfig> {
    let mut plans = PlanConfig::built_in();
    for (name, plan) in written {
        let plan = match plans.get(name) {
            Some(built_in) => built_in.overlaid(plan),
            None => plan.clone(),
        };
        plans.insert(name.clone(), plan);
    }
    plans
}

#[cfg(test)]
mod tests;
