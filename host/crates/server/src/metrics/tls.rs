//! What is measured of TLS on a listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

/// The instruments of one listener.
#[derive(Debug)]
pub(crate) struct TlsMetrics {
    listener: &'static str,
    /// Seconds since 1970.
    expires: Arc<AtomicI64>,
    reloads: Counter<u64>,
    failures: Counter<u64>,
}

/// Why a connection came to nothing before its first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeFailure {
    /// The client took too long.
    Timeout,
    /// The client left.
    Left,
    /// What it sent is no TLS.
    Plain,
    /// The client has no certificate, or none that is believed.
    ClientCertificate,
    /// The client does not believe the server's.
    Refused,
    /// Neither knows what the other speaks.
    Incompatible,
    /// It broke the rules of TLS.
    Protocol,
}

impl HandshakeFailure {
    const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Left => "left",
            Self::Plain => "plain",
            Self::ClientCertificate => "client_certificate",
            Self::Refused => "refused",
            Self::Incompatible => "incompatible",
            Self::Protocol => "protocol",
        }
    }
}

impl TlsMetrics {
    pub(crate) fn new(meter: &Meter, listener: &'static str) -> Self {
        let expires = Arc::new(AtomicI64::new(0));
        let (observed, attributes) = (Arc::clone(&expires), [KeyValue::new("listener", listener)]);
        meter
            .i64_observable_gauge("tls.certificate.expires")
            .with_description("When the certificate in force ends, in seconds since 1970")
            .with_unit("s")
            .with_callback(move |observer| observer.observe(observed.load(Relaxed), &attributes))
            .build();
        Self {
            listener,
            expires,
            reloads: meter
                .u64_counter("tls.certificate.reloads")
                .with_description("Changes of certificate, key or client authorities")
                .build(),
            failures: meter
                .u64_counter("tls.failed_handshakes")
                .with_description("Connections that came to nothing before their first request")
                .build(),
        }
    }

    /// Notes which certificate is in force.
    pub(crate) fn in_force(&self, expires: i64) {
        self.expires.store(expires, Relaxed);
    }

    pub(crate) fn reloaded(&self) {
        self.reload("loaded");
    }

    pub(crate) fn refused(&self) {
        self.reload("refused");
    }

    fn reload(&self, outcome: &'static str) {
        self.reloads.add(
            1,
            &[
                KeyValue::new("listener", self.listener),
                KeyValue::new("outcome", outcome),
            ],
        );
    }

    pub(crate) fn failed(&self, why: HandshakeFailure) {
        self.failures.add(
            1,
            &[
                KeyValue::new("listener", self.listener),
                KeyValue::new("reason", why.name()),
            ],
        );
    }
}
