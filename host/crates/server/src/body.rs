//! Request bodies: collected whole, within a size, a number of chunks and a time.

mod incoming;
mod limits;

use std::pin::{Pin, pin};

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;
use wharf_core::Error;

use crate::budget::Reservation;
use crate::problem::Problem;
pub(crate) use incoming::Incoming;
pub(crate) use limits::BodyLimits;

/// Chunks of a body that does not say its length. Each costs far more than its bytes.
const MAX_CHUNKS: usize = 65_536;
/// What is set aside on a client's word for its length; the rest as it arrives.
const MAX_RESERVE: usize = 1 << 20;
/// What the largest element needs. Every allocation of this size and more begins so.
const ALIGNMENT: usize = 8;

/// Counts the chunks of a body that does not say its length.
pub(crate) struct Chunks {
    is_counted: bool,
    seen: usize,
}

impl Chunks {
    /// Begins to count those of a body that announces so many bytes; 0 where it announces nothing.
    pub(crate) fn of(announced: u64) -> Self {
        Self {
            is_counted: announced == 0,
            seen: 0,
        }
    }

    /// Counts one more.
    ///
    /// # Errors
    /// `InvalidArgument` where that is one too many.
    pub(crate) fn count(&mut self) -> Result<(), Error> {
        self.seen += 1;
        if self.is_counted && self.seen > MAX_CHUNKS {
            let message = "the request body comes in more than 65536 chunks; send larger ones, or a \
                           Content-Length";
            return Err(Error::invalid("body", message));
        }
        Ok(())
    }
}

/// What a body that does not come whole is refused with.
pub(crate) fn cut_off(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::invalid("body", "the request body is cut off or wrongly framed").with_source(error)
}

/// Collects a body.
///
/// # Errors
/// `TooLarge`; 408 where it takes too long; `InvalidArgument` where it is cut off or comes in too many chunks;
/// `Unavailable` where the bodies of other requests leave no room for it.
pub(crate) async fn collect<B>(
    body: B,
    limits: &BodyLimits,
    reservation: &mut Reservation,
) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    collect_aligned(body, 0, limits, reservation).await
}

/// Collects a body, so that what begins at a place in it is aligned for every datatype, where the body comes in pieces that
/// are joined anyway: then it need not be copied once more to be a tensor.
///
/// # Errors
/// As [`collect`].
pub(crate) async fn collect_aligned<B>(
    body: B,
    place: usize,
    limits: &BodyLimits,
    reservation: &mut Reservation,
) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    let announced = body.size_hint().lower();
    if announced > limits.max_bytes as u64 {
        return Err(limits.too_large("request body").into());
    }
    let announced = announced as usize;
    reservation.check(announced)?;
    reservation.grow_to(announced.min(MAX_RESERVE))?;
    let joined = Joined {
        announced,
        padding: (ALIGNMENT - place % ALIGNMENT) % ALIGNMENT,
    };
    let collecting = pin!(collect_frames(body, joined, limits, reservation));
    within(limits, collecting).await
}

/// Makes a timer only where the body is not there yet: most are.
async fn within<T>(
    limits: &BodyLimits,
    mut work: Pin<&mut impl Future<Output = Result<T, Problem>>>,
) -> Result<T, Problem> {
    if let std::task::Poll::Ready(result) = futures_util::poll!(work.as_mut()) {
        return result;
    }
    tokio::time::timeout(limits.timeout, work)
        .await
        .unwrap_or_else(|_| Err(limits.too_slow()))
}

/// How the pieces of a body are joined.
#[derive(Clone, Copy)]
struct Joined {
    /// The length that the client announces; 0 where it does not.
    announced: usize,
    /// Bytes before the first.
    padding: usize,
}

impl Joined {
    fn of(self, first: &[u8], second: &[u8]) -> BytesMut {
        let there = first.len() + second.len();
        let room = self.announced.clamp(there, MAX_RESERVE.max(there));
        let mut joined = BytesMut::with_capacity(self.padding + room);
        joined.put_bytes(0, self.padding);
        joined.extend_from_slice(first);
        joined.extend_from_slice(second);
        joined
    }
}

async fn collect_frames<B>(
    mut body: B,
    joined: Joined,
    limits: &BodyLimits,
    reservation: &mut Reservation,
) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    let mut first = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    let mut chunks = Chunks::of(joined.announced as u64);
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else {
            break;
        };
        let frame = frame.map_err(cut_off)?;
        // Trailers say nothing that the server uses.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        chunks.count()?;
        let length = rest.as_ref();
        let length = length.map_or(first.len(), |rest| rest.len() - joined.padding);
        if length + data.len() > limits.max_bytes {
            return Err(limits.too_large("request body").into());
        }
        reservation.grow_to(length + data.len())?;
        match &mut rest {
            Some(rest) => rest.extend_from_slice(&data),
            None if first.is_empty() => first = data,
            None => rest = Some(joined.of(&first, &data)),
        }
    }
    Ok(rest.map_or(first, |rest| rest.freeze().slice(joined.padding..)))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;
    use crate::budget::BodyBudget;

    #[tokio::test]
    async fn what_follows_a_document_is_aligned() {
        let limits = BodyLimits::of_size(1 << 20);
        let budget = Arc::new(BodyBudget::new(1 << 20));
        for place in 0..20 {
            let whole: Vec<u8> = (0..200).collect();
            let frames = whole.chunks(7).map(Bytes::copy_from_slice);
            let frames = frames.map(|data| Ok::<_, Infallible>(Frame::data(data)));
            let body = StreamBody::new(stream::iter(frames));
            let mut reservation = budget.reserve();
            let bytes = collect_aligned(body, place, &limits, &mut reservation).await;
            let bytes = bytes.unwrap();
            assert_eq!(bytes, whole);
            assert!((bytes[place..].as_ptr() as usize).is_multiple_of(ALIGNMENT));
        }
    }
}
