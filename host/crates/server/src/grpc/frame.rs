//! Messages in the body of a call: each behind a flag and its length (gRPC over HTTP/2, Length-Prefixed-Message).

use std::pin::{Pin, pin};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use wharf_core::{Error, ErrorKind};
use wharf_protobuf::Fields;

use super::refusal::Refusal;
use crate::app::App;
use crate::body::{BodyLimits, Incoming};
use crate::budget::Reservation;
use crate::infer::content::Coding;

/// The flag and the length.
pub(super) const PREFIX: usize = 5;
/// Frames of one message. Each costs far more than its bytes.
const MAX_FRAMES: usize = 65_536;
/// Long messages may come in more, where these are of this size on average.
const MIN_FRAME: usize = 4 << 10;
/// What the elements of tensors may have to be aligned to.
const ALIGNMENT: usize = 64;

/// What a call's messages may be compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    /// The zlib format, as in HTTP.
    Deflate,
}

impl Encoding {
    /// Reads `grpc-encoding`.
    ///
    /// # Errors
    /// `Unimplemented` for one that this server does not know.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        match headers.get("grpc-encoding").map(|value| value.as_bytes()) {
            None | Some(b"identity") => Ok(Self::Identity),
            Some(b"gzip") => Ok(Self::Gzip),
            Some(b"deflate") => Ok(Self::Deflate),
            Some(_) => {
                let message = "the message encoding is gzip, deflate or identity";
                let error = Error::new(ErrorKind::Unimplemented, message);
                Err(error.with_field("grpc-encoding").into())
            }
        }
    }

    /// The name, and how messages of it are read; none where they are as they stand.
    pub(super) fn coding(self) -> Option<(&'static str, Coding)> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some(("gzip", Coding::Gzip)),
            Self::Deflate => Some(("deflate", Coding::Deflate)),
        }
    }

    /// What the answer is compressed with: as the client compresses its own messages, where it accepts that. Clients say
    /// that they accept codings without wanting them: compressing costs more than most answers take.
    pub(super) fn of_answer(self, headers: &HeaderMap) -> Self {
        let Some((name, _)) = self.coding() else {
            return Self::Identity;
        };
        let accepted = headers.get("grpc-accept-encoding");
        let accepts = accepted.is_some_and(|value| {
            let mut names = value.as_bytes().split(|byte| *byte == b',');
            names.any(|accepted| accepted.trim_ascii() == name.as_bytes())
        });
        if accepts { self } else { Self::Identity }
    }
}

/// A message, with what it takes of the budget until the request ends.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) bytes: Bytes,
    pub(super) reservation: Reservation,
}

/// How long a message may take to arrive.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// From now on: the client has a request to send.
    Whole,
    /// From its first byte on: the client may have nothing to send.
    Begun,
}

/// The messages of a body, in their order.
pub(super) struct Messages {
    body: Incoming,
    encoding: Encoding,
    purpose: Purpose,
    /// What came with the message before.
    rest: Bytes,
}

/// What messages are for, and so whose limits hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Requests for inference: their route may have limits of its own.
    Inference,
    Other,
}

impl Messages {
    pub(super) fn of(body: Incoming, encoding: Encoding, purpose: Purpose) -> Self {
        Self {
            body,
            encoding,
            purpose,
            rest: Bytes::new(),
        }
    }

    /// Reads the only message of a call.
    pub(super) async fn only(&mut self, app: &App) -> Result<Message, Refusal> {
        let Some(message) = self.next(app, Patience::Whole).await? else {
            return Err(Refusal::Protocol("the call has no message"));
        };
        // Most clients have ended the call with the message. What else they send must not be left unread: it would be
        // answered with a reset.
        if self.rest.is_empty() && self.body.is_end_stream() {
            return Ok(message);
        }
        let limits = BodyLimits::of_server(&app.limits);
        let more = within(&limits, pin!(self.fill())).await?;
        match more {
            None => Ok(message),
            Some(_) => Err(Refusal::Protocol("the call has more than one message")),
        }
    }

    /// Reads the next message; none at the end.
    ///
    /// Where the future is dropped, what had come of the message is lost.
    pub(super) async fn next(
        &mut self,
        app: &App,
        patience: Patience,
    ) -> Result<Option<Message>, Refusal> {
        let limits = BodyLimits::of_server(&app.limits);
        if self.rest.is_empty() {
            let first = match patience {
                Patience::Whole => within(&limits, pin!(self.fill())).await?,
                Patience::Begun => self.fill().await?,
            };
            match first {
                Some(first) => self.rest = first,
                None => return Ok(None),
            }
        }
        let (bytes, coding, mut reservation) = self.whole(app, &limits).await?;
        let Some(coding) = coding else {
            return Ok(Some(Message { bytes, reservation }));
        };
        reservation.grow_to(bytes.len())?;
        let decoding = coding.decode(bytes, limits, reservation);
        let (bytes, reservation) = Box::pin(decoding).await?;
        Ok(Some(Message { bytes, reservation }))
    }

