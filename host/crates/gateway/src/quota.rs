//! How much the tenants may use, by the plan that each is on.
//!
//! A plan has limits for all that a tenant sends, and may have more for single models: requests by rate and burst, requests at one time,
//! and tokens. All limits that apply to a request are asked at once, and take from it all or nothing. One algorithm ([`gcra`]) decides,
//! over counts that lie in this process ([`memory`]) or in Redis ([`shared`]). Who has no tenant has no quota.

mod config;

mod gcra;

mod claim;
mod clock;
mod plans;

mod memory;
mod shared;

mod answer;
mod metrics;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use opentelemetry::metrics::Meter;
use wharf_core::{Admission, Error, LoadError, Permit, Principal, Prompt, Result, TokenReserve};

use crate::Config;
use claim::{Claim, Taken};
use clock::{Clock, Uptime};
use config::check::Tables;
use memory::{Crowded, Memory};
use metrics::{Metrics, Outcome};
use plans::{Plan, Plans};
use shared::{Dial, Down, Shared};

pub use config::{
    ModelLimitsConfig, PlanConfig, Secret, StoreConfig, StoreKind, TenantConfig, WhenDown,
};

/// Checks the settings of quotas, without opening anything.
///
/// # Errors
/// Names the first setting that is wrong.
pub(crate) fn check(config: &Config) -> Result<(), LoadError> {
    config::check::check(Tables {
        plans: &config.plans,
        tenants: &config.tenants,
        quota: &config.quota,
    })
}

/// Reads the file that the settings name.
///
/// # Errors
/// Where it cannot be used.
pub(crate) fn check_files(config: &Config, site: &Path) -> Result<(), LoadError> {
    dial(config, site).map(drop)
}

/// What connects to Redis; none where quotas are counted in memory.
fn dial(config: &Config, site: &Path) -> Result<Option<Dial>, LoadError> {
    match config.quota.store {
        StoreKind::Memory => Ok(None),
        StoreKind::Redis => Dial::open(&config.quota, site).map(Some),
    }
}

/// The quotas of every tenant.
pub(crate) struct Quotas {
    plans: ArcSwap<Plans>,
    store: Store,
    /// What the store was opened with.
    opened: StoreConfig,
    metrics: Metrics,
}

/// Where is counted.
enum Store {
    Memory(Arc<Memory>),
    Shared {
        shared: Box<Shared>,
        /// Counts while Redis does not answer; none where requests are refused then.
        local: Option<Local>,
    },
}

/// The part of every quota that this process gives by itself.
struct Local {
    memory: Arc<Memory>,
    /// Of how many processes.
    processes: u32,
}

/// What a claim came to, with the claim as it was counted; none where it could not be.
type Counted<'a, T> = (Claim<'a>, Option<Taken<T>>);

impl Quotas {
    /// Makes the quotas ready. With Redis, it begins to connect, for which it must be called on a runtime.
    ///
    /// # Errors
    /// Names the first setting that is wrong.
    pub(crate) fn open(config: &Config, site: &Path, meter: &Meter) -> Result<Self, LoadError> {
        check(config)?;
        let dial = dial(config, site)?;
        Ok(Self::with(config, dial, meter, Arc::new(Uptime::new())))
    }

    fn with(config: &Config, dial: Option<Dial>, meter: &Meter, clock: Arc<dyn Clock>) -> Self {
        let metrics = Metrics::new(meter);
        let most = config.quota.max_tenants as usize;
        let memory = || {
            let memory = Arc::new(Memory::new(most, clock));
            metrics.watch(&memory);
            memory
        };
        let store = match dial {
            None => Store::Memory(memory()),
            Some(dial) => Store::Shared {
                shared: Box::new(Shared::open(dial, &config.quota, &metrics)),
                local: match config.quota.when_down {
                    WhenDown::Closed => None,
                    WhenDown::Local => Some(Local {
                        memory: memory(),
                        // The check asks for it.
                        processes: config.quota.processes.unwrap_or(1),
                    }),
                },
            },
        };
        Self {
            plans: ArcSwap::from_pointee(plans(config, &metrics)),
            store,
            opened: config.quota.clone(),
            metrics,
        }
    }

    /// Puts other plans and tenants in force; what has been used stays so. Where is counted does not change.
    pub(crate) fn reconfigure(&self, config: &Config) {
        let same = StoreConfig {
            default_plan: config.quota.default_plan.clone(),
            ..self.opened.clone()
        };
        if config.quota != same {
            tracing::warn!(
                "wharf.toml: of [gateway.quota], default_plan is in force; where quotas are counted follows at the next start"
            );
        }
        self.plans.store(Arc::new(plans(config, &self.metrics)));
    }

