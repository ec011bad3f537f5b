//! The host's side of an instance: what a store holds, and what bounds its growth.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::ResourceLimiter;
use wasmtime::component::{Resource, ResourceTable};
use wharf_core::{Body, Name, RequestContext, Tensor};

use crate::Limits;
use crate::abilities::Abilities;
use crate::clock::CallClock;
use crate::handles::{Handles, Kind};
use crate::held::HeldBytes;
use crate::limits::LimitBroken;
use crate::logging::{Line, LogBudget};
use crate::metrics::GuestMetrics;
use crate::recording::{Journal, Recorder, Unrecorded};
use crate::wasi::{OutputText, WasiState};

/// What all instances of a loaded plugin share.
pub(crate) struct PluginFacts {
    pub(crate) name: Name,
    /// The digest of component and settings together, in hexadecimal digits.
    pub(crate) digest: String,
    pub(crate) limits: Limits,
    /// The settings as one JSON object.
    pub(crate) settings: Arc<str>,
    pub(crate) metrics: GuestMetrics,
    pub(crate) log: LogBudget,
    /// How many of its faults are logged.
    pub(crate) faults: LogBudget,
    /// What it was granted.
    pub(crate) abilities: Abilities,
    /// What records its calls; none where they are not.
    pub(crate) record: Option<Recorder>,
}

/// The data of a store. It works for one request at a time.
pub(crate) struct GuestState {
    plugin: Arc<PluginFacts>,
    handles: Handles,
    request: Option<Arc<RequestContext>>,
    /// The notes of a call that may be recorded.
    journal: Option<Box<Journal>>,
    pub(crate) clock: CallClock,
    pub(crate) growth: Growth,
    /// Made when the guest first calls WASI: most guests never do.
    wasi: Option<Box<WasiState>>,
    /// The handles of WASI.
    table: ResourceTable,
}

impl GuestState {
    pub(crate) fn new(plugin: Arc<PluginFacts>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(plugin.limits.handles as usize);
        Self {
            handles: Handles::new(plugin.limits.handles),
            request: None,
            journal: None,
            clock: CallClock::new(plugin.limits.init_ms),
            growth: Growth::new(&plugin.limits),
            wasi: None,
            table,
            plugin,
        }
    }

    pub(crate) fn plugin(&self) -> &PluginFacts {
        &self.plugin
    }

    /// Begins or ends work for a request.
    pub(crate) fn set_request(&mut self, request: Option<Arc<RequestContext>>) {
        self.request = request;
    }

    /// The request that the guest works for.
    ///
    /// # Errors
    /// Outside of a stage call. A guest cannot keep a handle that long, so it is a trap.
    pub(crate) fn request(&self) -> wasmtime::Result<&RequestContext> {
        self.request
            .as_deref()
            .ok_or_else(|| wasmtime::format_err!("there is no request outside of a stage call"))
    }

    /// The request that the guest works for, to be kept; none outside of a stage call.
    pub(crate) fn shared_request(&self) -> Option<Arc<RequestContext>> {
        self.request.clone()
    }

    /// The tenant of the request that the guest works for; none outside of a stage call.
    pub(crate) fn tenant(&self) -> Option<Arc<str>> {
        self.request.as_ref()?.tenant.clone()
    }

    /// Lets the host do something that the guest waits for. It is polled beside the guest and not on its stack, its time is not
    /// the guest's own, and it is dropped with the guest or at the request's deadline.
    pub(crate) fn wait<T: Send + 'static, W: Future<Output = T> + Send + 'static>(
        &self,
        work: W,
    ) -> impl Future<Output = wasmtime::Result<T>> + Send + use<T, W> {
        self.clock.work().leave(work)
    }

    pub(crate) fn tensor(&self, handle: &Resource<Tensor>) -> wasmtime::Result<&Tensor> {
        self.get(handle)
    }

    pub(crate) fn body(&self, handle: &Resource<Body>) -> wasmtime::Result<&Body> {
        self.get(handle)
    }

