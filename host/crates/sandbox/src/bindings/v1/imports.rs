//! Links the generated interfaces, and serves those that every plugin may import: log, metrics, settings.

use wasmtime::component::{HasSelf, Linker};

use super::generated::wharf::plugin::{codec, http, log, metrics, model, secret, settings, state};
use crate::guest::GuestState;
use crate::logging::{Line, Severity};

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    log::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)?;
    metrics::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)?;
    settings::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)?;
    state::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)?;
    model::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)?;
    codec::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)?;
    http::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)?;
    secret::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)
}

impl log::Host for GuestState {
    fn write(
        &mut self,
        level: log::Level,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        let severity = match level {
            log::Level::Debug => Severity::Debug,
            log::Level::Info => Severity::Info,
            log::Level::Warn => Severity::Warn,
            log::Level::Error => Severity::Error,
        };
        self.log(&Line {
            severity,
            message: &message,
            fields: &fields,
        });
        Ok(())
    }
}

impl metrics::Host for GuestState {
    fn add(&mut self, name: String, amount: u64) -> wasmtime::Result<()> {
        self.plugin().metrics.add(&name, amount);
        Ok(())
    }

    fn set(&mut self, name: String, value: f64) -> wasmtime::Result<()> {
        self.plugin().metrics.set(&name, value);
        Ok(())
    }

    fn observe(&mut self, name: String, value: f64) -> wasmtime::Result<()> {
        self.plugin().metrics.observe(&name, value);
        Ok(())
    }
}

impl settings::Host for GuestState {
    fn read(&mut self) -> wasmtime::Result<String> {
        Ok(self.plugin().settings.to_string())
    }
}
