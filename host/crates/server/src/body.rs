//! Request bodies: collected whole, within a size, a number of chunks and a time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;
use wharf_core::{Error, ErrorKind};

use crate::budget::Reservation;
use crate::config::Limits;
use crate::problem::Problem;

/// Chunks of a body that does not say its length. Each costs far more than its bytes.
const MAX_CHUNKS: usize = 65_536;
/// What is set aside on a client's word for its length; the rest as it arrives.
const MAX_RESERVE: usize = 1 << 20;

/// Collects a body.
///
/// # Errors
/// `TooLarge`; 408 where it takes too long; `InvalidArgument` where it is cut off or comes in too many chunks;
/// `Unavailable` where the bodies of other requests leave no room for it.
pub(crate) async fn collect<B>(
    body: B,
    limits: &Limits,
    reservation: &mut Reservation,
) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    let announced = body.size_hint().lower();
    if announced > limits.max_body_bytes as u64 {
        return Err(too_large(limits).into());
    }
    let announced = announced as usize;
    reservation.check(announced)?;
    reservation.grow_to(announced.min(MAX_RESERVE))?;
    let collecting = collect_frames(body, announced, limits, reservation);
    within(limits.body_timeout, collecting).await
}

/// Makes a timer only where the body is not there yet: most are.
async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    let mut work = std::pin::pin!(work);
    if let std::task::Poll::Ready(result) = futures_util::poll!(work.as_mut()) {
        return result;
    }
    tokio::time::timeout(timeout, work)
        .await
        .unwrap_or(Err(Problem::BodyTimeout(timeout)))
}

async fn collect_frames<B>(
    mut body: B,
    announced: usize,
    limits: &Limits,
    reservation: &mut Reservation,
) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    let mut first = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    let mut chunks = 0;
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else {
            break;
        };
        let frame = frame.map_err(|error| {
            Error::invalid("body", "the request body is cut off or wrongly framed")
                .with_source(error)
        })?;
        // Trailers say nothing that the server uses.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        chunks += 1;
        if announced == 0 && chunks > MAX_CHUNKS {
            let message = "the request body comes in more than 65536 chunks; send larger ones, or a \
                           Content-Length";
            return Err(Error::invalid("body", message).into());
        }
        let length = rest.as_ref().map_or(first.len(), BytesMut::len);
        if length + data.len() > limits.max_body_bytes {
            return Err(too_large(limits).into());
        }
        reservation.grow_to(length + data.len())?;
        match &mut rest {
            Some(rest) => rest.extend_from_slice(&data),
            None if first.is_empty() => first = data,
            None => {
                let room = announced.clamp(
                    first.len() + data.len(),
                    MAX_RESERVE.max(first.len() + data.len()),
                );
                let mut joined = BytesMut::with_capacity(room);
                joined.extend_from_slice(&first);
                joined.extend_from_slice(&data);
                rest = Some(joined);
            }
        }
    }
    Ok(rest.map_or(first, BytesMut::freeze))
}

fn too_large(limits: &Limits) -> Error {
    let message = format!(
        "the request body is larger than the {} bytes that server.max_body_bytes allows",
        limits.max_body_bytes
    );
    Error::new(ErrorKind::TooLarge, message).with_field("body")
}