    /// Whether the guest has no handles, and how many bytes of data that it made are still kept.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn kept(&self) -> (bool, u64) {
        (
            self.handles.count() == 0 && self.table.is_empty(),
            self.growth.held.get(),
        )
    }

    /// What a handle stands for.
    pub(crate) fn get<T: Kind>(&self, handle: &Resource<T>) -> wasmtime::Result<&T> {
        self.handles.get(handle)
    }

    /// Gives the guest a handle.
    pub(crate) fn keep<T: Kind>(&mut self, value: T) -> wasmtime::Result<Resource<T>> {
        Ok(self.handles.keep(value)?)
    }

    /// Takes a value back together with its handle.
    pub(crate) fn take<T: Kind>(&mut self, handle: Resource<T>) -> wasmtime::Result<T> {
        self.handles.take(handle)
    }

    /// The guest dropped its handle.
    pub(crate) fn forget<T: Kind>(&mut self, rep: u32) -> wasmtime::Result<()> {
        self.take(Resource::<T>::new_own(rep)).map(drop)
    }

    /// Begins to note what a call says and is told, or ends it: gives the notes so far.
    pub(crate) fn set_journal(&mut self, journal: Option<Box<Journal>>) -> Option<Box<Journal>> {
        std::mem::replace(&mut self.journal, journal)
    }

    /// The notes of a call that may be recorded; none for any other.
    pub(crate) fn journal(&mut self) -> Option<&mut Journal> {
        self.journal.as_deref_mut()
    }

    /// Notes a use whose answer is not recorded.
    pub(crate) fn note(&self, what: Unrecorded) {
        if let Some(journal) = &self.journal {
            journal.used(what);
        }
    }

    /// Writes a line of the guest's to the host's log, within its rate.
    pub(crate) fn log(&mut self, line: &Line<'_>) {
        if let Some(journal) = &mut self.journal {
            journal.line(line);
        }
        let request_id = self.request.as_ref().map_or("", |request| &request.id);
        self.plugin.log.write(&self.plugin, request_id, line);
    }

    /// The WASI state and the table of its handles.
    pub(crate) fn wasi(&mut self) -> (&mut WasiState, &mut ResourceTable) {
        let wasi = self.wasi.get_or_insert_with(|| {
            let bytes = self.plugin.limits.output_text_kb as usize * 1024;
            Box::new(WasiState::new(OutputText::new(bytes)))
        });
        (wasi, &mut self.table)
    }

    /// What the guest wrote to standard output and error since the last time, without secrets; empty where it never wrote.
    pub(crate) fn take_output(&mut self) -> String {
        let Some(wasi) = &self.wasi else {
            return String::new();
        };
        let written = wasi.output().take();
        if written.text.is_empty() {
            return String::new();
        }
        let text = match &self.plugin.abilities.secret {
            Some(secret) if written.is_cut => secret.hide_in_rest(&written.text),
            Some(secret) => secret.hide(&written.text, usize::MAX).into_owned(),
            None => written.text,
        };
        text.trim().to_owned()
    }
}

/// Bounds the growth of an instance: wasmtime asks before each.
#[derive(Clone)]
pub(crate) struct Growth {
    limits: Limits,
    /// The size of all memories together, in bytes.
    memory: u64,
    /// What the host keeps for the guest's handles.
    held: HeldBytes,
}

impl Growth {
    fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            memory: 0,
            held: HeldBytes::default(),
        }
    }

    /// The size of all memories together, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory
    }

    /// Counts data that the guest handed to the host against its memory, for as long as anything refers to it.
    pub(crate) fn hold(&self, data: Bytes) -> wasmtime::Result<Bytes> {
        let data = self.held.count(data);
        self.check(self.memory)?;
        Ok(data)
    }

    /// Fails where data of so many bytes could not be held, before it is made.
    pub(crate) fn admit(&self, bytes: u64) -> wasmtime::Result<()> {
        self.check(self.memory.saturating_add(bytes))
    }

    /// How many bytes of data could still be held.
    pub(crate) fn room(&self) -> u64 {
        (u64::from(self.limits.memory_mb) << 20).saturating_sub(self.memory + self.held.get())
    }

    fn check(&self, memory: u64) -> wasmtime::Result<()> {
        if memory.saturating_add(self.held.get()) > u64::from(self.limits.memory_mb) << 20 {
            return Err(LimitBroken {
                what: "the guest takes too much memory",
                setting: "memory_mb",
                value: self.limits.memory_mb,
            }
            .into());
        }
        Ok(())
    }
}

impl ResourceLimiter for Growth {
    /// An error, rather than a refusal that the guest sees: a guest that is refused memory aborts with a message of its
    /// own language, and the operator would not learn of the setting.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let memory = self.memory + (desired.saturating_sub(current)) as u64;
        self.check(memory)?;
        self.memory = memory;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > self.limits.table_elements as usize {
            return Err(LimitBroken {
                what: "a table of the guest grows too large",
                setting: "table_elements",
                value: self.limits.table_elements,
            }
            .into());
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.limits.core_instances as usize
    }

    fn tables(&self) -> usize {
        self.limits.tables as usize
    }

    fn memories(&self) -> usize {
        self.limits.memories as usize
    }
}
