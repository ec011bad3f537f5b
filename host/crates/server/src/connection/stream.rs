//! The socket of a connection, noting what its client does.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::Framing;
use super::socket::Socket;
use super::watch::Watch;

/// A socket with the bytes that were read from it already put back in front.
pub(super) struct Stream {
    /// There until the stream is dropped.
    socket: Option<Socket>,
    prefix: Vec<u8>,
    /// How much of the prefix has been read again.
    taken: usize,
    /// HTTP/1 only: HTTP/2 has one framing, and h2 keeps it.
    framing: Option<Framing>,
    in_head: bool,
    write_stuck: bool,
    watch: Arc<Watch>,
}

impl Stream {
    pub(super) fn http1(socket: Socket, prefix: Vec<u8>, watch: Arc<Watch>) -> Self {
        Self::new(socket, prefix, watch, Some(Framing::default()))
    }

    pub(super) fn http2(socket: Socket, prefix: Vec<u8>, watch: Arc<Watch>) -> Self {
        Self::new(socket, prefix, watch, None)
    }

    fn new(socket: Socket, prefix: Vec<u8>, watch: Arc<Watch>, framing: Option<Framing>) -> Self {
        Self {
            socket: Some(socket),
            prefix,
            taken: 0,
            framing,
            in_head: false,
            write_stuck: false,
            watch,
        }
    }

    fn socket(&mut self) -> Pin<&mut Socket> {
        Pin::new(self.socket.as_mut().expect("only `drop` takes the socket"))
    }

    fn note_read(&mut self, bytes: &[u8]) {
        let Some(framing) = &mut self.framing else {
            return;
        };
        framing.feed(bytes);
        if let Some((request, malformed)) = framing.malformed() {
            self.watch.set_malformed(request, malformed);
        }
        if framing.is_in_head() != self.in_head {
            self.in_head = !self.in_head;
            self.watch.set_in_head(self.in_head);
        }
    }

    fn note_write<T>(&mut self, result: Poll<T>) -> Poll<T> {
        if result.is_pending() != self.write_stuck {
            self.write_stuck = !self.write_stuck;
            self.watch.set_write_stuck(self.write_stuck);
        }
        result
    }
}

/// Hands the socket back: whoever served the connection may have to linger on it.
impl Drop for Stream {
    fn drop(&mut self) {
        let is_between = self
            .framing
            .as_ref()
            .is_some_and(Framing::is_between_requests);
        if let Some(socket) = self.socket.take()
            && !is_between
        {
            self.watch.leave_socket(socket);
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if this.taken < this.prefix.len() {
            let count = buf.remaining().min(this.prefix.len() - this.taken);
            buf.put_slice(&this.prefix[this.taken..this.taken + count]);
            this.taken += count;
            if this.taken == this.prefix.len() {
                this.prefix = Vec::new();
                this.taken = 0;
            }
        } else {
            std::task::ready!(this.socket().poll_read(cx, buf))?;
        }
        this.note_read(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = self.socket().poll_write(cx, bytes);
        self.note_write(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = self.socket().poll_write_vectored(cx, slices);
        self.note_write(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.as_ref().is_some_and(Socket::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS takes more than the system does, and so may get stuck only here. Of a socket itself there is nothing to flush.
        let result = self.socket().poll_flush(cx);
        self.note_write(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_shutdown(cx)
    }
}
