//! Follows the frames of HTTP/2 in the bytes of a connection, without changing them.
//!
//! h2 reads the frames, and waits for the end of a header block for as long as its client likes. So it is noted here that
//! one has begun: then it has the time that a header of HTTP/1 has. This costs a few instructions a frame.

use super::H2_PREFACE;
use super::framing::skip;

/// Length, type, flags and stream of a frame (RFC 9113, 4.1).
const HEAD: usize = 9;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Where the bytes of a client are among its frames.
#[derive(Debug)]
pub(super) struct Frames {
    /// The client's preface comes before the first frame (RFC 9113, 3.4).
    preface_left: u64,
    head: [u8; HEAD],
    /// How much of the head is there.
    have: usize,
    payload_left: u64,
    in_block: bool,
    /// Whether the frame that is read is the last of its header block, or in none.
    is_last: bool,
    /// Frames that have ended, a header block counting as one.
    ended: u64,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            preface_left: H2_PREFACE.len() as u64,
            head: [0; HEAD],
            have: 0,
            payload_left: 0,
            in_block: false,
            is_last: true,
            ended: 0,
        }
    }
}

impl Frames {
    /// Follows the next bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        (bytes, self.preface_left) = skip(bytes, self.preface_left);
        while !bytes.is_empty() {
            if self.payload_left == 0 {
                let count = bytes.len().min(HEAD - self.have);
                self.head[self.have..self.have + count].copy_from_slice(&bytes[..count]);
                self.have += count;
                bytes = &bytes[count..];
                if self.have < HEAD {
                    return;
                }
                self.begin();
            }
            (bytes, self.payload_left) = skip(bytes, self.payload_left);
            if self.payload_left == 0 {
                self.end();
            }
        }
    }

    /// The number of the header block that has begun and not ended.
    pub(super) fn unended_head(&self) -> Option<u64> {
        self.in_block.then_some(self.ended)
    }

    fn begin(&mut self) {
        let [a, b, c, kind, flags, ..] = self.head;
        self.have = 0;
        self.payload_left = u32::from_be_bytes([0, a, b, c]).into();
        if matches!(kind, HEADERS | CONTINUATION) {
            self.in_block = true;
            self.is_last = flags & END_HEADERS != 0;
        }
    }

    fn end(&mut self) {
        if self.is_last {
            self.in_block = false;
            self.ended += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: u8 = 0;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.extend(payload);
        frame
    }

    /// Feeds the bytes behind the preface whole, and again one by one: reads may cut anywhere.
    fn follow(bytes: &[u8]) -> Option<u64> {
        let bytes = [H2_PREFACE, bytes].concat();
        let mut cut = Frames::default();
        for byte in &bytes {
            cut.feed(std::slice::from_ref(byte));
        }
        let mut whole = Frames::default();
        whole.feed(&bytes);
        assert_eq!(whole.unended_head(), cut.unended_head());
        whole.unended_head()
    }

    #[test]
    fn a_header_block_ends_with_its_last_frame() {
        let headers = frame(HEADERS, 0, b"abc");
        let more = frame(CONTINUATION, 0, b"");
        let last = frame(CONTINUATION, END_HEADERS, b"d");
        let whole = frame(HEADERS, END_HEADERS, b"");
        let data = frame(DATA, END_HEADERS, &[0; 300]);
        for (frames, unended) in [
            (vec![], None),
            (vec![&headers[..]], Some(0)),
            (vec![&headers, &more], Some(0)),
            (vec![&headers, &more, &last], None),
            (vec![&headers, &last, &data, &headers, &more], Some(2)),
            (vec![&whole, &whole, &data], None),
            (vec![&whole, &data, &headers[..10]], Some(2)),
            (vec![&data[..200]], None),
            // It may still become any frame.
            (vec![&data, &whole[..8]], None),
            (vec![&data, &headers[..9]], Some(1)),
        ] {
            assert_eq!(follow(&frames.concat()), unended, "{frames:?}");
        }
    }
}
