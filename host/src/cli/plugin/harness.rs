//! Runs cases in the program's own sandbox: what a plugin may do here is what it may do when it serves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::runtime::Runtime;
use wharf_core::{
    Candidate, Filter, ModelCalls, Payload, Plugin, PluginFile, PluginHost, Portion,
    RequestContext, Stage, Token, Verdict,
};
use wharf_sandbox::Sandbox;

use super::captured::{Captured, Line};
use super::case::{Answers, Case, Filtered, Outcome};
use super::subject::Subject;

/// A sandbox for one plugin.
pub(super) struct Harness {
    pub(super) subject: Subject,
    sandbox: Sandbox,
    runtime: Runtime,
    log: Captured,
    answers: Arc<Answers>,
}

/// A case that was run.
pub(super) struct Ran {
    pub(super) outcome: Outcome,
    /// The time of the stage's calls.
    pub(super) took: Duration,
    /// What was written to the log.
    pub(super) log: Vec<Line>,
}

impl Harness {
    /// Starts the sandbox.
    ///
    /// # Errors
    /// Where the machine or the settings do not let it start.
    pub(super) fn open(subject: Subject) -> Result<Self> {
        let log = Captured::install()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("the runtime cannot be started")?;
        let meter = opentelemetry::global::meter("wharf");
        let sandbox =
            Sandbox::new(subject.config.clone(), &meter).context("plugins cannot be run")?;
        let answers = Arc::<Answers>::default();
        let models: Arc<dyn ModelCalls> = Arc::clone(&answers) as _;
        sandbox.connect(Arc::downgrade(&models));
        Ok(Self {
            answers,
            subject,
            sandbox,
            runtime,
            log,
        })
    }

    /// Loads the plugin with settings in place of its own.
    ///
    /// # Errors
    /// A [`wharf_core::LoadError`] where the host would not serve it.
    pub(super) fn load(&self, settings: &str) -> Result<Arc<dyn Plugin>> {
        let _entered = self.runtime.enter();
        let file = PluginFile {
            site: self.subject.site.clone(),
            name: self.subject.name.clone(),
        };
        let component = self.subject.component.clone();
        let release = self.sandbox.release(&file, component, settings.into())?;
        Ok(self.sandbox.load(&release)?)
    }

    /// The settings that a case has: the plugin's, with those of the case in place of `[settings]`.
    pub(super) fn settings(&self, case: &Case) -> Result<String> {
        let Some(settings) = &case.request.settings else {
            return Ok(self.subject.settings.clone());
        };
        let mut table: toml::Table = self
            .subject
            .settings
            .parse()
            .context("the plugin's settings are no TOML")?;
        let settings = toml::Value::try_from(settings).with_context(|| {
            format!(
                "the settings of the case {} have no form in TOML",
                case.name
            )
        })?;
        table.insert("settings".to_owned(), settings);
        Ok(toml::to_string(&table)?)
    }

    /// Runs a case.
    ///
    /// # Errors
    /// Where the case makes no sense. That the plugin refuses or faults is an outcome.
    pub(super) fn run(&self, plugin: &Arc<dyn Plugin>, case: &Case) -> Result<Ran> {
        let stage = case
            .stage(&plugin.info().stages)
            .with_context(|| format!("the case {}", case.name))?;
        let work = Work::of(case, stage)?;
        let request = case.context()?;
        self.answer_as(case);
        drop(self.log.take());
        let began = Instant::now();
        let called = self.runtime.block_on(work.call(plugin, &request));
        let took = began.elapsed();
        Ok(Ran {
            outcome: called.unwrap_or_else(Outcome::Refused),
            took,
            log: self.log.take(),
        })
    }

    /// From here on models answer as a case says.
    pub(super) fn answer_as(&self, case: &Case) {
        self.answers.set(&case.models);
    }

    /// What was written to the log since the last case.
    pub(super) fn log(&self) -> Vec<Line> {
        self.log.take()
    }

    /// Runs something on the runtime of the calls.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

/// What a stage is called with.
#[derive(Clone)]
pub(super) enum Work {
    Preprocess(Payload),
    Postprocess(Payload),
    Router(Vec<Candidate>),
    TokenFilter(Vec<Vec<Token>>),
    /// With the media type of the body.
    ChunkFilter(String, Vec<Bytes>),
}

impl Work {
    /// What a case has for a stage.
    ///
    /// # Errors
    /// Where it lacks what the stage needs.
    pub(super) fn of(case: &Case, stage: Stage) -> Result<Self> {
        let work = match stage {
            Stage::Preprocess => case.payload().map(Self::Preprocess),
            Stage::Postprocess => case.payload().map(Self::Postprocess),
            Stage::Router => case.candidates().map(Self::Router),
            Stage::TokenFilter => case.tokens().map(Self::TokenFilter),
            Stage::ChunkFilter => case
                .chunks()
                .map(|(media_type, chunks)| Self::ChunkFilter(media_type, chunks)),
        };
        work.with_context(|| format!("the case {}", case.name))
    }

    /// Calls the stage.
    ///
    /// # Errors
    /// What the client gets.
    pub(super) async fn call(
        self,
        plugin: &Arc<dyn Plugin>,
        request: &Arc<RequestContext>,
    ) -> wharf_core::Result<Outcome> {
        match self {
            Self::Preprocess(input) => {
                Ok(Outcome::Payload(plugin.preprocess(request, input).await?))
            }
            Self::Postprocess(input) => {
                Ok(Outcome::Payload(plugin.postprocess(request, input).await?))
            }
            Self::Router(candidates) => {
                Ok(Outcome::Chosen(plugin.route(request, &candidates).await?))
            }
            Self::TokenFilter(calls) => {
                let filter = plugin.filter_tokens(request).await?;
                Ok(Outcome::Tokens(filtered(filter, calls).await?))
            }
            Self::ChunkFilter(media_type, chunks) => {
                let filter = plugin.filter_chunks(request, &media_type).await?;
                Ok(Outcome::Chunks(filtered(filter, chunks).await?))
            }
        }
    }
}

/// Gives a filter what it gets call by call, until it stops or there is no more.
async fn filtered<P: Portion>(
    mut filter: Box<dyn Filter<P>>,
    calls: Vec<P>,
) -> wharf_core::Result<Filtered<P>> {
    let mut verdicts = Vec::new();
    for portion in calls {
        let verdict = filter.push(portion).await?;
        let ends = matches!(verdict, Verdict::Stop { .. });
        verdicts.push(verdict);
        if ends {
            let rest = P::default();
            return Ok(Filtered { verdicts, rest });
        }
    }
    let rest = filter.finish().await?;
    Ok(Filtered { verdicts, rest })
}
