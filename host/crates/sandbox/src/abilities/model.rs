//! The ability `model`: calls of models and routes of this host.
//!
//! A call is left to the host as work that the guest waits for. What it gives counts against the guest's memory from the moment
//! it is there, so that a guest that asks for much gets no more than it may have.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use futures_util::StreamExt;
use futures_util::stream;
use parking_lot::RwLock;
use serde::Deserialize;
use wharf_core::{
    Error, ErrorKind, ModelCalls, Name, Payload, PluginOwner, RequestContext, Result, Tensor,
};

use super::Granted;
use crate::guest::Growth;
use crate::recording::AnswerSlot;

/// Stands for every target.
const ALL: &str = "*";

/// `[grants.model]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Grant {
    /// The routes and models that may be called.
    targets: BTreeSet<String>,
    /// The most calls that one stage call runs at once.
    calls: u32,
}

impl Default for Grant {
    fn default() -> Self {
        Self {
            targets: BTreeSet::new(),
            calls: 16,
        }
    }
}

impl Granted for Grant {
    fn check(&self) -> Result<(), (&'static str, String)> {
        let wrong = |key, message: &str| Err((key, message.to_owned()));
        if self.targets.is_empty() {
            return wrong(
                "targets",
                "name the routes and models that the plugin may call, such as [\"embed\"]; [\"*\"] is all of them",
            );
        }
        let all = self.targets.contains(ALL);
        if all && self.targets.len() > 1 {
            return wrong(
                "targets",
                "\"*\" is all routes and models: name it alone, or leave it out",
            );
        }
        if !all && let Some(wrong) = self.targets.iter().find(|name| Name::new(name).is_err()) {
            let message = format!("{wrong:?} is no name of a route or a model");
            return Err(("targets", message));
        }
        if !(1..=1000).contains(&self.calls) {
            return wrong("calls", "must be a whole number from 1 to 1000");
        }
        Ok(())
    }
}

/// What plugins call through: set once the host serves, and gone when it no longer does.
type Port = Arc<RwLock<Option<Weak<dyn ModelCalls>>>>;

/// What all plugins share.
#[derive(Default)]
pub(crate) struct Calls(Port);

impl Calls {
    pub(crate) fn connect(&self, models: Weak<dyn ModelCalls>) {
        *self.0.write() = Some(models);
    }

    /// Opens the grant of a plugin: one of a bundle calls what its own release has.
    pub(crate) fn open(&self, grant: Grant, owner: Option<&PluginOwner>) -> Model {
        let own = |owner: &PluginOwner| Arc::new(RwLock::new(Some(Weak::clone(&owner.models))));
        Model {
            targets: (!grant.targets.contains(ALL)).then_some(grant.targets),
            calls: grant.calls as usize,
            port: owner.map_or_else(|| Arc::clone(&self.0), own),
        }
    }
}

/// What a plugin was granted.
pub(crate) struct Model {
    /// None for all.
    targets: Option<BTreeSet<String>>,
    calls: usize,
    port: Port,
}

/// What a call needs of the guest that makes it.
pub(crate) struct Caller {
    pub(crate) request: Arc<RequestContext>,
    pub(crate) growth: Growth,
    models: Arc<dyn ModelCalls>,
    calls: usize,
}

/// A call as a guest asks for it.
pub(crate) struct Asked {
    pub(crate) target: String,
    pub(crate) version: Option<String>,
    pub(crate) input: Payload,
    /// Where its answer is noted, in a call that may be recorded.
    pub(crate) slot: Option<AnswerSlot>,
}

impl Model {
    /// Whether the grant names the target.
    pub(crate) fn permits(&self, target: &str) -> bool {
        self.targets
            .as_ref()
            .is_none_or(|targets| targets.contains(target))
    }

    /// What calls for a request go through.
    ///
    /// # Errors
    /// `Unavailable` outside of a stage call, and where the host does not serve.
    pub(crate) fn caller(
        &self,
        request: Option<Arc<RequestContext>>,
        growth: Growth,
    ) -> Result<Caller> {
        let unavailable = |message: &'static str| Error::new(ErrorKind::Unavailable, message);
        let request = request.ok_or_else(|| {
            unavailable("models are called for a request, and there is none outside of a stage call, such as in init")
        })?;
        let models = self.port.read().as_ref().and_then(Weak::upgrade);
        Ok(Caller {
            request,
            growth,
            models: models.ok_or_else(|| unavailable("this host serves no models"))?,
            calls: self.calls,
        })
    }
}

