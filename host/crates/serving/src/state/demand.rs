//! Which models are to be loaded at all: what the settings say, and what clients asked for since the start.

use std::collections::{BTreeMap, BTreeSet};

use wharf_core::Name;

use crate::config::{Config, ModelControl};

/// Which models are wanted.
#[derive(Default)]
pub(crate) struct Demand {
    control: ModelControl,
    /// Those that the settings name.
    named: BTreeSet<Name>,
    /// What was asked for last, of models that the site has.
    asked: BTreeMap<Name, Asked>,
}

/// What a client asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Load,
    Unload,
}

impl Demand {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            control: config.model_control,
            named: config.named_models(),
            asked: BTreeMap::new(),
        }
    }

    /// Whether a model is to be loaded.
    pub(super) fn wants(&self, name: &Name) -> bool {
        match self.asked.get(name) {
            Some(asked) => *asked == Asked::Load,
            None => self.control == ModelControl::Watched || self.named.contains(name),
        }
    }

    /// Why a model is not to be loaded.
    pub(super) fn reason(&self, name: &Name) -> Option<&'static str> {
        match self.asked.get(name) {
            _ if self.wants(name) => None,
            Some(_) => Some("unloaded by request"),
            None => Some("nobody asked for it to be loaded"),
        }
    }

    /// Whether a model that is in force keeps its content until somebody asks for it to be loaded.
    pub(super) fn keeps_content(&self) -> bool {
        self.control == ModelControl::Explicit
    }

    pub(super) fn ask(&mut self, name: &Name, asked: Asked) {
        self.asked.insert(name.clone(), asked);
    }

    /// Forgets what was asked for of models that are gone.
    pub(super) fn retain(&mut self, there: impl Fn(&Name) -> bool) {
        self.asked.retain(|name, _| there(name));
    }

    /// The models that the settings name.
    pub(super) fn named(&self) -> impl Iterator<Item = &Name> {
        self.named.iter()
    }
}
