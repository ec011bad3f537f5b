//! One instance of a plugin: a store, and the stages in it.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::InstancePre;
use wasmtime::{Store, UpdateDeadline};
use wharf_core::RequestContext;

use crate::bindings::v1::exports::lifecycle::Description;
use crate::bindings::v1::{Answer, Job, StageExports, Stages, types};
use crate::cache::Tier;
use crate::clock::CallClock;
use crate::guest::{GuestState, PluginFacts};
use crate::logging::{Line, Severity};
use crate::recording::{Journal, Recorder};

/// A call that ends before the second tick never yields: the first may come at any moment after its start.
const TICKS_BEFORE_YIELD: u64 = 2;

/// Makes instances of a plugin.
pub(crate) struct InstanceFactory {
    pub(crate) component: InstancePre<GuestState>,
    pub(crate) exports: StageExports,
    pub(crate) tier: Tier,
    pub(crate) plugin: Arc<PluginFacts>,
}

/// Why an instance could not be made ready.
#[derive(Debug)]
pub(crate) enum StartError {
    /// It trapped or broke a limit.
    Fault(wasmtime::Error, String),
    /// Its `init` or `self-test` refused.
    Refused(types::Error),
}

impl InstanceFactory {
    pub(crate) fn new(
        component: InstancePre<GuestState>,
        tier: Tier,
        plugin: Arc<PluginFacts>,
    ) -> Self {
        Self {
            exports: StageExports::find(&component),
            component,
            tier,
            plugin,
        }
    }

    /// Makes an instance that is not yet initialised.
    pub(crate) async fn instantiate(&self) -> Result<Box<GuestInstance>, StartError> {
        let limits = &self.plugin.limits;
        let state = GuestState::new(Arc::clone(&self.plugin));
        let mut store = Store::new(self.component.engine(), state);
        store.limiter(|state| &mut state.growth);
        store.set_hostcall_fuel((limits.host_call_mb as usize) << 20);
        // Those of the contract and those of WASI; wasmtime counts a handle twice while it is lent.
        store.set_max_component_handles(limits.handles as usize * 4 + 64);
        store.epoch_deadline_callback(|context| {
            context.data().clock.check()?;
            Ok(UpdateDeadline::Yield(1))
        });
        store.set_epoch_deadline(TICKS_BEFORE_YIELD);
        let clock = store.data().clock.clone();
        let stages = clock
            .bound(pin!(async {
                let instance = self.component.instantiate_async(&mut store).await?;
                self.exports.of_instance(&mut store, &instance)
            }))
            .await;
        match stages {
            // In a box, since it goes through many hands: its moves would cost more than a call.
            Ok(stages) => Ok(Box::new(GuestInstance {
                store,
                stages,
                clock,
                tier: self.tier,
            })),
            Err(error) => Err(StartError::Fault(error, store.data_mut().take_output())),
        }
    }

    /// Makes an instance that is ready for a stage call.
    pub(crate) async fn start(&self) -> Result<Box<GuestInstance>, StartError> {
        let mut instance = self.instantiate().await?;
        instance.init().await?;
        Ok(instance)
    }

    /// Makes an instance only to see that it starts and that its self-test passes.
    pub(crate) async fn try_out(&self) -> Result<(), StartError> {
        self.start().await?.self_test().await
    }
}

/// An instance. It is thrown away after a trap, a limit or a call that was left: its memory may be in any state.
pub(crate) struct GuestInstance {
    store: Store<GuestState>,
    stages: Stages,
    /// Beside that of the store, which the guest has while it works, and which follows this one.
    clock: CallClock,
    tier: Tier,
}

impl GuestInstance {
    /// Asks the plugin what it is. None where it has no lifecycle.
    pub(crate) async fn describe(&mut self) -> Result<Option<Description>, StartError> {
        self.arm_init();
        let described = (self.clock)
            .bound(pin!(self.stages.describe(&mut self.store)))
            .await;
        described.map_err(|error| StartError::Fault(error, self.take_output()))
    }

    pub(crate) async fn init(&mut self) -> Result<(), StartError> {
        self.arm_init();
        let settings = Arc::clone(&self.store.data().plugin().settings);
        let done = (self.clock)
            .bound(pin!(self.stages.init(&mut self.store, &settings)))
            .await;
        self.started(done)
    }

    pub(crate) async fn self_test(&mut self) -> Result<(), StartError> {
        self.arm_init();
        let done = (self.clock)
            .bound(pin!(self.stages.self_test(&mut self.store)))
            .await;
        self.started(done)
    }

    /// Calls a stage. None where the plugin does not have it.
    pub(crate) async fn call(
        &mut self,
        request: &Arc<RequestContext>,
        job: Job<'_>,
        now: Instant,
    ) -> wasmtime::Result<Option<Result<Answer, types::Error>>> {
        let state = self.store.data_mut();
        let call_ms = state.plugin().limits.call_ms;
        self.clock.arm_call(call_ms, now, request.deadline)?;
        state.clock.follow(&self.clock);
        state.set_request(Some(Arc::clone(request)));
        self.store.set_epoch_deadline(TICKS_BEFORE_YIELD);
        let answer = (self.clock)
            .bound(pin!(self.stages.call(&mut self.store, job)))
            .await?;
        let state = self.store.data_mut();
        let output = state.take_output();
        if !output.is_empty() {
            // A line of the log, and not one of the journal's: there it has a place of its own.
            let journal = state.set_journal(None);
            state.log(&Line {
                severity: Severity::Info,
                message: &output,
                fields: &[],
            });
            state.set_journal(journal);
            if let Some(journal) = state.journal() {
                journal.output(&output);
            }
        }
        state.set_request(None);
        Ok(answer)
    }

    /// What the guest wrote to standard output and error.
    pub(crate) fn take_output(&mut self) -> String {
        self.store.data_mut().take_output()
    }

    /// Begins to note what the guest says and is told, for a recording.
    pub(crate) fn begin_journal(&mut self) {
        let state = self.store.data_mut();
        let recorder = state.plugin().record.as_ref();
        let journal = Journal::new(recorder.map_or(0, Recorder::most_bytes));
        state.set_journal(Some(Box::new(journal)));
    }

    /// What was noted since.
    pub(crate) fn end_journal(&mut self) -> Journal {
        let journal = self.store.data_mut().set_journal(None);
        journal.map_or_else(Journal::default, |journal| *journal)
    }

    /// How long the guest has waited for work of the host in its last call.
    pub(crate) fn waited(&self) -> Duration {
        self.clock.work().waited()
    }

    /// The code that it runs.
    pub(crate) fn tier(&self) -> Tier {
        self.tier
    }

    /// The memory of the instance, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.store.data().growth.memory_bytes()
    }

    /// What the host holds for the instance.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn state(&self) -> &GuestState {
        self.store.data()
    }

    fn arm_init(&mut self) {
        let state = self.store.data_mut();
        self.clock.arm_init(state.plugin().limits.init_ms);
        state.clock.follow(&self.clock);
        self.store.set_epoch_deadline(TICKS_BEFORE_YIELD);
    }

    fn started(
        &mut self,
        done: wasmtime::Result<Result<(), types::Error>>,
    ) -> Result<(), StartError> {
        match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(StartError::Refused(error)),
            Err(error) => Err(StartError::Fault(error, self.take_output())),
        }
    }
}
