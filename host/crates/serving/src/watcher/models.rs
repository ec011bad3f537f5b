//! What clients ask of models: done by the task of the site between its looks, one ask at a time and in their order.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use wharf_core::{Error, ErrorKind, Name, Result};

use super::{Ask, SiteTask};
use crate::lifecycle::{ModelChange, Staged};
use crate::reconcile::{load_all, reconcile, retire, versions};
use crate::serving::MOST_ASKS;
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
                Ask::Load(_, _, answer) | Ask::Unload(_, answer)
                    if answer.is_closed() || self.stop.is_cancelled() => {}
                Ask::Load(name, change, answer) => {
                    let _ = answer.send(self.load(&name, change).await);
                }
                Ask::Unload(name, answer) => {
                    let _ = answer.send(self.unload(&name));
                }
            }
        }
        reloads
    }

    fn unload(&self, name: &Name) -> Result<()> {
        let mut known = false;
        self.in_force.change(|state, effects| {
            known = state.models.unload(name, effects);
        });
        if known { Ok(()) } else { Err(no_model(name)) }
    }

    async fn load(&mut self, name: &Name, change: ModelChange) -> Result<()> {
        if change.is_empty() {
            return self.bring(name, Vec::new()).await;
        }
        // Two phases: what would serve is loaded from a folder aside, and only then the site is changed. What was loaded is
        // put in force as it is: its content is what the site has now.
        let staged = self.stage(name, change).await?;
        let tried = self.try_out(&staged).await?;
        match spawn_blocking(move || staged.commit()).await {
            Ok(Ok(())) => self.bring(name, tried).await,
            Ok(Err(error)) => {
                retire(&self.in_force, tried);
                Err(error)
            }
            Err(error) => {
                retire(&self.in_force, tried);
                Err(Error::internal(error))
            }
        }
    }

    /// Puts what the site has of a model in force. What was tried already is not loaded again.
    async fn bring(&mut self, name: &Name, tried: Vec<Loaded>) -> Result<()> {
        let (in_force, model) = (Arc::clone(&self.in_force), name.clone());
        let look = self.with_eyes(move |eyes| eyes.scanner.scan_model(in_force.ports(), &model));
        let Some(scan) = look.await else {
            retire(&self.in_force, tried);
            return Err(Error::internal("the site was not read"));
        };
        let Some(scan) = scan else {
            retire(&self.in_force, tried);
            return Err(no_model(name));
        };
        reconcile(&self.in_force, scan, &Purpose::Load(name.clone()), tried).await;
        match self.in_force.read(|state| state.models.problem(name)) {
            Some(error) => Err(unprocessable(error)),
            None => Ok(()),
        }
    }

    async fn stage(&self, name: &Name, change: ModelChange) -> Result<Staged> {
        let (in_force, name) = (Arc::clone(&self.in_force), name.clone());
        let prepare =
            move || Staged::prepare(&in_force.site, &name, &change, in_force.ports().engine);
        spawn_blocking(prepare).await.map_err(Error::internal)?
    }

    /// Loads the versions that would serve after the change and do not serve now. Where one cannot be loaded, none is kept.
    async fn try_out(&self, staged: &Staged) -> Result<Vec<Loaded>> {
        let loads: Vec<Load> = self.in_force.read(|state| {
            let needed = staged.serve().iter().filter(|v| !state.models.has(v));
            needed.cloned().map(Load::Model).collect()
        });
        let count = loads.len();
        let _loading = self.in_force.loading(versions(&loads));
        let loaded = load_all(&self.in_force, loads).await;
        // Fewer than were begun: the runtime ends in the middle.
        let cancelled = (loaded.len() < count).then(|| Error::internal("a load was cancelled"));
        let (mut good, mut refused) = (Vec::new(), None);
        for one in loaded {
            match one {
                Loaded::Model(_, Err(error)) => refused = Some(error),
                one => good.push(one),
            }
        }
        match refused.map(unprocessable).or(cancelled) {
            None => Ok(good),
            Some(error) => {
                tracing::info!(%error, "a change of a model was refused; nothing has changed");
                retire(&self.in_force, good);
                Err(error)
            }
        }
    }
}

fn no_model(name: &Name) -> Error {
    let message = format!("the site has no model {name}; the repository index lists those it has");
    Error::new(ErrorKind::NotFound, message).with_field("model")
}

/// What the site has, or would have, cannot be loaded. The message names the file as the operator knows it, relative to the
/// site; the log gets the cause as well.
pub(crate) fn unprocessable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unprocessable, error.to_string()).with_source(error)
}
