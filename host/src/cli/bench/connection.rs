//! Connections to the server: HTTP/1.1 for REST, HTTP/2 for gRPC, one request at a time on each.
//!
//! They are hyper's own, without a pool: who waits for what must be plain where waiting is what is measured.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Http1,
    /// With prior knowledge, as gRPC speaks it without TLS.
    Http2,
}

/// An open connection.
pub(super) enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Of gRPC: the code and the message.
    pub(super) grpc: Option<(u32, String)>,
    /// The bytes of the body.
    pub(super) length: u64,
    /// The beginning of the body, as much as was asked for.
    pub(super) kept: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Broken {
    /// The server had closed the connection before anything was sent.
    Unsent,
    /// The connection broke, or what came is no HTTP.
    Lost(String),
}

/// How much of an answer's body is kept.
pub(super) type Keep = fn(StatusCode) -> usize;

impl Connection {
    /// Opens a connection.
    ///
    /// # Errors
    /// What the system says, in words.
    pub(super) async fn open(address: SocketAddr, wire: Wire) -> Result<Self, String> {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| error.to_string())?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        let io = TokioIo::new(stream);
        // A connection's task ends with the sender that is returned here; its errors reach the request that meets them.
        match wire {
            Wire::Http1 => {
                let (sender, connection) = http1::handshake(io).await.map_err(|e| e.to_string())?;
                tokio::spawn(connection);
                Ok(Self::Http1(sender))
            }
            Wire::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
                    .await
                    .map_err(|error| error.to_string())?;
                tokio::spawn(connection);
                Ok(Self::Http2(sender))
            }
        }
    }

    /// Whether the server has closed it.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    /// Sends a request and reads the answer to its end.
    ///
    /// # Errors
    /// [`Broken`]: the connection is of no use any more.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        keep: Keep,
    ) -> Result<Answer, Broken> {
        let response = match self {
            Self::Http1(sender) => {
                // Between two requests there is a moment in which the connection is not ready for the next.
                if !sender.is_ready() {
                    sender.ready().await.map_err(|_| Broken::Unsent)?;
                }
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                sender.ready().await.map_err(|_| Broken::Unsent)?;
                sender.send_request(request).await
            }
        };
        let response = response.map_err(|error| {
            if error.is_canceled() {
                Broken::Unsent
            } else {
                Broken::Lost(lost(&error))
            }
        })?;
        read(response, keep).await
    }
}

async fn read(response: Response<Incoming>, keep: Keep) -> Result<Answer, Broken> {
    let (head, mut body) = response.into_parts();
    let mut answer = Answer {
        status: head.status,
        grpc: grpc_status(&head.headers),
        length: 0,
        kept: Vec::new(),
    };
    let keep = keep(head.status);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Broken::Lost(lost(&error)))?;
        match frame.into_data() {
            Ok(data) => {
                answer.length += data.len() as u64;
                let room = keep.saturating_sub(answer.kept.len());
                answer.kept.extend_from_slice(&data[..room.min(data.len())]);
            }
            Err(frame) => {
                if let Some(status) = frame.trailers_ref().and_then(grpc_status) {
                    answer.grpc = Some(status);
                }
            }
        }
    }
    Ok(answer)
}

/// The status of a gRPC call, in the trailers or, where there is nothing else, in the header.
fn grpc_status(headers: &HeaderMap) -> Option<(u32, String)> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let message = headers.get("grpc-message");
    let message = message.map_or_else(String::new, |text| percent_decoded(text.as_bytes()));
    Some((code, message))
}

/// gRPC writes what is not printable ASCII as `%XX`; what is no such pair stands for itself.
fn percent_decoded(text: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let pair = after
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        let escaped = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match escaped.filter(|_| first == b'%') {
            Some(byte) => {
                decoded.push(byte);
                rest = &after[2..];
            }
            None => {
                decoded.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// hyper says what it was doing; its source says why that failed.
fn lost(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_grpc_status_is_decoded() {
        let mut headers = HeaderMap::new();
        assert_eq!(grpc_status(&headers), None);
        headers.insert("grpc-status", "14".parse().unwrap());
        headers.insert(
            "grpc-message",
            "100%25 full%0Aca%ff%C3%A9%4".parse().unwrap(),
        );
        assert_eq!(
            grpc_status(&headers),
            Some((14, "100% full\nca\u{fffd}é%4".to_owned()))
        );
    }
}
