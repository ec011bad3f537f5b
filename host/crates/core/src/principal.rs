//! Who sends a request, and what they may do.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;

use crate::{Error, ErrorKind, InvalidName, Name, Result};

/// Whom a request's credentials prove to have sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The tenant that they belong to; none where the server has no tenants.
    pub tenant: Option<Arc<str>>,
    /// Their own name: the claim `sub` of a token, or the name of a key.
    pub subject: Arc<str>,
    /// What they are to the tenant. Stages and upstreams read it; the server itself decides by scopes.
    pub roles: Vec<Arc<str>>,
    /// What they may do.
    pub scopes: Vec<Scope>,
    /// User and roles as the field `x-request-context` has them: JSON of one line, in ASCII. Made once, and not for each request.
    pub context: HeaderValue,
}

impl Principal {
    /// Whether they may do this to what has the name; without a name, to everything.
    #[must_use]
    pub fn may(&self, action: Action, name: Option<&str>) -> bool {
        self.scopes.iter().any(|scope| scope.allows(action, name))
    }

    /// Whether they may do this to something.
    #[must_use]
    pub fn may_somewhere(&self, action: Action) -> bool {
        self.scopes.iter().any(|scope| match scope {
            Scope::All => true,
            Scope::On(on, _) => on.includes(action),
        })
    }

    /// Refuses what they may not do.
    ///
    /// # Errors
    /// `PermissionDenied` that names the scope which is missing.
    pub fn check(&self, action: Action, name: Option<&str>) -> Result<()> {
        if self.may(action, name) {
            return Ok(());
        }
        let action = action.name();
        let message = match name {
            Some(name) => format!("needs the scope {action}:{name}, or {action} for all"),
            None => format!("needs the scope {action}"),
        };
        Err(Error::new(ErrorKind::PermissionDenied, message).with_field("authorization"))
    }
}

/// What can be done to a server, as scopes name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Run a model or a route.
    Infer,
    /// See models and how they do. Whoever may run or change one may see it, too.
    ReadModels,
    /// Register, load, unload, change and delete models, with their artifacts.
    WriteModels,
    /// Put plugins into the site, and take them out.
    WritePlugins,
    /// Put routes into the site, and take them out.
    WriteRoutes,
    /// Change the settings of log and traces, and register shared memory.
    WriteServer,
}

impl Action {
    /// Every action, in the order of declaration.
    pub const ALL: [Self; 6] = [
        Self::Infer,
        Self::ReadModels,
        Self::WriteModels,
        Self::WritePlugins,
        Self::WriteRoutes,
        Self::WriteServer,
    ];

    /// The name in scopes: `infer`, `models:write`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Infer => "infer",
            Self::ReadModels => "models:read",
            Self::WriteModels => "models:write",
            Self::WritePlugins => "plugins:write",
            Self::WriteRoutes => "routes:write",
            Self::WriteServer => "server:write",
        }
    }

    /// Whether whoever may do this may do the other as well.
    const fn includes(self, other: Self) -> bool {
        match other {
            Self::ReadModels => matches!(self, Self::Infer | Self::ReadModels | Self::WriteModels),
            other => self as u8 == other as u8,
        }
    }
}

/// A permission: `infer`, `infer:digits`, `models:write`, `models:write:digits`, or `*` for everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// An action, on what has the name; without a name on everything.
    On(Action, Option<Name>),
}

impl Scope {
    /// Reads a scope.
    ///
    /// # Errors
    /// Where no action is named so, or what follows it is no name. Tokens carry scopes of other services, too: those are left out.
    pub fn parse(text: &str) -> Result<Self, UnknownScope> {
        if text == "*" {
            return Ok(Self::All);
        }
        let mut actions = Action::ALL.iter();
        let found = actions.find_map(|action| {
            let rest = text.strip_prefix(action.name())?;
            match rest.strip_prefix(':') {
                None if rest.is_empty() => Some(Ok(Self::On(*action, None))),
                Some(name) => Some(Name::new(name).map(|name| Self::On(*action, Some(name)))),
                None => None,
            }
        });
        match found {
            Some(Ok(scope)) => Ok(scope),
            Some(Err(InvalidName)) | None => Err(UnknownScope),
        }
    }

    fn allows(&self, wanted: Action, name: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::On(action, None) => action.includes(wanted),
            Self::On(action, Some(on)) => action.includes(wanted) && name == Some(on.as_str()),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::On(action, None) => f.write_str(action.name()),
            Self::On(action, Some(name)) => write!(f, "{}:{name}", action.name()),
        }
    }
}

