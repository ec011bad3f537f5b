//! The socket of a connection, noting what its client does.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;
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
    followed: Followed,
    /// The number of the header block that has begun and not ended.
    unended_head: Option<u64>,
    write_stuck: bool,
    watch: Arc<Watch>,
}

/// What the bytes of a client are read as.
enum Followed {
    Http1(Framing),
    Http2(Frames),
}

impl Stream {
    pub(super) fn http1(socket: Socket, prefix: Vec<u8>, watch: Arc<Watch>) -> Self {
        Self::new(socket, prefix, watch, Followed::Http1(Framing::default()))
    }

    pub(super) fn http2(socket: Socket, prefix: Vec<u8>, watch: Arc<Watch>) -> Self {
        Self::new(socket, prefix, watch, Followed::Http2(Frames::default()))
    }

    fn new(socket: Socket, prefix: Vec<u8>, watch: Arc<Watch>, followed: Followed) -> Self {
        Self {
            socket: Some(socket),
            prefix,
            taken: 0,
            followed,
            unended_head: None,
            write_stuck: false,
            watch,
        }
    }

    fn socket(&mut self) -> Pin<&mut Socket> {
        Pin::new(self.socket.as_mut().expect("only `drop` takes the socket"))
    }

    fn note_read(&mut self, bytes: &[u8]) {
        let unended_head = match &mut self.followed {
            Followed::Http1(framing) => {
                framing.feed(bytes);
                if let Some((request, malformed)) = framing.malformed() {
                    self.watch.set_malformed(request, malformed);
                }
                framing.unended_head()
            }
            Followed::Http2(frames) => {
                frames.feed(bytes);
                frames.unended_head()
            }
        };
        if unended_head != self.unended_head {
            self.unended_head = unended_head;
            self.watch.set_in_head(unended_head.is_some());
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
        let is_between = match &self.followed {
            Followed::Http1(framing) => framing.is_between_requests(),
            Followed::Http2(_) => false,
        };
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
