//! How a line looks.

use std::fmt::{self, Display, Write as _};
use std::io::Write as _;

use serde::Serialize;

use super::AccessLogFormat;
use super::entry::Record;
use crate::timestamp::{common_log, rfc3339};

/// Writes the line of a record, with its end.
pub(super) fn write(line: &mut Vec<u8>, format: AccessLogFormat, record: &Record) {
    match format {
        AccessLogFormat::None => return,
        AccessLogFormat::Common => common(line, record),
        AccessLogFormat::Json => json(line, record),
    }
    line.push(b'\n');
}

#[derive(Serialize)]
struct Document<'a> {
    time: String,
    listener: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    method: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    template: &'static str,
    protocol: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_status: Option<u8>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    broke_off: bool,
    bytes_in: u64,
    bytes_out: u64,
    duration_us: u64,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
}

fn json(line: &mut Vec<u8>, record: &Record) {
    let document = Document {
        time: rfc3339(record.at),
        listener: record.listener,
        client: record.client.map(|client| client.to_string()),
        method: record.method.as_str(),
        path: &record.path,
        template: record.template,
        protocol: record.protocol,
        status: record.status,
        grpc_status: record.grpc_status,
        broke_off: record.broke_off,
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        duration_us: micros(record),
        request_id: &record.request_id,
        route: record.route.as_deref(),
        tenant: record.tenant.as_deref(),
        user_agent: record.user_agent.as_deref(),
    };
    // Writing numbers and texts to memory cannot fail.
    let _ = serde_json::to_writer(line, &document);
}

/// The fields of the Combined Log Format, whose user is the tenant; then request id, route, template, duration in
/// microseconds, bytes of the request, and the status of gRPC.
fn common(line: &mut Vec<u8>, record: &Record) {
    let written = write!(
        line,
        "{} - {} [{}] \"{} {} {}\" {} {} \"-\" \"{}\" {} {} {} {} {} {}",
        Or(record.client),
        Bare(record.tenant.as_deref().unwrap_or("-")),
        common_log(record.at),
        record.method,
        Quoted(&record.path),
        record.protocol,
        record.status,
        record.bytes_out,
        Quoted(record.user_agent.as_deref().unwrap_or("-")),
        Bare(&record.request_id),
        Bare(record.route.as_deref().unwrap_or("-")),
        Or((!record.template.is_empty()).then_some(record.template)),
        micros(record),
        record.bytes_in,
        Or(record.grpc_status),
    );
    // As in JSON.
    let _ = written;
}

fn micros(record: &Record) -> u64 {
    u64::try_from(record.duration.as_micros()).unwrap_or(u64::MAX)
}

/// A value, or the dash that stands for none.
struct Or<T>(Option<T>);

impl<T: Display> Display for Or<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_char('-'),
        }
    }
}

/// What a client made up, in quotes: nothing of it ends the field or the line.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(f, self.0, b' ')
    }
}

/// The same without quotes, where a space would end the field.
struct Bare<'a>(&'a str);

impl Display for Bare<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(f, self.0, b'!')
    }
}

/// Writes a text whose bytes below the first that may stand there, and above those of ASCII, are written as numbers.
fn escape(f: &mut fmt::Formatter<'_>, text: &str, first: u8) -> fmt::Result {
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => write!(f, "\\{}", char::from(byte))?,
            byte if (first..=b'~').contains(&byte) => f.write_char(char::from(byte))?,
            _ => write!(f, "\\x{byte:02x}")?,
        }
    }
    Ok(())
}
