//! The models of a state.

mod folder;
mod index;

pub(crate) use folder::StandIn;
pub(crate) use index::{UnderWay, Versions};

use std::collections::BTreeMap;
use std::sync::Arc;

use wharf_core::{LoadError, Model, ModelVersion, ModelVersions, Name, Tenants};

use super::demand::{Asked, Demand};
use super::{Absence, Effects, Load, Loaded, Purpose};
use crate::events::EventKind;
use crate::reaper::Retired;
use crate::route::Labels;
use crate::site::{Found, Section};
use crate::status::ModelStatus;
use folder::Folder;

#[derive(Default)]
pub(crate) struct Models {
    folders: BTreeMap<Name, Folder>,
    demand: Demand,
    /// Whether the site was looked at.
    looked: bool,
}

/// Why a model is not in force of which nothing is wrong.
const LOADING: &str = "it is being loaded";

/// What became of loading a version.
type LoadResult = (ModelVersion, Result<Arc<dyn Model>, LoadError>);

/// By name and number.
pub(super) type Results = BTreeMap<(Name, u64), LoadResult>;

impl Models {
    pub(super) fn new(demand: Demand) -> Self {
        Self {
            demand,
            ..Self::default()
        }
    }

    pub(super) fn plan(
        &self,
        section: &Section<ModelVersions>,
        purpose: &Purpose,
        loads: &mut Vec<Load>,
    ) {
        let now = purpose.now();
        for (name, found) in &section.found {
            let Found::Is(versions) = found else { continue };
            if !self.follows(name, purpose) {
                continue;
            }
            let folder = self.folders.get(name);
            let needed = versions.serve.iter().filter(|version| {
                folder.is_none_or(|folder| folder.needs(version.version, version.digest, now))
            });
            loads.extend(needed.cloned().map(Load::Model));
        }
    }

    pub(super) fn apply(
        &mut self,
        section: Section<ModelVersions>,
        mut loaded: Results,
        purpose: &Purpose,
        effects: &mut Effects,
    ) {
        if section.complete {
            self.looked = true;
            let keeps = self.demand.keeps_content();
            self.folders.retain(|name, folder| {
                let stays = section.found.contains_key(name) || (keeps && folder.serves());
                if !stays {
                    folder.retire(name, "", effects);
                }
                stays
            });
            let folders = &self.folders;
            self.demand
                .retain(|name| section.found.contains_key(name) || folders.contains_key(name));
        }
        for (name, found) in section.found {
            let follows = self.follows(&name, purpose);
            let folder = self.folders.entry(name.clone()).or_default();
            let asked = *purpose == Purpose::Load(name.clone());
            match found {
                Found::Held => {}
                Found::Refused(error) => {
                    if asked && !self.demand.wants(&name) {
                        effects.events.push(refused(&error));
                    }
                    folder.registered = false;
                    folder.refused = Some(error);
                }
                Found::Is(versions) => {
                    folder.refused = None;
                    if asked && !self.demand.wants(&name) && fails(&name, &loaded) {
                        folder.fail(&name, &mut loaded, effects);
                    } else if follows {
                        folder.follow(&name, &versions, &mut loaded, effects);
                        if asked {
                            self.demand.ask(&name, Asked::Load);
                        }
                    }
                    folder.registered = versions.serve.is_empty();
                    folder.site = versions;
                }
            }
        }
        // What was loaded for content that is not there any more.
        let unused = loaded.into_values().filter_map(|(_, result)| result.ok());
        effects.retired.extend(unused.map(Retired::Model));
    }

    /// Takes a model out of force until somebody asks for it again. Says whether there is such a model.
    pub(crate) fn unload(&mut self, name: &Name, effects: &mut Effects) -> bool {
        let Some(folder) = self.folders.get_mut(name) else {
            return false;
        };
        folder.retire(name, "unloaded by request", effects);
        self.demand.ask(name, Asked::Unload);
        true
    }