    /// The next bytes of the body that are any; none at the end.
    async fn fill(&mut self) -> Result<Option<Bytes>, Refusal> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| {
                let message = "the call is cut off or wrongly framed";
                Error::new(ErrorKind::Cancelled, message).with_source(error)
            })?;
            // Trailers say nothing that the server uses.
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Reads a message whose first bytes are there; where it is compressed, with its coding.
    async fn whole(
        &mut self,
        app: &App,
        limits: &BodyLimits,
    ) -> Result<(Bytes, Option<Coding>, Reservation), Refusal> {
        while self.rest.len() < PREFIX {
            // A prefix that a frame cuts is put together again: it happens once in a long while.
            let start = std::mem::take(&mut self.rest);
            let more = within(limits, pin!(self.fill())).await?.ok_or(CUT_OFF)?;
            self.rest = [start, more].concat().into();
        }
        let flag = self.rest.get_u8();
        let length = self.rest.get_u32() as usize;
        let coding = match (flag, self.encoding.coding()) {
            (0, _) => None,
            (1, Some((_, coding))) => Some(coding),
            (1, None) => {
                return Err(Refusal::Protocol(
                    "a message has the flag of compression, but the call names no grpc-encoding",
                ));
            }
            _ => {
                return Err(Refusal::Protocol(
                    "a message has a flag that is neither 0 nor 1",
                ));
            }
        };
        if length > limits.max_bytes {
            return Err(limits.too_large("message").into());
        }
        let mut reservation = app.bodies.reserve();
        reservation.check(length)?;
        if self.rest.len() >= length {
            let bytes = self.rest.split_to(length);
            reservation.grow_to(length)?;
            return Ok((bytes, coding, reservation));
        }
        let joining = async {
            if self.rest.is_empty() {
                let first = within(limits, pin!(self.fill())).await?;
                self.rest = first.ok_or(CUT_OFF)?;
            }
            let limits = match coding {
                // What a compressed message is for shows when it is whole.
                Some(_) => *limits,
                None => self.limits_of_its_route(app, *limits),
            };
            if length > limits.max_bytes {
                return Err(limits.too_large("message").into());
            }
            within(&limits, pin!(self.join(length, &mut reservation))).await
        };
        let bytes = Box::pin(joining).await?;
        Ok((bytes, coding, reservation))
    }

    /// The limits of the route that a message is for of which only the beginning is there. Every client writes the fields in
    /// the order of their numbers, and the model is the first; of another one, the server's limits hold until it is whole.
    fn limits_of_its_route(&self, app: &App, limits: BodyLimits) -> BodyLimits {
        let model = match (self.purpose, Fields::of(&self.rest).next()) {
            (Purpose::Inference, Some(Ok((1, field)))) => field.text().ok(),
            _ => None,
        };
        let snapshot = model.map(|model| (model, app.serving.snapshot()));
        match snapshot.as_ref().and_then(|(model, all)| all.route(model)) {
            Some(route) => BodyLimits::of_route(&app.limits, route),
            None => limits,
        }
    }

    /// Puts a message together that comes in several frames. Nothing is set aside on the client's word for its length: the
    /// frames are kept until they are all there, and then copied once.
    async fn join(
        &mut self,
        length: usize,
        reservation: &mut Reservation,
    ) -> Result<Bytes, Refusal> {
        let mut frames = Vec::new();
        let mut missing = length;
        let mut next = std::mem::take(&mut self.rest);
        loop {
            if next.len() > missing {
                self.rest = next.split_off(missing);
            }
            missing -= next.len();
            reservation.grow_to(length - missing)?;
            if !next.is_empty() {
                frames.push(next);
            }
            if missing == 0 {
                break;
            }
            if frames.len() >= MAX_FRAMES.max(length / MIN_FRAME) {
                return Err(Refusal::Protocol(
                    "a message comes in too many frames; send larger ones",
                ));
            }
            next = self.fill().await?.ok_or(CUT_OFF)?;
        }
        // Clients write the raw contents last. So a message that ends where memory is aligned has its last tensor aligned,
        // and no second copy is made of it.
        let mut joined = BytesMut::with_capacity(length + ALIGNMENT);
        let end = joined.as_ptr() as usize + length;
        let gap = end.next_multiple_of(ALIGNMENT) - end;
        joined.put_bytes(0, gap);
        for frame in frames {
            joined.extend_from_slice(&frame);
        }
        joined.advance(gap);
        Ok(joined.freeze())
    }
}

const CUT_OFF: Refusal = Refusal::Protocol("the call ends in the middle of a message");

/// Makes a timer only where the bytes are not there yet: most are.
async fn within<T>(
    limits: &BodyLimits,
    mut work: Pin<&mut impl Future<Output = Result<T, Refusal>>>,
) -> Result<T, Refusal> {
    if let std::task::Poll::Ready(result) = futures_util::poll!(work.as_mut()) {
        return result;
    }
    match tokio::time::timeout(limits.timeout, work).await {
        Ok(result) => result,
        Err(_) => {
            let message = format!(
                "the message did not arrive within {} ms ({}); send it faster or in smaller requests",
                limits.timeout.as_millis(),
                limits.time_key()
            );
            Err(Error::new(ErrorKind::Deadline, message).into())
        }
    }
}
