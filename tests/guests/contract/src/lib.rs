//! Exports every stage of the contract and calls every function that it imports. Built once for each release of the
//! contract and committed in `tests/guests/abi`: it must load and answer for ever.

use wharf_plugin_sdk::{
    Body, Candidate, ChunkFilter, Datatype, Error, Filter, Lifecycle, Metric, NoSettings, Payload,
    Plugin, Postprocess, Preprocess, Request, Result, Router, Tensor, Token, TokenFilter, Verdict,
    log,
};

const CALLS: Metric = Metric::counter("contract_calls_total", "Calls of a stage.");
const REMAINING: Metric = Metric::gauge(
    "contract_remaining_seconds",
    "The time left at the last call.",
);
const BYTES: Metric = Metric::histogram("contract_body_bytes", "The sizes of bodies.");

struct Contract;

impl Plugin for Contract {
    type Settings = NoSettings;

    fn new(_settings: NoSettings) -> Result<Self> {
        Ok(Self)
    }
}

impl Preprocess for Contract {
    /// Passes a payload through, rebuilt: the answer equals what came.
    fn preprocess(&self, request: &Request, input: Payload) -> Result<Payload> {
        witness("preprocess", request);
        rebuild(input)
    }
}

impl Postprocess for Contract {
    /// Passes a payload through, rebuilt: the answer equals what came.
    fn postprocess(&self, request: &Request, output: Payload) -> Result<Payload> {
        witness("postprocess", request);
        rebuild(output)
    }
}

impl Router for Contract {
    /// Chooses the candidate with the least to do.
    fn route(&self, request: &Request, candidates: &[Candidate]) -> Result<usize> {
        witness("route", request);
        let load = |candidate: &Candidate| {
            (
                candidate.queue_depth,
                candidate.in_flight,
                candidate.latency_us,
            )
        };
        let best = candidates
            .iter()
            .enumerate()
            .min_by_key(|(_, candidate)| load(candidate));
        best.map(|(index, _)| index)
            .ok_or_else(|| Error::unavailable("there is no candidate"))
    }
}

struct Stop;

impl TokenFilter for Contract {
    type Filter = Stop;

    fn open(&self, request: &Request) -> Result<Stop> {
        witness("open", request);
        Ok(Stop)
    }
}

impl Filter for Stop {
    fn push(&mut self, tokens: Vec<Token>) -> Result<Verdict> {
        if tokens.iter().any(|token| token.text.contains("stop")) {
            return Ok(Verdict::Stop {
                last: Vec::new(),
                reason: "a token says so".to_owned(),
            });
        }
        Ok(Verdict::Emit(tokens))
    }
}

impl ChunkFilter for Contract {
    type Filter = Stop;

    fn open_body(&self, request: &Request, _media_type: &str) -> Result<Stop> {
        witness("open", request);
        Ok(Stop)
    }
}

impl Filter<Vec<u8>> for Stop {
    fn push(&mut self, chunk: Vec<u8>) -> Result<Verdict<Vec<u8>>> {
        if chunk.starts_with(b"stop") {
            return Ok(Verdict::Stop {
                last: Vec::new(),
                reason: "a chunk says so".to_owned(),
            });
        }
        Ok(Verdict::Emit(chunk))
    }
}

impl Lifecycle for Contract {
    const METRICS: &'static [Metric] = &[CALLS, REMAINING, BYTES];

    /// Makes and reads a tensor of every kind.
    fn self_test(&self) -> Result<()> {
        let checks = [
            Tensor::new("a", &[2], &[1.0f32, 2.0])?.fp32()? == [1.0, 2.0],
            Tensor::new("a", &[2], &[1.0f64, 2.0])?.fp64()? == [1.0, 2.0],
            Tensor::new("a", &[2], &[1i32, 2])?.int32()? == [1, 2],
            Tensor::new("a", &[2], &[1i64, 2])?.int64()? == [1, 2],
            Tensor::new("a", &[2], &[1u16, 2])?.values::<u16>()? == [1, 2],
            Tensor::from_elements("a", &[2], &["x", "yz"])?.elements()?
                == [b"x".to_vec(), b"yz".to_vec()],
            Tensor::from_bytes("a", Datatype::Boolean, &[1], &[1])?.byte_range(0, 1)? == [1],
            Body::new("text/plain", b"abc").byte_range(1, 1)? == b"b",
            Tensor::new("a", &[2], &[1.0f32])
                .is_err_and(|error| matches!(error, Error::InvalidInput(_))),
        ];
        match checks.iter().position(|passed| !passed) {
            Some(check) => Err(Error::failed(format!("check {check} failed"))),
            None => Ok(()),
        }
    }
}

wharf_plugin_sdk::export!(Contract: preprocess, postprocess, router, token_filter, chunk_filter, lifecycle);

/// Asks the request everything, and tells the host.
fn witness(stage: &str, request: &Request) {
    CALLS.add(1);
    REMAINING.set(request.remaining().as_secs_f64());
    let tenant = request.tenant().unwrap_or_default();
    log::info(
        "contract called",
        &[
            ("stage", &stage),
            ("id", &request.id()),
            ("route", &request.route()),
            ("tenant", &tenant),
            ("agent", &request.header("user-agent").unwrap_or_default()),
            ("headers", &request.headers().len()),
        ],
    );
}

fn rebuild(payload: Payload) -> Result<Payload> {
    match payload {
        Payload::Body(body) => {
            BYTES.observe(body.byte_length() as f64);
            Ok(Body::new(&body.media_type(), &body.bytes()).into())
        }
        Payload::Tensors(tensors) => {
            let copy = |tensor: &Tensor| {
                let (name, shape) = (tensor.name(), tensor.shape());
                let copy = match tensor.datatype() {
                    Datatype::Fp32 => Tensor::new(&name, &shape, &tensor.fp32()?)?,
                    datatype => Tensor::from_bytes(&name, datatype, &shape, &tensor.bytes())?,
                };
                let flat = [copy.shape().iter().product()];
                copy.with_shape(&flat)?
                    .with_name("flat")
                    .with_name(&name)
                    .with_shape(&shape)
            };
            Ok(tensors.iter().map(copy).collect::<Result<Vec<_>>>()?.into())
        }
    }
}
