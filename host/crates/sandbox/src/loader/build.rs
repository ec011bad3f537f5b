//! From a plugin that is prepared to one that serves.

use std::sync::Arc;

use wharf_core::{LoadError, PluginInfo, PluginRelease};

use super::refused::{Failure, start_error};
use super::{Prepared, Sandbox};
use crate::bindings::v1::exports::lifecycle::Description;
use crate::cache::Tier;
use crate::instance::InstanceFactory;
use crate::optimiser::Draft;
use crate::plugin::LoadedPlugin;
use crate::pool::Pool;

impl Sandbox {
    /// Makes a plugin that serves: from a draft where that is allowed, it pays, and it works.
    pub(super) fn build(&self, release: &PluginRelease) -> Result<LoadedPlugin, LoadError> {
        let prepared = self.prepare(release, Tier::Draft)?;
        let tier = prepared.factory.tier;
        match self.open(release, prepared) {
            Err(Failure::Faulted(error)) if tier == Tier::Draft => {
                // A draft takes more time and more of the stack. What fails for that is not to be held against the plugin.
                tracing::info!(plugin = %release.name, %error, "a draft of the plugin fails; compiling it optimised before it serves");
                let prepared = self.prepare(release, Tier::Optimised)?;
                self.open(release, prepared)
            }
            opened => opened,
        }
        .map_err(Failure::into_error)
    }

    /// Tries a plugin out, and opens its pool.
    fn open(&self, release: &PluginRelease, prepared: Prepared) -> Result<LoadedPlugin, Failure> {
        let file = format!("plugins/{}.wasm", release.name);
        let refused = |message: String| LoadError::new(&file, message);
        let Prepared {
            factory,
            contract,
            isolation,
        } = prepared;
        let (plugin, tier) = (Arc::clone(&factory.plugin), factory.tier);
        let stages = factory.exports.list();
        let (description, memory_bytes) = self.try_out(&factory, &file)?;
        let pool = Pool::open(
            factory,
            isolation,
            self.metrics.pool(&release.name),
            memory_bytes,
        )
        .map_err(|error| {
            let error = refused("cannot start the plugin's thread".to_owned()).with_source(error);
            Failure::Refused(error)
        })?;
        (self.metrics).watch(&release.name, Arc::downgrade(pool.instances()));
        if tier == Tier::Draft
            && let Some(drafts) = &self.drafts
        {
            drafts.optimiser.improve(Draft {
                instances: Arc::downgrade(pool.instances()),
                plugin: Arc::downgrade(&plugin),
                name: release.name.clone(),
                metrics: self.metrics.drafts(&release.name),
                content: release.content,
                component: release.component.clone(),
            });
        }
        let instruments = stages
            .iter()
            .map(|stage| (*stage, self.metrics.stage(&release.name, *stage)))
            .collect();
        let info = PluginInfo {
            name: release.name.clone(),
            digest: release.digest,
            version: description.version,
            summary: description.summary,
            contract,
            stages,
            isolation,
        };
        Ok(LoadedPlugin::new(info, plugin, pool, instruments))
    }

    /// Describes, initialises and self-tests an instance, which then goes. Gives the memory that it took.
    pub(crate) fn try_out(
        &self,
        factory: &InstanceFactory,
        file: &str,
    ) -> Result<(Description, u64), Failure> {
        let failed = |during, error| start_error(factory, file, during, error);
        let refused = Failure::Refused;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| LoadError::new(file, "cannot start a runtime").with_source(error))
            .map_err(refused)?;
        runtime.block_on(async {
            let mut instance = factory
                .instantiate()
                .await
                .map_err(|error| failed("instantiation", error))?;
            let description = instance
                .describe()
                .await
                .map_err(|error| failed("describe", error))?
                .unwrap_or_else(|| Description {
                    version: String::new(),
                    summary: String::new(),
                    metrics: Vec::new(),
                });
            self.metrics
                .declare(&factory.plugin.metrics, &description.metrics)
                .map_err(|message| refused(LoadError::new(file, message)))?;
            instance
                .init()
                .await
                .map_err(|error| failed("init", error))?;
            let memory_bytes = instance.memory_bytes();
            instance
                .self_test()
                .await
                .map_err(|error| failed("self-test", error))?;
            Ok((description, memory_bytes))
        })
    }
}