impl Caller {
    /// Makes one call.
    pub(crate) async fn call(&self, asked: Asked) -> wasmtime::Result<Result<Payload>> {
        // Calls that never wait would keep the thread from its other tasks.
        tokio::task::consume_budget().await;
        let Asked {
            target,
            version,
            input,
            slot,
        } = asked;
        let given = self
            .models
            .call(&self.request, &target, version.as_deref(), input)
            .await;
        // Before it counts as the guest's: the notes take nothing of its limits, and have the answer that breaks one.
        if let Some(slot) = slot {
            slot.fill(&given);
        }
        match given {
            Ok(payload) => held(&self.growth, payload).map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Leaves a call behind. What it takes along stays counted against the guest's memory until it has ended.
    pub(crate) fn mirror(&self, asked: Asked) -> Result<()> {
        let Asked {
            target,
            version,
            input,
            slot: _,
        } = asked;
        self.models
            .mirror(&self.request, &target, version.as_deref(), input)
    }

    /// Makes several calls, so many at once as are granted. The results are in the order of the calls.
    pub(crate) async fn call_all(
        &self,
        asked: Vec<Result<Asked>>,
    ) -> wasmtime::Result<Vec<Result<Payload>>> {
        let mut results: Vec<Option<Result<Payload>>> = Vec::new();
        results.resize_with(asked.len(), || None);
        let calls = asked.into_iter().enumerate().map(async |(index, asked)| {
            let given = match asked {
                Ok(asked) => self.call(asked).await?,
                Err(error) => Err(error),
            };
            Ok::<_, wasmtime::Error>((index, given))
        });
        let mut given = stream::iter(calls).buffer_unordered(self.calls);
        while let Some(ended) = given.next().await {
            let (index, result) = ended?;
            results[index] = Some(result);
        }
        Ok(results.into_iter().flatten().collect())
    }
}

/// Counts what a call gave against the guest's memory, for as long as anything refers to it.
fn held(growth: &Growth, payload: Payload) -> wasmtime::Result<Payload> {
    let hold = |tensor: Tensor| {
        let data = growth.hold(tensor.data().clone())?;
        let (name, datatype) = (tensor.shared_name(), tensor.datatype());
        // The same bytes, which were checked when the tensor was made.
        Ok(Tensor::new(name, datatype, tensor.shape().clone(), data)?)
    };
    Ok(match payload {
        Payload::Tensors(tensors) => {
            let held: wasmtime::Result<_> = tensors.into_iter().map(hold).collect();
            Payload::Tensors(held?)
        }
        Payload::Body(mut body) => {
            body.data = growth.hold(body.data)?;
            Payload::Body(body)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(grant: &str) -> (&'static str, String) {
        toml::from_str::<Grant>(grant).unwrap().check().unwrap_err()
    }

    #[test]
    fn a_grant_names_its_targets() {
        for (grant, key, message) in [
            ("", "targets", "name the routes and models"),
            ("targets = []", "targets", "name the routes and models"),
            ("targets = ['*', 'a']", "targets", "name it alone"),
            ("targets = ['../a']", "targets", "\"../a\" is no name"),
            ("targets = ['a']\ncalls = 0", "calls", "from 1 to 1000"),
        ] {
            let (at, said) = refusal(grant);
            assert_eq!(at, key, "{grant}");
            assert!(said.contains(message), "{grant}: {said}");
        }
    }

    #[test]
    fn only_what_is_named_is_permitted() {
        let open = |grant| {
            let grant: Grant = toml::from_str(grant).unwrap();
            grant.check().unwrap();
            Calls::default().open(grant, None)
        };
        let two = open("targets = ['embed', 'digits']");
        assert_eq!((two.permits("embed"), two.permits("other")), (true, false));
        assert!(open("targets = ['*']").permits("other"));
    }
}
