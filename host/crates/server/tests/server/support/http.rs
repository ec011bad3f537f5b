//! HTTP/1 by hand.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Running;

/// Longer than any timeout of the server under test: what takes longer hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A connection.
pub(crate) struct Client<S = TcpStream> {
    pub(crate) socket: S,
    /// What was read and not taken yet.
    buffer: Vec<u8>,
}

/// An answer, whose body is text or bytes.
#[derive(Debug)]
pub(crate) struct Answer<B = String> {
    pub(crate) status: u16,
    /// The header, field names in lower case.
    pub(crate) head: String,
    pub(crate) body: B,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn over(socket: S) -> Self {
        Self {
            socket,
            buffer: Vec::new(),
        }
    }

    /// Sends bytes. The server may have closed already: what it said is read afterwards.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        // TLS keeps what is written until it is told to send it.
        self.socket.write_all(bytes.as_ref()).await.is_ok() && self.socket.flush().await.is_ok()
    }

    /// Reads one answer whose body is text.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.whole().await.into_text()
    }

    /// Reads one answer.
    pub(crate) async fn whole(&mut self) -> Answer<Vec<u8>> {
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
        Answer { status, head, body }
    }

    /// Reads on until what came has this in it, and takes all of it.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        loop {
            let seen = String::from_utf8_lossy(&self.buffer).into_owned();
            if seen.contains(text) {
                self.buffer.clear();
                return seen.to_ascii_lowercase();
            }
            assert!(self.read().await > 0, "closed after {seen:?}");
        }
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

impl<B: AsRef<[u8]>> Answer<B> {
    /// The value of a header field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(&prefix))
    }

    /// The body as a document without binary data after it.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.field("inference-header-content-length"), None);
        let body = self.body.as_ref();
        serde_json::from_slice(body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)))
    }

    /// The body as a problem document, which every refusal has, and which names nothing of the machine.
    pub(crate) fn problem(&self) -> Value {
        let document = self.json();
        assert_eq!(
            self.field("content-type"),
            Some("application/problem+json"),
            "{document}"
        );
        assert_eq!(document["status"], self.status);
        assert_eq!(document["request_id"].as_str(), self.field("x-request-id"));
        for member in ["type", "title", "detail", "error"] {
            assert!(document[member].is_string(), "{member} in {document}");
        }
        assert!(!document.to_string().contains("/dev/shm"), "{document}");
        document
    }

    /// The status, and the field that a refusal names; of another answer, an empty one.
    pub(crate) fn refused_field(&self) -> (u16, String) {
        let document = match self.status {
            ..400 => self.json(),
            _ => self.problem(),
        };
        let field = document["field"].as_str().unwrap_or_default();
        (self.status, field.to_owned())
    }
}

impl Answer<Vec<u8>> {
    /// The document and the binary data after it.
    pub(crate) fn split(&self) -> (Value, &[u8]) {
        let length = self.field("inference-header-content-length");
        let length = length.map_or(self.body.len(), |length| length.parse().unwrap());
        let (document, blobs) = self.body.split_at(length);
        (serde_json::from_slice(document).unwrap(), blobs)
    }

    fn into_text(self) -> Answer {
        Answer {
            status: self.status,
            head: self.head,
            body: String::from_utf8(self.body).unwrap(),
        }
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
    let path = format!("/v1/infer/{route}");
    String::from_utf8(message("POST", &path, fields, body.as_bytes())).unwrap()
}

/// Sends a request without a body.
pub(crate) async fn get(address: SocketAddr, method: &str, path: &str) -> Answer {
    let mut client = Client::connect(address).await;
    client
        .send(format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ))
        .await;
    client.answer().await
}

/// Posts a body to a path under `/v2/models`.
pub(crate) async fn infer(
    address: SocketAddr,
    path: &str,
    fields: &str,
    body: impl AsRef<[u8]>,
) -> Answer<Vec<u8>> {
    let path = format!("/v2/models/{path}");
    let mut client = Client::connect(address).await;
    client
        .send(message("POST", &path, fields, body.as_ref()))
        .await;
    client.whole().await
}

/// A request with header lines of the caller's.
fn message(method: &str, path: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

impl Running {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send("POST", path, "", body.as_ref()).await
    }

    /// The document at a path.
    pub(crate) async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// Sends a request with header lines of the caller's.
    pub(crate) async fn send(&self, method: &str, path: &str, fields: &str, body: &[u8]) -> Answer {
        let mut client = Client::connect(self.address).await;
        client.send(message(method, path, fields, body)).await;
        client.answer().await
    }
}
