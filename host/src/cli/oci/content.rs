//! What is sent to a registry: bytes, or a file that is never in memory as a whole.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, SizeHint};

use super::digest;

/// How much of a file is sent at a time.
const PIECE: usize = 256 << 10;

/// A part of an artifact that is uploaded.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) digest: String,
    pub(crate) content: Content,
}

/// What a message carries.
#[derive(Clone)]
pub(crate) enum Content {
    Bytes(Bytes),
    /// A file, and its size.
    File(Arc<Path>, u64),
}

/// A content on its way.
pub(super) type Sending = Either<Full<Bytes>, FileBody>;

impl Part {
    pub(crate) fn of(bytes: Bytes) -> Self {
        Self {
            digest: digest(&bytes),
            content: Content::Bytes(bytes),
        }
    }
}

impl Content {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, size) => *size,
        }
    }

    /// # Errors
    /// Where the file cannot be opened.
    pub(super) fn send(&self) -> io::Result<Sending> {
        Ok(match self {
            Self::Bytes(bytes) => Either::Left(Full::new(bytes.clone())),
            Self::File(path, size) => Either::Right(FileBody {
                file: File::open(path)?,
                left: *size,
            }),
        })
    }
}

/// A file on its way. It is read where it is polled: a command does nothing else meanwhile.
pub(super) struct FileBody {
    file: File,
    left: u64,
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let most = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
        let mut piece = vec![0; most];
        Poll::Ready(Some(match self.file.read(&mut piece) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                piece.truncate(count);
                self.left -= count as u64;
                Ok(Frame::data(piece.into()))
            }
            Err(error) => Err(error),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_file_is_sent_in_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        let bytes: Vec<u8> = (0..PIECE * 2 + 7).map(|at| (at % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let content = Content::File(path.into(), bytes.len() as u64);
        let sending = content.send().unwrap();
        assert_eq!(sending.size_hint().exact(), Some(content.len()));
        assert_eq!(sending.collect().await.unwrap().to_bytes(), bytes);
    }

    #[tokio::test]
    async fn a_file_that_shrank_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("short");
        std::fs::write(&path, "abc").unwrap();
        let sending = Content::File(path.into(), 4).send().unwrap();
        assert!(sending.collect().await.is_err());
    }
}
