//! Generated texts: a fake of what makes the tokens, and a fake of what filters them.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::time::{Instant, sleep_until};
use wharf_core::{BoxFuture, Error, ErrorKind, Result, Token, TokenFilter, Verdict};

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

/// A generator that gives its tokens at an even pace, as a language model does.
#[derive(Clone, Debug, Default)]
pub struct FakeGenerator {
    tokens: Vec<Token>,
    pace: Duration,
    fails: bool,
}

impl FakeGenerator {
    /// Gives a token for each text.
    #[must_use]
    pub fn new<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        let tokens = texts.into_iter().map(|text| token(text.as_ref()));
        Self {
            tokens: tokens.collect(),
            ..Self::default()
        }
    }

    /// Takes so long for each token; without, all are there at once.
    #[must_use]
    pub fn every(self, pace: Duration) -> Self {
        Self { pace, ..self }
    }

    /// Fails after the last token.
    #[must_use]
    pub fn failing(self) -> Self {
        Self {
            fails: true,
            ..self
        }
    }

    /// The tokens as they come. Dropping the stream ends the generation.
    pub fn tokens(self) -> impl Stream<Item = Result<Token>> + Send + 'static {
        let tokens = self.tokens.into_iter().map(Ok);
        let failure = self
            .fails
            .then(|| Err(Error::new(ErrorKind::Unavailable, "the generator failed")));
        let items: VecDeque<Result<Token>> = tokens.chain(failure).collect();
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

/// A token filter that is a script: the lines `upper`, `hold N` and `stop-at TEXT` of a fake plugin.
pub struct FakeFilter {
    upper: bool,
    hold: usize,
    stop_at: Option<String>,
    held: VecDeque<Token>,
}

impl FakeFilter {
    /// Makes a filter of the lines of a script, without a plugin.
    #[must_use]
    pub fn of(lines: &str) -> Box<dyn TokenFilter> {
        let script = Script::parse(&format!("{lines}\n{END}")).unwrap_or_default();
        Box::new(Self::new(&script))
    }

    pub(crate) fn new(script: &Script) -> Self {
        Self {
            upper: script.has("upper"),
            hold: script.number("hold").unwrap_or(0),
            stop_at: script.get("stop-at").map(str::to_owned),
            held: VecDeque::new(),
        }
    }

    fn take(&mut self, tokens: Vec<Token>) -> Verdict {
        for mut token in tokens {
            if self.stop_at.as_ref() == Some(&token.text) {
                return Verdict::Stop {
                    reason: format!("it came to {}", token.text),
                    tokens: self.held.drain(..).collect(),
                };
            }
            if self.upper {
                token.text = token.text.to_uppercase();
            }
            self.held.push_back(token);
        }
        let free = self.held.len().saturating_sub(self.hold);
        Verdict::Emit(self.held.drain(..free).collect())
    }
}

impl TokenFilter for FakeFilter {
    fn push(&mut self, tokens: Vec<Token>) -> BoxFuture<'_, Result<Verdict>> {
        assert!(!tokens.is_empty(), "a filter is given at least one token");
        Box::pin(async { Ok(self.take(tokens)) })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Vec<Token>>> {
        Box::pin(async move { Ok(self.held.into()) })
    }
}
