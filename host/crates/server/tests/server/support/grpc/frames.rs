//! Calls frame by frame.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::net::TcpStream;

use crate::support::http::PATIENCE;

/// A call whose frames are sent by hand.
pub(crate) struct Call {
    answer: ResponseFuture,
    body: SendStream<Bytes>,
    _connection: SendRequest<Bytes>,
}

/// What a call came to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) message: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Call {
    /// Begins a call of `ModelInfer`.
    pub(crate) async fn infer(address: SocketAddr, fields: &[(&'static str, &str)]) -> Self {
        Self::begin(
            address,
            "/inference.GRPCInferenceService/ModelInfer",
            fields,
        )
        .await
    }

    pub(crate) async fn begin(
        address: SocketAddr,
        path: &str,
        fields: &[(&'static str, &str)],
    ) -> Self {
        Self::begin_at(address, ("x", path), fields).await
    }

    /// Begins a call of a server that is known by this name.
    pub(crate) async fn begin_at(
        address: SocketAddr,
        (host, path): (&str, &str),
        fields: &[(&'static str, &str)],
    ) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        let (client, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::post(format!("http://{host}{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut client = client.ready().await.unwrap();
        let (answer, body) = client
            .send_request(request.body(()).unwrap(), false)
            .unwrap();
        Self {
            answer,
            body,
            _connection: client,
        }
    }

    /// Sends bytes. The server may have ended the call already.
    pub(crate) async fn send(&mut self, bytes: impl Into<Bytes>) -> bool {
        let mut bytes = bytes.into();
        while !bytes.is_empty() {
            self.body.reserve_capacity(bytes.len());
            let capacity = std::future::poll_fn(|cx| self.body.poll_capacity(cx)).await;
            let Some(Ok(capacity)) = capacity else {
                return false;
            };
            let part = bytes.split_to(capacity.min(bytes.len()));
            if self.body.send_data(part, false).is_err() {
                return false;
            }
        }
        true
    }

    /// Ends the request.
    pub(crate) fn end(&mut self) {
        let _ = self.body.send_data(Bytes::new(), true);
    }

    /// Sends bytes, ends the request, and reads what comes of it.
    pub(crate) async fn finish(mut self, bytes: impl Into<Bytes>) -> Ended {
        self.send(bytes).await;
        self.end();
        self.ended().await
    }

    /// Reads what comes of it.
    pub(crate) async fn ended(self) -> Ended {
        let reading = async {
            let answer = self.answer.await.unwrap();
            assert_eq!(answer.status(), 200);
            let headers = answer.headers().clone();
            assert_eq!(headers["content-type"], "application/grpc");
            assert!(headers.contains_key("x-request-id"));
            let mut stream = answer.into_body();
            let mut body = Vec::new();
            while let Some(data) = stream.data().await {
                let data = data.unwrap();
                stream.flow_control().release_capacity(data.len()).unwrap();
                body.extend_from_slice(&data);
            }
            let trailers = stream.trailers().await.unwrap();
            let ending = trailers.as_ref().unwrap_or(&headers);
            let field = |name: &str| ending.get(name).map(|value| value.to_str().unwrap());
            Ended {
                code: field("grpc-status").unwrap().parse().unwrap(),
                message: field("grpc-message").unwrap_or_default().to_owned(),
                headers,
                body,
            }
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .expect("the call hangs")
    }
}

/// A message behind its prefix.
pub(crate) fn frame(flag: u8, message: &[u8]) -> Bytes {
    let length = (message.len() as u32).to_be_bytes();
    [&[flag], &length[..], message].concat().into()
}

impl Ended {
    /// The only message of the body.
    pub(crate) fn message<M: Message + Default>(&self) -> M {
        assert_eq!((self.code, &*self.message), (0, ""));
        assert_eq!(self.body[0], 0);
        M::decode(&self.body[5..]).unwrap()
    }
}

/// Lets the server read what was sent, each time that it is many frames: h2 ends a connection on which thousands of small frames
/// wait to be read.
pub(crate) async fn pause_now_and_then(count: usize) {
    if count % 1000 == 999 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
