//! Whose change it is. Between a client's first word and the moment that its change is made, a model may become another's: so this is asked
//! where the change is made, of what the site says at that moment.

use std::sync::Arc;

use wharf_core::{Error, ErrorKind, Name, Result, Tenants};

use super::change::{SettingEdit, SettingValue};
use super::no_such_model;

/// Who asks for a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Author {
    /// Whoever belongs to no tenant: they change everything.
    #[default]
    Operator,
    /// A tenant, who changes its own models alone. What it brings is its own.
    Tenant(Arc<str>),
}

impl Author {
    /// Refuses what belongs to others. `there` is whose the model is; none where the site has no such model.
    ///
    /// # Errors
    /// `NotFound` where it is another tenant's, as if it did not exist; `PermissionDenied` where it is there for others too.
    pub fn check(&self, name: &Name, there: Option<&Tenants>) -> Result<()> {
        let (Self::Tenant(tenant), Some(tenants)) = (self, there) else {
            return Ok(());
        };
        if !tenants.include(Some(tenant)) {
            return Err(no_such_model(name));
        }
        if !tenants.are_only(tenant) {
            let message = format!("{name} is not your tenant's alone; its operator changes it");
            return Err(Error::new(ErrorKind::PermissionDenied, message).with_field("model"));
        }
        Ok(())
    }

    /// The setting that makes a model the author's own.
    pub(crate) fn own(&self) -> Option<SettingEdit> {
        let Self::Tenant(tenant) = self else {
            return None;
        };
        Some(SettingEdit {
            key: "tenants".to_owned(),
            value: SettingValue::List(vec![SettingValue::Text(tenant.to_string())]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::tenants_of;

    #[test]
    fn a_tenant_changes_what_is_its_own_alone() {
        let name = Name::new("m").unwrap();
        let acme = Author::Tenant("acme".into());
        let kind = |settings| {
            let checked = acme.check(&name, Some(&tenants_of(settings)));
            checked.err().map(|error| error.kind())
        };
        assert!(acme.check(&name, None).is_ok());
        assert_eq!(kind("tenants = [\"acme\"]\n"), None);
        for shared in ["", "tenants = [\"acme\", \"globex\"]", "instances = 2"] {
            assert_eq!(kind(shared), Some(ErrorKind::PermissionDenied), "{shared}");
        }
        // What cannot be read is the operator's.
        for foreign in [
            "tenants = [\"globex\"]",
            "tenants = []",
            "tenants = 7",
            "tenants = [7]",
            "tenants = [\"acme\"",
        ] {
            assert_eq!(kind(foreign), Some(ErrorKind::NotFound), "{foreign}");
        }
        let nobodys = Tenants::only([]);
        assert!(Author::Operator.check(&name, Some(&nobodys)).is_ok());
    }
}
