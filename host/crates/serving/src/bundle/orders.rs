//! What operators order of a bundle.

use wharf_core::{Error, ErrorKind, Name, Result};

use super::release::Release;
use super::slot::Slot;
use crate::serving::Serving;
use crate::state::Effects;
use crate::watcher::Ask;

/// What is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BundleOrder {
    /// That a release serves: this one, or the one on trial.
    Promote(Option<u64>),
    /// That the trial ends; where there is none, that the release before serves.
    RollBack,
}

/// What is still to be done for an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    Done,
    /// This release is to be loaded first.
    ToLoad(u64),
}

impl Serving {
    /// Puts a release of a bundle in force, whatever its trial says: the one of this number, and else the one on trial.
    ///
    /// # Errors
    /// `NotFound` where there is no such bundle or release; `Conflict` where none is on trial, or the settings name another one;
    /// `Unprocessable` where it cannot be loaded; `Unavailable` where the server is still loading or ends.
    pub async fn promote_bundle(&self, bundle: &Name, release: Option<u64>) -> Result<()> {
        let order = BundleOrder::Promote(release);
        self.ask(|answer| Ask::Bundle(bundle.clone(), order, answer))
            .await
    }

    /// Ends the trial of a bundle's release; where there is none, puts the last good release before the one in force back. What is taken
    /// out is not tried again until its content is another.
    ///
    /// # Errors
    /// As [`Serving::promote_bundle`]; `Conflict` where there is no release before that was not rolled back itself.
    pub async fn roll_back_bundle(&self, bundle: &Name) -> Result<()> {
        let order = BundleOrder::RollBack;
        self.ask(|answer| Ask::Bundle(bundle.clone(), order, answer))
            .await
    }
}

impl Slot {
    /// Carries an order out, or notes what is to be loaded for it.
    pub(crate) fn order(&mut self, order: BundleOrder, effects: &mut Effects) -> Result<Carried> {
        let conflict = |message: String| Err(Error::new(ErrorKind::Conflict, message));
        if let Some(release) = self.policy().release {
            return conflict(format!(
                "bundle.toml says that release {release} serves; change it, or take the key out"
            ));
        }
        let on_trial = self.trial.as_ref().map(|trial| trial.release.number());
        let in_force = self.current.as_ref().map(Release::number);
        match (order, on_trial, in_force) {
            (BundleOrder::Promote(None), None, _) => {
                conflict("no release is on trial; name one: ?release=NUMBER".to_owned())
            }
            (BundleOrder::Promote(release), Some(trial), _)
                if release.is_none_or(|release| release == trial) =>
            {
                self.promote(effects);
                Ok(Carried::Done)
            }
            (BundleOrder::Promote(Some(release)), _, _) => self.load(release),
            (BundleOrder::Promote(None), Some(_), _) => Ok(Carried::Done),
            (BundleOrder::RollBack, Some(_), _) => {
                self.roll_back("rolled back by order", effects);
                Ok(Carried::Done)
            }
            (BundleOrder::RollBack, None, Some(current)) => {
                let mut before = self.present.range(..current).rev().copied();
                match before.find(|release| !self.record.has_rejected(*release)) {
                    Some(before) => self.load(before),
                    None => conflict(
                        "there is no release before the one in force that was not rolled back; \
                         promote one by its number: ?release=NUMBER"
                            .to_owned(),
                    ),
                }
            }
            (BundleOrder::RollBack, None, None) => conflict("no release is in force".to_owned()),
        }
    }

    fn load(&mut self, release: u64) -> Result<Carried> {
        if !self.present.contains(&release) {
            let message = format!("the bundle {} has no release {release}", self.name);
            return Err(Error::new(ErrorKind::NotFound, message).with_field("release"));
        }
        self.failed.remove(&release);
        self.ordered = Some(release);
        Ok(Carried::ToLoad(release))
    }

    /// What became of an order to serve a release.
    ///
    /// # Errors
    /// Why it does not serve.
    pub(crate) fn carried(&self, release: u64) -> Result<()> {
        if self
            .current
            .as_ref()
            .is_some_and(|current| current.number() == release)
        {
            return Ok(());
        }
        let failed = self.failed.get(&release);
        match failed.and_then(|failed| failed.errors.first()) {
            // Whoever orders is an operator, who reads the place.
            Some(error) => Err(Error::new(ErrorKind::Unprocessable, error.to_string())),
            None => {
                let message = format!(
                    "release {release} is not in force; the snapshot lists why, unless its files are still being written"
                );
                Err(Error::new(ErrorKind::Unprocessable, message))
            }
        }
    }
}
