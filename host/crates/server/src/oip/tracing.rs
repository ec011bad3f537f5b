//! Which requests are traced, in the words of Triton: settings for all requests, and others for single models over them.
//!
//! A trace is a span that is exported as OpenTelemetry has it; the settings only choose the requests that get one. Where
//! nothing is traced, a request pays one load.
//!
//! Which model a call of gRPC is for stands in its message. Where models have settings of their own, its span begins once that
//! is there, and else with the header.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use wharf_core::{Error, ErrorKind, Result};

use super::resolve;
use crate::app::App;
use crate::client::Client;
use crate::json::shorten;

/// Settings that a client wants: a name, and its values; none to clear it.
pub(crate) type TraceChange = (String, Option<Vec<String>>);

/// A setting in force, with its values.
pub(crate) type TraceSetting = (&'static str, Vec<String>);

/// Which requests are traced.
pub(crate) struct Tracing {
    /// Whether spans are exported at all.
    exports: bool,
    /// Whether any request may be traced.
    any: AtomicBool,
    /// Whether that depends on the model.
    by_model: AtomicBool,
    scopes: RwLock<Scopes>,
}

#[derive(Default)]
struct Scopes {
    global: Scope,
    /// By the name of the route. Only names that are served come in.
    models: BTreeMap<String, Scope>,
}

/// Settings with a count of their own.
#[derive(Default)]
struct Scope {
    overrides: Overrides,
    settings: Settings,
    seen: AtomicU64,
    traced: AtomicU64,
}

/// What a client has set.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Overrides {
    level: Option<Level>,
    rate: Option<u64>,
    count: Option<Option<u64>>,
}

/// What holds.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Settings {
    level: Level,
    /// One of so many requests is traced.
    rate: u64,
    /// The most requests that are traced; none without a limit.
    count: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            level: Level::Off,
            rate: 1,
            count: None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Off,
    Timestamps,
}

impl Tracing {
    /// With an exporter every request is traced until a client says otherwise; without, none ever is.
    pub(crate) fn new(exports: bool) -> Self {
        let tracing = Self {
            exports,
            any: AtomicBool::new(false),
            by_model: AtomicBool::new(false),
            scopes: RwLock::default(),
        };
        tracing.change(|_| {});
        tracing
    }

    /// Whether spans are exported.
    pub(crate) fn exports(&self) -> bool {
        self.exports
    }

    /// Whether it depends on the model if a request is traced.
    pub(crate) fn depends_on_model(&self) -> bool {
        self.by_model.load(Ordering::Relaxed)
    }

    /// Whether the next request is traced; `model` where it is known. Each call counts a request.
    pub(crate) fn sample(&self, model: Option<&str>) -> bool {
        if !self.any.load(Ordering::Relaxed) {
            return false;
        }
        let scopes = self.scopes.read().unwrap_or_else(PoisonError::into_inner);
        let own = model.and_then(|model| scopes.models.get(model));
        own.unwrap_or(&scopes.global).sample()
    }

    /// Makes a change, and computes anew what holds.
    fn change(&self, change: impl FnOnce(&mut Scopes)) {
        let mut scopes = self.scopes.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut scopes);
        let level = match self.exports {
            true => Level::Timestamps,
            false => Level::Off,
        };
        let by_default = Settings {
            level,
            ..Settings::default()
        };
        let Scopes { global, models } = &mut *scopes;
        global.settle(by_default);
        for scope in models.values_mut() {
            scope.settle(global.settings);
        }
        let on = |scope: &Scope| scope.settings.level != Level::Off;
        let any = on(global) || models.values().any(on);
        self.any.store(any, Ordering::Relaxed);
        self.by_model
            .store(any && !models.is_empty(), Ordering::Relaxed);
    }

    fn settings(&self, model: Option<&str>) -> Settings {
        let scopes = self.scopes.read().unwrap_or_else(PoisonError::into_inner);
        let own = model.and_then(|model| scopes.models.get(model));
        own.unwrap_or(&scopes.global).settings
    }
}

impl Scope {
    /// Lays what clients set over what holds without. A changed scope counts from its beginning.
    fn settle(&mut self, under: Settings) {
        let Overrides { level, rate, count } = self.overrides;
        let settings = Settings {
            level: level.unwrap_or(under.level),
            rate: rate.unwrap_or(under.rate),
            count: count.unwrap_or(under.count),
        };
        if settings != self.settings {
            *self = Self {
                overrides: self.overrides,
                settings,
                ..Self::default()
            };
        }
    }

    fn sample(&self) -> bool {
        if self.settings.level == Level::Off {
            return false;
        }
        let seen = self.seen.fetch_add(1, Ordering::Relaxed);
        if !seen.is_multiple_of(self.settings.rate) {
            return false;
        }
        match self.settings.count {
            None => true,
            Some(most) => self.traced.fetch_add(1, Ordering::Relaxed) < most,
        }
    }
}

/// The settings in force; with a name those of that model.
///
/// # Errors
/// As [`resolve`], where a name is given.
pub(crate) fn trace_settings(
    app: &App,
    client: &Client,
    model: Option<&str>,
) -> Result<Vec<TraceSetting>> {
    let name = model.map(|name| served(app, client, name)).transpose()?;
    Ok(listed(app.tracing.settings(name.as_deref())))
}