    /// Counts a request.
    pub(crate) fn admit<'a>(
        &'a self,
        principal: &'a Principal,
        route: &'a str,
    ) -> Prompt<'a, Admission> {
        let Some(tenant) = principal.tenant.as_deref() else {
            return Prompt::Now(unlimited());
        };
        let plans = self.plans.load();
        let plan = plans.of(tenant);
        let claim = plan.request(tenant, route);
        if !claim.is_limited() {
            plan.metrics.admission(Outcome::Admitted);
            return Prompt::Now(unlimited());
        }
        match &self.store {
            Store::Memory(memory) => {
                let counted = (claim.clone(), in_memory(memory, &claim));
                Prompt::Now(admission(plan, route, counted))
            }
            Store::Shared { shared, local } => {
                let plan = Arc::clone(plan);
                Prompt::Later(Box::pin(async move {
                    let counted = match (shared.take(&claim).await, local) {
                        (Ok(taken), _) => (claim, Some(taken.map(permit))),
                        (Err(Down), None) => (claim, None),
                        (Err(Down), Some(local)) => {
                            let part = claim.on_part(local.processes);
                            let taken = in_memory(&local.memory, &part);
                            (part, taken)
                        }
                    };
                    admission(&plan, route, counted)
                }))
            }
        }
    }

    /// Sets tokens aside.
    pub(crate) fn reserve<'a>(
        &'a self,
        principal: &'a Principal,
        route: &'a str,
        tokens: u64,
    ) -> Prompt<'a, Result<Box<dyn TokenReserve>>> {
        let Some(tenant) = principal.tenant.as_deref() else {
            return Prompt::Now(Ok(Box::new(Reserve::Unlimited)));
        };
        let plans = self.plans.load();
        let plan = plans.of(tenant);
        let claim = plan.tokens(tenant, route, tokens);
        if !claim.is_limited() {
            plan.metrics.reserve(Outcome::Admitted);
            return Prompt::Now(Ok(Box::new(Reserve::Unlimited)));
        }
        match &self.store {
            Store::Memory(memory) => {
                let counted = (claim.clone(), set_aside(memory, &claim));
                Prompt::Now(reserve(plan, route, counted))
            }
            Store::Shared { shared, local } => {
                let plan = Arc::clone(plan);
                Prompt::Later(Box::pin(async move {
                    let counted = match (shared.reserve(&claim).await, local) {
                        (Ok(taken), _) => (claim, Some(taken.map(Reserve::Shared))),
                        (Err(Down), None) => (claim, None),
                        (Err(Down), Some(local)) => {
                            let part = claim.on_part(local.processes);
                            let taken = set_aside(&local.memory, &part);
                            (part, taken)
                        }
                    };
                    reserve(&plan, route, counted)
                }))
            }
        }
    }

    /// Gives back what is left to give back, and ends what runs in the background.
    pub(crate) async fn shutdown(&self) {
        if let Store::Shared { shared, .. } = &self.store {
            shared.shutdown().await;
        }
    }
}

fn plans(config: &Config, metrics: &Metrics) -> Plans {
    Plans::new(&config.plans, &config.tenants, &config.quota, metrics)
}

fn unlimited() -> Admission {
    Admission {
        outcome: Ok(Permit::default()),
        quota: None,
    }
}

fn permit<T: Send + Sync + 'static>(held: Option<T>) -> Permit {
    held.map_or_else(Permit::default, Permit::holding)
}

fn in_memory(memory: &Memory, claim: &Claim<'_>) -> Option<Taken<Permit>> {
    match memory.take(claim) {
        Ok(taken) => Some(taken.map(permit)),
        Err(Crowded) => None,
    }
}

fn set_aside(memory: &Arc<Memory>, claim: &Claim<'_>) -> Option<Taken<Reserve>> {
    match memory.reserve(claim) {
        Ok(taken) => Some(taken.map(Reserve::Memory)),
        Err(Crowded) => None,
    }
}

fn admission(plan: &Plan, route: &str, (claim, taken): Counted<'_, Permit>) -> Admission {
    let Some(Taken { debts, outcome }) = taken else {
        plan.metrics.admission(Outcome::Unavailable);
        return Admission {
            outcome: Err(answer::unavailable()),
            quota: None,
        };
    };
    let refusal = outcome.as_ref().err().copied();
    let quota = answer::quota(plan, &claim, route, debts, refusal);
    plan.metrics
        .admission(refusal.map_or(Outcome::Admitted, Outcome::from));
    Admission {
        outcome: outcome.map_err(|refusal| answer::refused(plan, &claim, route, refusal)),
        quota,
    }
}

fn reserve(
    plan: &Plan,
    route: &str,
    (claim, taken): Counted<'_, Reserve>,
) -> Result<Box<dyn TokenReserve>> {
    let outcome: Result<Reserve, (Outcome, Error)> = match taken {
        None => Err((Outcome::Unavailable, answer::unavailable())),
        Some(taken) => taken.outcome.map_err(|refusal| {
            let error = answer::refused(plan, &claim, route, refusal);
            (refusal.into(), error)
        }),
    };
    match outcome {
        Ok(reserve) => {
            plan.metrics.reserve(Outcome::Admitted);
            Ok(Box::new(reserve))
        }
        Err((outcome, error)) => {
            plan.metrics.reserve(outcome);
            Err(error)
        }
    }
}

/// Tokens that are set aside.
enum Reserve {
    /// Of a plan that does not count them.
    Unlimited,
    Memory(memory::Reserved),
    Shared(shared::Reserved),
}

impl TokenReserve for Reserve {
    fn settle(self: Box<Self>, used: u64) {
        match *self {
            Self::Unlimited => {}
            Self::Memory(reserved) => reserved.settle(used),
            Self::Shared(reserved) => reserved.settle(used),
        }
    }
}

#[cfg(test)]
mod tests;
