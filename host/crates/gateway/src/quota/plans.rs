//! The plans in force, made ready for the request's path: every number is a rate, every text is there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::claim::{Claim, Good, PARTS, Part};
use super::config::{ModelLimitsConfig, PlanConfig, StoreConfig, TenantConfig, all_plans};
use super::gcra::Rate;
use super::metrics::{Metrics, PlanMetrics};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// The window where a plan says no other.
const WINDOW_S: u32 = 60;

/// Who is on which plan.
pub(crate) struct Plans {
    tenants: HashMap<String, Arc<Plan>>,
    rest: Arc<Plan>,
}

/// What each tenant of a plan may use.
pub(crate) struct Plan {
    pub(crate) name: Arc<str>,
    pub(crate) metrics: PlanMetrics,
    whole: Limits,
    models: HashMap<String, Limits>,
}

/// A set of limits.
pub(crate) struct Limits {
    /// The name for `RateLimit-Policy`.
    pub(crate) policy: Arc<str>,
    pub(crate) window: Duration,
    pub(crate) requests: Option<Rate>,
    pub(crate) tokens: Option<Rate>,
    pub(crate) places: Option<u32>,
    /// The limits in words.
    pub(crate) words: Words,
}

/// What a client reads of limits that refuse it.
pub(crate) struct Words {
    pub(crate) requests: String,
    pub(crate) tokens: String,
    pub(crate) places: String,
}

impl Plans {
    /// Makes the plans ready. The settings have been checked.
    pub(crate) fn new(
        written: &BTreeMap<String, PlanConfig>,
        tenants: &BTreeMap<String, TenantConfig>,
        quota: &StoreConfig,
        metrics: &Metrics,
    ) -> Self {
        let mut plans: HashMap<String, Arc<Plan>> = all_plans(written)
            .into_iter()
            .map(|(name, config)| {
                let plan = Arc::new(Plan::new(&name, &config, metrics));
                (name, plan)
            })
            .collect();
        // A check refuses plans that there are not. Whoever is on one nonetheless has the smallest plan, and not none.
        let smallest = || Plan::new("free", &PlanConfig::built_in()["free"], metrics);
        let mut plan_of = |name: &str| {
            let plan = plans
                .entry(name.to_owned())
                .or_insert_with(|| Arc::new(smallest()));
            Arc::clone(plan)
        };
        let tenants = tenants.iter().map(|(tenant, config)| {
            let plan = config.plan.as_deref().unwrap_or(&quota.default_plan);
            (tenant.clone(), plan_of(plan))
        });
        Self {
            tenants: tenants.collect(),
            rest: plan_of(&quota.default_plan),
        }
    }

    /// The plan that a tenant is on.
    pub(crate) fn of(&self, tenant: &str) -> &Arc<Plan> {
        self.tenants.get(tenant).unwrap_or(&self.rest)
    }
}

impl Plan {
    fn new(name: &str, config: &PlanConfig, metrics: &Metrics) -> Self {
        let whole = config.whole();
        let models = config.models.iter().map(|(model, limits)| {
            let limits = ModelLimitsConfig {
                window_s: limits.window_s.or(whole.window_s),
                ..limits.clone()
            };
            let policy = format!("{name}/{model}");
            let words = Words::new(name, Some(model), &limits);
            (model.clone(), Limits::new(&policy, &limits, words))
        });
        Self {
            name: name.into(),
            metrics: metrics.of_plan(name),
            models: models.collect(),
            whole: Limits::new(name, &whole, Words::new(name, None, &whole)),
        }
    }

    /// The limits of one part that apply to a route.
    pub(crate) fn limits(&self, part: Part, route: &str) -> Option<&Limits> {
        match part {
            Part::Whole => Some(&self.whole),
            // Most plans have none, and then no hash is made.
            Part::Model if self.models.is_empty() => None,
            Part::Model => self.models.get(route),
        }
    }

    /// What a request for a route takes of requests and places.
    pub(crate) fn request<'a>(&self, tenant: &'a str, route: &'a str) -> Claim<'a> {
        let limits = self.limits_of(route);
        Claim {
            tenant,
            model: limits[Part::Model as usize].map(|_| route),
            of: Good::Requests,
            units: 1,
            rates: limits.map(|limits| limits?.requests),
            places: limits.map(|limits| limits?.places),
        }
    }

    /// What a request for a route takes of tokens.
    pub(crate) fn tokens<'a>(&self, tenant: &'a str, route: &'a str, tokens: u64) -> Claim<'a> {
        let limits = self.limits_of(route);
        Claim {
            tenant,
            model: limits[Part::Model as usize].map(|_| route),
            of: Good::Tokens,
            units: tokens,
            rates: limits.map(|limits| limits?.tokens),
            places: [None; PARTS],
        }
    }

    fn limits_of(&self, route: &str) -> [Option<&Limits>; PARTS] {
        Part::ALL.map(|part| self.limits(part, route))
    }
}

impl Limits {
    fn new(policy: &str, config: &ModelLimitsConfig, words: Words) -> Self {
        let requests = config.requests_per_s.map(|per_s| {
            // A cast of a float saturates.
            let burst = config.burst.unwrap_or(per_s.ceil() as u64);
            Rate::new(per_s, SECOND, burst)
        });
        let tokens = config.tokens_per_min.map(|per_min| {
            Rate::new(
                per_min as f64,
                MINUTE,
                config.token_burst.unwrap_or(per_min),
            )
        });
        let window = u64::from(config.window_s.unwrap_or(WINDOW_S));
        Self {
            policy: policy.into(),
            window: Duration::from_secs(window),
            requests,
            tokens,
            places: config.max_concurrent,
            words,
        }
    }
}

impl Words {
    fn new(plan: &str, model: Option<&str>, limits: &ModelLimitsConfig) -> Self {
        let of = model.map_or_else(String::new, |model| format!(" of {model:?}"));
        let per_s = limits.requests_per_s.unwrap_or_default();
        let burst = limits.burst.unwrap_or(per_s.ceil() as u64).max(1);
        let per_min = limits.tokens_per_min.unwrap_or_default();
        let token_burst = limits.token_burst.unwrap_or(per_min);
        let places = limits.max_concurrent.unwrap_or_default();
        Self {
            requests: format!(
                "the plan {plan:?} allows {per_s} requests/s{of}, and {burst} at once"
            ),
            tokens: format!(
                "the plan {plan:?} allows {per_min} tokens/min{of}, and {token_burst} at once"
            ),
            places: format!("the plan {plan:?} allows {places} requests at a time{of}"),
        }
    }
}
