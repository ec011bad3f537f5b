//! Follows the framing of HTTP/1 messages in the bytes of a connection, without changing them.
//!
//! hyper parses the messages. It resolves a request with both `Content-Length` and `Transfer-Encoding`, or with the same
//! `Content-Length` twice, in silence; another parser before us may resolve it the other way, and then the two disagree on
//! where the next request starts (RFC 9112, 6.1 and 11.2). So the header block is read here too, for nothing but these
//! fields, and such a request is refused. This costs one pass over the header and, for a body, one addition a read.

/// Where the bytes of one direction of a connection are in the grammar of HTTP/1.
#[derive(Debug, Default)]
pub(super) struct Framing {
    state: State,
    /// The start of a line that a read cut.
    carry: Vec<u8>,
    lengths: Lengths,
    /// Header blocks that have ended.
    heads: u64,
    ambiguous: Option<u64>,
}

#[derive(Debug, Default)]
enum State {
    /// Between requests, or before the end of the request line.
    #[default]
    RequestLine,
    Fields,
    /// Bytes that are left of a body, or of a chunk and its line end.
    Body(u64),
    Chunk(u64),
    ChunkSize,
    Trailers,
    /// The connection ends with this message: nothing that follows is a request.
    Opaque,
}

/// What the fields of one request say of the length of its body.
#[derive(Debug, Default)]
struct Lengths {
    content_lengths: u32,
    transfer_encodings: u32,
    length: Option<u64>,
    chunked: bool,
}

impl Framing {
    /// Follows the next bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.state {
                State::Opaque => return,
                State::Body(left) => {
                    let (rest, left) = skip(bytes, left);
                    bytes = rest;
                    self.state = if left == 0 {
                        State::RequestLine
                    } else {
                        State::Body(left)
                    };
                }
                State::Chunk(left) => {
                    let (rest, left) = skip(bytes, left);
                    bytes = rest;
                    self.state = if left == 0 {
                        State::ChunkSize
                    } else {
                        State::Chunk(left)
                    };
                }
                State::RequestLine | State::Fields | State::ChunkSize | State::Trailers => {
                    let Some(end) = memchr::memchr(b'\n', bytes) else {
                        self.carry.extend_from_slice(bytes);
                        return;
                    };
                    let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
                    bytes = rest;
                    if self.carry.is_empty() {
                        self.line(line);
                    } else {
                        let mut carry = std::mem::take(&mut self.carry);
                        carry.extend_from_slice(line);
                        self.line(&carry);
                    }
                }
            }
        }
    }

    /// Whether a header block has begun and not ended.
    pub(super) fn is_in_head(&self) -> bool {
        match self.state {
            State::RequestLine => !self.carry.is_empty(),
            State::Fields => true,
            _ => false,
        }
    }

    /// Whether every byte so far belongs to a request that is whole.
    pub(super) fn is_between_requests(&self) -> bool {
        matches!(self.state, State::RequestLine) && self.carry.is_empty()
    }

    /// The number, counted from 0, of the request that has two lengths.
    pub(super) fn ambiguous(&self) -> Option<u64> {
        self.ambiguous
    }

    fn line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match self.state {
            // Empty lines before a request are no part of it (RFC 9112, 2.2).
            State::RequestLine if line.is_empty() => {}
            State::RequestLine => self.state = State::Fields,
            State::Fields if line.is_empty() => self.end_of_head(),
            State::Fields => self.lengths.field(line),
            State::ChunkSize => {
                self.state = match chunk_size(line) {
                    Some(0) => State::Trailers,
                    // The line end of the chunk is skipped with it.
                    Some(size) => State::Chunk(size.saturating_add(2)),
                    None => State::Opaque,
                }
            }
            State::Trailers if line.is_empty() => self.state = State::RequestLine,
            State::Trailers | State::Body(_) | State::Chunk(_) | State::Opaque => {}
        }
    }

    fn end_of_head(&mut self) {
        let lengths = std::mem::take(&mut self.lengths);
        self.state = match lengths {
            _ if lengths.content_lengths + lengths.transfer_encodings > 1 => {
                self.ambiguous = Some(self.heads);
                State::Opaque
            }
            Lengths {
                transfer_encodings: 1,
                chunked: true,
                ..
            } => State::ChunkSize,
            // hyper refuses these itself: another coding than chunked, and a length that is no number.
            Lengths {
                transfer_encodings: 1,
                ..
            } => State::Opaque,
            Lengths {
                content_lengths: 1,
                length: None,
                ..
            } => State::Opaque,
            Lengths {
                length: None | Some(0),
                ..
            } => State::RequestLine,
            Lengths {
                length: Some(length),
                ..
            } => State::Body(length),
        };
        self.heads += 1;
    }
}

