//! What is measured of gRPC calls, by the semantic conventions of OpenTelemetry for RPC servers.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundHistogram, Histogram, Meter};

use super::SECONDS;
use crate::grpc::Method;

/// The instruments of calls.
#[derive(Debug)]
pub(super) struct Calls {
    duration: Histogram<f64>,
    /// The series of inferences that went well, found once.
    inferred: BoundHistogram<f64>,
}

/// The names of the status codes, by their numbers (gRPC, statuscodes).
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Calls {
    pub(super) fn new(meter: &Meter) -> Self {
        let duration = meter
            .f64_histogram("rpc.server.call.duration")
            .with_description(
                "Duration of gRPC calls, from the end of their header to the end of the answer",
            )
            .with_unit("s")
            .with_boundaries(SECONDS.to_vec())
            .build();
        Self {
            inferred: duration.bind(&attributes(Some(Method::ModelInfer), 0)),
            duration,
        }
    }

    pub(super) fn record(&self, method: Option<Method>, code: u8, duration: Duration) {
        let seconds = duration.as_secs_f64();
        if (method, code) == (Some(Method::ModelInfer), 0) {
            return self.inferred.record(seconds);
        }
        self.duration.record(seconds, &attributes(method, code));
    }
}

/// The name of a status code.
pub(crate) fn code_name(code: u8) -> &'static str {
    CODES.get(usize::from(code)).copied().unwrap_or("UNKNOWN")
}

/// A method that a client made up mints no series.
fn attributes(method: Option<Method>, code: u8) -> [KeyValue; 3] {
    [
        KeyValue::new("rpc.system.name", "grpc"),
        KeyValue::new("rpc.method", method.map_or("_OTHER", Method::name)),
        KeyValue::new("rpc.response.status_code", code_name(code)),
    ]
}
