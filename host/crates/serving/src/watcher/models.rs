//! What clients ask of models: done by the task of the site between its looks, one ask at a time and in their order.

use std::borrow::Borrow;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use wharf_core::{Error, ErrorKind, LoadError, ModelVersion, Name, Result};

use super::{Ask, SiteTask};
use crate::lifecycle::{Author, ModelChange, ModelCheck, Staged, clear_artifacts, no_such_model};
use crate::reconcile::{load_all, reconcile, retire, versions};
use crate::registry::read_model;
use crate::serving::{MOST_ASKS, ending};
use crate::site::{Found, Scan};
use crate::state::{Load, Loaded, Purpose};
use crate::status::ReloadReport;

impl SiteTask {
    /// Does what is asked for, as far as it waits already; gives those who wait for a reload, which one pass answers.
    pub(super) async fn answer(
        &mut self,
        first: Option<Ask>,
    ) -> Vec<oneshot::Sender<ReloadReport>> {
        let mut reloads = Vec::new();
        let mut next = first;
        for _ in 0..MOST_ASKS {
            let Some(ask) = next.take().or_else(|| self.asks.try_recv().ok()) else {
                break;
            };
            match ask {
                Ask::Reload(answer) => reloads.push(answer),
                // Whoever asked has left, or the server ends: dropping the ask tells those who wait.
                Ask::Load(_, _, reply)
                | Ask::Unload(_, _, reply)
                | Ask::Change(_, reply)
                | Ask::Bundle(_, _, reply)
                    if self.stop.is_cancelled() || !reply.begin() => {}
                Ask::Load(name, change, reply) => reply.send(self.load(&name, change).await),
                Ask::Unload(name, by, reply) => reply.send(self.unload(&name, &by).await),
                Ask::Change(change, reply) => reply.send(self.change(change).await),
                Ask::Bundle(name, order, reply) => reply.send(self.order(&name, order).await),
            }
        }
        reloads
    }

    async fn unload(&self, name: &Name, by: &Author) -> Result<()> {
        self.check_author(name, by).await?;
        let mut known = false;
        self.in_force.change(|state, effects| {
            known = state.models.unload(name, effects);
        });
        if known {
            Ok(())
        } else {
            Err(no_such_model(name))
        }
    }

    async fn load(&mut self, name: &Name, change: ModelChange) -> Result<()> {
        if change.is_empty() {
            self.check_author(name, &change.by).await?;
            return self.load_as_it_is(name, change.check.as_ref()).await;
        }
        // Two phases: what would serve is loaded from a folder aside and checked, and only then the site is changed. What was
        // loaded is put in force as it is: its content is what the site has now.
        let (staged, change) = self.stage(name, change).await?;
        let tried = self.try_out(name, &change, &staged).await?;
        // What a model of the same name left in the store is none of this one's.
        let cleared = match staged.is_new() {
            true => clear_artifacts(&self.in_force, name).await,
            false => Ok(()),
        };
        let committed = match cleared {
            Ok(()) => spawn_blocking(move || staged.commit()).await,
            Err(error) => Ok(Err(error)),
        };
        let scan = match committed.map_err(Error::internal).flatten() {
            Ok(()) => self.look(name).await,
            Err(error) => Err(error),
        };
        match scan {
            Ok(scan) => self.bring(name, scan, tried).await,
            Err(error) => {
                retire(&self.in_force, tried);
                Err(error)
            }
        }
    }

    /// Refuses what belongs to others than who asks for it.
    async fn check_author(&self, name: &Name, by: &Author) -> Result<()> {
        if *by == Author::Operator {
            return Ok(());
        }
        let (in_force, name, by) = (Arc::clone(&self.in_force), name.clone(), by.clone());
        let checked = spawn_blocking(move || {
            let record = read_model(&in_force.site, &name)?;
            by.check(&name, record.as_ref().map(|record| &record.tenants))
        });
        checked.await.map_err(Error::internal)?
    }

    /// Loads what the site has of a model, where nothing is to change.
    async fn load_as_it_is(&mut self, name: &Name, check: Option<&ModelCheck>) -> Result<()> {
        let scan = self.look(name).await?;
        let mut tried = Vec::new();
        if let (Some(check), Some(Found::Is(found))) = (check, scan.models.found.get(name)) {
            tried = self.load_new(&found.serve).await?;
            if let Err(error) = self.check(&found.serve, &tried, check) {
                return Err(self.take_back(tried, error));
            }
        }
        // What could not be loaded is noted there.
        self.bring(name, scan, tried).await
    }

    /// Reads what the site has of a model.
    async fn look(&mut self, name: &Name) -> Result<Scan> {
        let (in_force, model) = (Arc::clone(&self.in_force), name.clone());
        let look = self.with_eyes(move |eyes| eyes.scanner.scan_model(in_force.ports(), &model));
        match look.await {
            Some(scan) => scan.ok_or_else(|| no_such_model(name)),
            None => Err(Error::internal("the site was not read")),
        }
    }

