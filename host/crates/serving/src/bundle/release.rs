//! A release of a bundle: loaded as a whole, or not at all.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use wharf_core::{
    BoxFuture, Digest, LoadError, ModelCalls, Name, Payload, PluginOwner, RequestContext, Result,
};

use super::tally::Tally;
use crate::calls;
use crate::config::Config;
use crate::guarded::Guards;
use crate::in_force::InForce;
use crate::reaper::Retired;
use crate::route::Route;
use crate::site::{Found, Ports, Scan};
use crate::state::{Effects, Load, Loaded, Purpose, State, Surroundings};

/// Which release of which bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseName {
    /// The bundle.
    pub bundle: Name,
    /// The release's number.
    pub release: u64,
}

/// What a route of a release knows of it.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) name: Arc<ReleaseName>,
    /// Where its requests are counted.
    pub(crate) tally: Arc<Tally>,
}

/// A release that is loaded.
pub(crate) struct Release {
    pub(crate) member: Member,
    pub(crate) digest: Digest,
    pub(crate) loaded_at: SystemTime,
    state: State,
    calls: Arc<ReleaseCalls>,
}

/// What the plugins of a release call: what the release itself has, private models among it, and then what is public.
pub(crate) struct ReleaseCalls {
    /// Itself, for what is mirrored to keep.
    itself: Weak<Self>,
    outside: Weak<InForce>,
    routes: ArcSwap<BTreeMap<Name, Arc<Route>>>,
}

/// What releases are loaded with.
#[derive(Clone, Default)]
pub(crate) struct Kit {
    pub(crate) guards: Arc<Guards>,
    pub(crate) outside: Weak<InForce>,
    /// Told of faults.
    pub(crate) noticed: Arc<Notify>,
}

/// A release to load.
pub(crate) struct ReleaseLoad {
    pub(crate) name: ReleaseName,
    pub(crate) digest: Digest,
    pub(crate) scan: Scan,
    pub(crate) kit: Kit,
}

impl ReleaseName {
    /// The folder, relative to the site.
    pub(crate) fn folder(&self) -> String {
        format!("bundles/{}/{}", self.bundle, self.release)
    }
}

impl ReleaseLoad {
    /// Loads all of it off the request path: every part is verified, warmed up and self-tested, and every route linked. Where
    /// one of them cannot be, nothing is kept. Blocks.
    ///
    /// # Errors
    /// What is wrong with each file, by its place in the site.
    pub(crate) fn run(self, ports: Ports<'_>) -> Result<Box<Release>, Vec<LoadError>> {
        let Self {
            name,
            digest,
            mut scan,
            kit,
        } = self;
        let folder = name.folder();
        let within = |errors: Vec<Arc<LoadError>>| {
            let within = |error: Arc<LoadError>| within(&folder, &error);
            Err(errors.into_iter().map(within).collect())
        };
        // What cannot even be read spares loading the rest.
        let unread = unread(&scan);
        if !unread.is_empty() {
            return within(unread);
        }
        let guards = Arc::new(kit.guards.within(format!("{folder}/")));
        let calls = Arc::new_cyclic(|itself| ReleaseCalls {
            itself: Weak::clone(itself),
            outside: kit.outside,
            routes: ArcSwap::default(),
        });
        let models: Weak<dyn ModelCalls> = Arc::<ReleaseCalls>::downgrade(&calls);
        let mut state = State::new(&Config::default(), &guards);
        let loads = state.plan(&mut scan, &Purpose::Thorough);
        let load = |mut load: Load| {
            let mut planned = None;
            if let Load::Plugin(plugin) = &mut load {
                planned = Some(plugin.digest);
                plugin.owner = Some(PluginOwner {
                    bundle: name.bundle.clone(),
                    models: Weak::clone(&models),
                });
            }
            match (load.run(ports), planned) {
                // What was looked at is one release. With a part of another one it is none.
                (Loaded::Plugin(name, digest, Ok(_)), Some(planned)) if digest != planned => {
                    let message = "it changed while the release was loaded; it is tried again";
                    let file = format!("plugins/{name}.wasm");
                    Loaded::Plugin(name, planned, Err(LoadError::new(file, message)))
                }
                (loaded, _) => loaded,
            }
        };
        let (mut loaded, mut failed) = (Vec::new(), Vec::new());
        for one in loads.into_iter().map(load) {
            match one {
                Loaded::Plugin(_, _, Err(error)) | Loaded::Model(_, Err(error)) => {
                    failed.push(Arc::new(error));
                }
                one => loaded.push(one),
            }
        }
        // That routes lack what failed says nothing more.
        if !failed.is_empty() {
            return within(failed);
        }
        let mut effects = Effects::default();
        state.apply(scan, loaded, &Purpose::Thorough, &mut effects);
        let mut release = Box::new(Release {
            member: Member {
                tally: Arc::new(Tally::new(&kit.noticed)),
                name: Arc::new(name),
            },
            digest,
            loaded_at: SystemTime::now(),
            state,
            calls,
        });
        release.link(guards.surroundings(&guards.config()));
        let mut errors = release.state.errors();
        if errors.is_empty() && release.routes().next().is_none() {
            let message =
                "the release has no route; add a file to routes/, since its models are its own";
            errors.push(Arc::new(LoadError::new("routes", message)));
        }
        if errors.is_empty() {
            return Ok(release);
        }
        // Nobody has seen it, so that it can go here: this is no thread that serves.
        drop(release);
        within(errors)
    }
}

