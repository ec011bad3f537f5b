//! HTTP/1 by hand.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longer than any timeout of the server under test: what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection.
pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    /// What was read and not taken yet.
    buffer: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The header, field names in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        Self {
            socket,
            buffer: Vec::new(),
        }
    }

    /// Sends bytes. The server may have closed already: what it said is read afterwards.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.socket.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Reads one answer whose body is text.
    pub(crate) async fn answer(&mut self) -> Answer {
        let (status, head, body) = self.whole().await;
        let body = String::from_utf8(body).unwrap();
        Answer { status, head, body }
    }

    /// Reads one answer: status, header and body.
    pub(crate) async fn whole(&mut self) -> (u16, String, Vec<u8>) {
        let head = loop {
            if let Some(end) = self
                .buffer
                .windows(4)
                .position(|bytes| bytes == b"\r\n\r\n")
            {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                break String::from_utf8(head).unwrap().to_ascii_lowercase();
            }
            assert!(
                self.read().await > 0,
                "closed without an answer: {:?}",
                self.buffer
            );
        };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        while self.buffer.len() < length {
            assert!(self.read().await > 0, "closed in the middle of a body");
        }
        let body = self.buffer.drain(..length).collect();
        (status, head, body)
    }

    /// Waits until the server closes the connection; gives what it sent before.
    pub(crate) async fn closed(&mut self) -> Vec<u8> {
        while self.read().await > 0 {}
        std::mem::take(&mut self.buffer)
    }

    async fn read(&mut self) -> usize {
        let reading = self.socket.read_buf(&mut self.buffer);
        let read = tokio::time::timeout(PATIENCE, reading).await;
        // A reset is an end, too.
        read.expect("the server neither answers nor closes")
            .unwrap_or(0)
    }
}

impl Answer {
    /// The value of a header field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(&prefix))
    }

    /// The body as a problem document, which every refusal has.
    pub(crate) fn problem(&self) -> Value {
        assert_eq!(
            self.field("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let document = self.json();
        assert_eq!(document["status"], self.status);
        assert_eq!(document["request_id"].as_str(), self.field("x-request-id"));
        for member in ["type", "title", "detail", "error"] {
            assert!(document[member].is_string(), "{member} in {document}");
        }
        document
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Posts JSON to a route.
pub(crate) async fn post(address: SocketAddr, route: &str, body: &str) -> Answer {
    let fields = "Content-Type: application/json\r\n";
    post_with(address, route, fields, body).await
}

/// Posts a body with fields of the caller's.
pub(crate) async fn post_with(
    address: SocketAddr,
    route: &str,
    fields: &str,
    body: &str,
) -> Answer {
    let mut client = Client::connect(address).await;
    client.send(request(route, fields, body)).await;
    client.answer().await
}

pub(crate) fn request(route: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /v1/infer/{route} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// Sends a request without a body.
pub(crate) async fn get(address: SocketAddr, method: &str, path: &str) -> Answer {
    let mut client = Client::connect(address).await;
    client
        .send(format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .await;
    client.answer().await
}
