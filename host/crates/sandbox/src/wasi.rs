//! WASI 0.2 without grants, for guests whose toolchain imports it: clocks, random numbers, and output that is captured.
//! No file, no network, no argument and no variable of the environment.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime::component::Linker;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView, async_trait};

use crate::guest::GuestState;

/// The most random bytes of one call.
const RANDOM_BYTES: u64 = 1 << 20;

/// What a guest may write before it has to ask again, in bytes.
const WRITE_BYTES: usize = 64 * 1024;

/// Links WASI 0.2.
pub(crate) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)
}

/// The WASI state of an instance.
pub(crate) struct WasiState {
    context: WasiCtx,
    output: OutputText,
}

impl WasiState {
    pub(crate) fn new(output: OutputText) -> Self {
        let context = WasiCtxBuilder::new()
            .stdout(output.clone())
            .stderr(output.clone())
            .max_random_size(RANDOM_BYTES)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        Self { context, output }
    }

    pub(crate) fn output(&self) -> &OutputText {
        &self.output
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (wasi, table) = self.wasi();
        WasiCtxView {
            ctx: &mut wasi.context,
            table,
        }
    }
}

/// The end of what a guest wrote to standard output and error.
#[derive(Clone)]
pub(crate) struct OutputText {
    kept: Arc<Mutex<Kept>>,
    capacity: usize,
}

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    is_cut: bool,
}

/// What was kept of the output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) text: String,
    /// Whether its beginning is lost.
    pub(crate) is_cut: bool,
}

impl OutputText {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            kept: Arc::default(),
            capacity,
        }
    }

    /// Takes the text.
    pub(crate) fn take(&self) -> Written {
        let kept = std::mem::take(&mut *self.kept.lock());
        Written {
            text: String::from_utf8_lossy(&kept.bytes).into_owned(),
            is_cut: kept.is_cut,
        }
    }

    /// Keeps the last bytes, since the end of the output says why a guest failed.
    fn append(&self, bytes: &[u8]) {
        let end = &bytes[bytes.len().saturating_sub(self.capacity)..];
        let mut kept = self.kept.lock();
        let excess = (kept.bytes.len() + end.len()).saturating_sub(self.capacity);
        kept.is_cut |= excess > 0 || end.len() < bytes.len();
        kept.bytes.drain(..excess);
        kept.bytes.extend_from_slice(end);
    }
}

impl IsTerminal for OutputText {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for OutputText {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for OutputText {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.append(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

#[async_trait]
impl Pollable for OutputText {
    async fn ready(&mut self) {}
}

impl AsyncWrite for OutputText {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.append(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_output_is_kept() {
        let output = OutputText::new(8);
        output.append(b"0123456");
        output.append(b"789");
        let written = |text: &str, is_cut| Written {
            text: text.to_owned(),
            is_cut,
        };
        assert_eq!(output.take(), written("23456789", true));
        output.append(b"a very long line indeed\n");
        assert_eq!(output.take(), written(" indeed\n", true));
        output.append(b"short");
        assert_eq!(output.take(), written("short", false));
        assert_eq!(output.take(), written("", false));
    }
}
