//! Who asks: found from a request's credentials before anything else of it is believed, and consulted wherever something is to
//! be seen or done.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use wharf_core::{
    Action, Error, ErrorKind, Gatekeeper, Name, Permit, Principal, Quota, Result, Tenants,
};
use wharf_serving::{Asked, IndexEntry, Route, no_such_model};

use crate::app::App;

const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Who sends a request.
#[derive(Clone, Default)]
pub(crate) enum Client {
    /// Nobody is asked who they are.
    #[default]
    Anybody,
    /// Their credentials say it.
    Known(Arc<Principal>),
    /// They did not say it, and ask only for what everybody may have.
    Stranger,
}

impl Client {
    /// Whether they are the very one that was found before.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Known(one), Self::Known(other)) => Arc::ptr_eq(one, other),
            (Self::Anybody, Self::Anybody) | (Self::Stranger, Self::Stranger) => true,
            _ => false,
        }
    }

    pub(crate) fn principal(&self) -> Option<&Principal> {
        match self {
            Self::Known(principal) => Some(principal),
            Self::Anybody | Self::Stranger => None,
        }
    }

    /// The tenant that they belong to.
    pub(crate) fn tenant(&self) -> Option<&Arc<str>> {
        self.principal()?.tenant.as_ref()
    }

    /// Whether they see everything that the site has.
    pub(crate) fn sees_all(&self) -> bool {
        self.tenant().is_none() && self.check(Action::ReadModels, None).is_ok()
    }

    /// What they ask for by its name.
    pub(crate) fn asked<'a>(&'a self, name: &'a str) -> Asked<'a> {
        let tenant = self.tenant().map(|tenant| &**tenant);
        Asked { name, tenant }
    }

    /// Refuses what they may not do to what has the name; without a name, to all.
    ///
    /// # Errors
    /// `PermissionDenied` that names the scope which is missing.
    pub(crate) fn check(&self, action: Action, name: Option<&str>) -> Result<()> {
        match self {
            Self::Anybody => Ok(()),
            Self::Known(principal) => principal.check(action, name),
            Self::Stranger => {
                let message = "say who you are: send Authorization: Bearer TOKEN or X-API-Key";
                Err(Error::new(ErrorKind::Unauthenticated, message).with_field("authorization"))
            }
        }
    }

    /// Whether a list shows them what has the name.
    pub(crate) fn sees(&self, name: &str, tenants: &Tenants) -> bool {
        tenants.include(self.tenant().map(|tenant| &**tenant))
            && self.check(Action::ReadModels, Some(name)).is_ok()
    }

    /// Whether a list shows them a route.
    pub(crate) fn sees_route(&self, route: &Route) -> bool {
        self.sees(route.name().as_str(), &route.spec().tenants)
    }
}

/// Who asks for something else than inference, and whom.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) app: &'a App,
    pub(crate) client: &'a Client,
    /// The name that the client knows the server by.
    pub(crate) host: Option<&'a str>,
}

impl Asker<'_> {
    /// Refuses what the client may not do to what has the name; without a name, to all.
    ///
    /// # Errors
    /// `PermissionDenied` that says what would let them.
    pub(crate) fn may(self, action: Action, name: Option<&str>) -> Result<()> {
        if !matches!(action, Action::Infer | Action::ReadModels) {
            self.app.check_management()?;
            self.app.check_host(self.host)?;
        }
        self.client.check(action, name)
    }
}

/// What a call with changes of the server's settings does: without any, it reads.
pub(crate) fn reads_or_writes<T>(changes: &[T]) -> Action {
    match changes {
        [] => Action::ReadModels,
        _ => Action::WriteServer,
    }
}

/// Whose a model is that a client wants to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// Whose it was before: the client may change it.
    Stays,
    /// There is none of the name yet. It becomes this tenant's.
    Becomes(Arc<str>),
}