    /// Puts what the site has of a model in force. What was tried already is not loaded again.
    async fn bring(&self, name: &Name, scan: Scan, tried: Vec<Loaded>) -> Result<()> {
        reconcile(&self.in_force, scan, &Purpose::Load(name.clone()), tried).await;
        if self.in_force.ending.is_cancelled() {
            return Err(ending());
        }
        match self.in_force.read(|state| state.models.problem(name)) {
            Some(error) => Err(unprocessable(error)),
            None => Ok(()),
        }
    }

    /// Prepares a change, and gives it back without its files: they are on disk, and loading needs the memory.
    async fn stage(&self, name: &Name, mut change: ModelChange) -> Result<(Staged, ModelChange)> {
        let (in_force, name) = (Arc::clone(&self.in_force), name.clone());
        let prepare = move || {
            let engine = in_force.ports().engine;
            let staged = Staged::prepare(&in_force.site, &name, &change, engine)?;
            change.files = Vec::new();
            Ok((staged, change))
        };
        spawn_blocking(prepare).await.map_err(Error::internal)?
    }

    /// Loads the versions that would serve after the change and do not serve now, and checks all of them. Where one cannot
    /// be loaded or is refused, none is kept.
    async fn try_out(
        &self,
        name: &Name,
        change: &ModelChange,
        staged: &Staged,
    ) -> Result<Vec<Loaded>> {
        let loaded = self.load_new(staged.serve()).await?;
        let (mut good, mut refused) = (Vec::new(), None);
        for one in loaded {
            match one {
                Loaded::Model(_, Err(error)) => refused = Some(error),
                one => good.push(one),
            }
        }
        let verdict = match (refused, &change.check) {
            (Some(error), _) => Err(change.refused(name, error)),
            (None, Some(check)) => self.check(staged.serve(), &good, check),
            (None, None) => Ok(()),
        };
        match verdict {
            Ok(()) => Ok(good),
            Err(error) => Err(self.take_back(good, error)),
        }
    }

    /// Loads the versions that are not in force as they are.
    async fn load_new(&self, serve: &[ModelVersion]) -> Result<Vec<Loaded>> {
        let loads: Vec<Load> = self.in_force.read(|state| {
            let needed = serve.iter().filter(|version| !state.models.has(version));
            needed.cloned().map(Load::Model).collect()
        });
        let count = loads.len();
        let _loading = self.in_force.loading(versions(&loads));
        let loaded = load_all(&self.in_force, loads).await;
        if loaded.len() < count {
            // The runtime ends in the middle.
            return Err(self.take_back(loaded, Error::internal("a load was cancelled")));
        }
        let is_cancelled = |one: &Loaded| match one {
            Loaded::Model(version, Err(_)) => self.in_force.cancel_of(version).is_cancelled(),
            _ => false,
        };
        if loaded.iter().any(is_cancelled) {
            let error = match self.in_force.ending.is_cancelled() {
                true => ending(),
                false => Error::new(
                    ErrorKind::Conflict,
                    "the model was unloaded or deleted while it was loaded; nothing has changed",
                )
                .with_field("model"),
            };
            return Err(self.take_back(loaded, error));
        }
        Ok(loaded)
    }

    /// Checks every version that would serve: what was loaded for it, and what is in force already.
    fn check(&self, serve: &[ModelVersion], tried: &[Loaded], check: &ModelCheck) -> Result<()> {
        let snapshot = self.in_force.snapshot();
        let mut models = serve.iter().filter_map(|version| {
            let new = tried.iter().find_map(|one| match one {
                Loaded::Model(tried, Ok(model)) if tried == version => Some(model),
                _ => None,
            });
            new.or_else(|| {
                let has = self.in_force.read(|state| state.models.has(version));
                let model = snapshot.model(version.name.as_str(), Some(version.version));
                model.filter(|_| has)
            })
        });
        models.try_for_each(|model| check.run(model.info()))
    }

    /// Lets go of what was loaded for a change that is refused.
    fn take_back(&self, tried: Vec<Loaded>, error: Error) -> Error {
        tracing::info!(%error, "a change of a model was refused; nothing has changed");
        retire(&self.in_force, tried);
        error
    }
}

/// What the site has, or would have, cannot be loaded. The client reads what is wrong with which version; the log gets the
/// file and the cause as well.
pub(crate) fn unprocessable(
    error: impl Borrow<LoadError> + std::error::Error + Send + Sync + 'static,
) -> Error {
    let text = error.borrow().client_text();
    Error::new(ErrorKind::Unprocessable, text).with_source(error)
}