/// What of a look at a release is wrong already.
fn unread(scan: &Scan) -> Vec<Arc<LoadError>> {
    fn refused<T>(found: &Found<T>) -> Option<Arc<LoadError>> {
        match found {
            Found::Refused(error) => Some(Arc::clone(error)),
            Found::Held | Found::Is(_) => None,
        }
    }
    let plugins = scan.plugins.found.values().filter_map(refused);
    let models = scan.models.found.values().filter_map(refused);
    let routes = scan.routes.found.values().filter_map(refused);
    let errors = scan.errors.iter().map(Arc::clone);
    errors.chain(plugins).chain(models).chain(routes).collect()
}

/// An error of a release's file, by the file's place in the site.
pub(super) fn within(folder: &str, error: &LoadError) -> LoadError {
    let placed = LoadError::new(format!("{folder}/{}", error.file), error.message.clone());
    let placed = match &error.key {
        Some(key) => placed.with_key(key),
        None => placed,
    };
    match &error.source {
        // The cause itself belongs to the error, which others may hold.
        Some(source) => placed.with_source(source.to_string()),
        None => placed,
    }
}

impl Release {
    pub(crate) fn number(&self) -> u64 {
        self.member.name.release
    }

    /// Links its routes anew: the settings of the server may have changed.
    pub(crate) fn link(&mut self, around: Surroundings<'_>) {
        let around = Surroundings {
            member: Some(&self.member),
            ..around
        };
        let linked = self.state.link(around, &mut Effects::default());
        self.calls.routes.store(Arc::new(linked.routes));
    }

    /// Its public routes: those with a file.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (Name, Arc<Route>)> {
        let routes = self.calls.routes.load_full();
        let public: Vec<_> = routes
            .iter()
            .filter(|(_, route)| !route.spec().implicit)
            .map(|(name, route)| (name.clone(), Arc::clone(route)))
            .collect();
        public.into_iter()
    }

    pub(crate) fn calls(&self) -> &Arc<ReleaseCalls> {
        &self.calls
    }

    /// How many plugins and models it has.
    pub(crate) fn parts(&self) -> [u64; 2] {
        let parts = self.state.in_force();
        [parts.plugins.len() as u64, parts.models.len() as u64]
    }

    /// Lets go of it: requests that began with it end with it.
    pub(crate) fn retire(self, effects: &mut Effects) {
        let parts = self.state.in_force();
        let name = self.member.name;
        let plugins = parts.plugins.into_iter().map(Retired::Plugin);
        let parts = plugins.chain(parts.models.into_iter().map(Retired::Model));
        let retired = parts.map(|part| Retired::Part(Arc::clone(&name), Box::new(part)));
        effects.retired.extend(retired);
    }
}

impl ModelCalls for ReleaseCalls {
    fn call<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
        target: &'a str,
        version: Option<&'a str>,
        input: Payload,
    ) -> BoxFuture<'a, Result<Payload>> {
        Box::pin(async move {
            let outside = self.outside.upgrade().ok_or_else(calls::no_host)?;
            let routes = self.routes.load_full();
            let version = version.filter(|version| !version.is_empty());
            match routes.get(target) {
                Some(own) => calls::run(request, own.inner(version)?, input).await,
                None => outside.call(request, target, version, input).await,
            }
        })
    }

    fn mirror(
        &self,
        request: &Arc<RequestContext>,
        target: &str,
        version: Option<&str>,
        input: Payload,
    ) -> Result<()> {
        let outside = self.outside.upgrade().ok_or_else(calls::no_host)?;
        let routes = self.routes.load_full();
        match routes.get(target) {
            Some(own) => {
                let version = version.filter(|version| !version.is_empty());
                let route = Arc::clone(own.inner(version)?);
                // Its plugins call what it has as long as it is kept.
                let origin = self.itself.upgrade().ok_or_else(calls::no_host)?;
                outside.mirror_to(request, (origin, route), input)
            }
            None => outside.mirror(request, target, version, input),
        }
    }
}
