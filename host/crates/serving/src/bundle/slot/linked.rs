//! The routes of a bundle, as requests find them.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use wharf_core::Name;

use super::Slot;
use crate::bundle::release::ReleaseCalls;
use crate::route::Route;
use crate::snapshot::Drawn;
use crate::state::Surroundings;

/// What the bundles add to what is in force.
#[derive(Default)]
pub(crate) struct Public {
    pub(crate) routes: BTreeMap<Name, Arc<Route>>,
    /// Where requests are divided.
    pub(crate) drawn: BTreeMap<Name, Drawn>,
    /// The routes that only a release on trial has: they are found by its number.
    pub(crate) coming: BTreeMap<Name, Arc<Route>>,
    pub(crate) calls: Vec<Arc<ReleaseCalls>>,
}

impl Slot {
    /// Links the releases with the settings that hold, and adds their public routes.
    pub(crate) fn link(&mut self, around: Surroundings<'_>, public: &mut Public) {
        let (Some(current), trial) = (&mut self.current, &mut self.trial) else {
            self.public.clear();
            return;
        };
        current.link(around);
        public.calls.push(Arc::clone(current.calls()));
        let mut tried = BTreeMap::new();
        if let Some(trial) = trial {
            trial.release.link(around);
            public.calls.push(Arc::clone(trial.release.calls()));
            tried.extend(trial.release.routes());
        }
        let before = mem::take(&mut self.public);
        for (name, route) in current.routes() {
            let new = tried.remove(&name);
            let route = new
                .as_ref()
                .map_or_else(|| Arc::clone(&route), |new| route.beside(new));
            let old = before.get(&name).filter(|old| route.same_as(old));
            let route = Arc::clone(old.unwrap_or(&route));
            self.public.insert(name.clone(), route);
            let lot = trial.as_ref().and_then(|trial| trial.lot.as_ref());
            if let (Some(route), Some(lot)) = (new, lot) {
                let lot = Arc::clone(lot);
                public.drawn.insert(name, Drawn { lot, route });
            }
        }
        public.routes.extend(self.public.clone());
        public.coming.extend(tried);
    }

    /// The public routes in force and on trial, each with its place.
    pub(crate) fn places(&self) -> impl Iterator<Item = (Name, String)> {
        let trial = self.trial.as_ref().map(|trial| &trial.release);
        let releases = [trial, self.current.as_ref()].into_iter().flatten();
        releases.flat_map(|release| {
            let folder = self.folder(release.number());
            let place = move |(name, _): (Name, Arc<Route>)| {
                let place = format!("{folder}/routes/{name}.toml");
                (name, place)
            };
            release.routes().map(place)
        })
    }
}
