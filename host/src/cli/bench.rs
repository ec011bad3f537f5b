//! `wharf bench`: puts a load on a server of the Open Inference Protocol, and says how it did.
//!
//! It speaks to the server as any client does, so that it measures other servers as well.

mod target;

mod connection;

mod call;
mod grpc;
mod inputs;
mod metadata;

mod schedule;
mod statistics;

mod drive;

mod options;
mod progress;
mod summary;

#[cfg(test)]
mod fake;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::error::ErrorKind;
use clap::{Args, ValueEnum};
use tokio_util::sync::CancellationToken;

use crate::cli::output;
use call::{Call, RestBody};
use connection::{Connection, Wire};
use drive::{Load, Measured, Pace, Progress};
use inputs::InputSpec;
use metadata::Model;
use progress::ProgressLine;
use summary::{Subject, Summary};
use target::{Target, header_fields};

/// What `--help` says at its end.
pub(crate) const HELP: &str = "\
Examples:
  wharf bench --model iris
  wharf bench --model resnet --data binary --shape input=1x3x224x224 --connections 8
  wharf bench --model iris --protocol grpc --rate 5000 --duration 30s
  wharf bench --model iris --header @token.txt    # a line \"authorization: Bearer TOKEN\"

Without --rate the loop is closed: each connection sends its next request when the one before is answered. With --rate it
is open: requests are sent on a schedule whatever the answers do, and latencies count from when each was due.

--json writes one line with the keys url, model, version (where given), protocol, data, loop (open or closed), rate (or
null), connections, seconds, ended_early, requests, succeeded, refused, failed, unsent, throughput (successes a second),
sent_bytes, received_bytes, latency_ms and refused_latency_ms (each null, or mean, p50, p90, p95, p99, p99_9, max), and
errors (a list of kind, count, message). More keys may come.

It exits with 1 where no request succeeded, and with 2 where the flags are wrong.";

/// The connections of a closed loop.
const CLOSED_CONNECTIONS: u32 = 32;

/// The most connections of an open loop: within the 1,024 open files that most systems allow a process.
const OPEN_CONNECTIONS: u32 = 512;

