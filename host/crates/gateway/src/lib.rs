//! What stands between clients and what is served: who sends a request, by tokens and keys, and how much their tenant may, by
//! plans.
//!
//! It knows no path and no status code: the server asks it through the port [`wharf_core::Gatekeeper`], with header fields and the name of a
//! route. Nothing that a client sends makes it open a connection: keys come from where the operator says.
#![deny(missing_docs)]

mod config;
mod gateway;
mod metrics;
mod tls;

mod auth;
mod quota;

pub use auth::{ApiKey, ApiKeyError, ApiKeysConfig, IssuerConfig, OneOrMore};
pub use config::{Access, Config, WithoutTenant};
pub use gateway::Gateway;
pub use quota::{
    ModelLimitsConfig, PlanConfig, Secret, StoreConfig, StoreKind, TenantConfig, WhenDown,
};
