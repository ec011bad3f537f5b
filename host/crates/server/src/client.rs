//! Who asks: found from a request's credentials before anything else of it is believed, and consulted wherever something is to
//! be seen or done.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use wharf_core::{
    Action, Error, ErrorKind, Gatekeeper, Name, Permit, Principal, Quota, Result, Tenants,
};
use wharf_serving::{Asked, Author, Route};

use crate::app::App;
use crate::oip::shared_memory::SharedMemory;

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

    /// Who makes the changes that they ask for.
    pub(crate) fn author(&self) -> Author {
        self.tenant().map_or(Author::Operator, |tenant| {
            Author::Tenant(Arc::clone(tenant))
        })
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

    /// Whether what is these tenants' is there for them.
    pub(crate) fn is_among(&self, tenants: &Tenants) -> bool {
        tenants.include(self.tenant().map(|tenant| &**tenant))
    }

    /// Whether a list shows them what has the name.
    pub(crate) fn sees(&self, name: &str, tenants: &Tenants) -> bool {
        self.is_among(tenants) && self.check(Action::ReadModels, Some(name)).is_ok()
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
        self.client.check(action, name)?;
        match action {
            Action::WriteServer | Action::WritePlugins | Action::WriteRoutes => self.operates(),
            Action::Infer | Action::ReadModels | Action::WriteModels => Ok(()),
        }
    }
}

/// What a call with changes of the server's settings does: without any, it reads.
pub(crate) fn reads_or_writes<T>(changes: &[T]) -> Action {
    match changes {
        [] => Action::ReadModels,
        _ => Action::WriteServer,
    }
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

    /// Refuses what is for all tenants to whoever belongs to one: routes, plugins and their settings, and the settings of the server.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub(crate) fn operates(self) -> Result<()> {
        match self.client.tenant() {
            None => Ok(()),
            Some(_) => {
                let message =
                    "this is for all tenants alike; only clients of no tenant read or change it";
                Err(Error::new(ErrorKind::PermissionDenied, message).with_field("authorization"))
            }
        }
    }

    /// Refuses what belongs to other tenants, before anything of a change is read. It is asked again where the change is made.
    ///
    /// # Errors
    /// `NotFound` where it is another tenant's, as if it did not exist; `PermissionDenied` where it is there for others too.
    pub(crate) fn owns(self, model: &Name) -> Result<()> {
        let author = self.client.author();
        let index = self.app.serving.index();
        let mut known = index.iter().filter(|entry| entry.name == *model);
        known.try_for_each(|entry| author.check(model, Some(&entry.tenants)))
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

    /// The regions that a client's requests may name.
    pub(crate) fn shared_memory_of(&self, client: &Client) -> &Arc<SharedMemory> {
        match client.tenant() {
            None => &self.shared_memory,
            Some(_) => &self.no_shared_memory,
        }
    }

    /// Counts a request against the client's quotas, and notes what is left of them: one for a route by its name, one of management without.
    /// What it gives is held to the end of the request.
    ///
    /// # Errors
    /// `QuotaExceeded` where nothing is left; `Unavailable` where that cannot be said now.
    pub(crate) async fn admit(
        &self,
        client: &Client,
        route: Option<&Route>,
        left: &mut Option<Quota>,
    ) -> Result<Permit> {
        let (Some(gatekeeper), Some(principal)) = (&self.gatekeeper, client.principal()) else {
            return Ok(Permit::default());
        };
        let name = route.map_or("", |route| route.name().as_str());
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
