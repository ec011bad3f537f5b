//! What a peer is told of the request that it is asked for: which one it is, whose it is, and what the operator lets through.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use opentelemetry::propagation::Injector;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use wharf_core::{Error, RequestContext};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TENANT: HeaderName = HeaderName::from_static("x-tenant-id");
const CONTEXT: HeaderName = HeaderName::from_static("x-request-context");
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// How this server calls itself in `Via` (RFC 9110, 7.6.3).
const PSEUDONYM: &str = "wharf";

/// The most servers of the name that a request passes through. Where it comes by more, it goes in a circle.
const MOST_HOPS: usize = 8;

/// The fields of W3C Trace Context.
const TRACE_FIELDS: [HeaderName; 2] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// The fields for a request. The tenant and its context are what this server knows, never what the client said.
///
/// # Errors
/// `InvalidArgument` where the request has passed through as many servers like this one as it may.
pub(crate) fn fields(
    request: &RequestContext,
    passed_on: &[HeaderName],
) -> Result<HeaderMap, Error> {
    let given = |name: &HeaderName| HeaderValue::from_str(request.headers.get(name.as_str())?).ok();
    let mut fields = HeaderMap::with_capacity(8 + passed_on.len());
    for name in passed_on {
        for value in request.headers.get_all(name.as_str()) {
            if let Ok(value) = HeaderValue::from_str(value) {
                fields.append(name.clone(), value);
            }
        }
    }
    via(request, &mut fields)?;
    fields.insert(header::USER_AGENT, HeaderValue::from_static("wharf"));
    if let Ok(id) = HeaderValue::from_str(&request.id) {
        fields.insert(REQUEST_ID, id);
    }
    // The server has taken out what the client said in these.
    let tenant = request
        .tenant
        .as_deref()
        .or(request.headers.get(TENANT.as_str()));
    if let Some(tenant) = tenant {
        if let Ok(value) = HeaderValue::from_str(tenant) {
            fields.insert(TENANT, value);
        }
        if let Ok(value) = HeaderValue::try_from(format!(
            "tenant.id={}",
            utf8_percent_encode(tenant, NON_ALPHANUMERIC)
        )) {
            fields.insert(BAGGAGE, value);
        }
    }
    if let Some(context) = given(&CONTEXT) {
        fields.insert(CONTEXT, context);
    }
    trace(&Span::current(), request, &mut fields);
    Ok(fields)
}

/// The way of the request so far, and this server at its end.
fn via(request: &RequestContext, fields: &mut HeaderMap) -> Result<(), Error> {
    let mut hops = 0;
    for value in request.headers.get_all(header::VIA.as_str()) {
        let names = value
            .split(',')
            .filter_map(|hop| hop.split_ascii_whitespace().nth(1));
        hops += names.filter(|name| *name == PSEUDONYM).count();
        if let Ok(value) = HeaderValue::from_str(value) {
            fields.append(header::VIA, value);
        }
    }
    if hops >= MOST_HOPS {
        let message = "the request came by 8 servers like this one; an upstream must not lead back to its own route";
        return Err(Error::invalid("via", message));
    }
    fields.append(header::VIA, HeaderValue::from_static("1.1 wharf"));
    Ok(())
}

/// The trace: that of the span where spans are exported, else the client's own.
fn trace(span: &Span, request: &RequestContext, fields: &mut HeaderMap) {
    if span.is_none() {
        let parent = request.headers.get(TRACE_FIELDS[0].as_str());
        if !parent.is_some_and(|parent| is_traceparent(parent.as_bytes())) {
            return;
        }
        for name in TRACE_FIELDS {
            let value = request
                .headers
                .get(name.as_str())
                .map(HeaderValue::from_str);
            if let Some(Ok(value)) = value {
                fields.insert(name, value);
            }
        }
        return;
    }
    let context = span.context();
    opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut Fields(fields));
    });
}

struct Fields<'a>(&'a mut HeaderMap);

impl Injector for Fields<'_> {
    fn set(&mut self, key: &str, value: String) {
        let name = HeaderName::from_bytes(key.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

/// Whether this is a `traceparent` of version 00 (W3C Trace Context).
fn is_traceparent(value: &[u8]) -> bool {
    let parts: Vec<_> = value.split(|byte| *byte == b'-').collect();
    parts.iter().map(|part| part.len()).eq([2, 32, 16, 2])
        && parts[0] == b"00"
        && parts.concat().iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wharf_core::Headers;
    use wharf_testkit::{request, request_with};

    use super::*;

    #[test]
    fn a_peer_is_told_what_is_known_and_not_what_the_client_says() {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let request = request_with(
            "r",
            Duration::from_secs(1),
            &[
                ("authorization", "Bearer secret"),
                ("x-tenant-id", "forged"),
                ("baggage", "tenant.id=forged"),
                ("x-user", "7"),
                ("x-other", "8"),
                ("traceparent", trace),
            ],
        );
        let mut request = (*request).clone();
        let fields_of = |request: &RequestContext| {
            fields(request, &[HeaderName::from_static("x-user")]).unwrap()
        };
        let fields = fields_of(&request);
        assert_eq!(fields["x-request-id"], "test");
        assert_eq!(fields["x-user"], "7");
        assert_eq!(fields["traceparent"], trace);
        for name in ["authorization", "x-tenant-id", "baggage", "x-other"] {
            assert!(!fields.contains_key(name), "{name}");
        }
        request.tenant = Some("acme, inc".into());
        let fields = fields_of(&request);
        assert_eq!(fields["x-tenant-id"], "acme, inc");
        assert_eq!(fields["baggage"], "tenant.id=acme%2C%20inc");
    }

    #[test]
    fn every_value_of_a_field_is_sent_on() {
        let mut given = HeaderMap::new();
        for value in ["a", "b"] {
            given.append("x-user", HeaderValue::from_static(value));
        }
        let request = RequestContext {
            headers: Headers::new(given),
            ..(*request("r")).clone()
        };
        let fields = fields(&request, &[HeaderName::from_static("x-user")]).unwrap();
        let values: Vec<_> = fields.get_all("x-user").iter().collect();
        assert_eq!(values, ["a", "b"]);
    }

    #[test]
    fn a_request_that_goes_in_a_circle_ends() {
        let mut way = vec!["1.0 cache, 2 edge:443".to_owned()];
        loop {
            let mut given = HeaderMap::new();
            for value in &way {
                given.append("via", value.parse().unwrap());
            }
            let request = RequestContext {
                headers: Headers::new(given),
                ..(*request("r")).clone()
            };
            match fields(&request, &[]) {
                Ok(fields) => {
                    let values = fields.get_all("via").iter();
                    way = values
                        .map(|value| value.to_str().unwrap().to_owned())
                        .collect();
                }
                Err(error) => {
                    assert_eq!(error.field(), Some("via"));
                    break;
                }
            }
        }
        assert_eq!(way[0], "1.0 cache, 2 edge:443");
        assert_eq!(way[1..], ["1.1 wharf"; MOST_HOPS]);
    }
}
