//! What a proxy says that has found out who sends a request, in a network where nobody but it can connect.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use wharf_core::{Name, Principal};

use super::credential::single;
use super::principal::{CONTEXT_BYTES, anonymous};
use super::refusal::Refusal;
use crate::config::WithoutTenant;

pub(super) const TENANT: &str = "x-tenant-id";
const CONTEXT: &str = "x-request-context";
const TENANT_FIELD: HeaderName = HeaderName::from_static(TENANT);
const CONTEXT_FIELD: HeaderName = HeaderName::from_static(CONTEXT);

/// User and roles, as the proxy writes them. What else it writes goes on to stages and upstreams as it is.
#[derive(Deserialize)]
struct Context {
    user: Option<Arc<str>>,
    #[serde(default)]
    roles: Vec<Arc<str>>,
}

/// Whom the proxy says to have sent a request.
///
/// # Errors
/// Where a field is there more than once, or is not what it must be; where no tenant is named, and that is not an operator.
pub(super) fn principal(
    fields: &HeaderMap,
    without_tenant: WithoutTenant,
) -> Result<Arc<Principal>, Refusal> {
    let tenant = single(fields, &TENANT_FIELD, TENANT)?;
    let context = single(fields, &CONTEXT_FIELD, CONTEXT)?;
    let mut principal = Arc::unwrap_or_clone(anonymous());
    principal.tenant = match (tenant, without_tenant) {
        (Some(tenant), _) => Some(name(tenant)?.shared()),
        (None, WithoutTenant::Operator) => None,
        // A proxy that forgets the field lets nobody past all quotas.
        (None, WithoutTenant::Refuse) => return Err(Refusal::NoTenant),
    };
    if let Some(value) = context {
        let context = read(value)?;
        principal.subject = context.user.unwrap_or(principal.subject);
        principal.roles = context.roles;
        principal.context = value.clone();
    }
    Ok(Arc::new(principal))
}

fn name(value: &HeaderValue) -> Result<Name, Refusal> {
    let name = value.to_str().ok().and_then(|name| Name::new(name).ok());
    name.ok_or_else(|| {
        wrong(
            TENANT,
            "the tenant is no name of letters, digits, '-', '_' and '.'",
        )
    })
}

fn read(value: &HeaderValue) -> Result<Context, Refusal> {
    if value.len() > CONTEXT_BYTES {
        return Err(wrong(CONTEXT, "the context has more than 4096 bytes"));
    }
    // An array would be read as the members in their order.
    let text = value.to_str().ok().filter(|text| text.starts_with('{'));
    text.and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| {
            wrong(
                CONTEXT,
                "the context is no JSON in ASCII with the members user and roles",
            )
        })
}

fn wrong(field: &'static str, problem: &'static str) -> Refusal {
    Refusal::Proxy { field, problem }
}

#[cfg(test)]
mod tests {
    use wharf_core::Scope;

    use super::*;

    fn said(pairs: &[(&'static str, &str)]) -> Result<Arc<Principal>, Refusal> {
        let mut fields = HeaderMap::new();
        for (name, value) in pairs {
            fields.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        principal(&fields, WithoutTenant::Refuse)
    }

    #[test]
    fn a_proxy_is_believed() {
        let context = r#"{"user":"ada","roles":["dev"],"more":1}"#;
        let principal = said(&[(TENANT, "acme"), (CONTEXT, context)]).unwrap();
        assert_eq!(principal.tenant.as_deref(), Some("acme"));
        assert_eq!(&*principal.subject, "ada");
        assert_eq!(principal.roles, [Arc::from("dev")]);
        assert_eq!(principal.context, context);
        assert_eq!(principal.scopes, [Scope::All]);
    }

    #[test]
    fn who_has_no_tenant_is_an_operator_only_where_the_settings_say_so() {
        let context = [(CONTEXT, r#"{"user":"ada"}"#)];
        for pairs in [&[][..], &context] {
            assert_eq!(said(pairs).unwrap_err(), Refusal::NoTenant);
        }
        let operator = principal(&HeaderMap::new(), WithoutTenant::Operator);
        assert_eq!(operator.unwrap(), anonymous());
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_field() {
        let long = format!(r#"{{"user":"{}"}}"#, "u".repeat(CONTEXT_BYTES));
        for (pairs, field) in [
            (vec![(TENANT, "../acme")], TENANT),
            (vec![(TENANT, "")], TENANT),
            (
                vec![(TENANT, "acme"), (CONTEXT, "{\"user\":\"\u{e9}\"}")],
                CONTEXT,
            ),
            (vec![(TENANT, "acme"), (CONTEXT, "ada")], CONTEXT),
            (vec![(TENANT, "acme"), (CONTEXT, r#"["ada",[]]"#)], CONTEXT),
            (vec![(TENANT, "acme"), (CONTEXT, long.as_str())], CONTEXT),
        ] {
            let refusal = said(&pairs).unwrap_err();
            assert!(
                matches!(refusal, Refusal::Proxy { field: named, .. } if named == field),
                "{pairs:?}: {refusal:?}"
            );
        }
        let twice = said(&[(TENANT, "acme"), (TENANT, "rival")]);
        assert_eq!(twice.unwrap_err(), Refusal::Repeated(TENANT));
    }
}