/// A text that is no scope of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no scope of this server: use infer, models:read, models:write, plugins:write, routes:write or server:write, each with :NAME for one alone, or *"
)]
pub struct UnknownScope;

/// Whose a route or a model is: everybody's, unless it names tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenants(Option<Arc<[Name]>>);

impl Tenants {
    /// Everybody's.
    #[must_use]
    pub const fn everybody() -> Self {
        Self(None)
    }

    /// These alone; none for what only those see who belong to no tenant.
    #[must_use]
    pub fn only(names: impl IntoIterator<Item = Name>) -> Self {
        Self(Some(names.into_iter().collect()))
    }

    /// Those that a setting names; everybody's where there is none.
    ///
    /// # Errors
    /// The place in the list of what is no name.
    pub fn of_setting(names: Option<&[String]>) -> Result<Self, usize> {
        let Some(names) = names else {
            return Ok(Self::everybody());
        };
        let named = names.iter().enumerate();
        let named = named.map(|(index, name)| Name::new(name).map_err(|InvalidName| index));
        Ok(Self(Some(named.collect::<Result<_, _>>()?)))
    }

    /// Whether it is this tenant's and nobody else's.
    #[must_use]
    pub fn are_only(&self, tenant: &str) -> bool {
        matches!(self.0.as_deref(), Some([name]) if name.as_str() == tenant)
    }

    /// Whether it is there for a tenant. To whoever belongs to none, such as an operator, everything is.
    #[must_use]
    pub fn include(&self, tenant: Option<&str>) -> bool {
        match (&self.0, tenant) {
            (None, _) | (_, None) => true,
            (Some(names), Some(tenant)) => names.iter().any(|name| name.as_str() == tenant),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(scopes: &[&str]) -> Principal {
        Principal {
            tenant: None,
            subject: "ada".into(),
            roles: Vec::new(),
            scopes: scopes
                .iter()
                .map(|scope| Scope::parse(scope).unwrap())
                .collect(),
            context: HeaderValue::from_static("{}"),
        }
    }

    #[test]
    fn a_scope_reads_as_it_is_written() {
        for text in [
            "*",
            "infer",
            "infer:digits",
            "models:write",
            "models:write:digits",
            "server:write",
        ] {
            assert_eq!(Scope::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "inferno",
            "infer:",
            "infer:a/b",
            "models",
            "models:writes",
            "openid",
            "**",
        ] {
            assert_eq!(Scope::parse(text), Err(UnknownScope), "{text}");
        }
    }

    #[test]
    fn a_scope_allows_what_it_names() {
        let one = principal(&["infer:digits"]);
        assert!(one.may(Action::Infer, Some("digits")));
        assert!(one.may(Action::ReadModels, Some("digits")));
        assert!(!one.may(Action::Infer, Some("faces")));
        assert!(!one.may(Action::Infer, None));
        assert!(one.may_somewhere(Action::Infer));
        assert!(!one.may_somewhere(Action::WriteModels));
        assert!(!one.may(Action::WriteModels, Some("digits")));

        let all = principal(&["models:write"]);
        assert!(all.may(Action::WriteModels, Some("faces")));
        assert!(all.may(Action::ReadModels, None));
        assert!(!all.may(Action::Infer, Some("faces")));
        assert!(principal(&["*"]).may(Action::WriteServer, None));
    }

    #[test]
    fn what_names_tenants_is_there_for_them_alone() {
        let acme = Tenants::only([Name::new("acme").unwrap()]);
        for (tenants, tenant, included) in [
            (&Tenants::default(), Some("acme"), true),
            (&acme, Some("acme"), true),
            (&acme, Some("rival"), false),
            (&acme, None, true),
            (&Tenants::only([]), Some("acme"), false),
        ] {
            assert_eq!(tenants.include(tenant), included, "{tenants:?} {tenant:?}");
        }
        let written = ["acme".to_owned(), "a/b".to_owned()];
        assert_eq!(Tenants::of_setting(None), Ok(Tenants::everybody()));
        assert_eq!(Tenants::of_setting(Some(&written[..1])), Ok(acme.clone()));
        assert_eq!(Tenants::of_setting(Some(&written)), Err(1));
        let both = Tenants::only(["acme", "rival"].map(|name| Name::new(name).unwrap()));
        assert!(acme.are_only("acme"));
        for tenants in [&Tenants::default(), &both, &Tenants::only([])] {
            assert!(!tenants.are_only("acme"), "{tenants:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_scope() {
        let error = principal(&[])
            .check(Action::Infer, Some("digits"))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.message().contains("infer:digits"), "{error}");
    }
}