/// Flags of `wharf bench`.
#[derive(Args)]
pub(crate) struct Bench {
    /// The server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: Target,
    /// The model or route.
    #[arg(long, value_name = "NAME")]
    model: String,
    /// The model's version; without, the one that the server chooses.
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// How the server is spoken to.
    #[arg(long, value_enum, default_value_t = Protocol::Rest)]
    protocol: Protocol,
    /// How REST carries tensors [default: json]; gRPC always carries them as binary.
    #[arg(long, value_enum)]
    data: Option<Data>,
    /// The requests in flight, each on a connection of its own [default: 32]. With --rate the most that may be in flight
    /// [default: 512].
    #[arg(long, visible_alias = "concurrency", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: Option<u32>,
    /// Requests a second, sent on a schedule.
    #[arg(long, value_name = "R", value_parser = options::rate)]
    rate: Option<f64>,
    /// How long is measured.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = options::some_time)]
    duration: Duration,
    /// How long the load goes on before that, unmeasured.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = options::time)]
    warmup: Duration,
    /// How long a request may take.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = options::some_time)]
    timeout: Duration,
    /// Threads that make the load.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
    /// What an input holds: NAME=random (the default), NAME=zeros, NAME=file:PATH with the elements as binary, or
    /// NAME=shape:1x3x224x224. May be given again.
    #[arg(long = "input", value_name = "NAME=WHAT")]
    inputs: Vec<InputSpec>,
    /// The shape of an input: NAME=1x3x224x224. Without, free dimensions are 1. May be given again.
    #[arg(long = "shape", value_name = "NAME=SHAPE", value_parser = InputSpec::of_shape)]
    shapes: Vec<InputSpec>,
    /// A header field of every request, such as "authorization: Bearer TOKEN", or @FILE with a field a line. May be given
    /// again.
    #[arg(long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// A file with the whole request, in place of inputs: JSON, JSON with binary tensors behind it, or with gRPC an
    /// encoded `ModelInferRequest`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["inputs", "shapes", "data"])]
    body: Option<PathBuf>,
    /// Writes the summary as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Rest,
    Grpc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Data {
    Json,
    Binary,
}

impl Bench {
    /// Puts the load on the server, and writes the summary to standard output.
    pub(crate) fn run(mut self) -> Result<ExitCode> {
        if (self.protocol, self.data) == (Protocol::Grpc, Some(Data::Json)) {
            let message = "--data json is for --protocol rest: gRPC carries tensors as binary";
            return wrong_use(ErrorKind::ArgumentConflict, message);
        }
        // Here, since clap repeats what it cannot read, and it may be a secret.
        for text in &self.headers {
            match header_fields(text) {
                Ok(fields) => self.url.add(fields),
                Err(message) => {
                    return wrong_use(ErrorKind::ValueValidation, &format!("--header: {message}"));
                }
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the runtime cannot be started")?;
        let (load, measured) = runtime.block_on(async {
            let load = self.load().await?;
            let measured = self.measure(&load).await?;
            anyhow::Ok((load, measured))
        })?;
        let summary = Summary {
            subject: self.subject(&load),
            load: &load,
            measured: &measured,
        };
        let text = if self.json {
            summary.json()? + "\n"
        } else {
            summary.to_string()
        };
        output::text(text)?;
        if summary.all_failed() {
            bail!("no request succeeded: {}", summary.first_message());
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Reaches the server, asks it for the model's inputs, and makes the request.
    async fn load(&self) -> Result<Load> {
        let address = self.url.reach().await?;
        let call = match &self.body {
            Some(file) => self.given(file)?,
            None => {
                let wire = match self.protocol {
                    Protocol::Rest => Wire::Http1,
                    Protocol::Grpc => Wire::Http2,
                };
                let connection = Connection::open(address, wire).await;
                let connection = connection.map_err(anyhow::Error::msg);
                self.made_up(connection.with_context(|| format!("no server at {}", self.url))?)
                    .await
                    .with_context(|| format!("the model `{}` at {}", self.model, self.url))?
            }
        };
        let (pace, connections) = match self.rate {
            None => (Pace::Closed, CLOSED_CONNECTIONS),
            Some(rate) => (Pace::Open { rate }, OPEN_CONNECTIONS),
        };
        Ok(Load {
            address,
            call,
            pace,
            connections: self.connections.unwrap_or(connections),
            threads: self.threads,
            warmup: self.warmup,
            duration: self.duration,
            timeout: self.timeout,
        })
    }

    /// The request in a file.
    fn given(&self, file: &PathBuf) -> Result<Call> {
        let shown = file.display();
        let content = std::fs::read(file).with_context(|| format!("cannot read {shown}"))?;
        match self.protocol {
            Protocol::Rest => {
                let body = RestBody::given(content.into()).with_context(|| shown.to_string())?;
                Call::post(&self.url, &self.infer_path(), body)
            }
            Protocol::Grpc => Call::grpc(&self.url, "ModelInfer", &content),
        }
    }

    /// A request that fits the model.
    async fn made_up(&self, mut connection: Connection) -> Result<Call> {
        let (model, connection) = (self.model(), &mut connection);
        let asked = async {
            match self.protocol {
                Protocol::Rest => metadata::over_rest(connection, &self.url, &model).await,
                Protocol::Grpc => metadata::over_grpc(connection, &self.url, &model).await,
            }
        };
        let inputs = tokio::time::timeout(self.timeout, asked)
            .await
            .with_context(|| format!("no answer within {:?}", self.timeout))??;
        // Where an input has both, what --shape says stands.
        let specs: Vec<_> = self.inputs.iter().chain(&self.shapes).cloned().collect();
        let tensors = inputs::make(&inputs, &specs)?;
        match (self.protocol, self.data()) {
            (Protocol::Grpc, _) => {
                let message = grpc::infer_request(&model, &tensors)?;
                Call::grpc(&self.url, "ModelInfer", &message)
            }
            (Protocol::Rest, Data::Json) => {
                Call::post(&self.url, &self.infer_path(), RestBody::json(&tensors)?)
            }
            (Protocol::Rest, Data::Binary) => {
                Call::post(&self.url, &self.infer_path(), RestBody::binary(&tensors))
            }
        }
    }

    /// Runs the load with a line that shows it, and ends it when Ctrl-C says so.
    async fn measure(&self, load: &Load) -> Result<Measured> {
        let (progress, stop) = (Arc::new(Progress::default()), CancellationToken::new());
        let line = ProgressLine::new(&progress, load.warmup, load.duration);
        let stopped = async {
            // Where no signal can be heard, the load runs to its end.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
            stop.cancel();
            std::future::pending().await
        };
        tokio::select! {
            measured = drive::run(load, &progress, &stop) => measured,
            never = line.watch() => match never {},
            never = stopped => match never {},
        }
    }

    fn model(&self) -> Model {
        Model {
            name: self.model.clone(),
            version: self.version.clone(),
        }
    }

    fn infer_path(&self) -> String {
        format!("{}/infer", self.model().path())
    }

    fn data(&self) -> Data {
        match self.protocol {
            Protocol::Rest => self.data.unwrap_or(Data::Json),
            Protocol::Grpc => Data::Binary,
        }
    }

    fn subject(&self, load: &Load) -> Subject {
        Subject {
            url: self.url.to_string(),
            model: self.model.clone(),
            version: self.version.clone(),
            protocol: match load.call.wire() {
                Wire::Http1 => "rest",
                Wire::Http2 => "grpc",
            },
            data: match (&self.body, self.data()) {
                (Some(_), _) => "given",
                (None, Data::Json) => "json",
                (None, Data::Binary) => "binary",
            },
        }
    }
}

/// Says what is wrong with the flags, as clap does where it sees it itself.
fn wrong_use(kind: ErrorKind, message: &str) -> Result<ExitCode> {
    clap::Error::raw(kind, format!("{message}\n")).print()?;
    Ok(ExitCode::from(2))
}

#[cfg(test)]
mod tests;
