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
    kept: Arc<Mutex<Vec<u8>>>,
    capacity: usize,
}

impl OutputText {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            kept: Arc::default(),
            capacity,
        }
    }

    /// Takes the text, without white space around it.
    pub(crate) fn take(&self) -> String {
        let kept = std::mem::take(&mut *self.kept.lock());
        String::from_utf8_lossy(&kept).trim().to_owned()
    }

    /// Keeps the last bytes, since the end of the output says why a guest failed.
    fn append(&self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(self.capacity)..];
        let mut kept = self.kept.lock();
        let excess = (kept.len() + bytes.len()).saturating_sub(self.capacity);
        kept.drain(..excess);
        kept.extend_from_slice(bytes);
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
        assert_eq!(output.take(), "23456789");
        output.append(b"a very long line indeed\n");
        assert_eq!(output.take(), "indeed");
        assert_eq!(output.take(), "");
    }
}