/// Changes settings, all of them or none, and gives those in force then. What a model does not say itself, or not any
/// more, follows the settings for all.
///
/// # Errors
/// `InvalidArgument` with the setting as the field where it is unknown, has a wrong value or cannot be changed;
/// `Unprocessable` where spans are not exported.
pub(crate) fn change_trace_settings(
    app: &App,
    client: &Client,
    model: Option<&str>,
    changes: &[TraceChange],
) -> Result<Vec<TraceSetting>> {
    let name = model.map(|name| served(app, client, name)).transpose()?;
    if !changes.is_empty() {
        apply(&app.tracing, name.as_deref(), changes)?;
    }
    Ok(listed(app.tracing.settings(name.as_deref())))
}

/// The name, where it is one that is served: others could be endless.
fn served(app: &App, client: &Client, name: &str) -> Result<Arc<str>> {
    resolve(app, client, name, None).map(|resolved| resolved.route.name().shared())
}

/// A change that was checked.
type Setter = Box<dyn FnOnce(&mut Overrides)>;

fn apply(tracing: &Tracing, model: Option<&str>, changes: &[TraceChange]) -> Result<()> {
    // Checked before anything changes.
    let mut wanted: Vec<Setter> = Vec::new();
    for (name, values) in changes {
        match name.as_str() {
            "trace_level" => {
                let level = values.as_deref().map(level).transpose()?;
                if level == Some(Level::Timestamps) && !tracing.exports {
                    let message = "traces go nowhere; set telemetry.otlp_endpoint in wharf.toml, and start the server \
                                   again";
                    return Err(
                        Error::new(ErrorKind::Unprocessable, message).with_field("trace_level")
                    );
                }
                wanted.push(Box::new(move |overrides| overrides.level = level));
            }
            "trace_rate" => {
                let rate = values.as_deref().map(rate).transpose()?;
                wanted.push(Box::new(move |overrides| overrides.rate = rate));
            }
            "trace_count" => {
                let count = values.as_deref().map(count).transpose()?;
                wanted.push(Box::new(move |overrides| overrides.count = count));
            }
            _ => fixed(name, values.as_deref())?,
        }
    }
    tracing.change(|scopes| {
        let scope = match model {
            None => &mut scopes.global,
            Some(model) => scopes.models.entry(model.to_owned()).or_default(),
        };
        for change in wanted {
            change(&mut scope.overrides);
        }
        let none = Overrides::default();
        scopes.models.retain(|_, scope| scope.overrides != none);
    });
    Ok(())
}

fn level(values: &[String]) -> Result<Level> {
    let wrong = |message: &'static str| Error::invalid("trace_level", message);
    let mut level = Level::Off;
    for value in values {
        match value.as_str() {
            "OFF" => {}
            "TIMESTAMPS" => level = Level::Timestamps,
            "TENSORS" => {
                return Err(wrong("tensors are not traced; use TIMESTAMPS or OFF"));
            }
            _ => return Err(wrong("is no level; use TIMESTAMPS or OFF")),
        }
    }
    Ok(level)
}

fn rate(values: &[String]) -> Result<u64> {
    one(values)
        .and_then(|rate| rate.parse().ok())
        .filter(|rate| (1..=u64::from(u32::MAX)).contains(rate))
        .ok_or_else(|| {
            Error::invalid(
                "trace_rate",
                "is 1 to 4294967295: one of so many requests is traced",
            )
        })
}

/// -1 is no limit.
fn count(values: &[String]) -> Result<Option<u64>> {
    match one(values) {
        Some("-1") => Ok(None),
        value => value
            .and_then(|count| count.parse().ok())
            .filter(|count| *count <= u64::from(u32::MAX))
            .map(Some)
            .ok_or_else(|| Error::invalid("trace_count", "is -1 for no limit, or 0 to 4294967295")),
    }
}

fn one(values: &[String]) -> Option<&str> {
    match values {
        [value] => Some(value),
        _ => None,
    }
}

/// Settings that cannot be changed. What is said already is no change: clients send back what they read.
fn fixed(name: &str, values: Option<&[String]>) -> Result<()> {
    let (holds, message) = match name {
        "trace_mode" => (
            "opentelemetry",
            "cannot be changed: traces are exported as OpenTelemetry has it",
        ),
        "trace_file" => (
            "",
            "cannot be changed: traces go to telemetry.otlp_endpoint in wharf.toml",
        ),
        "log_frequency" => ("0", "cannot be changed: traces are exported as they come"),
        _ => {
            let message = "is no setting of traces; use trace_level, trace_rate or trace_count";
            return Err(Error::invalid(shorten(name), message));
        }
    };
    let unchanged = values.is_none_or(|values| one(values).unwrap_or_default() == holds);
    match unchanged {
        true => Ok(()),
        false => Err(Error::invalid(name.to_owned(), message)),
    }
}

fn listed(settings: Settings) -> Vec<TraceSetting> {
    let level = match settings.level {
        Level::Off => "OFF",
        Level::Timestamps => "TIMESTAMPS",
    };
    let count = settings
        .count
        .map_or("-1".to_owned(), |count| count.to_string());
    vec![
        ("trace_level", vec![level.to_owned()]),
        ("trace_rate", vec![settings.rate.to_string()]),
        ("trace_count", vec![count]),
        ("log_frequency", vec!["0".to_owned()]),
        ("trace_file", vec![String::new()]),
        ("trace_mode", vec!["opentelemetry".to_owned()]),
    ]
}

#[cfg(test)]
mod tests;
