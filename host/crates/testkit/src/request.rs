//! Requests, tensors and payloads for tests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wharf_core::{Body, Headers, Payload, RequestContext, Tensor};

/// A request to a route, with a minute of time.
#[must_use]
pub fn request(route: &str) -> Arc<RequestContext> {
    request_with(route, Duration::from_secs(60), &[])
}

/// A request to a route, with so much time and these header fields.
///
/// # Panics
/// Where a field is none of HTTP's.
#[must_use]
pub fn request_with(
    route: &str,
    time: Duration,
    headers: &[(&'static str, &str)],
) -> Arc<RequestContext> {
    let fields = headers
        .iter()
        .map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, value.parse().expect("a header value"))
        })
        .collect();
    Arc::new(RequestContext {
        id: "test".into(),
        route: route.into(),
        tenant: None,
        headers: Headers::new(fields),
        deadline: Instant::now() + time,
        timeout: time,
        scheduling: wharf_core::Scheduling::default(),
        depth: 0,
    })
}

/// A tensor `FP32 [1, n]`.
///
/// # Panics
/// Never: the count fits the shape.
#[must_use]
pub fn tensor(name: &str, values: &[f32]) -> Tensor {
    Tensor::from_vec(name, [1, values.len() as u64], values.to_vec()).expect("it fits its shape")
}

/// The elements of the first tensor of a payload.
///
/// # Panics
/// Where it is a body, empty, or not of FP32.
#[must_use]
pub fn values(payload: &Payload) -> Vec<f32> {
    match payload {
        Payload::Tensors(tensors) => tensors[0].as_slice().expect("FP32").to_vec(),
        Payload::Body(_) => panic!("it is a body"),
    }
}

/// A plain text body.
#[must_use]
pub fn body(text: &str) -> Payload {
    Payload::Body(Body {
        media_type: "text/plain".into(),
        data: Bytes::copy_from_slice(text.as_bytes()),
    })
}

/// The text of a body.
///
/// # Panics
/// Where it is tensors, or not text.
#[must_use]
pub fn text(payload: &Payload) -> String {
    match payload {
        Payload::Body(body) => String::from_utf8(body.data.to_vec()).expect("text"),
        Payload::Tensors(_) => panic!("it is tensors"),
    }
}
