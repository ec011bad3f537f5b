//! Follows the framing of HTTP/1 messages in the bytes of a connection, without changing them.
//!
//! hyper parses the messages. It resolves a request with both `Content-Length` and `Transfer-Encoding`, or with the same
//! `Content-Length` twice, in silence; another parser before us may resolve it the other way, and then the two disagree on
//! where the next request starts (RFC 9112, 6.1 and 11.2). It takes a body for plain that has another coding below `chunked`,
//! and it does not ask for `Host` (3.2). So the header block is read here too, for nothing but these fields, and such a
//! request is refused. This costs one pass over the header and, for a body, one addition a read.

/// Where the bytes of one direction of a connection are in the grammar of HTTP/1.
#[derive(Debug, Default)]
pub(super) struct Framing {
    state: State,
    /// The start of a line that a read cut.
    carry: Vec<u8>,
    fields: Fields,
    /// Header blocks that have ended.
    heads: u64,
    malformed: Option<(u64, Malformed)>,
}

/// What is wrong with the header of a request that hyper takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// It has more than one length.
    Lengths,
    /// Its body has a transfer coding that nobody here knows.
    Coding,
    /// It names no host, or two.
    Host,
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

/// What one request says of the length of its body, and of its host.
#[derive(Debug, Default)]
struct Fields {
    /// Whether it is of HTTP/1.1, which asks for a host.
    asks_for_host: bool,
    hosts: u32,
    content_lengths: u32,
    transfer_encodings: u32,
    length: Option<u64>,
    /// Whether `chunked` is the last coding, and so ends the body.
    chunked: bool,
    /// Codings that are `chunked`, and others.
    chunked_codings: u32,
    other_codings: u32,
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

    /// The number of the header block that has begun and not ended.
    pub(super) fn unended_head(&self) -> Option<u64> {
        let has_begun = match self.state {
            State::RequestLine => !self.carry.is_empty(),
            State::Fields => true,
            _ => false,
        };
        has_begun.then_some(self.heads)
    }

    /// Whether every byte so far belongs to a request that is whole.
    pub(super) fn is_between_requests(&self) -> bool {
        matches!(self.state, State::RequestLine) && self.carry.is_empty()
    }

    /// The number, counted from 0, of the request that is to be refused, and why. It is the last that is read.
    pub(super) fn malformed(&self) -> Option<(u64, Malformed)> {
        self.malformed
    }

    fn line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match self.state {
            // Empty lines before a request are no part of it (RFC 9112, 2.2).
            State::RequestLine if line.is_empty() => {}
            State::RequestLine => {
                self.fields.asks_for_host = line.trim_ascii_end().ends_with(b"HTTP/1.1");
                self.state = State::Fields;
            }
            State::Fields if line.is_empty() => self.end_of_head(),
            State::Fields => self.fields.field(line),
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
        let fields = std::mem::take(&mut self.fields);
        if let Some(malformed) = fields.malformed() {
            self.malformed = Some((self.heads, malformed));
        }
        self.state = match fields {
            _ if self.malformed.is_some() => State::Opaque,
            Fields {
                transfer_encodings: 1,
                chunked: true,
                ..
            } => State::ChunkSize,
            // hyper refuses these itself: a body that `chunked` does not end, and a length that is no number.
            Fields {
                transfer_encodings: 1,
                ..
            } => State::Opaque,
            Fields {
                content_lengths: 1,
                length: None,
                ..
            } => State::Opaque,
            Fields {
                length: None | Some(0),
                ..
            } => State::RequestLine,
            Fields {
                length: Some(length),
                ..
            } => State::Body(length),
        };
        self.heads += 1;
    }
}

impl Fields {
    fn malformed(&self) -> Option<Malformed> {
        let has_no_host = self.asks_for_host && self.hosts == 0;
        if self.content_lengths + self.transfer_encodings > 1 || self.chunked_codings > 1 {
            Some(Malformed::Lengths)
        } else if self.chunked && self.other_codings > 0 {
            Some(Malformed::Coding)
        } else {
            (has_no_host || self.hosts > 1).then_some(Malformed::Host)
        }
    }

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
            for coding in value.split(|byte| *byte == b',') {
                self.chunked = coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
                self.chunked_codings += u32::from(self.chunked);
                self.other_codings += u32::from(!self.chunked);
            }
        } else if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        }
    }
}

/// Skips up to `left` bytes; gives the rest, and what is left to skip.
pub(super) fn skip(bytes: &[u8], left: u64) -> (&[u8], u64) {
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
        assert_eq!(whole.malformed, cut.malformed);
        assert_eq!(whole.unended_head(), cut.unended_head());
        whole
    }

    #[test]
    fn messages_in_a_row_are_told_apart() {
        let framing = follow(
            b"\r\nPOST /a HTTP/1.0\r\nContent-Length: 4\r\n\r\n\r\n\r\nGET /b HTTP/1.1\r\nHost:\r\n\r\n\
              POST /c HTTP/1.1\r\nHOST: x\r\ntransfer-encoding: Chunked\r\n\r\n3;x=1\r\n\r\n\n\r\n0\r\nTrailer: 1\r\n\r\n\
              GET /d HTTP/1.1\nHost: x\n\n",
        );
        assert_eq!(framing.heads, 4);
        assert_eq!(framing.malformed(), None);
        assert_eq!(framing.unended_head(), None);
    }

    #[test]
    fn two_lengths_are_found() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "transfer-encoding: chunked\r\nX: y\r\ncontent-length:5",
            "Content-Length: 5\r\ncontent-length: 5",
            "Content-Length: 5\r\nContent-Length: 6",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "Transfer-Encoding: chunked, Chunked",
        ] {
            assert_eq!(malformed(fields), Some(Malformed::Lengths), "{fields}");
        }
    }

    /// What is wrong with the second request of a connection, which has these fields.
    fn malformed(fields: &str) -> Option<Malformed> {
        let bytes = format!(
            "GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n"
        );
        let (request, malformed) = follow(bytes.as_bytes()).malformed()?;
        assert_eq!(request, 1, "{fields}");
        Some(malformed)
    }

    #[test]
    fn codings_below_chunked_and_more_hosts_than_one_are_found() {
        for coding in ["gzip, chunked", "identity,chunked", ", chunked"] {
            let fields = format!("Transfer-Encoding: {coding}");
            assert_eq!(malformed(&fields), Some(Malformed::Coding), "{coding}");
        }
        // hyper's to refuse: `chunked` does not end the body.
        assert_eq!(malformed("Transfer-Encoding: gzip"), None);
        assert_eq!(malformed("host: x"), Some(Malformed::Host));
        let without = follow(b"GET / HTTP/1.1\r\nHosts: x\r\n\r\n");
        assert_eq!(without.malformed(), Some((0, Malformed::Host)));
        assert_eq!(follow(b"GET / HTTP/1.0\r\n\r\n").malformed(), None);
    }

    #[test]
    fn a_body_is_not_read_as_a_header() {
        let body = "Content-Length: 1\r\nContent-Length: 2\r\n\r\n";
        let bytes = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let framing = follow(bytes.as_bytes());
        assert_eq!((framing.heads, framing.malformed()), (1, None));
    }

    #[test]
    fn a_header_that_has_not_ended_is_known() {
        for bytes in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r"] {
            assert_eq!(follow(bytes.as_bytes()).unended_head(), Some(0), "{bytes}");
        }
        for bytes in [
            "",
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1",
        ] {
            assert_eq!(follow(bytes.as_bytes()).unended_head(), None, "{bytes}");
        }
    }
}