    /// The versions in whose place one below may serve, one a model at the most: none of those that its policy picks is in
    /// force, and all of them failed.
    pub(super) fn fallen<'a>(
        &self,
        section: &'a Section<ModelVersions>,
        loaded: &[Loaded],
        purpose: &Purpose,
    ) -> Vec<&'a ModelVersion> {
        let now = purpose.now();
        let nothing = Folder::default();
        let fallen = |(name, found): (&'a Name, &'a Found<ModelVersions>)| match found {
            Found::Is(versions) if self.follows(name, purpose) => {
                let folder = self.folders.get(name).unwrap_or(&nothing);
                folder.fallen(versions, loaded, now)
            }
            _ => None,
        };
        section.found.iter().filter_map(fallen).collect()
    }

    /// What is to be done about a version that may serve in the place of one that failed.
    pub(crate) fn stand_in(&self, version: &ModelVersion, purpose: &Purpose) -> StandIn {
        match self.folders.get(&version.name) {
            Some(folder) => folder.stand_in(version.version, version.digest, purpose.now()),
            None => StandIn::Loads,
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.folders.keys()
    }

    /// Whether the site has a folder of this name, whatever is in it.
    pub(crate) fn has_folder(&self, name: &Name) -> bool {
        self.folders.contains_key(name)
    }

    pub(super) fn in_force(&self) -> BTreeMap<Name, BTreeMap<u64, Arc<dyn Model>>> {
        self.folders
            .iter()
            .map(|(name, folder)| (name.clone(), folder.in_force()))
            .filter(|(_, versions)| !versions.is_empty())
            .collect()
    }

    /// The version of each model that requests go to which name none.
    pub(super) fn defaults(&self) -> BTreeMap<Name, u64> {
        let default =
            |(name, folder): (&Name, &Folder)| Some((name.clone(), folder.default_version()?));
        self.folders.iter().filter_map(default).collect()
    }

    /// Whether there is a model that is to be loaded. One without a version is none.
    pub(super) fn want_any(&self) -> bool {
        let folders = self.folders.iter().filter(|(_, folder)| !folder.registered);
        let folders = folders.map(|(name, _)| name);
        let mut names = folders.chain(self.demand.named());
        names.any(|name| self.demand.wants(name))
    }

    pub(super) fn labels(&self) -> BTreeMap<Name, Labels> {
        let folders = self.folders.iter();
        let labeled = folders.filter(|(_, folder)| !folder.labels.is_empty());
        labeled
            .map(|(name, folder)| (name.clone(), folder.labels.clone()))
            .collect()
    }

    /// Whose a model is; none where the site has no folder of its name.
    pub(crate) fn tenants_of(&self, name: &Name) -> Option<Tenants> {
        self.folders.get(name).map(Folder::tenants)
    }

    /// Whose each model is that is not everybody's.
    pub(super) fn tenants(&self) -> BTreeMap<Name, Tenants> {
        let folders = self.folders.iter();
        folders
            .map(|(name, folder)| (name.clone(), folder.tenants()))
            .filter(|(_, tenants)| *tenants != Tenants::default())
            .collect()
    }

    /// The models that the site has and that are not to be loaded, with the reason.
    pub(super) fn unwanted(&self) -> BTreeMap<Name, &'static str> {
        let reason = |name: &Name| Some((name.clone(), self.demand.reason(name)?));
        self.folders.keys().filter_map(reason).collect()
    }

    pub(super) fn errors(&self) -> impl Iterator<Item = Arc<LoadError>> {
        let missing = self
            .demand
            .named()
            .filter(|name| self.looked && !self.folders.contains_key(*name))
            .map(|name| {
                let message =
                    format!("models/{name} is not there; add it, or take it off the list");
                let error = LoadError::new("wharf.toml", message);
                Arc::new(error.with_key("serving.load_models"))
            });
        self.folders
            .iter()
            .filter(|(name, _)| self.demand.wants(name))
            .flat_map(|(_, folder)| folder.errors())
            .chain(missing)
    }

    /// Whether the site has a model that is not to be loaded.
    pub(super) fn is_unwanted(&self, name: &Name) -> bool {
        self.folders.contains_key(name) && !self.demand.wants(name)
    }

    /// Why a model that is to be loaded, and has versions, is not in force.
    pub(super) fn absence(&self, name: &Name) -> Option<Absence> {
        let folder = self.folders.get(name)?;
        let is_wanted = !folder.registered && self.demand.wants(name);
        let problem = folder.problem();
        is_wanted.then(|| Absence {
            reason: problem.map_or(LOADING.to_owned(), |problem| problem.client_text()),
            tenants: folder.tenants(),
        })
    }

    /// Says of a model that it is being loaded. As long as its folder was not read, it is the operator's.
    pub(crate) fn loading(&self, name: &Name) -> Absence {
        let folder = self.folders.get(name);
        Absence {
            reason: LOADING.to_owned(),
            tenants: folder.map_or_else(|| Tenants::only([]), Folder::tenants),
        }
    }

    /// Whether a version is in force with this content.
    pub(crate) fn has(&self, version: &ModelVersion) -> bool {
        let folder = self.folders.get(&version.name);
        folder.is_some_and(|folder| folder.has(version.version, version.digest))
    }

    /// Why a model is not in force as the site has it.
    pub(crate) fn problem(&self, name: &Name) -> Option<Arc<LoadError>> {
        self.folders.get(name)?.problem()
    }

    pub(crate) fn status(&self) -> Vec<ModelStatus> {
        self.folders
            .iter()
            .flat_map(|(name, folder)| folder.status(name))
            .collect()
    }

    /// Whether a pass brings a model to what the site has.
    fn follows(&self, name: &Name, purpose: &Purpose) -> bool {
        match purpose {
            Purpose::Load(asked) if asked == name => true,
            _ => self.demand.wants(name) && !(self.demand.keeps_content() && self.serves(name)),
        }
    }

    fn serves(&self, name: &Name) -> bool {
        self.folders.get(name).is_some_and(Folder::serves)
    }
}

fn fails(name: &Name, loaded: &Results) -> bool {
    of(name, loaded).any(|(_, (_, result))| result.is_err())
}

/// What was loaded of a model.
fn of<'a>(
    name: &Name,
    loaded: &'a Results,
) -> impl Iterator<Item = (&'a (Name, u64), &'a LoadResult)> {
    loaded.range((name.clone(), 0)..=(name.clone(), u64::MAX))
}

fn file_of(name: &Name, version: u64) -> String {
    format!("models/{name}/{version}")
}

fn refused(error: &LoadError) -> (EventKind, String, String) {
    let message = match &error.key {
        Some(key) => format!("{key}: {}", error.message),
        None => error.message.clone(),
    };
    (EventKind::Refused, error.file.clone(), message)
}