impl Asker<'_> {
    /// Refuses what the client may do to nothing. What it may do it to is not known yet.
    ///
    /// # Errors
    /// As [`Asker::may`].
    pub(crate) fn may_somewhere(self, action: Action) -> Result<()> {
        match self.client.principal() {
            Some(principal) if principal.may_somewhere(action) => {
                self.app.check_management()?;
                self.app.check_host(self.host)
            }
            _ => self.may(action, None),
        }
    }

    /// Refuses what is there for other tenants alone, as if it did not exist.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn sees(self, name: &Name) -> Result<()> {
        let Some(tenant) = self.client.tenant() else {
            return Ok(());
        };
        let index = self.app.serving.index();
        let mut known = index.iter().filter(|entry| entry.name == *name);
        match known.all(|entry| entry.tenants.include(Some(tenant))) {
            true => Ok(()),
            false => Err(no_such_model(name)),
        }
    }

    /// Refuses to change routes and plugins to whoever belongs to a tenant: they are everybody's.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub(crate) fn operates(self) -> Result<()> {
        match self.client.tenant() {
            None => Ok(()),
            Some(_) => {
                let message = "routes and plugins are for all tenants; their operator changes them";
                Err(Error::new(ErrorKind::PermissionDenied, message).with_field("authorization"))
            }
        }
    }

    /// Refuses to change a model that is not the own one of the client's tenant. Whoever belongs to no tenant changes all.
    ///
    /// # Errors
    /// `NotFound` where it is another tenant's, as if it did not exist; `PermissionDenied` where it is there for others too.
    pub(crate) fn owns(self, model: &Name) -> Result<Ownership> {
        let Some(tenant) = self.client.tenant() else {
            return Ok(Ownership::Stays);
        };
        let index = self.app.serving.index();
        let mut known = index.iter().filter(|entry| entry.name == *model).peekable();
        if known.peek().is_none() {
            return Ok(Ownership::Becomes(Arc::clone(tenant)));
        }
        for IndexEntry { tenants, .. } in known {
            if !tenants.include(Some(tenant)) {
                return Err(no_such_model(model));
            }
            if !tenants.are_only(tenant) {
                let message =
                    format!("{model} is not your tenant's alone; its operator changes it");
                return Err(Error::new(ErrorKind::PermissionDenied, message).with_field("model"));
            }
        }
        Ok(Ownership::Stays)
    }
}

impl App {
    /// Finds out who sends a request.
    ///
    /// # Errors
    /// `Unauthenticated` where credentials are asked for and not there, or not good; `Unavailable` where that cannot be said now.
    pub(crate) async fn identify(&self, fields: &HeaderMap) -> Result<Client> {
        match &self.gatekeeper {
            None => Ok(Client::Anybody),
            Some(gatekeeper) => {
                let principal = gatekeeper.identify(fields).get().await?;
                Ok(Client::Known(principal))
            }
        }
    }

    /// Counts a request for a route against the client's quotas, and notes what is left of them. What it gives is held to the end of
    /// the request.
    ///
    /// # Errors
    /// `QuotaExceeded` where nothing is left; `Unavailable` where that cannot be said now.
    pub(crate) async fn admit(
        &self,
        client: &Client,
        route: &Route,
        left: &mut Option<Quota>,
    ) -> Result<Permit> {
        let (Some(gatekeeper), Some(principal)) = (&self.gatekeeper, client.principal()) else {
            return Ok(Permit::default());
        };
        let name = route.name().as_str();
        let admission = Gatekeeper::admit(&**gatekeeper, principal, name)
            .get()
            .await;
        *left = admission.quota;
        admission.outcome
    }
}

/// Says in an answer what is left of a quota (IETF draft-ietf-httpapi-ratelimit-headers).
pub(crate) fn write_quota(quota: &Quota, fields: &mut HeaderMap) {
    let Quota {
        policy,
        limit,
        window,
        remaining,
        reset,
    } = quota;
    // Rounded up: a client that comes back a little late is served.
    let reset = reset.as_secs() + u64::from(reset.subsec_nanos() > 0);
    let window = window.as_secs().max(1);
    for (name, text) in [
        (
            RATE_LIMIT_POLICY,
            format!("\"{policy}\";q={limit};w={window}"),
        ),
        (RATE_LIMIT, format!("\"{policy}\";r={remaining};t={reset}")),
    ] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            fields.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_left_of_a_quota_is_two_fields() {
        let quota = Quota {
            policy: "free".into(),
            limit: 300,
            window: Duration::from_secs(60),
            remaining: 7,
            reset: Duration::from_millis(600),
        };
        let mut fields = HeaderMap::new();
        write_quota(&quota, &mut fields);
        assert_eq!(fields["ratelimit-policy"], "\"free\";q=300;w=60");
        assert_eq!(fields["ratelimit"], "\"free\";r=7;t=1");
    }
}
