//! Between the exports of the component and the traits of the plugin. `export!` alone uses it.

use std::cell::{OnceCell, RefCell};

use crate::bindings::{
    chunk_filter, imports, lifecycle, postprocess, preprocess, router, token_filter, types,
};
use crate::stage::{
    Candidate, ChunkFilter, Filter, Lifecycle, Plugin, Postprocess, Preprocess, Router, Token,
    TokenFilter, Verdict,
};
use crate::{Error, MetricKind, Result, log};

/// The plugin value of an instance, made once. A guest has one thread.
pub type Slot<P> = OnceCell<P>;

/// The exports of a plugin: a type that `export!` makes.
pub trait Instance: 'static {
    /// The plugin.
    type Plugin: Plugin;
    /// The version in the plugin's `Cargo.toml`.
    const VERSION: &'static str;
    /// The description in the plugin's `Cargo.toml`.
    const SUMMARY: &'static str;
    /// Calls `work` with the slot of this instance.
    fn with<T>(work: impl FnOnce(&Slot<Self::Plugin>) -> T) -> T;
}

fn create<P: Plugin>(slot: &Slot<P>, settings: &str) -> Result<()> {
    std::panic::set_hook(Box::new(report_panic));
    let plugin = P::new(crate::settings::parse(settings)?)?;
    slot.set(plugin)
        .map_err(|_| Error::failed("the instance is initialised already"))
}

/// Calls `work` with the plugin. One that exports no lifecycle is made here, from the settings that the host offers.
fn call<I: Instance, T>(work: impl FnOnce(&I::Plugin) -> Result<T>) -> Result<T> {
    I::with(|slot| {
        if slot.get().is_none() {
            // Whoever sent the request can do nothing about it: what is wrong is for the log.
            create(slot, &imports::settings::read()).map_err(|error| {
                log::error(
                    "the plugin cannot be made of its settings",
                    &[("error", &error)],
                );
                Error::failed("the plugin cannot be made of its settings")
            })?;
        }
        work(slot.get().expect("created above"))
    })
}

/// A guest has no stderr of its own: the text of a panic goes to the host's log before the trap.
fn report_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let text = panic.payload_as_str().unwrap_or("a panic without a text");
    match panic.location() {
        Some(location) => log::error(
            "plugin panicked",
            &[("panic", &text), ("location", location)],
        ),
        None => log::error("plugin panicked", &[("panic", &text)]),
    }
}

impl<I: Instance<Plugin: Preprocess>> preprocess::Guest for I {
    fn process(request: &types::Request, input: types::Payload) -> Result<types::Payload> {
        call::<I, _>(|plugin| plugin.preprocess(request, input.into())).map(Into::into)
    }
}

impl<I: Instance<Plugin: Postprocess>> postprocess::Guest for I {
    fn process(request: &types::Request, output: types::Payload) -> Result<types::Payload> {
        call::<I, _>(|plugin| plugin.postprocess(request, output.into())).map(Into::into)
    }
}

impl<I: Instance<Plugin: Router>> router::Guest for I {
    fn route(request: &types::Request, candidates: Vec<router::Candidate>) -> Result<u32> {
        let candidates: Vec<Candidate> = candidates.into_iter().map(Into::into).collect();
        let index = call::<I, _>(|plugin| plugin.route(request, &candidates))?;
        u32::try_from(index).map_err(|_| Error::failed(format!("there is no candidate {index}")))
    }
}

impl From<router::Candidate> for Candidate {
    fn from(raw: router::Candidate) -> Self {
        let router::Candidate {
            model,
            version,
            labels,
            queue_depth,
            in_flight,
            latency_us,
            free_memory,
        } = raw;
        Self {
            model,
            version,
            labels,
            queue_depth,
            in_flight,
            latency_us,
            free_memory,
        }
    }
}

impl<I: Instance<Plugin: TokenFilter>> token_filter::Guest for I {
    type Filter = OpenFilter<<I::Plugin as TokenFilter>::Filter>;

