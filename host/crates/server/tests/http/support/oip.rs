//! Requests of the Open Inference Protocol, by hand.

use std::net::SocketAddr;

use serde_json::Value;

use super::Client;

/// An answer whose body need not be text.
#[derive(Debug)]
pub(crate) struct BinaryAnswer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl BinaryAnswer {
    /// The value of a header field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(&prefix))
    }

    /// The document and the binary data after it.
    pub(crate) fn split(&self) -> (Value, &[u8]) {
        let length = self.field("inference-header-content-length");
        let length = length.map_or(self.body.len(), |length| length.parse().unwrap());
        let (document, blobs) = self.body.split_at(length);
        (serde_json::from_slice(document).unwrap(), blobs)
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.field("inference-header-content-length"), None);
        self.split().0
    }

    /// The field that a refusal names; of another answer, an empty one.
    pub(crate) fn refused_field(&self) -> (u16, String) {
        let document = self.json();
        let field = document["field"].as_str().unwrap_or_default();
        (self.status, field.to_owned())
    }
}

/// Posts a body to a path under `/v2/models`.
pub(crate) async fn infer(
    address: SocketAddr,
    path: &str,
    fields: &str,
    body: impl AsRef<[u8]>,
) -> BinaryAnswer {
    let body = body.as_ref();
    let length = body.len();
    let mut request = format!(
        "POST /v2/models/{path} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {length}\r\n\r\n"
    )
    .into_bytes();
    request.extend_from_slice(body);
    let mut client = Client::connect(address).await;
    client.send(request).await;
    let (status, head, body) = client.whole().await;
    BinaryAnswer { status, head, body }
}
