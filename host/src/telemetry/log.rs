//! The log: what is written is configured by a filter, and clients may change its levels while the server runs.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use tracing::Metadata;
use tracing_subscriber::filter::{FilterExt, FilterFn, LevelFilter};
use tracing_subscriber::layer::Filter;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};
use wharf_core::{Error, SPAN_TARGET};
use wharf_server::{LogControl, LogLevels};

use super::LogFormat;

type BoxedFilter = Box<dyn Filter<Registry> + Send + Sync>;
type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// The log of the process.
pub(super) struct Log {
    format: LogFormat,
    /// The filter as configured, and the levels that it comes to.
    configured: String,
    by_configuration: LogLevels,
    levels: Mutex<LogLevels>,
    filter: reload::Handle<BoxedFilter, Registry>,
}

impl Log {
    /// Makes the log and the layer that writes it.
    pub(super) fn new(format: LogFormat, configured: &str) -> Result<(Self, BoxedLayer)> {
        let most = EnvFilter::try_new(configured)
            .with_context(|| {
                format!("wharf.toml [telemetry.log_filter]: {configured:?} is no filter")
            })?
            .max_level_hint()
            .unwrap_or(LevelFilter::TRACE);
        let by_configuration = levels(most);
        let filter = filter(configured, by_configuration, by_configuration)
            .context("the log's filter is well formed")?;
        let (filter, handle) = reload::Layer::new(filter);
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal());
        let layer = match format {
            LogFormat::Text => layer.with_filter(filter).boxed(),
            LogFormat::Json => layer.json().flatten_event(true).with_filter(filter).boxed(),
        };
        let log = Self {
            format,
            configured: configured.to_owned(),
            by_configuration,
            levels: Mutex::new(by_configuration),
            filter: handle,
        };
        Ok((log, layer))
    }
}

