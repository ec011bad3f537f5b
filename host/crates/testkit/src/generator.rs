//! Texts and bodies that come piece by piece: a fake of what makes the pieces, and a fake of what filters them.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::time::{Instant, sleep_until};
use wharf_core::{BoxFuture, Error, ErrorKind, Filter, Portion, Result, Token, Verdict};

use crate::script::{END, Script};

/// A token of this text.
#[must_use]
pub fn token(text: &str) -> Token {
    Token {
        id: text.len() as u32,
        text: text.to_owned(),
        logprob: Some(-0.5),
    }
}

/// A source that gives its pieces at an even pace, as a language model or a slow server does.
#[derive(Clone, Debug, Default)]
pub struct FakeGenerator<T = Token> {
    pieces: Vec<T>,
    pace: Duration,
    fails: bool,
}

impl FakeGenerator {
    /// Gives a token for each text.
    #[must_use]
    pub fn new<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::of(texts.into_iter().map(|text| token(text.as_ref())))
    }

    /// The tokens as they come. Dropping the stream ends the generation.
    pub fn tokens(self) -> impl Stream<Item = Result<Token>> + Send + 'static {
        self.pieces()
    }
}

impl<T: Send + 'static> FakeGenerator<T> {
    /// Gives these pieces.
    #[must_use]
    pub fn of(pieces: impl IntoIterator<Item = T>) -> Self {
        Self {
            pieces: pieces.into_iter().collect(),
            pace: Duration::ZERO,
            fails: false,
        }
    }

    /// Takes so long for each piece; without, all are there at once.
    #[must_use]
    pub fn every(self, pace: Duration) -> Self {
        Self { pace, ..self }
    }

    /// Fails after the last piece.
    #[must_use]
    pub fn failing(self) -> Self {
        Self {
            fails: true,
            ..self
        }
    }

    /// The pieces as they come. Dropping the stream ends the source.
    pub fn pieces(self) -> impl Stream<Item = Result<T>> + Send + 'static {
        let pieces = self.pieces.into_iter().map(Ok);
        let failure = self
            .fails
            .then(|| Err(Error::new(ErrorKind::Unavailable, "the generator failed")));
        let items: VecDeque<Result<T>> = pieces.chain(failure).collect();
        let pace = self.pace;
        stream::unfold(
            (items, Instant::now()),
            move |(mut items, last)| async move {
                let item = items.pop_front()?;
                let due = last + pace;
                if !pace.is_zero() {
                    sleep_until(due).await;
                }
                Some((item, (items, due)))
            },
        )
    }
}

/// A filter that is a script: the lines `upper`, `hold N`, `stop-at TEXT` and `trap-at TEXT` of a fake plugin. A token is a piece to
/// it, and so is a byte.
pub struct FakeFilter<T> {
    script: Script,
    hold: usize,
    held: VecDeque<T>,
}

impl<T: FakePiece> FakeFilter<T> {
    /// Makes a filter of the lines of a script, without a plugin.
    #[must_use]
    pub fn of(lines: &str) -> Box<dyn Filter<T::Portion>> {
        let script = Script::parse(&format!("{lines}\n{END}")).unwrap_or_default();
        Box::new(Self::new(&script))
    }

    pub(crate) fn new(script: &Script) -> Self {
        Self {
            hold: script.number("hold").unwrap_or(0),
            script: script.clone(),
            held: VecDeque::new(),
        }
    }

    fn take(&mut self, portion: T::Portion) -> Result<Verdict<T::Portion>> {
        for mut piece in T::pieces(portion) {
            if self
                .script
                .get("trap-at")
                .is_some_and(|text| piece.is(text))
            {
                return Err(Error::new(ErrorKind::PluginFault, "the plugin failed"));
            }
            if let Some(text) = self.script.get("stop-at").filter(|text| piece.is(text)) {
                return Ok(Verdict::Stop {
                    reason: format!("it came to {text}"),
                    last: T::portion(self.held.drain(..)),
                });
            }
            if self.script.has("upper") {
                piece.raise();
            }
            self.held.push_back(piece);
        }
        let free = self.held.len().saturating_sub(self.hold);
        Ok(Verdict::Emit(T::portion(self.held.drain(..free))))
    }
}

impl<T: FakePiece> Filter<T::Portion> for FakeFilter<T> {
    fn push(&mut self, portion: T::Portion) -> BoxFuture<'_, Result<Verdict<T::Portion>>> {
        assert!(!portion.is_empty(), "a filter is given something");
        Box::pin(async { self.take(portion) })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<T::Portion>> {
        Box::pin(async move { Ok(T::portion(self.held)) })
    }
}

/// What a fake filter takes a portion apart into.
pub trait FakePiece: Send + Sized + 'static {
    /// The portion that it is a piece of.
    type Portion: Portion;

    /// Takes a portion apart.
    fn pieces(portion: Self::Portion) -> Vec<Self>;
    /// Puts pieces together.
    fn portion(pieces: impl IntoIterator<Item = Self>) -> Self::Portion;
    /// Whether it is this text.
    fn is(&self, text: &str) -> bool;
    /// Makes its letters large.
    fn raise(&mut self);
}

impl FakePiece for Token {
    type Portion = Vec<Self>;

    fn pieces(portion: Vec<Self>) -> Vec<Self> {
        portion
    }

    fn portion(pieces: impl IntoIterator<Item = Self>) -> Vec<Self> {
        pieces.into_iter().collect()
    }

    fn is(&self, text: &str) -> bool {
        self.text == text
    }

    fn raise(&mut self) {
        self.text = self.text.to_uppercase();
    }
}

impl FakePiece for u8 {
    type Portion = Bytes;

    fn pieces(portion: Bytes) -> Vec<Self> {
        portion.into()
    }

    fn portion(pieces: impl IntoIterator<Item = Self>) -> Bytes {
        pieces.into_iter().collect()
    }

    fn is(&self, text: &str) -> bool {
        text.as_bytes() == [*self]
    }

    fn raise(&mut self) {
        self.make_ascii_uppercase();
    }
}
