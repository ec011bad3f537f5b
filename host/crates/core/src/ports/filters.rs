//! What filters work on: texts and bodies that come piece by piece.

use bytes::{Bytes, BytesMut};

use super::BoxFuture;
use crate::Result;

/// The filter of one text or body. Dropping it ends its instance's work for that.
pub trait Filter<P: Portion>: Send {
    /// Takes what came since the last call, at least something.
    ///
    /// # Errors
    /// As [`super::Plugin::preprocess`]. After an error the filter gives nothing more.
    fn push(&mut self, portion: P) -> BoxFuture<'_, Result<Verdict<P>>>;

    /// Ends it: gives what is still kept back.
    ///
    /// # Errors
    /// As [`Filter::push`].
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<P>>;
}

/// What becomes of what a filter was given so far.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict<P> {
    /// This goes to the client now.
    Emit(P),
    /// This goes to the client, and the text or body ends here.
    Stop {
        /// What goes last.
        last: P,
        /// Why it ends, for the client.
        reason: String,
    },
}

impl<P> Verdict<P> {
    /// What goes to the client.
    pub fn given(&self) -> &P {
        match self {
            Self::Emit(given) | Self::Stop { last: given, .. } => given,
        }
    }

    /// The same verdict of something else.
    pub fn map<Q>(self, to: impl FnOnce(P) -> Q) -> Verdict<Q> {
        match self {
            Self::Emit(given) => Verdict::Emit(to(given)),
            Self::Stop { last, reason } => Verdict::Stop {
                last: to(last),
                reason,
            },
        }
    }
}

/// A part of what comes piece by piece: tokens of a text, or bytes of a body. Portions one behind the other are one portion.
pub trait Portion: Default + Send + 'static {
    /// A piece as it comes.
    type Piece: Send + 'static;

    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool;

    /// Puts another one behind it.
    fn append(&mut self, behind: Self);

    /// Makes one portion of pieces, in their order.
    fn of_pieces(pieces: Vec<Self::Piece>) -> Self;
}

/// One token of a generated text.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its number in the model's vocabulary.
    pub id: u32,
    /// Its text; empty while a part of a character waits for the tokens after it.
    pub text: String,
    /// The natural logarithm of its probability, where the model tells.
    pub logprob: Option<f32>,
}

impl Portion for Vec<Token> {
    type Piece = Token;

    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    fn append(&mut self, behind: Self) {
        self.extend(behind);
    }

    fn of_pieces(pieces: Vec<Token>) -> Self {
        pieces
    }
}

/// A single piece is shared; only more of them are copied together.
impl Portion for Bytes {
    type Piece = Self;

    fn is_empty(&self) -> bool {
        self.as_ref().is_empty()
    }

    fn append(&mut self, behind: Self) {
        if self.as_ref().is_empty() {
            *self = behind;
        } else if !behind.as_ref().is_empty() {
            let mut joined = BytesMut::with_capacity(self.len() + behind.len());
            joined.extend_from_slice(self);
            joined.extend_from_slice(&behind);
            *self = joined.freeze();
        }
    }

    fn of_pieces(mut pieces: Vec<Self>) -> Self {
        if pieces.len() == 1 {
            return pieces.remove(0);
        }
        let mut joined = BytesMut::with_capacity(pieces.iter().map(Self::len).sum());
        for piece in pieces {
            joined.extend_from_slice(&piece);
        }
        joined.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_joined_in_their_order_and_one_piece_is_not_copied() {
        let piece = Bytes::from("abc");
        let mut portion = Bytes::of_pieces(vec![piece.clone()]);
        assert_eq!(portion.as_ptr(), piece.as_ptr());
        portion.append(Bytes::new());
        assert_eq!(portion.as_ptr(), piece.as_ptr());
        portion.append(Bytes::of_pieces(vec!["d".into(), "".into(), "e".into()]));
        assert_eq!(portion, "abcde");
        assert!(Bytes::of_pieces(Vec::new()).is_empty());
    }
}