impl LogControl for Log {
    fn levels(&self) -> LogLevels {
        *self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_levels(&self, wanted: LogLevels) -> wharf_core::Result<()> {
        let filter = filter(&self.configured, self.by_configuration, wanted)
            .map_err(|error| Error::internal(error.to_string()))?;
        // Held over the swap, so that what is said to be in force is.
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        self.filter.reload(filter).map_err(Error::internal)?;
        log::set_max_level(of_log(LevelFilter::current()));
        *levels = wanted;
        Ok(())
    }

    fn format(&self) -> &'static str {
        match self.format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

/// The levels up to one.
fn levels(most: LevelFilter) -> LogLevels {
    LogLevels {
        info: most >= LevelFilter::INFO,
        warning: most >= LevelFilter::WARN,
        error: most >= LevelFilter::ERROR,
        verbose: u32::from(most >= LevelFilter::DEBUG) + u32::from(most >= LevelFilter::TRACE),
    }
}

/// The configured filter with other levels: what is switched off is off for all, and what is switched on is on for what
/// the configuration does not name. What it names keeps the levels that it says.
fn filter(configured: &str, by_configuration: LogLevels, wanted: LogLevels) -> Result<BoxedFilter> {
    let mut filter = EnvFilter::try_new(configured)?;
    let is_more = (wanted.info && !by_configuration.info)
        || (wanted.warning && !by_configuration.warning)
        || (wanted.error && !by_configuration.error)
        || wanted.verbose > by_configuration.verbose;
    if is_more {
        filter = filter.add_directive(most(wanted).into());
    }
    // Spans of requests are for whom traces are exported to.
    let filter = filter.add_directive(format!("{SPAN_TARGET}=off").parse()?);
    let is_wanted = move |metadata: &Metadata<'_>| allows(wanted, metadata);
    // Without the hint everything would be asked for, down to what Cranelift says of each instruction.
    let is_wanted = FilterFn::new(is_wanted).with_max_level_hint(most(wanted));
    Ok(Box::new(filter.and(is_wanted)))
}

fn most(levels: LogLevels) -> LevelFilter {
    match levels {
        LogLevels { verbose: 2.., .. } => LevelFilter::TRACE,
        LogLevels { verbose: 1, .. } => LevelFilter::DEBUG,
        LogLevels { info: true, .. } => LevelFilter::INFO,
        LogLevels { warning: true, .. } => LevelFilter::WARN,
        LogLevels { error: true, .. } => LevelFilter::ERROR,
        _ => LevelFilter::OFF,
    }
}

/// The level up to which crates that speak to `log` are asked for anything: there is no cache of who is wanted, as `tracing` has it.
fn of_log(most: LevelFilter) -> log::LevelFilter {
    match most.into_level() {
        None => log::LevelFilter::Off,
        Some(tracing::Level::ERROR) => log::LevelFilter::Error,
        Some(tracing::Level::WARN) => log::LevelFilter::Warn,
        Some(tracing::Level::INFO) => log::LevelFilter::Info,
        Some(tracing::Level::DEBUG) => log::LevelFilter::Debug,
        Some(tracing::Level::TRACE) => log::LevelFilter::Trace,
    }
}

fn allows(levels: LogLevels, metadata: &Metadata<'_>) -> bool {
    match *metadata.level() {
        tracing::Level::ERROR => levels.error,
        tracing::Level::WARN => levels.warning,
        tracing::Level::INFO => levels.info,
        tracing::Level::DEBUG => levels.verbose >= 1,
        tracing::Level::TRACE => levels.verbose >= 2,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use tracing_subscriber::prelude::*;

    use super::*;

    /// What was written.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Says something at every level through the filter, and gives the levels that came through.
    fn written(configured: &str, change: impl Fn(&mut LogLevels)) -> String {
        let lines = Lines::default();
        let (log, _) = Log::new(LogFormat::Text, configured).unwrap();
        let mut levels = log.levels();
        change(&mut levels);
        let (filter, handle) =
            reload::Layer::new(filter(configured, log.by_configuration, log.levels()).unwrap());
        let log = Log {
            filter: handle,
            ..log
        };
        let kept = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .without_time()
            .with_ansi(false)
            .with_writer(move || kept.clone())
            .with_filter(filter);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            log.set_levels(levels).unwrap();
            tracing::error!("E");
            tracing::warn!("W");
            tracing::info!("I");
            tracing::debug!("D");
            tracing::trace!("T");
            tracing::debug!(target: "other", "O");
            tracing::error!(target: SPAN_TARGET, "never");
        });
        assert_eq!(log.levels(), levels);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines()
            .filter_map(|line| line.chars().last())
            .collect()
    }

    #[test]
    fn levels_are_switched_while_the_log_is_written() {
        assert_eq!(written("info", |_| {}), "EWI");
        assert_eq!(written("info", |levels| levels.verbose = 1), "EWIDO");
        assert_eq!(written("info", |levels| levels.verbose = 2), "EWIDTO");
        assert_eq!(written("info", |levels| levels.warning = false), "EI");
        assert_eq!(written("info", |levels| levels.info = false), "EW");
        assert_eq!(written("error", |levels| levels.info = true), "EI");
        assert_eq!(written("debug", |levels| levels.verbose = 0), "EWI");
    }

    /// What is not wanted is not even asked for: the bridge from `log` would ask for each record of every crate.
    #[test]
    fn nothing_above_the_levels_is_asked_for() {
        for (configured, verbose, most) in [
            ("info", 0, LevelFilter::INFO),
            ("info", 1, LevelFilter::DEBUG),
            ("warn,other=debug", 1, LevelFilter::DEBUG),
            ("debug", 0, LevelFilter::INFO),
        ] {
            let (log, _) = Log::new(LogFormat::Text, configured).unwrap();
            let wanted = LogLevels {
                verbose,
                ..log.levels()
            };
            let filter = filter(configured, log.by_configuration, wanted).unwrap();
            assert_eq!(filter.max_level_hint(), Some(most), "{configured}");
        }
        assert_eq!(of_log(LevelFilter::INFO), log::LevelFilter::Info);
        assert_eq!(of_log(LevelFilter::OFF), log::LevelFilter::Off);
    }

    #[test]
    fn what_the_configuration_names_keeps_its_level() {
        assert_eq!(
            written("info,other=warn", |levels| levels.verbose = 2),
            "EWIDT"
        );
        let levels = Log::new(LogFormat::Json, "warn,other=debug")
            .unwrap()
            .0
            .levels();
        assert!(levels.info && levels.verbose == 1);
    }
}