impl Lengths {
    fn field(&mut self, line: &[u8]) {
        let Some(colon) = memchr::memchr(b':', line) else {
            return;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            self.content_lengths += 1;
            self.length = std::str::from_utf8(value)
                .ok()
                .and_then(|value| value.parse().ok());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.transfer_encodings += 1;
            let last = value
                .rsplit(|byte| *byte == b',')
                .next()
                .unwrap_or_default();
            self.chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        }
    }
}

/// Skips up to `left` bytes; gives the rest, and what is left to skip.
fn skip(bytes: &[u8], left: u64) -> (&[u8], u64) {
    match usize::try_from(left) {
        Ok(count) if count <= bytes.len() => (&bytes[count..], 0),
        _ => (&[], left - bytes.len() as u64),
    }
}

/// The size of a chunk, its extensions left out.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the bytes whole, and again one by one: reads may cut anywhere.
    fn follow(bytes: &[u8]) -> Framing {
        let mut cut = Framing::default();
        for byte in bytes {
            cut.feed(std::slice::from_ref(byte));
        }
        let mut whole = Framing::default();
        whole.feed(bytes);
        assert_eq!(whole.heads, cut.heads);
        assert_eq!(whole.ambiguous, cut.ambiguous);
        assert_eq!(whole.is_in_head(), cut.is_in_head());
        whole
    }

    #[test]
    fn messages_in_a_row_are_told_apart() {
        let framing = follow(
            b"\r\nPOST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\n\r\n\r\nGET /b HTTP/1.1\r\n\r\n\
              POST /c HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n3;x=1\r\n\r\n\n\r\n0\r\nTrailer: 1\r\n\r\n\
              GET /d HTTP/1.1\nHost: x\n\n",
        );
        assert_eq!(framing.heads, 4);
        assert_eq!(framing.ambiguous(), None);
        assert!(!framing.is_in_head());
    }

    #[test]
    fn two_lengths_are_found() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "transfer-encoding: chunked\r\nX: y\r\ncontent-length:5",
            "Content-Length: 5\r\ncontent-length: 5",
            "Content-Length: 5\r\nContent-Length: 6",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        ] {
            let bytes = format!("GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\n{fields}\r\n\r\n");
            assert_eq!(follow(bytes.as_bytes()).ambiguous(), Some(1), "{fields}");
        }
    }

    #[test]
    fn a_body_is_not_read_as_a_header() {
        let body = "Content-Length: 1\r\nContent-Length: 2\r\n\r\n";
        let bytes = format!(
            "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let framing = follow(bytes.as_bytes());
        assert_eq!((framing.heads, framing.ambiguous()), (1, None));
    }

    #[test]
    fn a_header_that_has_not_ended_is_known() {
        for bytes in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r"] {
            assert!(follow(bytes.as_bytes()).is_in_head(), "{bytes}");
        }
        for bytes in [
            "",
            "GET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n1",
        ] {
            assert!(!follow(bytes.as_bytes()).is_in_head(), "{bytes}");
        }
    }
}