    fn open(request: &types::Request) -> Result<token_filter::Filter> {
        let filter = call::<I, _>(|plugin| plugin.open(request))?;
        Ok(token_filter::Filter::new(OpenFilter(RefCell::new(filter))))
    }
}

/// A filter as the host holds it.
pub struct OpenFilter<F>(RefCell<F>);

impl<F: Filter> token_filter::GuestFilter for OpenFilter<F> {
    fn push(&self, tokens: Vec<token_filter::Token>) -> Result<token_filter::Verdict> {
        let verdict = self
            .0
            .borrow_mut()
            .push(tokens.into_iter().map(lift_token).collect())?;
        Ok(match verdict {
            Verdict::Emit(tokens) => token_filter::Verdict::Emit(lower_tokens(tokens)),
            Verdict::Stop { last, reason } => {
                token_filter::Verdict::Stop((lower_tokens(last), reason))
            }
        })
    }

    fn finish(&self) -> Result<Vec<token_filter::Token>> {
        self.0.borrow_mut().finish().map(lower_tokens)
    }
}

fn lift_token(raw: token_filter::Token) -> Token {
    Token {
        id: raw.id,
        text: raw.text,
        logprob: raw.logprob,
    }
}

fn lower_tokens(tokens: Vec<Token>) -> Vec<token_filter::Token> {
    let lower = |token: Token| token_filter::Token {
        id: token.id,
        text: token.text,
        logprob: token.logprob,
    };
    tokens.into_iter().map(lower).collect()
}

impl<I: Instance<Plugin: ChunkFilter>> chunk_filter::Guest for I {
    type Filter = OpenFilter<<I::Plugin as ChunkFilter>::Filter>;

    fn open(request: &types::Request, media_type: String) -> Result<chunk_filter::Filter> {
        let filter = call::<I, _>(|plugin| plugin.open_body(request, &media_type))?;
        Ok(chunk_filter::Filter::new(OpenFilter(RefCell::new(filter))))
    }
}

impl<F: Filter<Vec<u8>>> chunk_filter::GuestFilter for OpenFilter<F> {
    fn push(&self, chunk: Vec<u8>) -> Result<chunk_filter::Verdict> {
        Ok(match self.0.borrow_mut().push(chunk)? {
            Verdict::Emit(given) => chunk_filter::Verdict::Emit(given),
            Verdict::Stop { last, reason } => chunk_filter::Verdict::Stop((last, reason)),
        })
    }

    fn finish(&self) -> Result<Vec<u8>> {
        self.0.borrow_mut().finish()
    }
}

impl<I: Instance<Plugin: Lifecycle>> lifecycle::Guest for I {
    fn describe() -> lifecycle::Description {
        // Settings that are wrong are refused by `init`, which names what is wrong.
        let metrics = match crate::settings::parse(&imports::settings::read()) {
            Ok(settings) => <I::Plugin as Lifecycle>::metrics(&settings),
            Err(_) => <I::Plugin as Lifecycle>::METRICS.to_vec(),
        };
        let metrics = metrics.iter().map(|metric| lifecycle::Metric {
            name: metric.name.to_owned(),
            kind: match metric.kind {
                MetricKind::Counter => lifecycle::MetricKind::Counter,
                MetricKind::Gauge => lifecycle::MetricKind::Gauge,
                MetricKind::Histogram => lifecycle::MetricKind::Histogram,
            },
            help: metric.help.to_owned(),
        });
        lifecycle::Description {
            version: I::VERSION.to_owned(),
            summary: I::SUMMARY.to_owned(),
            metrics: metrics.collect(),
        }
    }

    fn init(settings: String) -> Result<()> {
        I::with(|slot| create(slot, &settings))
    }

    fn self_test() -> Result<()> {
        call::<I, _>(Lifecycle::self_test)
    }
}
